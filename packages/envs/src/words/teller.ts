/** What a story knows while it is being told: who is in it, where, of whom the last sentence spoke, and the mood. */
import type { Rng } from '@plumbline/core';
import * as list from './vocabulary.js';
import { a, type Pronouns } from './vocabulary.js';

/** A sentence or several, without the capital at the start and the full stop at the end. */
export type Telling = (t: Teller) => string | readonly string[];

/** How likely the mood turns before each later sentence that has one. */
const turnProbability = 0.2;

export type Teller = ReturnType<typeof teller>;

export function teller(rng: Rng) {
  const draws = rng.uniform(256); // a story takes about 50; more are drawn where these run out
  let used = 0;
  const uniform = () => (used < draws.length ? draws[used++] : rng.fork('more').uniform(++used)[used - 1]);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(uniform() * from.length)];
  const chance = (p: number) => uniform() < p;
  /** One that is not `taken`. */
  const other = <T>(from: readonly T[], taken: T): T => pick(from.filter((x) => x !== taken));

  const girl = chance(0.5);
  const name = pick(girl ? list.girlNames : list.boyNames);
  const self: Pronouns = girl ? list.she : list.he;
  const { friend, friendIsGirl, friendName } = someoneElse();
  const scene = pick(list.places);
  const thing = pick(list.things);
  const animal = pick(list.animals);
  let topic: 'hero' | 'other' | 'nobody' = 'nobody'; // of whom the last sentence spoke
  let friendMet = false;
  let good = chance(0.5);

  function someoneElse() {
    const kind = uniform();
    if (kind < 0.4) {
      const friendIsGirl = chance(0.5);
      const friendName = other(friendIsGirl ? list.girlNames : list.boyNames, name);
      return { friend: friendName, friendIsGirl, friendName };
    }
    const [noun, pronouns] = kind < 0.75 ? pick(list.relatives) : ([pick(list.companions), chance(0.5) ? list.she : list.he] as const);
    return { friend: `${self.his} ${noun}`, friendIsGirl: pronouns === list.she, friendName: undefined };
  }
  /** The friend, introduced where the story has not met them. After a friend like the hero, "she" could be either, so the hero is named. */
  const mention = () => {
    const introduced = friendName !== undefined && !friendMet ? `${self.his} friend ${friendName}` : friend;
    friendMet = true;
    if (friendIsGirl === girl) topic = 'other';
    return introduced;
  };

  return {
    uniform,
    pick,
    chance,
    name,
    child: girl ? 'girl' : 'boy',
    ...self,
    place: scene.place,
    at: scene.at,
    thing,
    animal,
    /** The place, but another. */
    elsewhere: other(list.places, scene),
    otherThing: other(list.things, thing),
    /** With an adjective half of the time, "a" or "an" before it. */
    a: (noun: string) => a(chance(0.5) ? `${pick(list.looks)} ${noun}` : noun),

    /** The hero as the subject: the name, or the pronoun where nobody else could be meant. */
    who: () => {
      const pronoun = topic === 'hero' && chance(0.65);
      topic = 'hero';
      return pronoun ? self.he : name;
    },
    /** The friend in a sentence about the hero. */
    friend: mention,
    /** The friend as the subject. */
    friendActs: () => {
      const subject = mention();
      topic = 'other';
      return subject;
    },
    /** A sentence about something else: the next one names the hero. */
    aside: (text: string) => {
      topic = 'other';
      return text;
    },
    get friendMet() {
      return friendMet;
    },
    /** The mood now. */
    get good() {
      return good;
    },
    /** The mood may turn; true where it did. */
    turn: () => {
      const turned = chance(turnProbability);
      if (turned) good = !good;
      return turned;
    },
    feeling: () => pick(good ? list.goodMoods : list.badMoods),
    day: () => pick(good ? list.goodDays : list.badDays),
    trait: () => pick(good ? list.goodTraits : list.badTraits),
  };
}
