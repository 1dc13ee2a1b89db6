/** The plots of the stories: how each starts, and how it goes on well or badly. Sentences as in teller.ts. */
import type { Telling } from './teller.js';
import { a, animals, badTraits, dishes, foods, goodTraits, makeable, pets, plants } from './vocabulary.js';

export type Plot = {
  readonly start: Telling;
  /** It takes days: "after lunch" would not do. */
  readonly long?: boolean;
  readonly good: readonly Telling[];
  readonly bad: readonly Telling[];
};

/** Each call makes the plot's own choices (which dish, which animal), so that its sentences agree on them. */
export const plots: readonly ((t: Parameters<Telling>[0]) => Plot)[] = [
  // Losing something.
  (t) => ({
    start: () => [
      `${t.who()} lost ${t.his} ${t.thing} ${t.at}`,
      ...(t.chance(0.6)
        ? [`${t.who()} looked for it ${t.pick(['everywhere', 'for hours', 'all day', 'under every stone', 'in every corner'])}`]
        : []),
    ],
    good: [
      () => `${t.who()} found it ${t.pick(['under a bench', 'behind a wall', 'near a tree', 'in the grass', 'in a box'])} and smiled`,
      () => `${t.friendActs()} found it and gave it back with a smile`,
      () => [
        t.aside(`${a(t.pick(goodTraits))} ${t.pick(['man', 'woman', 'child', 'farmer'])} had found it`),
        `${t.who()} thanked ${t.pick(['the stranger', 'everyone'])} and was glad`,
      ],
    ],
    bad: [
      () => [`${t.who()} never saw it again`, `${t.who()} missed it and cried`],
      () => t.aside('a thief had taken it, and nobody could help'),
      () => [t.aside(`the ${t.thing} lay in the mud`), t.aside('it was broken and ruined')],
    ],
  }),
  // Finding something.
  (t) => ({
    start: () => `${t.who()} found ${t.a(t.thing)} ${t.at}`,
    good: [
      () => t.aside(`it was beautiful, and it made ${t.name} smile`),
      () => `${t.friendActs()} said it was a treasure, and ${t.name} was allowed to keep it`,
      () => `${t.who()} gave it back to its owner and got a nice reward`,
    ],
    bad: [
      () => t.aside('it was broken, dirty and useless'),
      () => [t.aside(`${a(t.pick(badTraits))} man said that it was his`), t.aside(`he grabbed it and shouted at ${t.name}`)],
      () => `${t.friendActs()} said that ${t.name} was a thief, and it hurt`,
    ],
  }),
  // A race.
  (t) => ({
    start: () => `${t.who()} and ${t.friend()} had a race to ${t.elsewhere.place}`,
    good: [
      () => `${t.who()} won, and everyone cheered`,
      () => t.aside('they reached the end at the same time and laughed'),
      () => `${t.friendActs()} won, but ${t.name} was happy for ${t.pick(['the winner', 'both of them'])}`,
    ],
    bad: [
      () => `${t.who()} fell on a stone and hurt ${t.his} ${t.pick(['knee', 'foot', 'arm', 'leg'])}`,
      () => `${t.friendActs()} cheated, and ${t.name} was angry`,
      () => `${t.who()} lost, and the others laughed at ${t.him} in a mean way`,
    ],
  }),
  // Cooking.
  (t) => {
    const dish = t.pick(dishes);
    return {
      start: () => `${t.who()} made ${t.a(dish)} ${t.pick(['for', 'with'])} ${t.friend()}`,
      good: [
        () =>
          t.aside(
            `it tasted ${t.pick(['great', 'sweet', 'wonderful', 'good'])}, and they ate ${t.pick(['all of it', 'it with joy', 'every bit of it'])}`,
          ),
        () => `${t.friendActs()} loved it and asked for more`,
        () => t.aside(`it won a prize ${t.elsewhere.at}`),
      ],
      bad: [
        () => t.aside(`it burned, and it tasted ${t.pick(['awful', 'terrible', 'horrible', 'bad'])}`),
        () => `${t.friendActs()} hated it and threw it ${t.pick(['away', 'on the floor', 'out of the window'])}`,
        () => `${t.who()} dropped it on the floor and cried`,
      ],
    };
  },
  // A storm.
  (t) => ({
    start: () =>
      `${t.who()} was on the way to ${t.elsewhere.place} when ${t.pick(['a storm came', 'it began to rain', 'it grew dark', 'the sky turned dark', 'a strange fog came down'])}`,
    good: [
      () => `${t.who()} found a safe, warm place in ${t.pick(['a barn', 'a hut', 'a cave', 'an old mill', 'an inn'])}`,
      () => [t.aside('the sun came back'), t.aside('there was a beautiful rainbow')],
      () => `${t.friendActs()} came with an umbrella and a kind smile`,
    ],
    bad: [
      () => t.aside(`the thunder was terrible, and ${t.name} was scared`),
      () => `${t.who()} got lost, wet and very cold`,
      () => t.aside(`the wind broke a tree, and it hurt ${t.name}`),
    ],
  }),
  // A gift.
  (t) => ({
    start: () => `${t.who()} gave ${t.friend()} ${t.a(t.thing)}`,
    good: [
      () => `${t.friendActs()} loved it and hugged ${t.name}`,
      () => t.aside('it was the best gift of the year'),
      () => `${t.friendActs()} smiled and gave ${t.name} ${t.a(t.otherThing)} in return`,
    ],
    bad: [
      () => `${t.friendActs()} hated it and threw it into the ${t.pick(['mud', 'fire', 'water', 'street'])}`,
      () => `${t.friendActs()} did not thank ${t.name}, and that hurt`,
      () => [t.aside('it was broken'), `${t.friendActs()} was angry and left`],
    ],
  }),
  // Telling something.
  (t) => {
    const told = t.pick(['lie', 'secret', 'joke', 'story', 'dream', 'riddle']);
    return {
      start: () => `${t.who()} told ${t.friend()} a ${told} about the ${t.thing}`,
      good: [
        () =>
          `${t.friendActs()} laughed and said, "${t.pick(['You are funny', 'I love it', 'That is great', 'You are a good friend', 'That is wonderful'])}!"`,
        () => t.aside(`they laughed until the ${t.pick(['sun went down', 'bell rang', 'moon came up'])}`),
        () => `${t.friendActs()} liked it and smiled at ${t.name}`,
      ],
      bad: [
        () =>
          `${t.friendActs()} said, "${t.pick(['You are cruel', 'I hate it', 'That is a bad lie', 'You are a fool', 'That is horrible'])}!"`,
        () => `${t.friendActs()} got angry and shouted at ${t.name}`,
        () => `${t.friendActs()} did not believe a word, and they had a fight`,
      ],
    };
  },
  // An animal in need.
  (t) => ({
    start: () =>
      `${t.who()} saw ${t.a(t.animal)} ${t.pick(['in a net', 'in a deep hole', 'under a cart', 'in the mud', 'behind a fence', 'in the cold water'])} ${t.at}`,
    good: [
      () => `${t.who()} saved it, and soon it was safe and well`,
      () => [`${t.who()} helped the ${t.animal} with great care`, t.aside('it became a good friend')],
      () => `${t.friendActs()} helped, and the ${t.animal} was free again`,
    ],
    bad: [
      () => `${t.who()} was too afraid to help`,
      () => t.aside(`the ${t.animal} was in pain, and it bit ${t.name}`),
      () => `${t.who()} came too late, and the ${t.animal} died`,
    ],
  }),
  // Breaking something.
  (t) => ({
    start: () =>
      `${t.who()} dropped ${t.friend()}'s ${t.thing} ${t.pick(['on the floor', 'into the water', 'down the stairs', 'from the roof'])}`,
    good: [
      () => `${t.friendActs()} forgave ${t.name} with a smile`,
      () => `${t.who()} mended it, and it was as good as new`,
      () => t.aside('it was fine, and they laughed'),
    ],
    bad: [
      () => `${t.friendActs()} was furious and blamed ${t.name}`,
      () => t.aside('it was broken, and nothing could save it'),
      () => `${t.who()} lied about it and felt terrible`,
    ],
  }),
  // Before an audience.
  (t) => {
    const act = t.pick([
      'sang a song',
      'played the drum',
      'danced',
      'read a poem',
      'played the flute',
      'told a tale',
      'played the violin',
      'did a trick',
    ]);
    return {
      start: () => `${t.who()} ${act} ${t.at}`,
      good: [
        () => t.aside(`the people ${t.pick(['clapped', 'stood up', 'came closer'])} and cheered`),
        () => `${t.friendActs()} was proud and said, "${t.pick(['Well done', 'That was great', 'Beautiful'])}!"`,
        () => `${t.who()} was so good that ${t.he} won a prize`,
      ],
      bad: [
        () => t.aside(`the people ${t.pick(['booed', 'yelled', 'walked away'])}, and it was awful`),
        () => `${t.who()} made a terrible mistake and ran away`,
        () => `${t.friendActs()} said, "${t.pick(['That was awful', 'What a horrible noise', 'You are bad at this'])}!"`,
      ],
    };
  },
  // Planting.
  (t) => {
    const plant = t.pick(plants);
    return {
      start: () =>
        `${t.who()} planted ${t.a(plant)} ${t.pick(['near the door', 'by the wall', 'behind the house', 'under the window', 'by the gate'])}`,
      good: [
        () => t.aside('it grew tall and strong, and it was beautiful'),
        () => t.aside(`in a month it was the best ${plant} in the village`),
        () => `${t.friendActs()} helped with the water, and it grew well`,
      ],
      bad: [
        () => t.aside(`it died in the ${t.pick(['cold', 'heat', 'frost', 'dry summer'])}`),
        () => t.aside(`a hungry ${t.pick(['goat', 'rabbit', 'cow', 'horse'])} destroyed it`),
        () => `${t.who()} forgot the water, and the poor plant died`,
      ],
    };
  },
  // A trip.
  (t) => {
    const ride = t.pick(['a boat', 'a train', 'a bus', 'a cart', 'a wagon', 'an old boat', 'a sled']);
    return {
      start: () => `${t.who()} and ${t.friend()} took ${ride} to ${t.elsewhere.place}`,
      good: [
        () => t.aside('they had a lot of fun'),
        () => t.aside(`the trip was ${t.pick(['lovely', 'wonderful', 'perfect'])}, and they sang`),
        () => t.aside(`they saw ${t.a(t.animal)} on the way and laughed`),
      ],
      bad: [
        () => t.aside(`it hit a ${t.pick(['rock', 'tree', 'wall'])}, and they were afraid`),
        () => `${t.friendActs()} was sick, and the trip was ${t.pick(['terrible', 'horrible', 'awful'])}`,
        () => t.aside('they got lost and had a bad fight'),
      ],
    };
  },
  // A test.
  (t) => ({
    start: () =>
      `${t.who()} had ${t.pick(['a test', 'a long test', 'a lesson', 'an exam'])} in ${t.pick(['reading', 'music', 'numbers', 'drawing', 'writing', 'spelling'])}`,
    good: [
      () => `${t.who()} did well, and the teacher was pleased`,
      () => t.aside(`it was easy, and ${t.name} won a prize`),
      () => `${t.friendActs()} was proud of ${t.name}`,
    ],
    bad: [
      () => `${t.who()} failed, and the teacher was angry`,
      () => t.aside(`it was too difficult, and ${t.name} cried`),
      () => `${t.friendActs()} laughed at ${t.name} in a cruel way`,
    ],
  }),
  // Selling.
  (t) => ({
    start: () => `${t.who()} tried to sell ${t.a(t.thing)} ${t.at}`,
    good: [
      () => t.aside(`${a(t.pick(goodTraits))} ${t.pick(['woman', 'man', 'farmer', 'sailor', 'baker'])} paid a good price`),
      () => `${t.who()} made enough money for a ${t.pick(['nice', 'great', 'wonderful'])} dinner`,
      () => `${t.friendActs()} bought it with a smile`,
    ],
    bad: [
      () => t.aside('a thief stole it and ran away'),
      () => t.aside(`${a(t.pick(badTraits))} ${t.pick(['woman', 'man', 'farmer', 'sailor', 'baker'])} said it was worthless`),
      () => `${t.friendActs()} said that it was ugly`,
    ],
  }),
  // A stranger.
  (t) => {
    const [stranger, , his] = t.pick([
      ['an old man', 'he', 'his'],
      ['an old woman', 'she', 'her'],
      ['a sailor', 'he', 'his'],
      ['a farmer', 'he', 'his'],
      ['a young woman', 'she', 'her'],
      ['a tall man', 'he', 'his'],
    ] as const);
    const noun = stranger.split(' ').at(-1);
    return {
      start: () => t.aside(`${stranger} asked ${t.name} for ${t.pick([...foods, 'water', 'a bed'])}`),
      good: [
        () => `${t.who()} helped, and the ${noun} thanked ${t.him}`,
        () => t.aside(`the ${noun} was ${t.pick(goodTraits)} and gave ${t.name} ${t.a(t.thing)}`),
        () => [`${t.who()} shared all that ${t.he} had`, t.aside(`the ${noun} smiled and dried ${his} eyes`)],
      ],
      bad: [
        () => t.aside(`the ${noun} was ${t.pick(badTraits)} and stole the ${t.thing}`),
        () => `${t.who()} was rude, and the ${noun} left in tears`,
        () => t.aside(`the ${noun} shouted at ${t.name} and hit the door`),
      ],
    };
  },
  // Hide and seek.
  (t) => ({
    start: () =>
      `${t.who()} and ${t.friend()} played ${t.pick(['hide and seek', 'ball', 'a game', 'cards', 'chess', 'a long game'])} ${t.at}`,
    good: [
      () => t.aside('they laughed and had fun'),
      () => `${t.who()} won and danced with joy`,
      () => `${t.friendActs()} said, "${t.pick(['That was fun', 'You are great', 'I like this game', 'You are so clever'])}!"`,
    ],
    bad: [
      () => `${t.friendActs()} went home, and ${t.name} was lonely`,
      () => `${t.friendActs()} cheated and called ${t.name} ${t.pick(['stupid', 'a loser', 'a bad name', 'a liar'])}`,
      () => t.aside('the game ended in an ugly fight'),
    ],
  }),
  // A pet that ran away.
  (t) => {
    const pet = t.pick(pets);
    return {
      start: () => `${t.friendActs()}'s ${pet} ran away to ${t.place}`,
      good: [
        () => `${t.who()} brought it home, safe and well`,
        () => t.aside(`it came back with ${t.a(t.pick(animals))}, and they laughed`),
        () => `${t.friendActs()} found it and kissed it`,
      ],
      bad: [
        () => t.aside('it never came back, and they cried'),
        () => `${t.who()} found it, but it was hurt and in pain`,
        () => `${t.friendActs()} blamed ${t.name}, and it was not fair`,
      ],
    };
  },
  // Illness.
  (t) => ({
    long: true,
    start: () =>
      `${t.friendActs()} ${t.pick(['lay in bed', 'had a cold', 'had a cough', 'could not get up', 'had to stay in bed'])} for ${t.pick(['a week', 'two days', 'three days', 'a month', 'many days'])}`,
    good: [
      () => `${t.who()} brought ${t.pick(foods)}, and soon ${t.friend()} was well and happy`,
      () => [t.aside('the doctor was very good'), `${t.friendActs()} got better and laughed again`],
      () => `${t.who()} sang, and it helped`,
    ],
    bad: [
      () => [t.aside('the pain got worse'), `${t.who()} was worried`],
      () => `${t.who()} got sick too and suffered`,
      () => t.aside(`nobody could help, and it was a sad ${t.pick(['time', 'winter', 'house'])}`),
    ],
  }),
  // A new home.
  (t) => ({
    long: true,
    start: () => `${t.who()} moved to ${t.pick(['a new house', 'an old house', 'a small room', 'a big house', 'a cabin'])} near ${t.place}`,
    good: [
      () => `${t.who()} made a good friend on the first day`,
      () => t.aside(`the ${t.pick(['rooms were bright', 'garden was big'])}, and it was a happy home`),
      () => `${t.friendActs()} gave ${t.name} a warm welcome`,
    ],
    bad: [
      () => t.aside(`no one would play with ${t.name}, and it was lonely there`),
      () => t.aside('it was dark, dirty and ugly'),
      () => `${t.friendActs()} was jealous and did not visit`,
    ],
  }),
  // Climbing.
  (t) => {
    const high = t.pick(['a tall tree', 'a ladder', 'a high wall', 'a pile of hay', 'a big rock', 'an oak tree', 'a steep hill']);
    return {
      start: () =>
        `${t.who()} climbed ${high} ${t.pick([`near ${t.place}`, 'to see the moon', 'to look around', 'behind the house', 'to reach an apple'])}`,
      good: [
        () => t.aside('the view was wonderful'),
        () => [`${t.who()} saw ${t.elsewhere.place} from there`, t.aside('it was beautiful')],
        () => `${t.friendActs()} cheered, and ${t.name} felt brave`,
      ],
      bad: [
        () => `${t.who()} fell down and broke ${t.his} ${t.pick(['arm', 'leg', 'hand', 'foot'])}`,
        () => `${t.who()} was too scared to come down`,
        () => t.aside(`a bird attacked, and ${t.name} screamed`),
      ],
    };
  },
  // A picnic.
  (t) => {
    const food = t.pick(foods);
    return {
      start: () =>
        `${t.who()} and ${t.friend()} took ${food} and ${t.a(t.pick(['blanket', 'basket', 'bottle', 'pot', 'apple']))} to ${t.elsewhere.place}`,
      good: [
        () => t.aside(`the ${food} was good, and they were ${t.pick(['happy', 'glad', 'cheerful', 'merry'])}`),
        () => t.aside(`they shared it with ${t.a(t.animal)} and laughed`),
        () => `${t.who()} enjoyed every bite`,
      ],
      bad: [
        () => t.aside(`ants ruined the ${food}`),
        () => t.aside(`the ${food} was bad, and they got sick`),
        () => t.aside(`${a(t.pick(badTraits))} ${t.animal} stole all of it`),
      ],
    };
  },
  // Building.
  (t) => {
    const made = t.pick(makeable);
    return {
      start: () =>
        `${t.who()} ${t.pick(['made', 'built'])} ${t.a(made)} out of ${t.pick(['wood', 'paper', 'old boxes', 'straw', 'sticks'])}`,
      good: [
        () => t.aside(`it was ${t.pick(['perfect', 'wonderful', 'beautiful', 'great'])}, and everyone liked it`),
        () => `${t.friendActs()} admired it`,
        () => `${t.who()} won a prize with it ${t.elsewhere.at}`,
      ],
      bad: [
        () => t.aside(`${a(t.pick(badTraits))} ${t.pick(['boy', 'girl', 'man', 'child'])} destroyed it`),
        () => t.aside('it was weak, and it broke'),
        () => `${t.friendActs()} said, "${t.pick(['It is ugly', 'I hate it', 'That is a stupid thing'])}!"`,
      ],
    };
  },
  // Lost in the dark.
  (t) => ({
    start: () =>
      `${t.who()} ${t.pick(['took the wrong path', 'went too far', 'did not know the way', 'stayed out late'])}, and night fell ${t.elsewhere.at}`,
    good: [
      () => t.aside(`${a(t.pick(goodTraits))} ${t.pick(['farmer', 'woman', 'man', 'baker', 'sailor'])} showed ${t.name} the way`),
      () => [t.aside('the stars were beautiful'), `${t.who()} was calm and brave`],
      () => `${t.friendActs()} came with a lamp, and ${t.name} was safe`,
    ],
    bad: [
      () => t.aside('the dark was full of horrible sounds'),
      () => `${t.who()} was afraid and cried for help`,
      () => [`${t.who()} sat under a tree and cried`, t.aside('nobody came')],
    ],
  }),
  // Borrowing.
  (t) => ({
    start: () => `${t.who()} asked ${t.friend()} for ${t.a(t.thing)}`,
    good: [
      () => `${t.friendActs()} was glad to share it`,
      () => `${t.friendActs()} said, "${t.pick(['Yes, with pleasure', 'Of course, my friend', 'You can have it, dear'])}!"`,
      () => `${t.who()} got it and was thankful`,
    ],
    bad: [
      () => `${t.friendActs()} refused and laughed in a mean way`,
      () => `${t.friendActs()} said, "${t.pick(['No, you are a thief', 'No, I hate you', 'Never, you bad child'])}!"`,
      () => `${t.who()} broke it on the same day and was ashamed`,
    ],
  }),
];
