"""All five papers, one after the other, and how long each takes.

Example: python -m scripts.papers --quick
"""

from __future__ import annotations

import subprocess
import sys
import time

PAPERS = {
    "reproduce_ig": "1703.01365",
    "reproduce_interior": "1611.02639",
    "reproduce_ace": "1902.02302",
    "reproduce_interactions": "2002.04138",
    "reproduce_icc": "2505.09660",
}


def main() -> None:
    """Run each script in a process of its own; what is said to this command is said to each."""
    minutes, failed = {}, []
    for script, paper in PAPERS.items():
        began = time.perf_counter()
        ended = subprocess.run([sys.executable, "-m", f"scripts.papers.{script}", *sys.argv[1:]], check=False)
        minutes[script] = (time.perf_counter() - began) / 60
        failed += [script] * (ended.returncode != 0)
        print(f"{script} (arXiv {paper}): {minutes[script]:.1f} minutes, exit code {ended.returncode}", flush=True)
    print(f"all: {sum(minutes.values()):.1f} minutes", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
