import type { LanguageTexts } from '../types.js';

/** Written without spaces between words and without full stops: spaces stand around names and numbers, and a line's end ends a sentence. Years are of the common era. */
export const th: LanguageTexts = {
  name: 'ไทย',
  script: 'Thai',
  months: ['มกราคม', 'กุมภาพันธ์', 'มีนาคม', 'เมษายน', 'พฤษภาคม', 'มิถุนายน', 'กรกฎาคม', 'สิงหาคม', 'กันยายน', 'ตุลาคม', 'พฤศจิกายน', 'ธันวาคม'],
  date: (month, year) => `เดือน${month} ปี ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} เป็นนายกเทศมนตรีเมือง ${town} ตั้งแต่${from} ถึง${to}`,
    team: ({ person, club, from, to }) => `${person} เล่นให้กับสโมสร ${club} ตั้งแต่${from} ถึง${to}`,
    opened: ({ town, at }) => `พิพิธภัณฑ์ของเมือง ${town} เปิดทำการใน${at}`,
    founded: ({ town, year }) => `เมือง ${town} ก่อตั้งขึ้นในปี ${year}`,
    capital: ({ country, town }) => `เมืองหลวงของประเทศ ${country} คือเมือง ${town}`,
    river: ({ river, kilometres }) => `แม่น้ำ ${river} มีความยาว ${kilometres} กิโลเมตร`,
    located: ({ town, country }) => `เมือง ${town} ตั้งอยู่ในประเทศ ${country}`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `นับจาก${d} ไปอีก ${a} ปี ${b} เดือน จะตรงกับเดือนใด ปีใด`,
      before: ({ a, b, d }) => `นับย้อนหลังจาก${d} ไป ${a} ปี ${b} เดือน จะตรงกับเดือนใด ปีใด`,
    },
    mayorAt: ({ town, d }) => `ใครเป็นนายกเทศมนตรีเมือง ${town} ใน${d}`,
    mayorAfter: ({ town, person }) => `ใครเป็นนายกเทศมนตรีเมือง ${town} ต่อจาก ${person}`,
    teamAt: ({ person, d }) => `${person} เล่นให้กับสโมสรใดใน${d}`,
    teamAfter: ({ person, club }) => `${person} เล่นให้กับสโมสรใดต่อจากสโมสร ${club}`,
    opened: ({ town }) => `พิพิธภัณฑ์ของเมือง ${town} เปิดทำการเมื่อใด`,
    founded: ({ town }) => `เมือง ${town} ก่อตั้งขึ้นในปีใด`,
    capital: ({ country }) => `เมืองหลวงของประเทศ ${country} คือเมืองใด`,
    river: ({ river }) => `แม่น้ำ ${river} มีความยาวเท่าใด`,
    located: ({ town }) => `เมือง ${town} ตั้งอยู่ในประเทศใด`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `นับจาก${d} ไปอีก ${n} ปี คือ${to}`,
      before: ({ n, d, to }) => `นับย้อนหลังจาก${d} ไป ${n} ปี คือ${to}`,
    },
    months: {
      after: ({ n, d, to }) => `นับจาก${d} ไปอีก ${n} เดือน คือ${to}`,
      before: ({ n, d, to }) => `นับย้อนหลังจาก${d} ไป ${n} เดือน คือ${to}`,
    },
    within: ({ d, from, to }) => `${d} อยู่ในช่วงตั้งแต่${from} ถึง${to}`,
    next: ({ before, next }) => `ลำดับถัดจาก ${before} คือ ${next}`,
  },
  answer: (x) => `ดังนั้นคำตอบที่ถูกต้องคือ ${x}`,
  year: (n) => `ปี ${n}`,
  kilometres: (n) => `${n} กิโลเมตร`,
};
