"""The numbers of the benchmark's tables before they were made by pandas, kept for `test_kept_tables`.

    git worktree add ../before 987c9b0 && cd ../before
    python .../tests/bench/data/keep_tables.py tables.parquet

Reads the committed rows through the command line alone, as the CSV of each layout, and keeps each measured
cell: value or text, interval, n, images left out, mark, in full. To run it with today's code would make a
test that cannot fail.
"""

import csv
import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = "results/rows"
LAYOUTS = ("table2", "table3", "table7", "table8", "table9", "honest")
LABELS = ("Dataset", "Model", "Source", "Upsampler", "Contestant", "against")
NUMBERS = ("value", "low", "high")


def cells(layout: str) -> list[dict[str, object]]:
    """Return the measured cells of one layout; what stands on no image of ours is left out."""
    command = [sys.executable, "-m", "usu", "bench", "table", ROWS, "--layout", layout]
    done = subprocess.run([*command, "--format", "csv"], capture_output=True, text=True, check=True)
    found = []
    for line in csv.DictReader(io.StringIO(done.stdout, newline="")):
        if line["n"] == "0" or not line["value"]:
            continue
        word = line["style"] == "text"
        found.append(
            {
                "layout": layout,
                "block": line["block"],
                "row_group": line["row_group"],
                **{label: line.get(label, "") for label in LABELS},
                "column_group": line["column_group"],
                "column": line["column"],
                **{name: float(line[name]) if line[name] and not word else None for name in NUMBERS},
                "text": line["value"] if word else "",
                "n": int(line["n"]) if line["n"] else None,
                "left_out": int(line["left_out"]),
                "mark": line["mark"],
                "style": line["style"],
            }
        )
    return found


if __name__ == "__main__":
    rows = pa.Table.from_pylist([cell for layout in LAYOUTS for cell in cells(layout)])
    pq.write_table(rows, sys.argv[1], compression="zstd", compression_level=19)
    print(f"{len(rows)} cells")
