"""The four families of files that are broken, and the commands that read them."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import sys
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import yaml

from .mutations import broken_archive, broken_bytes, broken_text, broken_tree
from .seeds import BASE_JOB, jobs, write_data, write_models, write_results

__all__ = ["FAMILIES", "Family"]


class Family(ABC):
    """One sort of input.

    Arguments:
        folder: an empty one, for good files and broken ones.
    """

    codes: tuple[int, ...] = (0, 2)
    """Exit codes that are right: what is broken may still be read, as when a comment has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_data(folder)
        write_models(folder)

    @abstractmethod
    def case(self, draw: random.Random) -> tuple[str, list[str]]:
        """Write one broken file; what it is, and the arguments of the command that shall read it."""

    def write_job(self, name: str, **sections) -> None:
        """Write `BASE_JOB` with other sections."""
        (self.folder / name).write_text(yaml.safe_dump({**BASE_JOB, **sections}))


class Jobs(Family):
    """Job files: their tree, their text, their bytes, and overrides."""

    codes = (0, 1, 2)  # a job may be right, and fail: an output that cannot be written

    def case(self, draw: random.Random) -> tuple[str, list[str]]:
        tree, path = draw.choice(jobs()), self.folder / "broken.yaml"
        kind = draw.choice(("tree", "tree", "tree", "text", "text", "bytes", "override"))
        arguments = ["plan", "broken.yaml"]
        if kind == "tree":
            path.write_bytes(_dumped(broken_tree(tree, draw)))
        elif kind == "text":
            path.write_bytes(broken_text(_dumped(tree).decode(), draw).encode("utf-8", "surrogatepass"))
        elif kind == "bytes":
            path.write_bytes(broken_bytes(_dumped(tree), draw))
        else:
            path.write_bytes(_dumped(tree))
            text = broken_text("compute.memory=1GiB", draw).encode("utf-8", "surrogatepass").replace(b"\0", b"")
            arguments += ["--set", text.decode("utf-8", "surrogateescape")]
        return kind, arguments


def _dumped(tree) -> bytes:
    try:
        return yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "surrogatepass")
    except RecursionError:  # YAML that is JSON, whose encoder counts one level, not three
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10 * limit)
        try:
            return json.dumps(tree).encode()
        finally:
            sys.setrecursionlimit(limit)


class Checkpoints(Family):
    """Weights and programs: their bytes, and the entries of their archives."""

    _KINDS: ClassVar[dict] = {
        "model.pt": None,
        "nested.pt": None,
        "old.pt": None,
        "model.safetensors": None,
        "script.pt": "torchscript",
        "program.pt2": "exported",
        "model.onnx": "onnx",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = {name: (folder / name).read_bytes() for name in self._KINDS}

    def case(self, draw: random.Random) -> tuple[str, list[str]]:
        name = draw.choice(list(self._good))
        good, kind = self._good[name], self._KINDS[name]
        broken = f"broken{Path(name).suffix}"
        is_archive = good.startswith(b"PK")
        change = draw.choice(("bytes", "archive", "archive")) if is_archive else "bytes"
        if name.endswith(".pt") and kind is None and draw.random() < 0.1:
            change, content = "code", pickle.dumps(_Harm())
            if draw.random() < 0.5 and is_archive:
                content = _with_entry(good, "data.pkl", content)
        else:
            content = broken_archive(good, draw) if change == "archive" else broken_bytes(good, draw)
        (self.folder / broken).write_bytes(content)
        model = {"kind": kind, "path": broken} if kind else {**BASE_JOB["model"], "checkpoint": broken}
        self.write_job("job.yaml", model=model)
        return f"{name}, {change}", ["plan", "job.yaml"]


class _Harm:
    """Unpickled with its code, it leaves a file called canary."""

    def __reduce__(self):
        return (open, ("canary", "w"))


def _with_entry(archive: bytes, ending: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(ending) else old.read(info))
    return buffer.getvalue()


class Data(Family):
    """Arrays, tables and pictures."""

    _KINDS: ClassVar[dict] = {
        "data.npz": {"kind": "arrays", "labels": "y"},
        "packed.npz": {"kind": "arrays", "labels": "y"},
        "data.npy": {"kind": "arrays"},
        "data.h5": {"kind": "arrays", "labels": "y"},
        "data.csv": {"kind": "table", "label": "species", "key": "name"},
        "data.parquet": {"kind": "table", "label": "species", "key": "name"},
        "pictures/a/0.png": {"kind": "images", "transform": {"resize": [3, 1], "grayscale": True}},
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = {name: (folder / name).read_bytes() for name in self._KINDS}
        self.write_job("networks.yaml")

    def case(self, draw: random.Random) -> tuple[str, list[str]]:
        name = draw.choice([*self._good, "data.h5"])
        good, options = self._good[name], dict(self._KINDS[name])
        change, path = "bytes", self.folder / f"broken{Path(name).suffix}"
        if name.endswith(".png"):
            path, options["path"] = self.folder / name, "pictures"
        else:
            options["path"] = path.name
        if name.endswith(".npz") and draw.random() < 0.6:
            change, content = "archive", broken_archive(good, draw)
        elif name.endswith(".csv"):
            change, content = "text", broken_text(good.decode(), draw).encode("utf-8", "surrogatepass")
        elif name.endswith(".h5"):
            options["inputs"] = draw.choice(("X", "group/packed", "group/link"))
            options["texts"] = draw.choice(([], ["text"]))
            change, content = _broken_hdf5(good, path, draw)
        else:
            content = broken_bytes(good, draw)
        path.write_bytes(content)
        model = {} if options["kind"] != "images" else {"model": {"kind": "python", "factory": "torch.nn:Flatten"}}
        self.write_job("job.yaml", dataset=options, **model)
        return f"{name}, {change}", ["run", "job.yaml", "--overwrite", "--quiet"]


class Results(Family):
    """Result files, and what reads them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_results(folder)
        self._good = {name: (folder / name).read_bytes() for name in ("maps.h5", "effects.h5")}
        np.savetxt(folder / "samples.csv", np.zeros((2, 3)), delimiter=",", header="u,v,w", comments="")

    def case(self, draw: random.Random) -> tuple[str, list[str]]:
        name = draw.choice(list(self._good))
        path = self.folder / "broken.h5"
        change, content = _broken_hdf5(self._good[name], path, draw)
        path.write_bytes(content)
        shutil.rmtree(self.folder / "broken-plots", ignore_errors=True)
        commands = [["inspect", "broken.h5"], ["inspect", "broken.h5", "--json"]] * 4
        commands += [["plot", "broken.h5", "--samples", "1", "--dpi", "20"]]
        if name == "maps.h5":
            commands += [["evaluate", "broken.h5", "--job", "maps.yaml", "--metric", "pgu", "--quiet"]] * 3
        else:
            commands += [["apply-ace", "broken.h5", "samples.csv"]] * 3
        return f"{name}, {change}", draw.choice(commands)


def _broken_hdf5(good: bytes, path: Path, draw: random.Random) -> tuple[str, bytes]:
    """Bytes changed, or objects and attributes changed with HDF5's own hand."""
    if draw.random() < 0.6:
        return "bytes", broken_bytes(good, draw)
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        for _ in range(draw.choice((1, 1, 2, 3))):
            _change_object(file, draw)
    return "objects", path.read_bytes()


def _change_object(file: h5py.File, draw: random.Random) -> None:
    names: list[str] = []
    file.visit(names.append)
    name = draw.choice(names)
    item, change = file[name], draw.randrange(8)
    if change < 2 and len(item.attrs):
        key = draw.choice(list(item.attrs))
        item.attrs[key] = draw.choice(
            (0, -1, np.nan, "", "x", "{", "[" * 600, b"\xff", np.zeros(3), h5py.Empty("f"))
        )
        return
    if change == 2 and len(file.attrs):
        del file.attrs[draw.choice(list(file.attrs))]
        return
    if change == 3:
        target = draw.choice(names)
        file.move(name, f"moved-{draw.randrange(2**32)}") if draw.random() < 0.5 or target.startswith(
            name
        ) else file.copy(target, f"{name}-{draw.randrange(2**32)}")
        return
    is_array, old = isinstance(item, h5py.Dataset), item
    # what an earlier change has made huge stays out of our own memory
    shape = tuple(min(length, 8) for length in old.shape) if is_array and old.shape is not None else (3,)
    del file[name]
    new = draw.randrange(8)
    if new == 0:
        return
    if new == 1:
        file[name] = draw.choice(
            (h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("model.pt", "/x"))
        )
    elif new == 2:
        file.create_group(name)
    elif new == 3:
        file[name] = np.array(["x"] * 3, dtype=object)
    elif new == 4:
        file.create_dataset(name, (2**40, *shape[1:]), "f4", chunks=True)
    elif new == 5:
        file[name] = h5py.Empty("f8")
    elif new == 6:
        file[name] = np.full(draw.choice((shape[1:], (*shape, 2), (1,), (0, *shape[1:]), shape[::-1])), -1.0)
    else:
        file[name] = np.full(shape, draw.choice((np.nan, np.inf, -1, 2**40, 1j)))


FAMILIES: dict[str, type[Family]] = {
    "jobs": Jobs,
    "checkpoints": Checkpoints,
    "data": Data,
    "results": Results,
}
