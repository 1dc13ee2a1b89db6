#!/usr/bin/env bash
# On the machine with the card: run.sh [results.json] [flags of bench.mjs]. Needs Python of the version that packed, nothing else; fetches nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=${1:-results.json}
shift || true
for kind in tensorflow pytorch; do
  wheels=$here/wheels/$kind
  [ -d "$wheels" ] || continue
  [ -x "$here/python-$kind/bin/python" ] || "${PYTHON:-python3}" -m venv "$here/python-$kind"
  "$here/python-$kind/bin/python" -m pip install --quiet --no-index --find-links "$wheels" "$wheels"/*.whl
done
export PLUMB_TENSORFLOW=${PLUMB_TENSORFLOW:-$here/python-tensorflow} PLUMB_TENSORFLOW_HOME=$here/tensorflow
torch=$here/python-pytorch/bin/python
[ -x "$torch" ] || torch=
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || echo 'no nvidia-smi here'
"$here/node" "$here/app/gpu/bench.mjs" --python "$torch" --json "$results" "$@"
PLUMB_TF32=1 "$here/node" "$here/app/gpu/bench.mjs" --python '' --json "${results%.json}-tf32.json" "$@"
