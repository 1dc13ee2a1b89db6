/** The word lists of the story grammar (stories.ts): easy, concrete words, and nothing that VADER scores outside the two mood lists. */

export type Pronouns = { readonly he: string; readonly him: string; readonly his: string };
export const she: Pronouns = { he: 'she', him: 'her', his: 'her' };
export const he: Pronouns = { he: 'he', him: 'him', his: 'his' };

// None is also a common noun or carries a sentiment of its own: "Grace" and "Will" would.
export const girlNames = words(
  'Lily Anna Lena Ivy Rosa Emma Nora Zoe Ella Lucy Sara Clara Ruby Molly Julia Hanna Maya Eva Tess Nina Olga Vera',
);
export const boyNames = words(
  'Tom Ben Max Sam Leo Oscar Finn Jack Noah Adam Paul Henry Luke Peter Simon Felix Hugo Ivan Oliver Toby Otto Carl',
);
/** Every name that a story can mention. */
export const characterNames: readonly string[] = [...girlNames, ...boyNames];

/** Someone the hero knows. "her mother" all through the story. */
export const relatives: readonly (readonly [noun: string, pronouns: Pronouns])[] = [
  ...words('mother sister grandmother aunt').map((noun) => [noun, she] as const),
  ...words('father brother grandfather uncle').map((noun) => [noun, he] as const),
];
/** Roles that may be a woman or a man; a story keeps to one of the two. */
export const companions = words('cousin neighbor teacher classmate');

/** `at` where one is there, `place` after "to" and "near". */
export const places: readonly { readonly at: string; readonly place: string }[] = [
  ...words('lake farm market beach harbor mill pond station library bakery bridge tower zoo shop river school castle museum camp inn').map(
    (noun) => ({ at: `at the ${noun}`, place: `the ${noun}` }),
  ),
  ...words('park forest garden barn village field meadow orchard valley cave woods swamp hall yard city town').map((noun) => ({
    at: `in the ${noun}`,
    place: `the ${noun}`,
  })),
  ...words('hill island mountain dock pier').map((noun) => ({ at: `on the ${noun}`, place: `the ${noun}` })),
];

/** Small things that one can carry, lose, lend and find. */
export const things = words(
  'kite map shell coin book lamp ball drum hat basket bell box key rope spoon cup blanket button pencil flute doll ring stone feather jar candle bottle mirror letter whistle puppet bucket coat scarf clock brush umbrella apron pan flag comb mask knife net ladle ribbon apple egg acorn violin',
);
/** What a child can make with two hands. */
export const makeable = words('kite basket box doll mask puppet drum boat raft hat wagon flag bench ladder birdhouse');
export const looks = words('red blue green yellow white black brown old new small big little round tiny orange gray purple');
export const foods = words('soup bread rice fish pie corn cake toast cheese stew porridge noodles');
/** What a cook makes: each takes "a" or "an". */
export const dishes = [
  'cake',
  'pie',
  'pot of soup',
  'loaf of bread',
  'pizza',
  'plum tart',
  'apple pie',
  'carrot cake',
  'onion pie',
  'pancake',
];

/** Each is "it". */
export const animals = words(
  'dog cat horse goat duck rabbit mouse fox bird frog turtle pony lamb hen owl squirrel pig cow donkey goose kitten puppy crow otter parrot sheep hedgehog beetle calf ox',
);
/** Those that live with people. */
export const pets = words('dog cat rabbit kitten puppy pony parrot turtle hen goat duck lamb hamster donkey');
export const plants = [
  'bean',
  'rose bush',
  'apple tree',
  'pumpkin',
  'sunflower',
  'plum tree',
  'carrot',
  'tomato plant',
  'onion',
  'oak tree',
];

export const goodMoods = words(
  'happy glad proud joyful cheerful excited delighted thankful hopeful pleased lucky brave grateful merry thrilled relieved confident peaceful eager satisfied',
);
export const badMoods = words(
  'sad angry anxious lonely upset hurt ashamed worried scared jealous guilty nervous gloomy miserable unhappy frightened furious bitter hopeless terrified',
);
export const goodDays = words('lovely beautiful wonderful perfect nice great good splendid');
export const badDays = words('terrible awful bad horrible dreadful sad gloomy miserable');
export const goodTraits = words('kind friendly honest gentle helpful sweet clever brave');
export const badTraits = words('unkind rude cruel nasty selfish greedy angry evil');

function words(list: string): readonly string[] {
  return list.split(' ');
}

/** "a kite", "an owl". No word of these lists starts with a vowel letter and a consonant sound, or the other way round. */
export function a(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;
}
