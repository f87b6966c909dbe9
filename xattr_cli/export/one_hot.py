"""Formats of genomics: one-hot sequences beside their maps, for TF-MoDISco, ChromBPNet's tools and BPReveal's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from pydantic import Field

from ..errors import StoreError
from ..registry import EXPORTERS
from ..store.columns import STRINGS
from ..store.results.engines import EngineResults
from .base import Exporter
from .npy import npz_writer
from .source import Source

__all__ = ["BprevealExporter", "ChrombpnetExporter", "ModiscoExporter", "OneHotExporter"]

_NOTE = (
    "its readers take maps for hypothetical scores, a number for every base at every position; those of a path "
    "are 0 at bases that neither the sequence nor the baseline has."
)


@dataclass(frozen=True)
class _Bases:
    """Sequences and maps of one engine, bases first."""

    source: Source
    engine: EngineResults
    tensor: str
    last: bool  # the bases are the last axis of the tensor
    length: int

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Place among the rows, (rows, 4, length) int8 sequences, and (rows, 4, length) float32 maps."""
        start = 0
        for rows in self.source.blocks(64 * self.length):
            maps = self.engine.attribution(rows, self.tensor)
            letters = self.source.all_inputs(self.tensor, rows)
            if not np.isin(letters, (0, 1)).all():
                raise StoreError(
                    f"{self.source.results.path}: input {self.tensor!r} is no one-hot sequence: it has values "
                    "that are neither 0 nor 1."
                )
            axes = (0, 2, 1) if self.last else (0, 1, 2)
            where = slice(start, start + len(maps))
            yield where, letters.astype(np.int8).transpose(axes), maps.astype(np.float32).transpose(axes)
            start = where.stop


class OneHotExporter(Exporter):
    """A format of one-hot sequences (4 bases × positions) and the map of one engine."""

    bases: str = Field(
        default="auto", pattern="^(auto|first|last)$", description="axis of the four bases: auto | first | last"
    )

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """Sequences and maps, block by block."""
        self.write_bases(self._bases(source), path)
        return (_NOTE,)

    @abstractmethod
    def write_bases(self, bases: _Bases, path: Path) -> None:
        """Write the file or folder."""

    def _bases(self, source: Source) -> _Bases:
        engine = source.engine
        tensor = source.tensor(engine)
        shape = engine.tensors[tensor]
        if len(shape) != 2 or 4 not in shape:
            raise StoreError(
                f"{source.results.path}: maps of shape {shape} are not of one-hot sequences, (4, positions) or "
                "(positions, 4)."
            )
        last = shape[0] != 4 if self.bases == "auto" else self.bases == "last"
        if shape[1 if last else 0] != 4:
            raise StoreError(
                f"{source.results.path}: bases: {self.bases!r}: that axis of maps of shape {shape} is not 4 long."
            )
        return _Bases(source, engine, tensor, last, shape[0 if last else 1])


@EXPORTERS.register("modisco")
class ModiscoExporter(OneHotExporter):
    """A folder for TF-MoDISco: `modisco motifs -s DIR/sequences.npz -a DIR/attributions.npz -n 2000`.

    Both arrays are `arr_0`, (rows, 4, positions). Takes one engine.
    """

    suffix = "-modisco"

    def write_bases(self, bases: _Bases, path: Path) -> None:
        """Two archives of one array each."""
        path.mkdir()
        shape = (len(bases.source.rows), 4, bases.length)
        with npz_writer(path / "sequences.npz") as archive:
            archive.add("arr_0", shape, np.dtype(np.int8), (letters for _, letters, _ in bases.blocks()))
        with npz_writer(path / "attributions.npz") as archive:
            archive.add("arr_0", shape, np.dtype(np.float32), (maps for _, _, maps in bases.blocks()))


@EXPORTERS.register("chrombpnet")
class ChrombpnetExporter(OneHotExporter):
    """An HDF5 file as ChromBPNet writes it: `raw/seq`, `shap/seq` and `projected_shap/seq`, (rows, 4, positions).

    Rows stand in the order of the result, as the regions of a BED file do. `modisco motifs -i FILE` reads it
    too. Takes one engine.
    """

    suffix = ".chrombpnet.h5"

    def write_bases(self, bases: _Bases, path: Path) -> None:
        """The sequences, the maps, and the maps at the bases of the sequence."""
        shape = (len(bases.source.rows), 4, bases.length)
        with h5py.File(path, "w") as file:
            raw = file.create_dataset("raw/seq", shape, np.int8)
            shap, projected = (
                file.create_dataset(f"{name}/seq", shape, np.float32) for name in ("shap", "projected_shap")
            )
            for where, letters, maps in bases.blocks():
                raw[where], shap[where], projected[where] = letters, maps, maps * letters


@EXPORTERS.register("bpreveal")
class BprevealExporter(OneHotExporter):
    """An HDF5 file as `interpretFlat` of BPReveal writes it: `hyp_scores`, `input_seqs` and `descriptions`.

    Arrays are (rows, positions, 4); descriptions are the names of the samples. `modisco motifs -i FILE` reads it
    too. Takes one engine.
    """

    suffix = ".bpreveal.h5"

    def write_bases(self, bases: _Bases, path: Path) -> None:
        """Scores, sequences, and a line about each."""
        source = bases.source
        shape = (len(source.rows), bases.length, 4)
        with h5py.File(path, "w") as file:
            scores = file.create_dataset("hyp_scores", shape, np.float32)
            sequences = file.create_dataset("input_seqs", shape, np.uint8)
            for where, letters, maps in bases.blocks():
                scores[where], sequences[where] = maps.transpose(0, 2, 1), letters.transpose(0, 2, 1)
            names = source.results.keys_of(source.results.rows.sample[source.rows])
            samples = source.results.rows.sample[source.rows]
            described = [name or f"sample {sample}" for name, sample in zip(names, samples, strict=True)]
            file.create_dataset("descriptions", data=described, dtype=STRINGS)
