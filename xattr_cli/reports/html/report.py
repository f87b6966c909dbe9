"""The report of one or several result files: one HTML page that needs no network, no other file, and no server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
from h5py import is_hdf5
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import to_hex

from ...errors import JobError, StoreError, suggestion
from ...store.results.reader import Results
from ..drawing.selection import select
from ..drawing.style import LOWERS, RAISES, diverging_map, ink, symmetric_limit
from ..drawing.words import number, score_unit
from ..rows.token_rows import is_text
from ..summary import engine_table, failures, remarks, source_facts, summarize
from .cards import Beside, Card, File, cards, joined
from .charts import charts
from .choice import Chosen, choose
from .class_means import class_means, frequent_targets
from .continuations import heat_maps
from .facts import RowFacts
from .images import Picture
from .indices import index_tables
from .kinds import views_of
from .phrases import Phrases, phrases
from .views import LEVELS, Shown

__all__ = ["file_of", "render", "short_names", "write_page", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_TARGETS, _MOST_PHRASES = 10, 12
_FILTERED = ("label", "predicted", "target", "correct", "status", "beyond errors", "now predicted")
_MOST_OPTIONS = 200  # of a filter; columns of more values are searched by words
_SAMPLES_OF_FIGURES = 2  # that those figures show which also draw single rows


@dataclass(frozen=True)
class Summary:
    """A file as a whole.

    Attributes:
        facts: name and text.
        table: heads, and a line per engine.
        notes: failed rows, warnings of engines, and what the report leaves out.
    """

    name: str
    facts: list[tuple[str, str]]
    table: list[tuple[str, ...]]
    notes: list[str]


@dataclass(frozen=True)
class Mean:
    """The mean maps of the targets of an engine and tensor: target, rows, look."""

    title: str
    limit: str
    classes: tuple[tuple[str, int, Shown], ...]


@dataclass(frozen=True)
class Corpus:
    """The phrases of the targets of an engine and tensor: name of the target, phrases."""

    title: str
    unit: str
    targets: tuple[tuple[str, Phrases], ...]


def write_report(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    engines: Sequence[str] | None = None,
    rows: str = "spread:200",
    where: Sequence[str] = (),
) -> Path:
    """Write the report of some result files.

    Files of the same data stand beside each other row by row; the first of them says which rows are shown.

    Arguments:
        paths: of the files.
        output: of the page.
        engines: labels of the engines to show; None for all.
        rows: which rows are shown: `all`, a number, or a kind and a number such as `worst:20`.
        where: conditions on the rows that are shown, such as `error > 5%`.

    Returns:
        `output`.

    Raises:
        JobError: an engine or rows that there are not.
        StoreError: a file cannot be read, or the page not written.
    """
    output = Path(output)
    _refuse_result(output)
    with ExitStack() as stack:
        opened = [stack.enter_context(Results.open(path)) for path in paths]
        names = short_names([results.path for results in opened])
        _check_engines(opened, engines)
        groups = joined(list(zip(opened, names, strict=True)))
        return write_page(render([_files(group, engines, rows, where) for group in groups]), output)


def write_page(page: str, output: Path) -> Path:
    """Write a page; its path.

    Raises:
        JobError: there is a result file.
        StoreError: it cannot be written.
    """
    _refuse_result(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # names of files may hold bytes that are no text
        output.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(f"{output}: cannot be written: {error}") from error
    return output


def _refuse_result(output: Path) -> None:
    if is_hdf5(output):
        raise JobError(
            f"{output}: is a result file, which the page would replace; give a name such as report.html."
        )


def _check_engines(opened: Sequence[Results], engines: Sequence[str] | None) -> None:
    known = list(dict.fromkeys(label for results in opened for label in (*results.engines, *results.effects)))
    for label in engines or ():
        if label not in known:
            files = ", ".join(str(results.path) for results in opened)
            raise JobError(f"{files}: no engine {label!r}.{suggestion(label, known)}")


def _files(
    group: Sequence[tuple[Results, str]], engines: Sequence[str] | None, rows: str, where: Sequence[str]
) -> list[File]:
    """Files of the same data; the first says which rows are shown."""
    files: list[File] = []
    for results, name in group:
        labels = None if engines is None else [e for e in engines if e in (*results.engines, *results.effects)]
        file = file_of(results, name, labels)
        if not files:
            file = replace(file, chosen=choose(file.facts, rows, where))
        if where and not len(file.chosen.rows):
            raise JobError(f"{results.path}: no row fulfils --where {' and '.join(where)}.")
        files.append(file)
    return files


def file_of(results: Results, name: str, engines: Sequence[str] | None = None) -> File:
    """An open file in a page, with all of its rows."""
    selection = select(results, engines, _SAMPLES_OF_FIGURES, None)
    facts = RowFacts(results, selection.engines)
    return File(name, selection, facts, Chosen(np.arange(len(facts)), len(facts), ""))


def short_names(paths: Sequence[Path]) -> list[str]:
    """The ends of paths, as long as it takes to tell them apart."""
    full = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, full)) + 1):
        names = ["/".join(parts[-length:]) for parts in full]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({place})" for place, path in enumerate(paths, start=1)]


def render(
    groups: Sequence[Sequence[File]], beside: Beside | None = None, comparison: Mapping[str, object] | None = None
) -> str:
    """The page of files, those of the same data together.

    Arguments:
        groups: per data, the files; the first of each says which rows are shown.
        beside: of the two files of the only group, how they differ row by row.
        comparison: what `comparison.html.j2` says of them as a whole; class means, phrases and figures are left
            to the reports of the files themselves.
    """
    whole = comparison is None
    files = [file for group in groups for file in group]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["soft"] = _breakable
    environment.globals["unique"] = map("g{}".format, count()).__next__
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8") + _token_colours()
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    shown = [
        (len(groups) > 1, group, list(cards(group, f"row-{k}-" if k else "row-", beside)))
        for k, group in enumerate(groups)
    ]
    every = [card for _, _, found in shown for card in found]
    return environment.get_template("report.html.j2").render(
        title=", ".join(file.name for file in files),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        summaries=[_summary(file) for file in files],
        unit=score_unit(files[0].results),
        shown=shown,
        filters=_filters(every),
        layers=_layers(every),
        told=[_told(group[0], len(files) > 1) for group in groups],
        comparison=comparison,
        heats=[(file.name, found) for file in files if whole and (found := heat_maps(file))],
        means=[mean for file in files if whole for mean in _means(file, len(files) > 1)],
        corpora=[corpus for file in files if whole for corpus in _corpora(file, len(files) > 1)],
        indices=[(f.name, table) for f in files for e in f.selection.effects for table in index_tables(e)],
        charts=[(file.name, charts(file.selection)) for file in files if whole],
        ramp=[to_hex(diverging_map()(share)) for share in np.linspace(0, 1, 9)],
        number=number,
    )


def _breakable(text: str) -> Markup:
    """A name that may go on in the next line after each of its underscores."""
    return Markup("_<wbr>").join(escape(text).split("_"))


def _policy(style: str, script: str) -> str:
    """The page may use its own style, script and pictures, and nothing else from anywhere."""
    style_hash, script_hash = (b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _token_colours() -> str:
    """A class per colour of a token: a strict policy allows no style of a single element."""
    rules = []
    for step in range(-LEVELS, LEVELS + 1):
        colour = diverging_map()(0.5 + 0.5 * step / LEVELS)
        name = f"c{step}" if step >= 0 else f"d{-step}"
        rules.append(f".{name}{{background:{to_hex(colour)};color:{ink(colour)}}}")
    return "\n".join([*rules, f":root{{--raises:{RAISES};--lowers:{LOWERS}}}", ""])


def _summary(file: File) -> Summary:
    about = summarize(file.results)
    effects = about["effects"].items()
    facts = list(source_facts(about))
    facts += [(label, f"{effect['engine']}, {effect['evaluations']:,} evaluations") for label, effect in effects]
    notes = list(failures(about["engines"]))
    notes += [
        f"{label}: not converged within the cap on evaluations" for label, e in effects if not e["converged"]
    ]
    notes += [f"{label}: {warning}" for label, effect in effects for warning in effect["warnings"]]
    facts += [("note", remark) for remark in remarks(about["engines"])]
    table = engine_table(about["engines"]) if about["engines"] else []
    return Summary(file.name, facts, table, notes)


def _told(file: File, several: bool) -> str:
    """How many of its rows are shown, and which."""
    shown, total = len(file.chosen.rows), file.chosen.total
    name = f"{file.name}: " if several else ""
    if shown == total:
        return f"{name}all {total:,} rows" if total != 1 else f"{name}the one row"
    words = f", {file.chosen.words}" if file.chosen.words else ""
    return f"{name}{shown:,} of {total:,} rows{words}"


def _filters(shown: Sequence[Card]) -> list[tuple[str, list[str]]]:
    """Name of a column of words -> what it may be filtered by."""
    values: dict[str, dict[str, None]] = {}
    for card in shown:
        for cell in card.cells:
            if cell.name in _FILTERED:
                values.setdefault(cell.name, {})[cell.text] = None
    return [
        (name, sorted(options, key=_natural))
        for name, options in values.items()
        if 1 < len(options) <= _MOST_OPTIONS
    ]


def _layers(cards_shown: Sequence[Card]) -> set[str]:
    """What of pictures can be hidden."""
    maps = (
        one.shown for card in cards_shown for group in card.groups for one in group.maps if one.shown is not None
    )
    pictures = [look for shown in maps for look in shown.looks if isinstance(look, Picture)]
    names = ("raises", "source", "outline")
    return {name for name in names if any(getattr(look, name) for look in pictures)}


def _natural(text: str) -> tuple[int, float, str]:
    return (0, float(text), "") if text.lstrip("-").isdecimal() else (1, 0.0, text.lower())


def _means(file: File, several: bool) -> Iterator[Mean]:
    results = file.results
    if len(results.outputs):  # what the first output token of one prompt is has nothing to do with that of another
        return
    targets = frequent_targets(results, _MOST_TARGETS)
    for view in views_of(results, file.selection.engines, file.chosen.rows.tolist()):
        for engine in (one for unit in view.units for one in unit if view.tensor in one.tensors):
            means = class_means(results, engine, view.tensor, targets)
            limit = symmetric_limit(*(one.mean for one in means))
            looks = [(one, view.mean(one.mean, limit)) for one in means]
            classes = tuple(
                (_class(results, one.target), one.rows, Shown((look,))) for one, look in looks if look is not None
            )
            if classes:
                yield Mean(_title(file, engine.label, view.tensor, several), number(limit), classes)


def _corpora(file: File, several: bool) -> Iterator[Corpus]:
    results = file.results
    if len(results.outputs):
        return
    targets = frequent_targets(results, _MOST_TARGETS)
    for engine in file.selection.engines:
        for tensor in (name for name in engine.tensors if is_text(results, name)):
            corpora = phrases(results, engine, tensor, targets, _MOST_PHRASES)
            told = tuple((_class(results, one.target), one) for one in corpora if one.raise_ or one.lower)
            if told:
                yield Corpus(_title(file, engine.label, tensor, several), score_unit(results), told)


def _class(results: Results, target: int) -> str:
    return "" if results.rows.is_regression else results.class_name(target)


def _title(file: File, label: str, tensor: str, several: bool) -> str:
    parts = [file.name] if several else []
    parts += [label] + ([tensor] if len(file.results.explained) > 1 else [])
    return ", ".join(parts)
