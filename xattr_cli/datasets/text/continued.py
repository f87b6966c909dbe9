"""Prompts with their continuations as padded tensors, and the ids of the output tokens that scores are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from ...errors import DataError
from ...fingerprint import fingerprint_arrays
from ...samples import InputSpec
from ..base import Samples
from ..columns import ArraySamples, Column
from ..padded import PaddedSamples, PaddedSequence, RaggedArray
from .tokenizer import Tokenizer

__all__ = [
    "CONTINUATION",
    "CONTRAST",
    "CONTRAST_OUTPUT",
    "NO_OUTPUT",
    "OUTPUT",
    "PromptSamples",
    "Prompts",
    "named_outputs",
]

PROMPT, PREFIX, SEGMENTS = "prompt", "prefix", "segment_ids"
CONTINUATION, CONTRAST = "continuation", "contrast"
"""In `Batch.texts`: what the output tokens say together."""
OUTPUT, CONTRAST_OUTPUT = "output", "contrast output"
"""In `Batch.tokens`: what the output tokens are called, and those of a contrast."""
NO_OUTPUT = -1
"""In place of an output token that a sample does not have."""


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts.

    Attributes:
        ids: per prompt, the numbers of its tokens.
        segments: per prompt, the segment of each token, -1 for none.
        segment_names: of all prompts.
        keys: a printable name per prompt; empty if there are none.
    """

    ids: Sequence[Sequence[int]]
    segments: Sequence[Sequence[int]]
    segment_names: tuple[str, ...]
    keys: tuple[str, ...] = ()


class PromptSamples(PaddedSamples):
    """Samples of a prompt and a continuation.

    Arguments:
        prompts: tokenized.
        outputs: tokens of the continuations; None if the network has yet to write them.
        contrast: those of other continuations; None for none.
        tokenizer: that made them.
        start: token that the decoder beside an encoder begins with; None for a decoder alone, which goes on from
            the prompt itself.
        new_tokens: most that the network may write.
    """

    def __init__(
        self,
        prompts: Prompts,
        outputs: list[list[int]] | None,
        contrast: list[list[int]] | None,
        tokenizer: Tokenizer,
        *,
        start: int | None,
        new_tokens: int,
    ) -> None:
        self._given = (prompts, contrast, tokenizer, start)
        self._new_tokens = new_tokens if outputs is None else 0
        self._prompts, self._tokenizer = prompts, tokenizer
        self._outputs = [[tokenizer.pad] for _ in prompts.ids] if outputs is None else outputs
        self._contrast = contrast
        columns = [*_prompt_columns(prompts), *_output_columns(self._outputs, start)]
        sequences = [
            PaddedSequence(
                PROMPT, _lengths(prompts.ids), columns[0].spec.shape[0], ("input_ids", "attention_mask")
            ),
            _sequence(PREFIX, self._outputs, start),
        ]
        if contrast is not None:
            columns += _output_columns(contrast, start, CONTRAST)
            sequences.append(_sequence(CONTRAST, contrast, start))
        if len(prompts.segment_names) > 1:
            columns.append(_segment_column(prompts))
            sequences[0] = replace(sequences[0], inputs=(*sequences[0].inputs, SEGMENTS))
        numbers = [np.asarray(values) for column in columns for values in _numbers(column)]
        texts = {CONTINUATION: [tokenizer.text(ids) for ids in self._outputs]}
        if contrast is not None:
            texts[CONTRAST] = [tokenizer.text(ids) for ids in contrast]
        arrays = ArraySamples(
            columns, None, fingerprint=fingerprint_arrays(numbers), keys=prompts.keys, texts=texts
        )
        super().__init__(arrays, tuple(sequences))
        self.vocabulary = tokenizer
        self.outputs = ("output_ids", *(["contrast_output_ids"] if contrast is not None else []))
        self.notes = self._told()

    def lengths(self) -> Iterator[tuple[int, int]]:
        """Per sample, the tokens of the prompt, and the most of prompt and a continuation together."""
        for ids, output, other in zip_longest(self._prompts.ids, self._outputs, self._contrast or []):
            yield len(ids), len(ids) + max(len(output), self._new_tokens, len(other or []))

    def completed(self, network: Any) -> Samples:
        """The samples with the continuations that the network writes.

        Raises:
            DataError: the network writes none.
        """
        if not self._new_tokens:
            return self
        if not hasattr(network, "generate"):
            raise DataError(
                "dataset.continuation: none is given, and the model writes none. Name the column of "
                "continuations, or use model kind transformers with task: continuation."
            )
        prompts, contrast, tokenizer, start = self._given
        outputs = [network.generate(ids, self._new_tokens) for ids in prompts.ids]
        return PromptSamples(prompts, outputs, contrast, tokenizer, start=start, new_tokens=0)

    def clear(self, name: str, values: np.ndarray, real: np.ndarray) -> None:
        values[~real] = self._tokenizer.pad if name.endswith("_ids") and name != SEGMENTS else 0

    def tokens(self, inputs: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        ids = {PROMPT: "input_ids", PREFIX: "prefix_ids", CONTRAST: "contrast_prefix_ids"}
        found = {name: self._names(inputs[ids[name]], real[name]) for name in real}
        asked = inputs["output_ids"]
        found[OUTPUT] = self._names(asked, asked != NO_OUTPUT)
        if self._contrast is not None:
            other = inputs["contrast_output_ids"]
            found[CONTRAST_OUTPUT] = self._names(other, other != NO_OUTPUT)
        return found

    def _names(self, ids: np.ndarray, real: np.ndarray) -> np.ndarray:
        names = np.full(ids.shape, "", dtype=object)
        names[real] = self._tokenizer.names(ids[real])
        return names

    def _told(self) -> tuple[str, ...]:
        if self._contrast is None:
            return ()
        apart = sum(len(ids) != len(other) for ids, other in zip(self._outputs, self._contrast, strict=True))
        if not apart:
            return ()
        return (
            f"{apart} of {len(self._outputs)} continuations and their contrasts differ in length: tokens without "
            "a counterpart have no row of their own (target: {select: continuation, reduce: sum} takes them all)",
        )


def named_outputs(names: Sequence[Sequence[str]]) -> np.ndarray:
    """(rows,) what rows explain, of the names of their outputs and, if there are any, of their contrasts."""
    one, *others = names
    if not others:
        return np.array(list(one), dtype=object)
    pairs = zip(one, others[0], strict=True)
    return np.array([f"{name} (not {other.strip()})" for name, other in pairs], dtype=object)


def _lengths(lists: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([len(ids) for ids in lists], dtype=np.int64)


def _flat(lists: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([number for ids in lists for number in ids], dtype=np.int64)


def _prefixes(outputs: Sequence[Sequence[int]], start: int | None) -> list[list[int]]:
    """The tokens before the last output token, behind the start token of a decoder that has one."""
    return [[*([] if start is None else [start]), *ids[:-1]] for ids in outputs]


def _sequence(name: str, outputs: Sequence[Sequence[int]], start: int | None) -> PaddedSequence:
    lengths = _lengths(_prefixes(outputs, start))
    stem = "" if name == PREFIX else f"{name}_"
    return PaddedSequence(name, lengths, max(1, int(lengths.max())), (f"{stem}prefix_ids", f"{stem}prefix_mask"))


def _prompt_columns(prompts: Prompts) -> list[Column]:
    lengths = _lengths(prompts.ids)
    flat = _flat(prompts.ids)
    return [
        _column("input_ids", RaggedArray(flat, lengths), explainable=True),
        _column("attention_mask", RaggedArray(np.ones_like(flat), lengths)),
    ]


def _segment_column(prompts: Prompts) -> Column:
    stored = RaggedArray(_flat(prompts.segments), _lengths(prompts.segments))
    column = _column(SEGMENTS, stored)
    return replace(column, spec=replace(column.spec, argument=False, categories=prompts.segment_names))


def _output_columns(outputs: Sequence[Sequence[int]], start: int | None, of: str = "") -> list[Column]:
    stem = f"{of}_" if of else ""
    padded = np.full((len(outputs), max(map(len, outputs))), NO_OUTPUT, dtype=np.int64)
    for row, ids in zip(padded, outputs, strict=True):
        row[: len(ids)] = ids
    prefixes = _prefixes(outputs, start)
    lengths, flat = _lengths(prefixes), _flat(prefixes)
    steps = max(1, int(lengths.max()))
    return [
        Column(
            InputSpec(f"{stem}output_ids", padded.shape[1:], padded.dtype, ("output",), explainable=False), padded
        ),
        _column(f"{stem}prefix_ids", RaggedArray(flat, lengths, steps), explainable=True),
        _column(f"{stem}prefix_mask", RaggedArray(np.ones_like(flat), lengths, steps)),
    ]


def _column(name: str, stored: RaggedArray, *, explainable: bool = False) -> Column:
    return Column(
        InputSpec(name, stored.shape[1:], np.dtype(np.int64), ("token",), explainable=explainable), stored
    )


def _numbers(column: Column) -> Iterator[np.ndarray]:
    yield np.asarray(column.stored[0 : column.stored.shape[0]])
    if isinstance(column.stored, RaggedArray):
        yield column.stored.lengths
