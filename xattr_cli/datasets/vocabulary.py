"""What a text is made of: tokens, each with a number, some of them without meaning of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

__all__ = ["Vocabulary"]


class Vocabulary(ABC):
    """The tokens of a text dataset.

    Attributes:
        ids: name of the input that holds the numbers of the tokens.
        special: numbers of the tokens that frame a text, such as [CLS] and [SEP].
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
