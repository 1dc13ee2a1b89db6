import { describe, expect, it } from 'vitest';
import { referenceLanguage } from './language.js';

describe('the language as the reference tells it', () => {
  // each of these was the verdict of langdetect 1.0.9 in 30 runs of 30
  it.each([
    ['en', 'This is a plain English sentence about the weather.'],
    ['de', 'Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.'],
    ['fr', 'Ceci est une phrase française tout à fait ordinaire.'],
    ['es', 'Esta es una frase en español sobre el tiempo de hoy.'],
    ['sw', 'Hii ni sentensi ya kawaida ya Kiswahili kuhusu hali ya hewa.'],
    ['hi', 'यह मौसम के बारे में एक साधारण वाक्य है।'],
    ['pa', 'ਇਹ ਮੌਸਮ ਬਾਰੇ ਇੱਕ ਸਧਾਰਨ ਵਾਕ ਹੈ।'],
    ['ne', 'यो मौसमको बारेमा एक साधारण वाक्य हो।'],
    ['bg', 'Това е обикновено изречение за времето.'],
    ['ru', 'Это обычное предложение о погоде.'],
    ['ar', 'هذه جملة عادية عن الطقس.'],
    ['ko', '이것은 날씨에 관한 평범한 문장입니다.'],
    ['ja', 'これは天気についての普通の文です。'],
    ['vi', 'Đây là một câu bình thường về thời tiết.'],
    ['th', 'นี่เป็นประโยคธรรมดาเกี่ยวกับสภาพอากาศ'],
    ['en', 'THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND RUNS AWAY FROM IT AGAIN'],
    ['cy', 'YES'],
  ])('is %s for %j', (language, text) => expect(referenceLanguage(text)).toBe(language));
  it('is none where no letter tells, and the same in every run', () => {
    expect(referenceLanguage('123 !')).toBeUndefined();
    expect(referenceLanguage('https://example.org/this/is/english')).toBeUndefined();
    expect(new Set(Array.from({ length: 5 }, () => referenceLanguage('coral coast estates'))).size).toBe(1);
  });
  it('looks at other scripts alone where they have more than twice as many letters', () => {
    expect(referenceLanguage(`${'обычное предложение о погоде '.repeat(4)} word`)).toBe('ru');
  });
});
