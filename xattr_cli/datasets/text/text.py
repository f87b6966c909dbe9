"""Datasets of texts, as a tokenizer cuts them up: token ids and an attention mask per sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field, model_validator

from ...errors import DataError
from ...fingerprint import fingerprint_arrays
from ...job.config import JobPath
from ...registry import DATASETS, Plugin
from ...samples import InputSpec
from ..base import DatasetSource, Samples
from ..classes.labels import Labels, as_labels
from ..columns import ArraySamples, Column
from ..padded import PaddedSamples, PaddedSequence, RaggedArray
from .files import TextFile, read_text_file
from .tokenizer import Encoded, Tokenizer

__all__ = ["Text"]

TEXT = "text"
"""Name of the sequence of tokens."""


@DATASETS.register("text", "txt", "jsonl", "sentences")
class Text(DatasetSource):
    """Texts, one a sample, given to the network as input_ids and attention_mask (and token_type_ids of pairs).

    Ids have no gradient: say `explain: {embedding: auto}`. Texts are padded to the longest one; padding gets
    an attribution of exactly 0.
    """

    path: JobPath = Field(description=".txt (one a line), .csv (with a header) or .jsonl, in UTF-8")
    text: str = Field(default="text", description="column of the texts")
    partner: str | None = Field(default=None, description="column of second texts, for models of pairs")
    label: str | None = Field(
        default=None, description="column of labels: texts and integers are classes, other numbers a regression"
    )
    key: str | None = Field(default=None, description="column that names the samples")
    tokenizer: JobPath | None = Field(
        default=None, description="folder with tokenizer.json, or that file; null takes the model's own"
    )
    max_length: int | None = Field(
        default=None, ge=1, description="tokens that texts are padded to; null: as many as the longest has"
    )
    truncate: bool = Field(default=False, description="cut off what is longer than max_length or the model takes")
    next_token: bool = Field(
        default=False, description="hide the last token of every text and make it the label, for language models"
    )

    @model_validator(mode="after")
    def _one_label(self) -> Text:
        if self.next_token and (self.label is not None or self.partner is not None):
            raise ValueError("next_token makes the last token the label; it goes with neither label nor partner")
        return self

    def beside(self, model: Plugin) -> DatasetSource:
        """The texts with the model's tokenizer, unless they name one."""
        folder = getattr(model, "tokenizer_folder", None)
        if self.tokenizer is not None or folder is None:
            return self
        return self.model_copy(update={"tokenizer": folder()})

    def open(self) -> Samples:
        """Read and tokenize the texts.

        Raises:
            DataError: no tokenizer; a text is missing or longer than the model takes.
        """
        tokenizer = Tokenizer.named(self.tokenizer)
        # what lies beyond the limit need not be tokenized, and would only make every text longer
        file = read_text_file(self.path, "dataset.path").head(self.limit)
        encoded = self._tokenize(file, tokenizer)
        if self.next_token:
            encoded, last = _without_last(encoded, tokenizer, file)
            names = tuple(tokenizer.names(range(len(tokenizer))))
            return self._samples(file, tokenizer, encoded, Labels(np.array(last, dtype=np.int64), names))
        labels = None if self.label is None else file.labels(self.label, "dataset.label")
        known = None if labels is None else as_labels(labels, "dataset.label", self.known_classes)
        return self._samples(file, tokenizer, encoded, known)

    def _tokenize(self, file: TextFile, tokenizer: Tokenizer) -> Encoded:
        texts = file.texts(self.text, "dataset.text")
        partners = None if self.partner is None else file.texts(self.partner, "dataset.partner")
        limits = [limit for limit in (self.max_length, tokenizer.most_tokens) if limit is not None]
        most = min(limits, default=None)
        encoded = tokenizer.tokenize(texts, partners, most if self.truncate else None)
        lengths = [len(ids) for ids in encoded.ids]
        if most is not None and max(lengths) > most:
            longest = int(np.argmax(lengths))
            whose = "dataset.max_length allows" if most == self.max_length else "the model takes"
            raise DataError(
                f"dataset.path: {file.where(longest)}: the text has {lengths[longest]} tokens, but {whose} "
                f"{most}. Set dataset.truncate: true to cut such texts off, or split them."
            )
        if not min(lengths):
            raise DataError(f"dataset.path: {file.where(int(np.argmin(lengths)))}: the text has no tokens.")
        return encoded

    def _samples(self, file: TextFile, tokenizer: Tokenizer, encoded: Encoded, labels: Labels | None) -> Samples:
        lengths = np.array([len(ids) for ids in encoded.ids], dtype=np.int64)
        values = {"input_ids": _flat(encoded.ids), "attention_mask": np.ones(lengths.sum(), dtype=np.int64)}
        if self.partner is not None:
            values["token_type_ids"] = _flat(encoded.types)
        columns = [_column(name, RaggedArray(flat, lengths, self.max_length)) for name, flat in values.items()]
        numbers = [*values.values(), lengths, *([] if labels is None else [labels.values])]
        samples = ArraySamples(
            columns,
            labels,
            fingerprint=fingerprint_arrays(numbers),
            keys=file.texts(self.key, "dataset.key") if self.key else (),
        )
        steps = columns[0].spec.shape[0]
        return TextSamples(samples, PaddedSequence(TEXT, lengths, steps, tuple(values)), tokenizer)


class TextSamples(PaddedSamples):
    """Samples of token ids.

    Arguments:
        samples: ids and masks at full length, zeros in the padding.
        sequence: their lengths.
        tokenizer: that made them.
    """

    def __init__(self, samples: Samples, sequence: PaddedSequence, tokenizer: Tokenizer) -> None:
        super().__init__(samples, (sequence,))
        self.vocabulary = tokenizer
        self._tokenizer = tokenizer

    def clear(self, name: str, values: np.ndarray, real: np.ndarray) -> None:
        values[~real] = self._tokenizer.pad if name == self._tokenizer.ids else 0

    def tokens(self, inputs: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        ids, is_real = inputs[self._tokenizer.ids], real[TEXT]
        names = np.full(ids.shape, "", dtype=object)
        names[is_real] = self._tokenizer.names(ids[is_real])
        return {TEXT: names}


def _flat(lists: list[list[int]]) -> np.ndarray:
    return np.concatenate([np.array(values, dtype=np.int64) for values in lists])


def _column(name: str, stored: RaggedArray) -> Column:
    spec = InputSpec(name, stored.shape[1:], np.dtype(np.int64), ("token",), explainable=name == "input_ids")
    return Column(spec, stored)


def _without_last(encoded: Encoded, tokenizer: Tokenizer, file: TextFile) -> tuple[Encoded, list[int]]:
    """Texts without their last token, and that token; special tokens after it go too."""
    ids: list[list[int]] = []
    last: list[int] = []
    for record, whole in enumerate(encoded.ids):
        shown = list(whole)
        while shown and shown[-1] in tokenizer.special:
            shown.pop()
        if len(shown) < 2:
            raise DataError(f"dataset.next_token: {file.where(record)}: nothing is left before the last token.")
        last.append(shown.pop())
        ids.append(shown)
    return Encoded(ids, [[0] * len(shown) for shown in ids]), last
