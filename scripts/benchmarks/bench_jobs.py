"""Wall time, evaluations and peak memory of the jobs in configs/, each run as a process of its own.

Example: python -m scripts.benchmarks.bench_jobs photos vowels
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import yaml

from scripts.benchmarks.benchlib import RESULTS, ROOT, Table, publish, versions
from xattr_cli.samples import Status

# nothing here imports torch: a process that is started from a large one begins its peak there

CONFIGS = ROOT / "configs"
MEGABYTE = 1e6
COLUMNS = {
    "job": "", "network": "", "rows": ",d", "engines": "", "evaluations": ",d", "settled": ".0%",
    "wall time, s": ".0f", "CPU time, s": ".0f", "peak memory, MB": ",.0f", "result, MB": ".1f",
}  # fmt: skip


def main() -> None:
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(names)}")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    rows = known_rows() | {name: measured(name) for name in options.names or names}
    note = (
        "Each job as `make NAME` runs it, from the start of the process to the merged file; settled: rows whose "
        "reported error came below the job's tolerance."
    )
    table = Table("Whole jobs", COLUMNS, [rows[name] for name in names if name in rows], note)
    publish("jobs", {**versions("torch"), "CPU threads": len(os.sched_getaffinity(0))}, [table])


def known_rows() -> dict[str, list[Any]]:
    """Rows of the committed table, so that one job can be measured again on its own."""
    path = RESULTS / "jobs.json"
    if not path.exists():
        return {}
    return {row[0]: row for row in json.loads(path.read_text())["tables"][0]["rows"]}


def measured(name: str) -> list[Any]:
    """Run a job and describe what it took."""
    output = ROOT / "runs" / name / "timed.h5"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "xattr_cli", "run", CONFIGS / f"{name}.yaml", "--quiet", "--overwrite",
         "--set", f"output.path={output}"]
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{name} failed with exit code {process.returncode}; is it made ready? see the Makefile")
    print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size = output.stat().st_size
    found = [name, *described(output), seconds, usage.ru_utime + usage.ru_stime, peak / MEGABYTE, size / MEGABYTE]
    output.unlink()
    return found


def described(output: Path) -> tuple[str, int, str, int, float | None]:
    """Network, rows, engines, evaluations, and share of rows that settled."""
    with h5py.File(output) as file:
        model = yaml.safe_load(file.attrs["job"])["model"]
        engines, effects = file.get("engines", {}), file.get("effects", {})
        evaluations = sum(int(engine["evaluations"][:].sum()) for engine in engines.values())
        evaluations += sum(int(effect.attrs["evaluations"]) for effect in effects.values())
        status = [engine["status"][:] for engine in engines.values()]
        # engines without a tolerance are not judged
        settled = [
            float((each == Status.CONVERGED).mean()) for each in status if (each != Status.NOT_JUDGED).any()
        ]
        names = ", ".join(dict.fromkeys([*engines, *effects]))
        rows = len(file["rows/sample"]) if engines else 0
    return network_of(model), rows, names, evaluations, min(settled, default=None)


def network_of(model: dict[str, Any]) -> str:
    """What a job's model is called."""
    names = (model.get(key) for key in ("factory", "name", "package", "path"))
    name = next(name for name in names if name)
    if Path(name).is_relative_to(ROOT):
        return str(Path(name).relative_to(ROOT))
    return name.rpartition(":")[2]


if __name__ == "__main__":
    main()
