"""Reading and writing beside computing: the next part is read, and the last one written, by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["Writer", "read_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


class _InPlace(Executor):
    """Does everything at once, in the thread that asks: where memory is too short for another thread."""

    def submit(self, function: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _one_thread(name: str) -> Executor:
    """A thread that runs already: later, memory may be too short to start it."""
    thread = ThreadPoolExecutor(1, name)
    try:
        thread.submit(int).result()
    except RuntimeError:
        return _InPlace()
    return thread


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Every item and what `read` makes of it; while one is worked on, the next is read, never more.

    Raises:
        Exception: what `read` raises, when it is the turn of that item.
    """
    with _one_thread("reader") as thread:
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            following = item, thread.submit(read, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


class Writer(Generic[Item]):
    """Writes one item while the next is made; holds never more than one.

    Arguments:
        write: makes an item durable.
        done: told of every item that is durable, in order, from the thread that `put` is called from.
        thread: that writes.
    """

    def __init__(self, write: Callable[..., Any], done: Callable[[Item], None], thread: Executor) -> None:
        self._write, self._done, self._thread = write, done, thread
        self._pending: tuple[Item, tuple[Any, ...], Future[Any]] | None = None

    @classmethod
    @contextmanager
    def opened(cls, write: Callable[..., Any], done: Callable[[Item], None]) -> Iterator[Writer[Item]]:
        """A writer that has written everything when it is closed, also after an exception."""
        with _one_thread("writer") as thread:
            writer = cls(write, done, thread)
            try:
                yield writer
            finally:
                writer.wait()

    def put(self, item: Item, *content: Any) -> None:
        """Begin to write `write(item, *content)`, once the item before is durable.

        Raises:
            Exception: what writing the item before has raised.
        """
        self.wait()
        self._pending = item, content, self._thread.submit(self._write, item, *content)

    def wait(self) -> None:
        """Until everything is durable.

        Raises:
            Exception: what writing has raised, twice.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        item, content, future = pending
        if future.exception() is not None:
            self._write(item, *content)  # memory may have been short beside the computation
        self._done(item)
