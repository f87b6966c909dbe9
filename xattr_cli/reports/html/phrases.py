"""Which words and phrases move the score of a class, over all texts of a file: with counts and standard errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..rows.token_rows import TokenReader
from ..rows.token_words import Piece

__all__ = ["Phrase", "Phrases", "phrases", "words_of"]

_LONGEST = 3  # words of a phrase
_FEWEST = 3  # texts that a phrase stands in: fewer have no standard error to speak of
_NORMAL_95 = 1.959964
_MOST_TEXTS = 20_000


@dataclass(frozen=True)
class Phrase:
    """A word, or words in a row.

    Attributes:
        text: of it.
        texts: how many explained texts it stands in.
        mean: of its attribution, the sum over its tokens; first over a text, then over the texts.
        error: standard error of `mean` over the texts.
    """

    text: str
    texts: int
    mean: float
    error: float

    @property
    def surely(self) -> float:
        """The end of the 95 % interval of the mean that is nearer to zero; 0 if the interval holds zero."""
        nearer = max(abs(self.mean) - _student_95(self.texts - 1) * self.error, 0.0)
        return float(np.copysign(nearer, self.mean))


@dataclass(frozen=True)
class Phrases:
    """The phrases that most surely raise, and lower, the score of one target.

    Attributes:
        target: the explained output.
        texts: how many texts were explained for it.
        raise_, lower: the surest first.
    """

    target: int
    texts: int
    raise_: tuple[Phrase, ...]
    lower: tuple[Phrase, ...]


def _student_95(freedom: int) -> float:
    """97.5th percentile of Student's t, by its expansion around the normal one (Abramowitz & Stegun 26.7.5)."""
    z = _NORMAL_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, start=1)))


def phrases(
    results: Results, engine: EngineResults, tensor: str, targets: Sequence[int], most: int
) -> list[Phrases]:
    """Of every target that has texts, the phrases of one to three words in at least three of them.

    Of a phrase within a phrase that it never leaves, only the longer is told if its effect is not weaker.

    Arguments:
        tensor: whose steps are tokens.
        targets: explained outputs.
        most: phrases of each sign.
    """
    reader = TokenReader(results, tensor, [engine])
    return [found for target in targets if (found := _of_target(results, engine, reader, target, most)).texts]


def _of_target(results: Results, engine: EngineResults, reader: TokenReader, target: int, most: int) -> Phrases:
    rows = np.flatnonzero((results.rows.target == target) & (engine.status != Status.QUARANTINED))
    means: dict[tuple[str, ...], list[float]] = defaultdict(list)
    texts = 0
    for row in rows[:_MOST_TEXTS].tolist():
        pieces = reader.pieces(row)
        if not pieces:
            continue
        texts += 1
        values = reader.per_token(engine.reduced([row], reader.tensor), row)[0]
        for words, mean in _means_in(list(words_of(pieces, values))):
            means[words].append(mean)
    frequent = {words: _phrase(words, values) for words, values in means.items() if len(values) >= _FEWEST}
    ranked = sorted(_told(frequent), key=lambda phrase: -phrase.surely)
    raising = tuple(phrase for phrase in ranked[:most] if phrase.surely > 0)
    lowering = tuple(phrase for phrase in ranked[::-1][:most] if phrase.surely < 0)
    return Phrases(target, texts, raising, lowering)


def words_of(pieces: Sequence[Piece], values: np.ndarray) -> Iterator[tuple[str, float]]:
    """Words in small letters, and the sum of the attributions of their pieces; no punctuation, no special tokens.

    A mark of punctuation is given as an empty word, which no phrase spans.
    """
    text, total = "", 0.0
    for piece, value in [*zip(pieces, values.tolist(), strict=True), (Piece(".", False), 0.0)]:
        is_mark = not any(letter.isalnum() for letter in piece.text) or piece.text[:1] in "[<"
        if text and (is_mark or not piece.is_glued):
            yield text.lower(), total
            text, total = "", 0.0
        if is_mark:
            yield "", 0.0
        else:
            text, total = text + piece.text, total + value


def _means_in(words: Sequence[tuple[str, float]]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every phrase of a text, and its mean attribution there."""
    inside: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for length in range(1, _LONGEST + 1):
        for start in range(len(words) - length + 1):
            part = words[start : start + length]
            if all(word for word, _ in part):
                inside[tuple(word for word, _ in part)].append(sum(value for _, value in part))
    for phrase, values in inside.items():
        yield phrase, float(np.mean(values))


def _phrase(words: tuple[str, ...], values: Sequence[float]) -> Phrase:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Phrase(" ".join(words), len(values), float(np.mean(values)), error)


def _told(frequent: dict[tuple[str, ...], Phrase]) -> list[Phrase]:
    """All phrases but those that stand in a longer one only, unless they are surer than that."""
    hidden: set[tuple[str, ...]] = set()
    for words, phrase in frequent.items():
        for start in range(len(words)):
            for end in range(start + 1, len(words) + 1):
                inner = frequent.get(words[start:end])
                if inner is None or end - start == len(words):
                    continue
                if inner.texts == phrase.texts and abs(inner.surely) <= abs(phrase.surely):
                    hidden.add(words[start:end])
    return [phrase for words, phrase in frequent.items() if words not in hidden]
