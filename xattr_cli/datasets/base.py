"""What a dataset is: options that open a sequence of samples, read in blocks and never as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from ..errors import DataError
from ..registry import Plugin
from ..samples import Batch, InputSpec
from .classes.names import ClassNames, read_class_names

__all__ = ["DatasetSource", "Samples", "Vocabulary", "WrappedSamples"]


class Samples(ABC):
    """An open dataset: a sequence of samples with random access by position.

    A context manager: leaving the block closes it.

    Attributes:
        inputs: the tensors of one sample, in the order in which the model takes them; `offset` and
            `scale` of a spec are shaped to broadcast against a sample.
        classes: names of the classes, if the dataset knows them.
        fingerprint: hash of the content, equal if and only if (practically) the data are.
        vocabulary: of the tokens that samples are made of, if they are texts.
        notes: how the data were read where that is not obvious, such as the numbers of text labels.
        outputs: names of the inputs (n, outputs) that hold the tokens which the network is asked for, -1 where a
            sample has fewer; a second one holds those of a contrast. Empty if a sample has no continuation.

    Example:
        >>> class Ramp(Samples):
        ...     inputs = (InputSpec("X", (2,), np.dtype("float32")),)
        ...     fingerprint = "ramp"
        ...     def __len__(self):
        ...         return 10
        ...     def read(self, start, stop):
        ...         index = np.arange(start, stop)
        ...         return Batch(index, {"X": np.stack([index, -index], axis=1).astype(np.float32)})
        >>> with Ramp() as samples:
        ...     samples.read(3, 5).inputs["X"].tolist()
        [[3.0, -3.0], [4.0, -4.0]]
    """

    inputs: tuple[InputSpec, ...]
    classes: tuple[str, ...] = ()
    fingerprint: str
    vocabulary: Vocabulary | None = None
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @property
    def available(self) -> int:
        """Number of samples before `limit` was applied."""
        return len(self)

    @abstractmethod
    def read(self, start: int, stop: int) -> Batch:
        """Samples start ≤ i < stop, as numpy arrays of their own (no views of open files)."""

    def known_labels(self) -> np.ndarray | None:
        """(n,) labels of all samples, if they are there without reading the inputs; else None.

        Whoever has them lets a wrong label be found before the start, not hours into a run.
        """
        return None

    def column(self, name: str) -> np.ndarray:
        """(n, ...) values of a column that is no input, such as the target of each sample.

        Raises:
            DataError: there is no such column.
        """
        raise DataError(
            f"target.column: {name!r}: this kind of dataset has no further columns; use dataset kind table or "
            "arrays."
        )

    @property
    def plain(self) -> Samples:
        """The dataset that the network is given: without tensors inside it that are explained."""
        return self

    def propagate(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Other inputs, beside what the network makes of them where a tensor inside it is explained.

        Arguments:
            inputs: name -> (n, *shape), all that the network takes.
        """
        return inputs

    def completed(self, network: Any) -> Samples:
        """The dataset once the network is there; prompts let it write the continuations that nobody gave."""
        return self

    def alike(self, other: Samples) -> Samples:
        """Another dataset, seen as this one is."""
        return other

    def changed(self, start: int, stop: int) -> Path | None:
        """A file that the samples start ≤ i < stop are read from and that is not what was hashed; None if all are.

        Asked after samples were read and before their results are kept: data that somebody writes to meanwhile
        must not pass under the old hash. A dataset that reads no files while it is used need not say anything.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most datasets hold nothing open
        """Let go of open files."""

    def __enter__(self) -> Samples:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WrappedSamples(Samples):
    """A dataset that is another one, but for what a subclass makes of it.

    Arguments:
        samples: the other one.

    Example:
        >>> from dataclasses import replace
        >>> from xattr_cli.datasets.columns import ArraySamples, Column
        >>> class Doubled(WrappedSamples):
        ...     def read(self, start, stop):
        ...         batch = self._samples.read(start, stop)
        ...         return replace(batch, inputs={name: 2 * values for name, values in batch.inputs.items()})
        >>> column = Column(InputSpec("X", (1,), np.dtype("f4")), np.ones((3, 1), "f4"))
        >>> Doubled(ArraySamples([column], None, fingerprint="ones")).read(0, 2).inputs["X"].tolist()
        [[2.0], [2.0]]
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.inputs = samples.inputs
        self.classes = samples.classes
        self.fingerprint = samples.fingerprint
        self.vocabulary = samples.vocabulary
        self.notes = samples.notes
        self.outputs = samples.outputs

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def available(self) -> int:
        return self._samples.available

    def known_labels(self) -> np.ndarray | None:
        return self._samples.known_labels()

    def column(self, name: str) -> np.ndarray:
        return self._samples.column(name)

    def changed(self, start: int, stop: int) -> Path | None:
        return self._samples.changed(start, stop)

    def close(self) -> None:
        self._samples.close()


class DatasetSource(Plugin, ABC):
    """A kind of dataset in the job file; its fields are the options under `dataset:`.

    Example:
        >>> from xattr_cli.datasets.columns import ArraySamples, Column
        >>> class Powers(DatasetSource):
        ...     '''The first powers of two.'''
        ...     count: int = 4
        ...     def open(self):
        ...         values = 2.0 ** np.arange(self.count, dtype=np.float32)[:, None]
        ...         spec = InputSpec("X", (1,), values.dtype)
        ...         return ArraySamples([Column(spec, values)], None, fingerprint=f"powers {self.count}")
        >>> Powers().open().read(2, 4).inputs["X"].tolist()
        [[4.0], [8.0]]
    """

    limit: int | None = Field(default=None, ge=1, description="explain only the first samples")
    bad_rows: Literal["error", "quarantine"] = Field(
        default="error",
        description="samples with NaN, infinity, missing cells or labels, or in damaged files: refuse the data if "
        "some are found before the start (those found later are quarantined), or quarantine them all",
    )
    class_names: ClassNames = Field(
        default=(),
        description="names of the model's outputs, for plots: a list; or a file, .txt with a name on each line "
        'or .json, such as {"0": ["n01440764", "tench"]}',
    )
    _job_folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _older_words(cls, content: Any) -> Any:
        """`nonfinite`, and `damaged` of pictures, were two keys of what is one decision."""
        if not isinstance(content, dict) or "bad_rows" in content:
            return content
        older = [n for n in ("nonfinite", "damaged") if n in content and n not in cls.model_fields]
        if not older:
            return content
        value = content[older[-1]]
        rest = {name: value for name, value in content.items() if name not in older}
        return {**rest, "bad_rows": "error" if value == "refuse" else value}

    def model_post_init(self, context: Any) -> None:
        """Remember the folder of the job file, where `module:callable` is looked for first."""
        self._job_folder = (context or {}).get("folder")

    @property
    def known_classes(self) -> tuple[str, ...]:
        """Names of the outputs as the job gives them, in a list or in a file; empty if it gives none.

        Raises:
            DataError: the file is missing, or is no list of names.
        """
        given = self.class_names
        return read_class_names(given, "dataset.class_names") if isinstance(given, Path) else given

    def beside(self, model: Plugin) -> DatasetSource:
        """The dataset as it is read for a model; a text takes the model's tokenizer if it names none."""
        return self

    @abstractmethod
    def open(self) -> Samples:
        """Open the data, without applying `limit` (`xattr_cli.datasets.open_dataset` does that).

        Raises:
            DataError: missing, damaged, empty or ill-shaped data, naming the file and the key.
        """


class Vocabulary(ABC):
    """The tokens of a text dataset.

    Attributes:
        ids: name of the input that holds the numbers of the tokens.
        special: numbers of the tokens that frame a text, such as [CLS] and [SEP].

    Example:
        >>> class Letters(Vocabulary):
        ...     ids, special = "letters", frozenset()
        ...     def number(self, token):
        ...         return ord(token) - ord("a")
        ...     def encode(self, text):
        ...         return [self.number(letter) for letter in text]
        ...     def names(self, ids):
        ...         return [chr(ord("a") + number) for number in ids]
        >>> Letters().encode("cab"), Letters().names([2, 0, 1])
        ([2, 0, 1], ['c', 'a', 'b'])
    """

    ids: str
    special: frozenset[int]

    @abstractmethod
    def number(self, token: str) -> int:
        """The number of a token; `pad`, `mask`, `unk`, `bos` and `eos` stand for the special ones.

        Raises:
            DataError: the vocabulary has no such token; names the one most alike.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens of a text, without any that frame it."""

    @abstractmethod
    def names(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """What tokens are called."""
