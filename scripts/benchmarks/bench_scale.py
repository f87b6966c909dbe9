"""A million rows in a thousand parts: what a shard's look at the parts and the merge take, and what more would.

Example: python -m scripts.benchmarks.bench_scale
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions

# nothing here opens a result: what is measured is measured in processes of its own

FEATURES = 64
WRITE = """
import sys
from pathlib import Path
import numpy as np
from xattr_cli.store import Manifest, PartSet, ResultColumn, parts_folder

output, parts, rows, features = Path(sys.argv[1]), *map(int, sys.argv[2:])
draw = np.random.default_rng(0)
columns = {
    "engines/ig/attribution": ResultColumn(draw.normal(size=(rows, features)).astype("f4")),
    "engines/ig/status": ResultColumn(draw.integers(0, 2, rows).astype("i1")),
}
for name in ("score_input", "score_baseline", "completeness_gap", "relative_error"):
    columns[f"engines/ig/{name}"] = ResultColumn(draw.normal(size=rows))
columns["engines/ig/evaluations"] = ResultColumn(draw.integers(5, 9, rows))
manifest = Manifest("", {"seed": 0}, "c", "d", parts, parts * rows, {})
with PartSet.open(output, manifest) as found:
    for part in range(parts):
        ids = np.arange(part * rows, (part + 1) * rows)
        own = {name: ResultColumn(ids) for name in ("rows/id", "rows/sample", "rows/target", "rows/prediction")}
        found.write(part, {**columns, **own})
"""
MEASURE = """
import json, resource, sys, time
from pathlib import Path
from xattr_cli.store import PartSet, Shard
from xattr_cli.store.status import StatusReader

output, what = Path(sys.argv[1]), sys.argv[2]
began, cpu = time.perf_counter(), time.process_time()
print("begin", flush=True)
if what == "merge":
    PartSet.existing(output).merge({})
elif what == "status":
    StatusReader(output).read()
else:
    parts = PartSet.existing(output)
    parts.missing(Shard((1,), len(range(parts.manifest.parts)))), parts.absent()
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu, used.ru_maxrss / 1024]), flush=True)
"""
COLUMNS = {
    "what": "", "rows": ",d", "parts": ",d", "seconds": ",.2f", "processor, s": ",.2f", "of it a part, ms": ".2f",
    "peak memory, MiB": ",.0f", "open files at most": "d",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, default=1_000, help="of 1,000 rows each")
    options = parser.parse_args()
    (ROOT / "runs").mkdir(exist_ok=True)
    sizes = [(max(1, options.parts // 10), 1_000), (options.parts, 1_000), (10 * options.parts, 10)]
    lines = []
    with tempfile.TemporaryDirectory(dir=ROOT / "runs") as name:
        for parts, rows in sizes:
            output = Path(name) / f"{parts}.h5"
            python(WRITE, output, parts, rows, FEATURES)
            for what in ("look of a shard", "status", "merge"):
                lines.append([what, parts * rows, parts, *measured(output, what, parts)])
            output.unlink()
    merges = [line for line in lines if line[0] == "merge"]
    publish("scale", versions("h5py"), [Table("Many rows in many parts", COLUMNS, lines, NOTE), foretold(merges)])


NOTE = (
    f"Rows of {FEATURES} features by one engine: 11 datasets a part. A shard looks at the names in the folder and "
    "into its own part; the merge checks all bytes of all parts, copies them, and makes a checkpoint every two "
    "seconds."
)


def foretold(merges: Sequence[Sequence[Any]]) -> Table:
    """Ten million rows in a thousand shards of ten parts each, from what a part and a row take."""
    (_, many_rows, parts, _, slow, *_), (_, few_rows, many_parts, _, other, *_) = merges[1], merges[2]
    # two equations: seconds = parts × a + rows × b
    a, b = np.linalg.solve([[parts, many_rows], [many_parts, few_rows]], [slow, other])
    rows, count = 10_000_000, 10_000
    seconds = float(count * a + rows * b)
    peak = max(line[6] for line in merges)
    line = ["merge", rows, count, None, seconds, 1e3 * seconds / count, peak, merges[1][7]]
    note = (
        f"Extrapolated: {1e3 * a:.2f} ms a part and {1e6 * b:.2f} µs a row of processor time. Memory and open "
        "files do not grow; each shard lists a folder of 10,000 names at its start and at its end."
    )
    return Table("Ten million rows × 1,000 shards", COLUMNS, [line], note)


def python(code: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=ROOT)


def measured(output: Path, what: str, parts: int) -> list[Any]:
    """Wall and processor seconds, the latter per part in ms, peak memory in MiB, and open files at most."""
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURE, str(output), what], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline() == "begin\n"
    most, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            try:
                most[0] = max(most[0], len([*Path(f"/proc/{process.pid}/fd").iterdir()]))
            except OSError:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu, peak = json.loads(process.stdout.read())
    is_over.set()
    watcher.join()
    if process.wait():
        sys.exit(f"{what} failed")
    return [wall, cpu, 1e3 * cpu / parts, peak, most[0]]


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.0f} s")
