"""Remakes test/fixtures/instructions.jsonl: responses with the verdicts that the reference checkers of M-IFEval and IFBench recorded.

python packages/bench/peers/instruction_fixture.py M-IFEVAL IFBENCH

The folders are checkouts of github.com/lightblue-tech/M-IFEval (0bc3143) and github.com/allenai/IFBench (db69a6f), both Apache-2.0. Of each instruction the three shortest
responses that follow it and the three shortest that do not are kept, up to 800 characters.
"""
import collections, json, pathlib, sys

def rows(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').split('\n') if line.strip()]

def recorded(inputs, outputs):
    known = {row['prompt']: row for row in rows(inputs)}
    for path in outputs:
        for row in rows(path):
            own = known.get(row['prompt'])
            if not own or not isinstance(row['response'], str) or not row['response'].strip() or len(row['response']) > 800:
                continue
            for name, arguments, followed in zip(own['instruction_id_list'], own['kwargs'], row['follow_instruction_list']):
                arguments = {key: value for key, value in (arguments or {}).items() if value is not None}
                if len(json.dumps(arguments)) < 1500:
                    yield {'id': name, 'args': arguments, 'response': row['response'], 'followed': followed}

multilingual, hard = map(pathlib.Path, sys.argv[1:3])
found = [('ifbench', row) for row in recorded(hard / 'data/IFBench_test.jsonl', [hard / 'eval/eval_results_strict.jsonl'])]
for language in ['es', 'fr', 'ja']:
    outputs = sorted(multilingual.glob(f'evaluations/{language}_*/eval_results_strict.jsonl'))
    found += [('m-ifeval', row) for row in recorded(multilingual / f'data/{language}_input_data.jsonl', outputs)]
groups = collections.defaultdict(list)
for benchmark, row in found:
    groups[benchmark, row['id'], row['followed']].append(row)
target = pathlib.Path(__file__).parent.parent / 'test' / 'fixtures' / 'instructions.jsonl'
with target.open('w', encoding='utf-8') as file:
    for (benchmark, _, _), group in sorted(groups.items(), key=lambda item: item[0]):
        seen = []
        for row in sorted(group, key=lambda row: (len(row['response']), row['response'])):
            if row not in seen and len(seen) < 3:
                seen.append(row)
                file.write(json.dumps({'benchmark': benchmark, **row}, ensure_ascii=False) + '\n')
print(len(groups), target.stat().st_size)
