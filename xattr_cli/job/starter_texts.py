"""Sentences that `xattr-cli init --kind text` writes, and a tokenizer of their words."""

from __future__ import annotations

import csv
import io
import json

__all__ = ["TEXTS", "VOCABULARY", "texts_csv", "tokenizer_json"]

_POSITIVE = (
    "a warm and funny film", "the actors are wonderful", "i loved every minute", "a clever and moving story",
    "this is a great film", "the music is beautiful", "funny and full of life", "i would watch it again",
    "a wonderful story with great actors", "not a boring minute in it", "the best film of the year",
    "i loved the clever story",
)  # fmt: skip
_NEGATIVE = (
    "a cold and boring film", "the actors are awful", "i hated every minute", "a stupid and empty story",
    "this is a bad film", "the music is terrible", "boring and full of noise", "i would never watch it again",
    "an awful story with bad actors", "not a funny minute in it", "the worst film of the year",
    "i hated the stupid story",
)  # fmt: skip

TEXTS = tuple(
    (sentence, label)
    for pair in zip(_POSITIVE, _NEGATIVE, strict=True)
    for sentence, label in zip(pair, ("positive", "negative"), strict=True)
)
"""Sentences and their labels."""

VOCABULARY = ("[PAD]", "[UNK]", *sorted({word for sentence, _ in TEXTS for word in sentence.split()}))


def texts_csv() -> str:
    """The sentences as a .csv file.

    Example:
        >>> texts_csv().splitlines()[1]
        'a warm and funny film,positive'
    """
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("text", "label"), *TEXTS])
    return written.getvalue()


def tokenizer_json() -> str:
    """A tokenizer that splits at spaces, in the format of Hugging Face's tokenizers.

    Example:
        >>> json.loads(tokenizer_json())["model"]["vocab"]["[PAD]"]
        0
    """
    special = [
        {
            "id": number, "content": VOCABULARY[number], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for number in (0, 1)
    ]  # fmt: skip
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    return json.dumps({
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })  # fmt: skip
