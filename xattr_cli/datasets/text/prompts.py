"""Datasets of prompts and their continuations: what made a language model go on like this?"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ...errors import DataError
from ...job.config import JobPath
from ...registry import DATASETS, Plugin
from ..base import DatasetSource, Samples
from .continued import Prompts, PromptSamples
from .files import TextFile, read_text_file
from .segments import Segmented, segmented
from .tokenizer import Tokenizer

__all__ = ["PromptDataset"]


@DATASETS.register("prompts")
class PromptDataset(DatasetSource):
    """Prompts for a language model, one a sample, and the continuation that each is explained for.

    Say `target: continuation` for a row per output token, or `target: {select: continuation, reduce: sum}` for a
    row per sample, and `explain: {embedding: auto}` for what the tokens of the prompt do, `explain: {embedding:
    [source, prefix]}` for those of the continuation before the output token too. Each output token is scored
    after those before it. Without a continuation the model writes its own, the likeliest token each time.

    A contrast is another continuation of the same prompt: the score of each of its tokens, after those before it,
    is subtracted from that of the token in the same place, and tokens without a counterpart have no row.
    """

    path: JobPath = Field(description=".txt (a prompt a line), .csv (with a header) or .jsonl, in UTF-8")
    prompt: str = Field(
        default="text",
        description="column of the prompts: texts, or in .jsonl lists or mappings of texts, which are the "
        "segments of a prompt, or conversations, lists of {role: user, content: ...}",
    )
    continuation: str | None = Field(default=None, description="column of continuations; null: the model's own")
    contrast: str | None = Field(default=None, description="column of continuations that are compared with")
    new_tokens: int = Field(default=20, ge=1, description="most tokens that the model writes where none are given")
    chat: bool = Field(
        default=False, description="put prompts into the tokenizer's chat template; a text is what a user says"
    )
    separator: str = Field(default="\n", description="stands between the segments of a prompt")
    key: str | None = Field(default=None, description="column that names the samples")
    tokenizer: JobPath | None = Field(
        default=None, description="folder with tokenizer.json, or that file; null takes the model's own"
    )
    decoder_start: int | None = Field(
        default=None,
        ge=0,
        description="number of the token that the decoder beside an encoder begins with; null takes the "
        "model's own",
    )

    @model_validator(mode="after")
    def _contrasted(self) -> PromptDataset:
        if self.contrast is not None and self.contrast == self.continuation:
            raise ValueError("contrast and continuation are the same column: every score would be zero")
        return self

    def beside(self, model: Plugin) -> DatasetSource:
        """The prompts with the model's tokenizer, unless they name one, and with what its decoder begins with."""
        folder, start = getattr(model, "tokenizer_folder", None), getattr(model, "decoder_start", None)
        options: dict[str, Any] = {}
        if self.tokenizer is None and callable(folder):
            options["tokenizer"] = folder()
        if self.decoder_start is None and callable(start):
            options["decoder_start"] = start()
        return self.model_copy(update=options)

    def open(self) -> Samples:
        """Read and tokenize prompts and continuations.

        Raises:
            DataError: no tokenizer, or no chat template where one is asked for; a text is missing or longer than
                the model takes.
        """
        tokenizer = Tokenizer.named(self.tokenizer)
        file = read_text_file(self.path, "dataset.path").head(self.limit)
        segments = self._segments(file, tokenizer)
        encoded = [self._encoded(segment, tokenizer) for segment in segments]
        names = list(dict.fromkeys(name for segment in segments for name in segment.names))
        prompts = Prompts(
            ids=[ids for ids, _ in encoded],
            segments=[[names.index(n) if n else -1 for n in own] for _, own in encoded],
            segment_names=tuple(names),
            keys=tuple(file.texts(self.key, "dataset.key")) if self.key else (),
        )
        outputs = self._outputs(file, tokenizer, "continuation")
        samples = PromptSamples(
            prompts,
            outputs,
            self._outputs(file, tokenizer, "contrast"),
            tokenizer,
            start=self.decoder_start,
            new_tokens=0 if outputs is not None else self.new_tokens,
        )
        self._check_lengths(samples, file, tokenizer)
        return samples

    def _segments(self, file: TextFile, tokenizer: Tokenizer) -> list[Segmented]:
        segments = []
        for record, value in enumerate(file.values(self.prompt, "dataset.prompt")):
            where = f"dataset.prompt: {file.where(record)}"
            segments.append(segmented(value, where, self.separator, tokenizer.chat if self.chat else None))
        return segments

    def _encoded(self, prompt: Segmented, tokenizer: Tokenizer) -> tuple[list[int], list[str]]:
        """Numbers of the tokens, and the segment of each; empty for tokens of none."""
        ids, starts = tokenizer.located(prompt.text, framed=not self.chat)
        names = [prompt.at(start) if start >= 0 else "" for start in starts]
        if self.decoder_start is None:  # what frames the end of a text would end the answer before it begins
            while len(ids) > 1 and not self.chat and starts[-1] < 0:
                ids, starts, names = ids[:-1], starts[:-1], names[:-1]
        return ids, names

    def _outputs(self, file: TextFile, tokenizer: Tokenizer, option: str) -> list[list[int]] | None:
        column = getattr(self, option)
        if column is None:
            return None
        outputs = [tokenizer.encode(text) for text in file.texts(column, f"dataset.{option}")]
        for record, ids in enumerate(outputs):
            if not ids:
                raise DataError(f"dataset.{option}: {file.where(record)}: the text has no tokens.")
        return outputs

    def _check_lengths(self, samples: PromptSamples, file: TextFile, tokenizer: Tokenizer) -> None:
        most: Any = tokenizer.most_tokens
        for record, (prompt, whole) in enumerate(samples.lengths()):
            if not prompt:
                raise DataError(f"dataset.prompt: {file.where(record)}: the prompt has no tokens.")
            length = whole if self.decoder_start is None else prompt
            if most is not None and length > most:
                raise DataError(
                    f"dataset.path: {file.where(record)}: prompt and continuation have {length} tokens, but the "
                    f"model takes {most}. Shorten them."
                )
