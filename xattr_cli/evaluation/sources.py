"""What a result file was computed from, opened again: the network and the data, if they are still the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import DataError, JobError, ModelError
from ..job.config import Job, parse_job
from ..pipeline.opening import open_session
from ..pipeline.session import Session
from ..store.results.reader import Results

__all__ = ["open_sources", "stored_job"]

_FIXED = ("engines", "explain", "output")
_SHOWN = 8  # characters of a hash


@contextmanager
def open_sources(
    results: Results,
    overrides: Sequence[str],
    folder: Path,
    *,
    changed: bool = False,
    interrupt: Callable[[], None] = lambda: None,
) -> Iterator[Session]:
    """The network and the dataset of the job that a file stores.

    Arguments:
        results: the open file.
        overrides: `dotted.key=value` texts, such as `dataset.path=/new/place.npz`.
        folder: where relative paths of the overrides start, and modules named by the job are looked for.
        changed: go on if checkpoint or dataset are others than those of the file.
        interrupt: called before every device call; may raise.

    Raises:
        JobError: they cannot be opened, or have changed since; says which, and what to do.
    """
    job = stored_job(results, overrides, folder)
    with ExitStack() as stack:
        try:
            session = stack.enter_context(open_session(job, interrupt=interrupt))
        except JobError as error:
            raise type(error)(f"{error}{_advice(results, error)}") from error
        if not changed:
            _refuse_changes(results, session)
        yield session


def stored_job(results: Results, overrides: Sequence[str], folder: Path) -> Job:
    """The job that a file stores, without its engines: its maps are there already.

    Raises:
        JobError: an override of what the file has settled, or of an unknown key.
    """
    fixed = (*_FIXED, "target") if len(results.rows) else _FIXED
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.partition(".")[0] in fixed:
            raise JobError(f"--set {override!r}: {key} is settled by {results.path}, whose maps are evaluated.")
    job = parse_job(str(results.attributes.get("job", "")), folder=folder, overrides=overrides)
    return job.model_copy(update={"engines": {}})


def _advice(results: Results, error: JobError) -> str:
    if not isinstance(error, ModelError | DataError) and "not found" not in str(error):
        return ""
    return (
        f"\nThe job is the one that {results.path} stores. If its files have moved, say so: "
        "--set model.checkpoint=PATH, --set dataset.path=PATH, or --folder DIR for modules beside the job file."
    )


def _refuse_changes(results: Results, session: Session) -> None:
    then = {key: str(results.attributes.get(f"{key}_hash", "")) for key in ("checkpoint", "dataset")}
    now = {"checkpoint": session.model.fingerprint, "dataset": session.samples.fingerprint}
    other = [key for key in then if then[key] != now[key]]
    if other:
        listed = " and ".join(f"the {key} [{_short(now[key])}, then {_short(then[key])}]" for key in other)
        raise JobError(
            f"{results.path}: was computed from another state of {listed}. Its maps explain that one: bring "
            "it back, run the job again, or give --changed to evaluate them all the same."
        )


def _short(digest: str) -> str:
    return digest[:_SHOWN] or "no hash"
