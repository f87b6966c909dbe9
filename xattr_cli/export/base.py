"""What an exporter is: something that writes the rows of a result file in the format of another program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from ..registry import Plugin
from .source import Source

__all__ = ["Exporter"]


class Exporter(Plugin, ABC):
    """A format, named by `xattr-cli export --to`; its options have defaults and are set by `--set`.

    Attributes:
        suffix: what the name of the file or folder ends in unless it is told, such as ".csv".

    Example:
        >>> class Scores(Exporter):
        ...     '''The score of every row, a line each.'''
        ...     suffix = ".txt"
        ...
        ...     def write(self, source, path):
        ...         scores = source.engines[0].score_input[source.rows]
        ...         path.write_text("\\n".join(map(str, scores)))
        ...         return ()
    """

    suffix: ClassVar[str]

    @abstractmethod
    def write(self, source: Source, path: Path) -> Iterable[str]:
        """Write the file or folder `path`, block by block, and say what its reader should know.

        Arguments:
            source: the open file with the engines and rows that are asked for.
            path: does not exist yet; it is moved to where it belongs when this returns.

        Raises:
            StoreError: the result does not have what the format holds.
            JobError: a package that the format needs is not installed.
        """
