"""Sequences of tokens without content as baselines: padding, masks, or a neutral text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..errors import DataError, suggestion
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline
from .propagated import inside

__all__ = ["Token"]


@BASELINES.register("token", "pad", "padding", "mask")
class Token(Baseline):
    """What the explained embedding or layer makes of the same sequence with other tokens.

    Every token is replaced, except the special ones that frame a text, and padding. Masks and lengths stay
    those of the sample.
    """

    token: str | int = Field(
        default="pad",
        description="takes the place of every token: pad, mask, unk, a token of the vocabulary, or its number",
    )
    text: str | None = Field(
        default=None,
        description="neutral text whose tokens take the places of the first ones; `token` takes the others",
    )
    input: str | None = Field(default=None, description="input that holds the ids; null: the only one that can")
    keep: tuple[int, ...] = Field(default=(), description="further ids that stay where they are")

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Look the tokens up.

        Raises:
            DataError: no such token, no ids, or an input itself is explained.
        """
        explained = inside(samples, inputs, "token")
        ids = self._ids(samples, {spec.sequence for spec in explained if spec.sequence})
        vocabulary = samples.vocabulary
        special = frozenset() if vocabulary is None else vocabulary.special
        content = [] if self.text is None else self._encode(samples, self.text)
        return _BoundToken(samples, explained, ids, self._number(samples), content, {*special, *self.keep})

    def _ids(self, samples: Samples, sequences: set[str]) -> tuple[InputSpec, ...]:
        """The inputs whose tokens are replaced: several where several of the explained tensors come from ids."""
        candidates = [spec for spec in samples.plain.inputs if spec.dtype.kind in "iu" and spec.explainable]
        known = [spec.name for spec in candidates]
        wanted = self.input or (samples.vocabulary.ids if samples.vocabulary is not None else None)
        if wanted is None and len(candidates) == 1:
            return tuple(candidates)
        along = [spec for spec in candidates if spec.sequence in sequences]
        if self.input is None and samples.vocabulary is not None and along:
            return tuple(along)
        for spec in candidates:
            if spec.name == wanted:
                return (spec,)
        if wanted is None:
            listed = f"several inputs hold integers: {', '.join(known)}" if known else "no input holds ids"
            raise DataError(f"baseline.input: {listed}. Name the one with the ids.")
        raise DataError(f"baseline.input: {wanted!r}: no input of ids has this name.{suggestion(wanted, known)}")

    def _number(self, samples: Samples) -> int:
        if isinstance(self.token, int):
            return self.token
        if samples.vocabulary is None:
            raise DataError(
                f"baseline.token: {self.token!r}: the dataset has no vocabulary; give the number of the token."
            )
        try:
            return samples.vocabulary.number(self.token)
        except DataError as error:
            raise DataError(f"baseline.token: {error}") from error

    def _encode(self, samples: Samples, text: str) -> list[int]:
        if samples.vocabulary is None:
            raise DataError("baseline.text: the dataset has no vocabulary; use baseline.token with a number.")
        return samples.vocabulary.encode(text)


class _BoundToken(BoundBaseline):
    def __init__(
        self,
        samples: Samples,
        explained: Sequence[InputSpec],
        ids: Sequence[InputSpec],
        number: int,
        content: Sequence[int],
        special: set[int],
    ) -> None:
        self._samples = samples
        self._names = [spec.name for spec in explained]
        self._ids = ids
        self._number = number
        self._content = np.array(content, dtype=np.int64)
        self._special = np.array(sorted(special), dtype=np.int64)

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        neutral = {spec.name: self._neutral(batch, spec) for spec in self._ids}
        propagated = self._samples.propagate({**batch.inputs, **neutral})
        return {name: propagated[name] for name in self._names}

    def _neutral(self, batch: Batch, spec: InputSpec) -> np.ndarray:
        """(n, steps) ids without the content of the sample."""
        ids = batch.inputs[spec.name]
        replaced = ~np.isin(ids, self._special)
        real = batch.real.get(spec.sequence)
        if real is not None:
            replaced &= real.reshape(*real.shape, *[1] * (ids.ndim - 2))
        flat = replaced.reshape(len(ids), -1)
        position = np.cumsum(flat, axis=1) - 1
        new = np.full(flat.shape, self._number, dtype=ids.dtype)
        if len(self._content):
            new = np.where(
                position < len(self._content), self._content[position.clip(0, len(self._content) - 1)], new
            )
        return np.where(replaced, new.reshape(ids.shape), ids).astype(ids.dtype)
