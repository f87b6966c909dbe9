"""One thread per test process, as two cores run two of them, unless OMP_NUM_THREADS says otherwise.

And a short memory for the garbage collector.
"""

import gc
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
if capability := os.environ.get("ATEN_CPU_CAPABILITY"):  # code compiled for one does not compile for another
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor-{capability}")

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_finish(session):
    """What all the imports have made stays for good: no collection need walk through it again.

    They are some millions of objects. A run that is out of memory collects at every halving of its calls,
    and took seconds over it.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config):
    """Libraries that look for what was never freed shall find everything as it would be without us."""
    gc.unfreeze()
