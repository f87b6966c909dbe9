"""An open result in a notebook: rows by name, pandas, xarray, figures, and what a cell shows of it."""

from __future__ import annotations

import base64
import html
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..errors import JobError, ResultError, suggestion
from ..export.source import choose, numbered
from ..export.tables import Codes, long_table
from ..importing import import_optional
from ..registry import FIGURES
from ..reports.drawing.selection import Drawing, select
from ..reports.drawing.style import styled
from ..reports.figures import figure_kinds
from ..reports.summary import summarize
from ..samples import Status
from ..store.results.effects import EffectResults
from ..store.results.engines import PER_ROW
from ..store.results.reader import Results

__all__ = ["Figures", "ResultView", "open_results"]

_LOG = logging.getLogger(__name__)
_SHOWN = {
    "rows": "rows",
    "converged": "converged",
    "not_converged": "not converged",
    "inconsistent": "inconsistent",
    "quarantined": "quarantined",
    "relative_error_median": "error: median",
    "relative_error_p95": "error: 95 %",
    "evaluations_per_row": "evaluations/row",
}
"""What a cell of a notebook shows of an engine: key of its summary → heading."""


class Figures(list[Figure]):
    """Figures that a cell of a notebook shows, whichever backend matplotlib has there."""

    def _repr_html_(self) -> str:
        return "".join(f"<p>{_picture(each, f'figure {number}')}</p>" for number, each in enumerate(self, start=1))


class ResultView(Results):
    """An open result with views for pandas, xarray and notebooks; use it in a `with` statement, or close it.

    Numbers are read when they are asked for: `engine(label).attribution(rows)` are the maps of some rows.
    """

    def find(self, *, sample: int | None = None, key: str | None = None, target: int | None = None) -> np.ndarray:
        """(matching,) int64, positions of the rows of a sample, by number or by name, and of an output.

        Positions are what `engine(label).attribution` takes.
        """
        found = np.ones(len(self.rows), dtype=bool)
        if sample is not None:
            found &= self.rows.sample == sample
        if key is not None:
            found &= self.keys_of(self.rows.sample) == key
        if target is not None:
            found &= self.rows.target == target
        return np.flatnonzero(found)

    def frame(
        self,
        *,
        engines: Sequence[str] | None = None,
        target: int | None = None,
        top: int | None = None,
        whole: bool = False,
    ) -> Any:
        """A pandas data frame with a line per row, engine and feature: what `export --to parquet` writes.

        Arguments:
            engines: labels; None for all.
            target: only rows that explain this output.
            top: only so many features of the largest |attribution| of each row, the largest first.
            whole: every number of a map, even where there is one per token, step or pixel.

        Raises:
            JobError: pandas is not installed, or an engine or target that the file does not have.
        """
        pandas = import_optional("pandas", needed_by="frame()", install="xattr-cli[tables]", error=JobError)
        blocks = long_table(choose(self, engines, target), top=top, whole=whole)
        frames = [
            pandas.DataFrame({name: _pandas_column(pandas, v) for name, v in block.items()}) for block in blocks
        ]
        return pandas.concat(frames, ignore_index=True)

    def rows_frame(self) -> Any:
        """A pandas data frame with a line per row: what it is, and each engine's scores, error, cost and status.

        Raises:
            JobError: pandas is not installed.
        """
        pandas = import_optional("pandas", needed_by="rows_frame()", install="xattr-cli[tables]", error=JobError)
        about = self.rows
        columns: dict[str, Any] = {"sample": about.sample}
        if self.has_keys:
            columns["key"] = self.keys_of(about.sample)
        columns |= {"label": about.label, "target": about.target, "prediction": about.prediction}
        if len(self.outputs):
            columns["target_name"] = [str(name) for name in self.outputs]
        elif self.classes:
            columns["target_name"] = [self.class_name(int(target)) for target in about.target]
        for label, engine in self.engines.items():
            columns |= {f"{label}.{name}": getattr(engine, name) for name in PER_ROW if name != "status"}
            columns[f"{label}.status"] = [Status(int(status)).name.lower() for status in engine.status]
        return pandas.DataFrame(columns, index=pandas.Index(about.id, name="row"))

    def xarray(self, engine: str, *, effects: bool | None = None) -> Any:
        """An xarray dataset of an engine, read lazily: maps, errors and curves with named dimensions.

        Sample, label, target and prediction are coordinates of the rows; of what an engine says of the whole
        dataset, the names of features, nodes and outputs are.

        Arguments:
            engine: its label.
            effects: what it says of the whole dataset, not of rows; None takes what there is, rows first.

        Raises:
            JobError: xarray or h5netcdf is not installed.
            StoreError: no engine has that label.
        """
        whole = engine not in self.engines and engine in self.effects if effects is None else effects
        if whole and engine not in self.effects:
            raise ResultError(f"{self.path}: no effects of {engine!r}.{suggestion(engine, self.effects)}")
        group = f"effects/{engine}" if whole else f"engines/{self.engine(engine).label}"
        xarray, _ = (
            import_optional(name, needed_by="xarray()", install="xattr-cli[xarray]", error=JobError)
            for name in ("xarray", "h5netcdf")
        )
        # HDF5 opens a file twice only with the same kind of lock, which is none here
        options = {"engine": "h5netcdf", "driver_kwds": {"locking": False}}
        found = xarray.open_dataset(self.path, group=group, **options)
        if whole:
            return found
        names = ("sample", "label", "target", "prediction")
        return found.assign_coords({name: ("row", getattr(self.rows, name)) for name in names})

    def figures(
        self,
        kind: str = "samples",
        *,
        engines: Sequence[str] | None = None,
        rows: Sequence[int] | None = None,
        samples: int = 4,
    ) -> Figures:
        """Figures as `xattr-cli plot --kind` draws them; a cell shows them all.

        Arguments:
            kind: of figure; `xattr-cli ls figures` lists them.
            engines: labels; None for all.
            rows: numbers of rows to show one by one; None for `samples` of them.
            samples: how many samples to show.

        Raises:
            JobError: a kind, engine or row that there is not.
        """
        return Figures(self._drawn([FIGURES.get(kind)()], engines, rows, samples))

    def _drawn(
        self, kinds: Sequence[Any], engines: Sequence[str] | None, rows: Sequence[int] | None, samples: int
    ) -> Iterator[Figure]:
        selection = select(self, engines, samples, rows)

        @styled
        def draw(kind: Any) -> list[Figure]:
            return [item.figure for item in kind.draw(selection) if isinstance(item, Drawing)]

        for kind in kinds:
            yield from draw(kind)

    def __repr__(self) -> str:
        labels = ", ".join(dict.fromkeys([*self.engines, *self.effects]))
        return f"<{type(self).__name__} {self.path}: {len(self.rows)} rows, {labels}>"

    def _repr_html_(self) -> str:
        """What a cell of a notebook shows: how many rows converged at which error, and the first figure."""
        about = summarize(self)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("engine", *_SHOWN.values()))
        lines = "".join(_line(label, engine) for label, engine in about["engines"].items())
        lines += "".join(_effects_line(label, effects) for label, effects in self.effects.items())
        first = next(self._drawn(list(figure_kinds(_LOG.warning).values()), None, None, 4), None)
        picture = _picture(first, "first figure") if first else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>" if lines else ""
        return f"<div><p>{html.escape(repr(self)[1:-1])}</p>{table}{picture}</div>"


def open_results(path: str | Path) -> ResultView:
    """A finished result file, read lazily; use it in a `with` statement, or close it.

    Raises:
        StoreError: no such file, not finished, not HDF5, truncated, or of another format.
    """
    return ResultView.open(path)


def _line(label: str, about: dict[str, Any]) -> str:
    cells = [html.escape(label), *(_cell(name, about.get(name)) for name in _SHOWN)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _effects_line(label: str, effects: EffectResults) -> str:
    """Of an engine that speaks of the whole dataset, and not of its rows."""
    said = "converged" if effects.converged else "not converged"
    about = html.escape(f"whole dataset: {said}, {effects.evaluations:,} evaluations")
    return f'<tr><td>{html.escape(label)}</td><td colspan="{len(_SHOWN)}">{about}</td></tr>'


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2g} %" if name.startswith("relative_error") else f"{value:.4g}"


def _picture(figure: Figure, name: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img style="max-width:100%" alt="{html.escape(name)}" src="data:image/png;base64,{data}">'


def _pandas_column(pandas: Any, values: np.ndarray | Codes) -> Any:
    if isinstance(values, Codes):
        return pandas.Categorical.from_codes(values.codes, numbered(values.names, "{} ({})"))
    return values
