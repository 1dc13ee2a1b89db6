/**
 * Simple stories from a seeded grammar: one hero, a plot with a good or a bad turn, and a mood that may turn again.
 *
 * They are the text that the zoo's small models are trained on and continue. The grammar is ours: 44 names, 41 places,
 * 24 plots with six branches each. A story has 5 to 9 sentences. Half of the branches are good; before each later
 * sentence that has a mood the mood turns with probability 0.2, so that how an opening goes on is open.
 */
import type { Rng } from '@plumbline/core';
import { plots } from './plots.js';
import { type Teller, type Telling, teller } from './teller.js';
import { a, animals, foods, looks, makeable, pets, places, relatives, things } from './vocabulary.js';

/** `story(index)` is pure in (seed of `rng`, index). Two indices may give the same story; `differentStories` leaves those out. */
export function storyGenerator(rng: Rng): (index: number) => string {
  return (index) => tell(teller(rng.fork('story', index)));
}

/** The first `count` stories of the generator that differ from all before them. */
export function differentStories(rng: Rng, count: number): string[] {
  const story = storyGenerator(rng);
  const seen = new Set<string>();
  for (let index = 0; seen.size < count; index++) seen.add(story(index));
  return [...seen];
}

/** Bytes before the ending: a story is longer than what the bed shows and asks for, 16 and 32 tokens. */
const shortest = 200;

function tell(t: Teller): string {
  const sentences: string[] = [];
  const say = (telling: Telling, lead = '') => {
    const said = telling(t);
    for (const [i, text] of (typeof said === 'string' ? [said] : said).entries()) sentences.push(i === 0 ? lead + text : text);
  };
  /** A sentence with a mood: where the mood has turned, it says so. */
  const sayMood = (good: readonly Telling[], bad: readonly Telling[]) => {
    const lead = t.turn() ? t.pick(['but then ', 'but soon ', 'yet ', 'but ']) : '';
    say(t.pick(t.good ? good : bad), lead);
  };

  const asidesLeft = [...asides];
  const sayAside = () => say(asidesLeft.splice(Math.floor(t.uniform() * asidesLeft.length), 1)[0]);

  say(t.pick(openings));
  if (t.chance(0.5)) say(t.pick(settings));
  const plot = t.pick(plots)(t);
  say(plot.start, t.chance(0.75) ? `${t.pick(plot.long ? seasons : times)}, ` : '');
  t.turn();
  say(t.pick(t.good ? plot.good : plot.bad), t.chance(0.2) ? t.pick(t.good ? luckily : sadly) : '');
  if (t.chance(0.5)) sayAside();
  sayMood(feelings.good, feelings.bad);
  if (t.chance(0.5)) sayAside();
  if (t.chance(0.65)) sayMood(reactions.good, reactions.bad);
  if (t.chance(0.35)) sayAside();
  while (sentences.join(' ').length < shortest) sayAside();
  if (t.chance(0.35)) say(t.pick(farewells));
  else sayMood(endings.good, endings.bad);
  return sentences.map(finish).join(' ');
}

/** Capital at the start, full stop at the end. */
function finish(sentence: string): string {
  const text = sentence[0].toUpperCase() + sentence.slice(1);
  return /[.!?]"?$/.test(text) ? text : `${text}.`;
}

const seasons = ['last summer', 'last winter', 'last week', 'in the spring', 'in the fall', 'in the summer'];
const times = [
  ...seasons,
  ...[
    'one day',
    'one morning',
    'one evening',
    'one afternoon',
    'one summer day',
    'one rainy day',
    'one winter morning',
    'early one morning',
  ],
  ...[
    'on a warm day',
    'on a cold day',
    'on Sunday',
    'on Monday',
    'on market day',
    'after lunch',
    'after school',
    'before dinner',
    'after breakfast',
  ],
];
const luckily = ['luckily, ', 'in the end, ', 'at last, ', 'to the joy of everyone, '];
const sadly = ['sadly, ', 'in the end, ', 'to the horror of everyone, '];
const ages = ['five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'];
const jobs = ['a baker', 'a sailor', 'a farmer', 'a teacher', 'a doctor', 'a singer', 'a painter', 'an actor', 'a pilot', 'a tailor'];
const doing = ['draw', 'sing', 'fish', 'read', 'swim', 'run', 'dance', 'jump', 'climb', 'sit', 'walk', 'paint'];

const openings: readonly Telling[] = [
  (t) => `once there was a ${t.child} named ${t.name}`,
  (t) => `once upon a time, there was a ${t.pick(['little', 'small', 'young', 'tall', 'quiet', 'shy'])} ${t.child} named ${t.name}`,
  (t) => `long ago, a ${t.child} named ${t.name} lived near ${t.place}`,
  (t) =>
    `in ${a(t.pick(['small', 'big', 'old', 'little', 'white', 'red', 'empty']))} house near ${t.place} lived a ${t.child} named ${t.name}`,
  (t) => `${t.who()} lived near ${t.place} with ${t.friend()}`,
  (t) => `${t.who()} had ${t.a(t.pick(pets))}`,
  (t) => `${t.who()} had ${t.a(t.pick(pets))} and ${t.a(t.thing)}`,
  (t) => `${t.who()} and ${t.friend()} worked ${t.at}`,
  (t) => `${t.who()} and ${t.friend()} lived in ${a(t.pick(['small', 'big', 'old', 'little', 'white', 'red']))} house`,
  (t) => `every ${t.pick(['morning', 'day', 'evening', 'Sunday', 'summer', 'Friday'])}, ${t.who()} walked to ${t.place} with ${t.friend()}`,
  (t) => `there was a ${t.child} called ${t.name} who ${t.pick(['lived near', 'came from', 'worked near', 'often went to'])} ${t.place}`,
  (t) => `${t.who()} was ${t.pick(ages)} years old and lived near ${t.place}`,
  (t) => `${t.who()} was a ${t.pick(['young', 'tall', 'quiet', 'small'])} ${t.child} with ${t.a(t.thing)}`,
  (t) => `${t.who()} was ${a(t.trait())} ${t.child} who lived near ${t.place}`,
  (t) => `this is the story of ${t.name} and ${t.a(t.thing)}`,
  (t) => `${t.who()} went to ${t.place} with ${t.friend()}`,
  (t) => `${t.who()} wanted to be ${t.pick(jobs)}`,
  (t) => `a ${t.child} named ${t.name} sat ${t.at} with ${t.a(t.pick(animals))}`,
];

const settings: readonly Telling[] = [
  (t) => `${t.who()} ${t.pick(['liked', 'wanted', 'came', 'learned'])} to ${t.pick(doing)} ${t.at}`,
  (t) => `every day ${t.who()} went to ${t.elsewhere.place} with ${t.friend()}`,
  (t) => `${t.who()} had ${t.a(t.pick(things))} that came from ${t.his} ${t.pick(relatives)[0]}`,
  (t) => `${t.who()} could ${t.pick(['run faster', 'jump higher', 'sing louder', 'read faster', 'swim farther'])} than ${t.friend()}`,
  (t) => `${t.who()} was ${t.pick(['often', 'always', 'never'])} ${t.at}`,
  (t) => t.aside(`${t.his} house had ${a(t.pick(looks.filter((look) => look !== 'tiny')))} door`),
  (t) => t.aside(`it had rained all ${t.pick(['night', 'week', 'day', 'morning'])}`),
  (t) => t.aside(`${t.a(t.pick(animals))} lived there too`),
  (t) => `${t.friendActs()} made ${t.pick(foods)} every ${t.pick(['Sunday', 'Friday', 'week'])}`,
  (t) => `${t.who()} ate ${t.pick(foods)} every ${t.pick(['day', 'morning', 'evening'])}`,
  (t) => `${t.who()} felt ${t.feeling()} there`,
  (t) => t.aside(`it was ${a(t.day())} place`),
];

const feelings: { good: readonly Telling[]; bad: readonly Telling[] } = {
  good: [
    (t) => `${t.who()} felt ${t.feeling()}`,
    (t) => `${t.who()} was ${t.feeling()} and ${t.pick(['laughed', 'smiled', 'danced', 'clapped', 'sang', 'jumped for joy'])}`,
    (t) => `${t.who()} felt ${t.feeling()} and ${t.feeling()}`,
    (t) =>
      `${t.who()} was so ${t.feeling()} that ${t.he} ${t.pick(['sang all the way home', 'told everyone', 'could not sleep', 'ran to tell the others', 'hugged a tree'])}`,
    (t) => `${t.who()} had never been so ${t.feeling()}`,
    (t) => t.aside(`it made ${t.name} ${t.feeling()}`),
  ],
  bad: [
    (t) => `${t.who()} felt ${t.feeling()}`,
    (t) => `${t.who()} was ${t.feeling()} and ${t.pick(['cried', 'screamed', 'shouted', 'ran away', 'hid', 'went to bed'])}`,
    (t) => `${t.who()} felt ${t.feeling()} and ${t.feeling()}`,
    (t) =>
      `${t.who()} was so ${t.feeling()} that ${t.he} ${t.pick(['cried all the way home', 'told nobody', 'could not sleep', 'hid in the barn', 'kicked a tree'])}`,
    (t) => `${t.who()} had never been so ${t.feeling()}`,
    (t) => t.aside(`it made ${t.name} ${t.feeling()}`),
  ],
};

const reactions: { good: readonly Telling[]; bad: readonly Telling[] } = {
  good: [
    (t) => `${t.friendActs()} was ${t.feeling()} too`,
    (t) => `${t.friendActs()} ${t.pick(['hugged', 'thanked', 'kissed', 'praised'])} ${t.name}`,
    (t) => `${t.friendActs()} said, "${t.pick(['You are', 'How'])} ${t.trait()}!"`.replace(/"How (\w+)!/, '"How $1 you are!'),
    (t) => `${t.friendActs()} gave ${t.name} ${t.a(t.pick(makeable))} and a ${t.pick(['smile', 'hug', 'kiss'])}`,
    (t) =>
      t.friendMet
        ? t.aside(`they ${t.pick(['laughed together', 'sang a happy song', 'had a great time', 'became best friends'])}`)
        : `${t.who()} had a great time`,
    (t) => t.aside(`it was ${a(t.day())} ${t.pick(['day', 'evening', 'time', 'week'])}`),
    (t) => `${t.who()} said, "${t.pick(['I am so happy', 'What a lovely day', 'This is wonderful', 'I love this place', 'Thank you'])}!"`,
  ],
  bad: [
    (t) => `${t.friendActs()} was ${t.feeling()} too`,
    (t) => `${t.friendActs()} ${t.pick(['hit', 'blamed', 'insulted', 'scared', 'punished'])} ${t.name}`,
    (t) => `${t.friendActs()} said, "${t.pick(['You are', 'How'])} ${t.trait()}!"`.replace(/"How (\w+)!/, '"How $1 you are!'),
    (t) => `${t.friendActs()} took ${t.name}'s ${t.pick(makeable)} and ${t.pick(['broke it', 'ruined it', 'burned it'])}`,
    (t) =>
      t.friendMet
        ? t.aside(`they ${t.pick(['cried together', 'had a bad fight', 'had a terrible time', 'became enemies'])}`)
        : `${t.who()} had a terrible time`,
    (t) => t.aside(`it was ${a(t.day())} ${t.pick(['day', 'evening', 'time', 'week'])}`),
    (t) => `${t.who()} said, "${t.pick(['I am so sad', 'What a horrible day', 'This is terrible', 'I hate this place', 'I am afraid'])}!"`,
  ],
};

const asides: readonly Telling[] = [
  (t) => t.aside(`a ${t.pick(['cold', 'warm', 'light'])} wind blew all ${t.pick(['day', 'night', 'morning'])}`),
  (t) => `${t.who()} ate ${t.pick(foods)} ${t.pick(['by the fire', 'on a bench', 'under a tree', 'in the kitchen', 'at the table'])}`,
  (t) =>
    `${t.who()} put the ${t.pick(things)} ${t.pick(['on the table', 'in a box', 'under the bed', 'on a shelf', 'in a bag', 'on the wall'])}`,
  (t) =>
    t.aside(
      `${t.a(t.pick(animals))} ${t.pick(['walked by', 'looked at them', 'followed them home', 'sat on the wall', 'slept near the door', 'came closer'])}`,
    ),
  (t) => t.aside(`the road to ${t.pick(places).place} was ${t.pick(['long', 'short', 'wet', 'empty', 'full of people'])}`),
  (t) => t.aside(`the ${t.pick(['sun', 'moon'])} ${t.pick(['went down', 'came up', 'was behind a cloud'])} over ${t.place}`),
  (t) => `${t.who()} drank a cup of ${t.pick(['milk', 'tea', 'water', 'juice', 'cocoa'])}`,
  (t) =>
    `${t.who()} sat ${t.pick(['on a bench', 'on a stone', 'by the window', 'under a tree', 'on the stairs'])} for ${t.pick(['an hour', 'a while', 'some time'])}`,
  (t) => t.aside(`the clock struck ${t.pick(['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'])}`),
  (t) => `${t.friendActs()} ${t.pick(['opened', 'closed'])} the ${t.pick(['door', 'window', 'gate', 'book', 'box'])}`,
  (t) => `${t.who()} thought about ${t.a(t.pick(things))}`,
  (t) => t.aside(`a bell rang ${t.elsewhere.at}`),
];

const farewells: readonly Telling[] = [
  (t) => `then ${t.who()} walked home`,
  (t) => `${t.who()} told ${t.his} ${t.pick(relatives)[0]} about it`,
  (t) => `at night ${t.who()} looked at the ${t.pick(['moon', 'stars', 'sky', 'ceiling'])}`,
  (t) => `the next day ${t.who()} went back to ${t.place}`,
  (t) => `after that, ${t.who()} kept the ${t.pick(things)} ${t.pick(['in a box', 'on a shelf', 'under the bed', 'near the window'])}`,
];

const endings: { good: readonly Telling[]; bad: readonly Telling[] } = {
  good: [
    (t) => t.aside(`it was the best day of the ${t.pick(['year', 'week', 'summer', 'month'])}`),
    (t) => `${t.who()} went home ${t.feeling()}`,
    (t) => `${t.who()} slept well and had ${t.pick(['good', 'sweet', 'lovely'])} dreams`,
    (t) => (t.friendMet ? t.aside('they were good friends from that day on') : `${t.who()} was happy from that day on`),
    (t) => `${t.who()} loved ${t.place} from then on`,
    (t) => `${t.who()} and ${t.friend()} had a party ${t.elsewhere.at}`,
    (t) => `${t.who()} learned to be ${t.trait()}`,
  ],
  bad: [
    (t) => t.aside(`it was the worst day of the ${t.pick(['year', 'week', 'summer', 'month'])}`),
    (t) => `${t.who()} went home ${t.feeling()}`,
    (t) => `${t.who()} slept badly and had ${t.pick(['bad', 'horrible', 'terrible'])} dreams`,
    (t) => (t.friendMet ? t.aside('they were enemies from that day on') : `${t.who()} was sad from that day on`),
    (t) => `${t.who()} hated ${t.place} from then on`,
    (t) => `${t.who()} and ${t.friend()} never spoke again`,
    (t) => `${t.who()} cried all night`,
  ],
};
