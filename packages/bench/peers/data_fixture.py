"""Remakes packages/data/test/fixtures/pyarrow.parquet: what Python's Parquet files hold that text does not. Needs pyarrow."""
import datetime
import sys

import pyarrow as pa
import pyarrow.parquet as pq

message = pa.struct([("role", pa.string()), ("content", pa.string())])
schema = pa.schema(
    [
        ("id", pa.int64()),
        ("big", pa.int64()),
        ("when", pa.timestamp("us")),
        ("messages", pa.list_(message)),
        ("score", pa.float32()),
        ("label", pa.bool_()),
        ("steps", pa.list_(pa.list_(pa.string()))),
    ]
)
rows = [
    {
        "id": 1,
        "big": 2**53 + 1,
        "when": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "score": 0.5,
        "label": True,
        "steps": [["a", "b"], ["c"]],
    },
    {"id": 2, "big": -1, "when": None, "messages": None, "score": None, "label": False, "steps": []},
    {"id": 3, "big": None, "when": None, "messages": [], "score": 1.0, "label": None, "steps": None},
]
path = sys.argv[1] if len(sys.argv) > 1 else "packages/data/test/fixtures/pyarrow.parquet"
pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd", row_group_size=2)
