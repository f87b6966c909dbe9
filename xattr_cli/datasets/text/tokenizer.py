"""Tokenizers of Hugging Face's format, from a folder or a `tokenizer.json`; the fast ones only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, nearest
from ...importing import quiet, transformers
from ..base import Vocabulary

__all__ = ["Encoded", "Tokenizer"]

_NO_LIMIT = 10**9  # what a tokenizer without a limit calls its limit is 1e30
_SPELLINGS = {"bos": ("<s>",), "eos": ("</s>", "<|endoftext|>")}
_NAMED = {
    name: (f"[{name.upper()}]", f"<{name}>", *_SPELLINGS.get(name, ()))
    for name in ("pad", "mask", "unk", "bos", "eos", "cls", "sep")
}
"""Special tokens, and how they are spelled where a tokenizer does not say which is which."""
_MEANINGFUL = ("unk", "mask")  # special, but they stand for a word


@dataclass(frozen=True)
class Encoded:
    """Texts as numbers.

    Attributes:
        ids: per text, numbers of its tokens.
        types: per text, 0 for tokens of the text and 1 for those of its partner.
    """

    ids: list[list[int]]
    types: list[list[int]]


class Tokenizer(Vocabulary):
    """A tokenizer.

    Arguments:
        path: folder of a model or of a tokenizer, or a `tokenizer.json`.

    Attributes:
        pad: number that fills texts up to one length; attention masks hide it.
        most_tokens: what the model was made for; None if the tokenizer does not say.

    Raises:
        DataError: there is no such file or folder, or no tokenizer in it.
    """

    def __init__(self, path: Path) -> None:
        self._library = transformers("dataset kind 'text'", DataError)
        self._tokenizer = self._load(path)
        if not self._tokenizer.is_fast:
            raise DataError(
                f"dataset.tokenizer: {path}: a slow tokenizer; save a fast one (tokenizer.json) there."
            )
        tokenizer = self._tokenizer
        self._named = _special_tokens(tokenizer)
        meaningful = {self._named.get(name) for name in _MEANINGFUL}
        added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ids = "input_ids"
        self.special = frozenset({*tokenizer.all_special_ids, *added} - meaningful)
        self.pad = self._named.get("pad", self._named.get("eos", 0))
        self.most_tokens = int(tokenizer.model_max_length) if tokenizer.model_max_length < _NO_LIMIT else None
        self._is_bytes = "ByteLevel" in type(tokenizer.backend_tokenizer.decoder).__name__

    @classmethod
    def named(cls, path: Path | None) -> Tokenizer:
        """The tokenizer that a dataset names.

        Raises:
            DataError: it names none, or there is none.
        """
        if path is None:
            raise DataError(
                "dataset.tokenizer: no tokenizer is named, and the model has none. Name the folder of the model "
                "that the texts are for, or a tokenizer.json."
            )
        if not path.exists():
            raise DataError(
                f"dataset.tokenizer: {path}: no such file or folder. Nothing is ever downloaded: save "
                "the tokenizer once with AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)."
            )
        return cls(path)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def number(self, token: str) -> int:
        if token.lower() in self._named:
            return int(self._named[token.lower()])
        vocabulary = self._tokenizer.get_vocab()
        if token in vocabulary:
            return int(vocabulary[token])
        if token.lower() in _NAMED:
            raise DataError(f"the tokenizer has no {token} token. It has: {', '.join(self._named) or 'none'}.")
        pieces = self.names(self.encode(token))
        match = nearest(token, vocabulary)
        hint = f" Did you mean {match!r}?" if match else ""
        raise DataError(f"the vocabulary has no token {token!r}; it is made of {pieces}.{hint}")

    def encode(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        return list(encoded["input_ids"])

    def names(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        numbers = [int(number) for number in ids]
        if self._is_bytes:  # as in Ġthe, which stands for a space and a word
            return [self._tokenizer.decode([number]) for number in numbers]
        return list(self._tokenizer.convert_ids_to_tokens(numbers))

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say together."""
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def tokenize(self, texts: Sequence[str], partners: Sequence[str] | None, most: int | None) -> Encoded:
        """Numbers of texts, each framed as the model knows it.

        Arguments:
            texts: to tokenize.
            partners: a second text for each, for models of pairs.
            most: cut what is longer; None cuts nothing.
        """
        options: dict[str, Any] = {"truncation": most is not None, "padding": False, "verbose": False}
        options |= {"max_length": most, "return_token_type_ids": True, "return_attention_mask": False}
        encoded = self._tokenizer(list(texts), None if partners is None else list(partners), **options)
        return Encoded(encoded["input_ids"], encoded["token_type_ids"])

    def located(self, text: str, *, framed: bool) -> tuple[list[int], list[int]]:
        """Numbers of the tokens of a text, and where in it each begins; -1 of those that are none of its own.

        Arguments:
            text: to tokenize.
            framed: with the special tokens that the model knows texts with.
        """
        encoded = self._tokenizer(
            text, add_special_tokens=framed, return_offsets_mapping=True, return_special_tokens_mask=True,
            truncation=False, verbose=False,
        )  # fmt: skip
        added = encoded["special_tokens_mask"] if framed else [0] * len(encoded["input_ids"])
        starts = [-1 if own else begin for own, (begin, _) in zip(added, encoded["offset_mapping"], strict=True)]
        return list(encoded["input_ids"]), starts

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation as the model's template writes it, up to where the answer begins.

        Raises:
            DataError: the tokenizer has no template, or it does not take these messages.
        """
        if not self._tokenizer.chat_template:
            raise DataError(
                "dataset.chat: the tokenizer has no chat template. Leave chat out and write the prompts as the "
                "model knows them, or save the template with the tokenizer."
            )
        try:
            return str(
                self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            )
        except Exception as error:  # a template is a program, which raises what it likes
            raise DataError(f"dataset.chat: the template does not take these messages: {error}") from error

    def _load(self, path: Path) -> Any:
        file = path / "tokenizer.json" if path.is_dir() else path
        fast = self._library.PreTrainedTokenizerFast
        try:
            with quiet(self._library):
                if path.is_file():
                    return fast(tokenizer_file=str(path))
                try:
                    return self._library.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
                except (OSError, ValueError):
                    if not file.is_file():
                        raise
                    return fast.from_pretrained(str(path), local_files_only=True)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise DataError(
                f"dataset.tokenizer: {path} holds no tokenizer that can be read ({type(error).__name__}: "
                f"{reason}). A folder with tokenizer.json, as save_pretrained writes it, is needed."
            ) from error


def _special_tokens(tokenizer: Any) -> dict[str, int]:
    """Name -> number of the special tokens that a tokenizer has."""
    vocabulary = tokenizer.get_vocab()
    special: dict[str, int] = {}
    for name, spellings in _NAMED.items():
        candidates = [getattr(tokenizer, f"{name}_token_id", None), *map(vocabulary.get, spellings)]
        numbers = [int(number) for number in candidates if number is not None]
        if numbers:
            special[name] = numbers[0]
    return special
