/** docs/coming-from-trl.md against the settings of both sides: TRL's as its classes fill them in (recorded), ours as the schemas have them. */
import { readFileSync } from 'node:fs';
import { pairLosses, unpairedLosses } from '@plumbline/dpo';
import { policyLosses } from '@plumbline/rl';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { DpoSettings, KtoSettings } from './preferenceConfig.js';
import { RewardSettings } from './rewardConfig.js';
import { policyConfig, RlSettings } from './rlConfig.js';
import { SftSettings } from './sftConfig.js';

const doc = readFileSync(new URL('../../../../docs/coming-from-trl.md', import.meta.url), 'utf8');
const recorded = JSON.parse(readFileSync(new URL('../../test/fixtures/trl-defaults.json', import.meta.url), 'utf8')) as {
  trl: string;
  defaults: Record<string, Record<string, unknown>>;
};
type AnySchema = z.ZodType & {
  def: { type: string; innerType?: AnySchema; shape?: Record<string, AnySchema>; options?: AnySchema[]; in?: AnySchema; out?: AnySchema };
};

/** What a schema is within `optional`, defaults and preprocessing. */
function inner(schema: AnySchema): AnySchema {
  const { def } = schema;
  if (def.innerType) return inner(def.innerType);
  return def.type === 'pipe' ? inner(def.out!.def.type === 'transform' ? def.in! : def.out!) : schema;
}
/** The schema of a field of it, of any of its variants. */
function field(schema: AnySchema, key: string): AnySchema | undefined {
  const { def } = inner(schema);
  return def.shape?.[key] ?? def.options?.map((option) => field(option, key)).find(Boolean);
}
/** The default under a path, and the setting's description. */
function ours(schema: AnySchema, values: unknown, path: string): { value: unknown; description: string } {
  let [at, value]: [AnySchema | undefined, unknown] = [schema, values];
  let description = '';
  for (const key of path.split('.')) {
    at = at && field(at, key);
    if (!at) throw new Error(`there is no setting --${path}`);
    description = at.description ?? inner(at).description ?? description;
    const known = value !== null && typeof value === 'object' && key in value;
    const alone = at.safeParse(undefined);
    value = known ? (value as Record<string, unknown>)[key] : alone.success ? alone.data : undefined;
  }
  return { value, description };
}

const sides: Record<string, { schema: AnySchema; values: unknown; losses: Record<string, { options: z.ZodType }> }> = {
  SFTConfig: { schema: SftSettings as never, values: SftSettings.parse({}), losses: {} },
  RewardConfig: { schema: RewardSettings as never, values: RewardSettings.parse({}), losses: {} },
  DPOConfig: pairs('sigmoid'),
  CPOConfig: pairs('cpo'),
  ORPOConfig: pairs('orpo'),
  TPOConfig: pairs('tpo'),
  OnlineDPOConfig: pairs('sigmoid'),
  KTOConfig: { schema: KtoSettings as never, values: KtoSettings.parse({}), losses: unpairedLosses },
  GRPOConfig: rl({}),
  RLOOConfig: rl({ algorithm: 'rloo' }),
};
function pairs(loss: string) {
  return { schema: DpoSettings as never, values: DpoSettings.parse({ loss }), losses: pairLosses };
}
function rl(given: object) {
  const settings = RlSettings.parse(given);
  const resolved = { ...settings, ...policyConfig(settings), learningRate: settings.learningRate };
  return { schema: RlSettings as never, values: resolved, losses: policyLosses as Record<string, { options: z.ZodType }> };
}

type Cell = { values: string[]; text: string };
const cell = (text: string): Cell => ({
  values: [...text.matchAll(/`([^`]+)`/g)].map(([, value]) => value),
  text: text.replaceAll(/`[^`]+`/g, ''),
});
const tables = doc
  .split(/^### /m)
  .slice(1)
  .flatMap((part) => {
    const lines = part.split('\n').filter((line) => line.startsWith('|'));
    const config = /^\| TRL `(\w+)`/.exec(lines[0])?.[1];
    return config
      ? [
          {
            config,
            rows: lines.slice(2).map((line) =>
              line
                .split('|')
                .slice(1, 5)
                .map((text) => cell(text.trim())),
            ),
          },
        ]
      : [];
  });

/** As the page writes it. */
function agrees(written: string, value: unknown): boolean {
  if (Array.isArray(value) && value.length === 1) return agrees(written, value[0]);
  if (value === null || value === undefined) return written === 'none';
  return typeof value === 'number' ? Number(written) === value : written === String(value);
}

describe('docs/coming-from-trl.md', () => {
  it('has a table for each trainer, of the version that was recorded', () => {
    expect(tables.map(({ config }) => config)).toEqual(Object.keys(sides));
    expect(doc).toContain(`Compared with TRL ${recorded.trl.split('.').slice(0, 2).join('.')};`);
    expect(tables.reduce((n, { rows }) => n + rows.length, 0)).toBeGreaterThan(60);
  });
  for (const { config, rows } of tables) {
    it(`${config}: TRL's defaults are those of its class`, () => {
      const bad = rows.flatMap(([there, , defaults]) => {
        if (there.values.length !== defaults.values.length) return [`${there.values}: ${defaults.values.length} defaults`];
        return there.values.flatMap((name, i) => {
          if (!(name in recorded.defaults[config])) return [`${config} has no ${name}`];
          const value = recorded.defaults[config][name];
          return agrees(defaults.values[i], value) ? [] : [`${name} is ${JSON.stringify(value)}, not ${defaults.values[i]}`];
        });
      });
      expect(bad).toEqual([]);
    });
    it(`${config}: ours are those of the schema`, () => {
      const { schema, values, losses } = sides[config];
      const bad = rows.flatMap(([, here, , defaults]) => {
        const flags = here.values.filter((flag) => flag.startsWith('--')).map((flag) => flag.slice(2));
        const loss = / of /.test(here.text) ? here.values.find((value) => Object.hasOwn(losses, value)) : undefined;
        if (flags.length !== defaults.values.length) return [`${flags}: ${defaults.values.length} defaults`];
        return flags.flatMap((flag, i) => {
          const options = loss && (losses[loss].options.parse({}) as Record<string, unknown>);
          const { value, description } = ours(schema, values, options && flag.includes('.') ? flag.split('.')[0] : flag);
          const found = options ? options[flag.split('.').at(-1)!] : value;
          if (!agrees(defaults.values[i], found)) return [`--${flag} is ${JSON.stringify(found)}, not ${defaults.values[i]}`];
          // what stands in for a default that depends is said by the setting itself
          const numbers = defaults.values[i] === 'none' && flags.length === 1 ? (defaults.text.match(/\d+(?:\.\d+)?e-\d+/g) ?? []) : [];
          return numbers
            .filter((number) => !description.includes(number))
            .map((number) => `--${flag}: ${number} is not in "${description}"`);
        });
      });
      expect(bad).toEqual([]);
    });
  }
});
