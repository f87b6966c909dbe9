"""Train, or fetch from a package, the network of one of the jobs in configs, and leave what it is to explain.

Example: python -m scripts.networks.train_networks movies runs/movies
"""

import sys
import time
from importlib import import_module
from pathlib import Path

from scripts.benchmarks.benchlib import ROOT

sys.path.append(str(ROOT / "configs"))  # where the networks are

TRAINING = {
    "movies": "scripts.networks.language_training:train_movies",
    "next_word": "scripts.networks.language_training:train_next_word",
    "screening": "scripts.networks.molecules:train_screening",
    "solubility": "scripts.networks.molecules:leave_molecules",
}


def main(name: str, folder: Path) -> None:
    module, _, function = TRAINING[name].partition(":")
    began = time.perf_counter()
    told = getattr(import_module(module), function)(folder)
    print(f"{told}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
