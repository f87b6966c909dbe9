"""The network and the data behind a result file: opened by the user's own job, or by one that is trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..engines.base import LocalEngine
from ..errors import DataError, JobError, ModelError
from ..importing import module_of
from ..job.config import Job, parse_job
from ..job.identity import identity
from ..pipeline.opening import open_session
from ..pipeline.provenance.code import code_of
from ..pipeline.session import Session
from ..registry import BASELINES, DATASETS, ENGINES, MODELS, SCORES
from ..store import changes, code_changes
from ..store.results.reader import Results

__all__ = ["named_code", "open_sources", "own_job", "stored_job"]

_FIXED = ("engines", "explain", "output")
_SHOWN = 8  # characters of a hash
_LISTED = 8  # differences


@contextmanager
def open_sources(
    results: Results,
    job: Job,
    *,
    changed: bool = False,
    interrupt: Callable[[], None] = lambda: None,
) -> Iterator[Session]:
    """The network and the dataset that the maps of a file explain.

    Arguments:
        results: the open file.
        job: that opens them.
        changed: go on if checkpoint, dataset or code are others than those of the file.
        interrupt: called before every device call; may raise.

    Raises:
        JobError: they cannot be opened, or have changed since; says which, and what to do.
    """
    with ExitStack() as stack:
        try:
            session = stack.enter_context(open_session(job, interrupt=interrupt))
        except JobError as error:
            raise type(error)(f"{error}{_advice(results, error)}") from error
        if not changed:
            _refuse_changes(results, session)
        yield session


def own_job(results: Results, job: Job, *, changed: bool = False, engines: Sequence[str] = ()) -> Job:
    """A job of the user's own for the maps of a file, with no other engines than those that explain again.

    Arguments:
        results: the open file; nothing that it names is imported.
        job: what the user says that it was computed by.
        changed: let it have another model and other data.
        engines: labels of those that are to make maps again.

    Raises:
        JobError: the file was computed by another job; names what differs.
    """
    now, then = identity(job), _stored(results, "job_identity")
    compared = ("target", "explain") if changed else ("model", "dataset", "target", "explain")
    differing = changes({key: then.get(key) for key in compared}, {key: now[key] for key in compared})
    if differing:
        listed = "".join(f"\n  {line}" for line in differing[:_LISTED])
        listed += f"\n  and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        way_out = "" if changed else ", or give --changed if only the model or the data have changed"
        raise JobError(f"{results.path}: was not computed by this job:{listed}\nGive the right one{way_out}.")
    for label in engines:
        differing = changes(*({f"engines.{label}": each.get("engines", {}).get(label)} for each in (then, now)))
        if differing:
            listed = "".join(f"\n  {line}" for line in differing[:_LISTED])
            raise JobError(
                f"{results.path}: the maps of {label!r} were not computed by this job's engine:{listed}\nA metric "
                "that makes maps again takes the engine of the file: give the job that it was computed by."
            )
    return _reduced(job, engines)


def _reduced(job: Job, engines: Sequence[str]) -> Job:
    """With these engines alone: those that explain rows by themselves."""
    kept = {k: v for k, v in job.engines.items() if k in engines and isinstance(v, LocalEngine)}
    return job.model_copy(update={"engines": kept, "stability": None})


def stored_job(results: Results, overrides: Sequence[str], folder: Path, engines: Sequence[str] = ()) -> Job:
    """The job that a file stores, with no other engines than those that explain again.

    Opening it imports and runs what the file names.

    Arguments:
        results: the open file, which whoever calls this trusts.
        overrides: `dotted.key=value` texts, such as `dataset.path=/new/place.npz`.
        folder: where relative paths of the overrides start, and modules named by the job are looked for.
        engines: labels of those that are to make maps again.

    Raises:
        JobError: an override of what the file has settled, or of an unknown key.
    """
    fixed = (*_FIXED, "target") if len(results.rows) else _FIXED
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.partition(".")[0] in fixed:
            raise JobError(f"--set {override!r}: {key} is settled by {results.path}, whose maps are evaluated.")
    job = parse_job(str(results.attributes.get("job", "")), folder=folder, overrides=overrides)
    return _reduced(job, engines)


def named_code(results: Results) -> list[str]:
    """What opening the job in a file would import, or run while it is read: a line each."""
    plugins = {name for registry in (MODELS, DATASETS, BASELINES, ENGINES, SCORES) for name in registry.offered()}
    return [
        f"{key}: {text}"
        for key, text in _leaves(results.job)
        if module_of(text) is not None or text in plugins or (key.endswith("trust_pickle") and text == "True")
    ]


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{at}.{key}" if at else str(key))
    else:
        yield at, str(value)


def _stored(results: Results, attribute: str) -> dict[str, Any]:
    """An attribute of the file that holds JSON; empty if there is none."""
    try:
        content = json.loads(str(results.attributes.get(attribute, "{}")))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _advice(results: Results, error: JobError) -> str:
    if not isinstance(error, ModelError | DataError) and "not found" not in str(error):
        return ""
    return (
        f"\n{results.path} stores the job that it was computed by. If files have moved since, give a job with "
        "their new places as --job, or with --trust: --set model.checkpoint=PATH, --set dataset.path=PATH, or "
        "--folder DIR for modules beside the job file."
    )


def _refuse_changes(results: Results, session: Session) -> None:
    then = {key: str(results.attributes.get(f"{key}_hash", "")) for key in ("checkpoint", "dataset")}
    now = {"checkpoint": session.model.fingerprint, "dataset": session.samples.fingerprint}
    other = [f"the {key} [{_short(now[key])}, then {_short(then[key])}]" for key in then if then[key] != now[key]]
    stored = _stored(results, "code").get("modules", {})
    if stored:  # of versions, the scores tell whether they matter
        modules = code_of(session.job, session.model.module)["modules"]  # without those of engines
        other += code_changes({"modules": {k: v for k, v in stored.items() if k in modules}}, {"modules": modules})
    if other:
        raise JobError(
            f"{results.path}: was computed from another state of {' and '.join(other)}. Its maps "
            "explain that one: bring it back, run the job again, or give --changed to evaluate them all the same."
        )


def _short(digest: str) -> str:
    return digest[:_SHOWN] or "no hash"
