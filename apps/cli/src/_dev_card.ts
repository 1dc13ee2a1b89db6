import { rng, backendInfo } from '@plumbline/core';
import { prepareText } from './zoo/words.js';
import { settings } from './zoo/wordsConfig.js';
import { writeCard } from './zoo/card.js';
import { englishWords, publicDomainProse } from './zoo/corpora.js';
if (backendInfo().name !== 'native') throw new Error('not native');
const { tokens } = prepareText(settings, await publicDomainProse());
console.log(await writeCard(settings, { out: '/work/main/packages/zoo/words-1m', seed: 0, tokens, dictionary: await englishWords(), seconds: 568, rng: rng(0).fork('card') }));
