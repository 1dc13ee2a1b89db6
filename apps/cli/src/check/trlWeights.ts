/** What the weights of a checkpoint of TRL say: an adapter as PEFT writes it, or a whole model. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '@plumbline/core';
import { isAdapterFolder, loraFromPeft } from '@plumbline/models';
import type { Finding } from './trlLog.js';

/** Nothing where the folder holds no weights, or those of several files. */
export async function checkTrlWeights(folder: string): Promise<Finding[]> {
  const adapter = isAdapterFolder(folder);
  const path = join(folder, adapter ? 'adapter_model.safetensors' : 'model.safetensors');
  if (!existsSync(path)) return [];
  const file = await readSafetensors(path);
  const bad = file.names.find((name) => !file.floats(name).every(Number.isFinite));
  const finite = { holds: bad === undefined, text: bad ? `${bad} holds numbers that are not finite` : 'every weight is finite' };
  return adapter ? [...adapterFindings(folder, file), finite] : [{ holds: true, text: `a model of ${file.names.length} tensors` }, finite];
}

function adapterFindings(folder: string, file: Awaited<ReturnType<typeof readSafetensors>>): Finding[] {
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
  const base = String(config.base_model_name_or_path);
  let rank: number | undefined;
  try {
    rank = loraFromPeft(config).r;
  } catch (error) {
    return [{ holds: false, text: `this adapter cannot be put on a model here: ${(error as Error).message}` }];
  }
  const ups = file.names.filter((name) => name.endsWith('.lora_B.weight'));
  const still = ups.filter((name) => file.floats(name).every((x) => x === 0));
  return [
    { holds: true, text: `an adapter of rank ${rank} on ${ups.length} matrices of ${base}` },
    {
      holds: ups.length === 0 || still.length < ups.length,
      text:
        still.length === 0
          ? 'every matrix has moved'
          : still.length < ups.length
            ? `${still.length} of ${ups.length} matrices have not moved`
            : 'no matrix has moved: lora_B is 0 in all of them, and the adapter changes nothing',
    },
  ];
}
