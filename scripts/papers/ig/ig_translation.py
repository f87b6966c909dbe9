"""Alignment of a small translation network: which word that it reads each word that it writes comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scripts.benchmarks.benchlib import Table
from scripts.networks.translation import FEMININE, LENGTH, NOUNS, encoded, phrases, train_translator
from scripts.papers.paper_jobs import Claim, claim_table, mean_of, run_sections
from xattr_cli.store.results.reader import Results

__all__ = ["Alignment", "tables"]

SEEDS, ROWS = 5, 40
METHODS = {"integrated_gradients": "integrated gradients", "input_x_gradient": "input × gradient"}
KINDS = ("name", "verb", "negation", "article", "noun", "adjective")


@dataclass(frozen=True)
class Alignment:
    """One network's sentences.

    Attributes:
        right: share of the words that it translates as it should.
        pairs: English, French, and where each French word comes from.
        maps: method -> (sentences, French places, English places) attributions of the log-probability.
    """

    right: float
    pairs: Sequence[tuple[list[str], list[str], list[int]]]
    maps: dict[str, np.ndarray]

    def hits(self, method: str) -> list[tuple[str, bool, bool]]:
        """Of every French word: its kind, and whether the greatest attribution lies on its origin, or at least on
        that or the noun that it agrees with."""
        found = []
        for row, (english, french, origins) in enumerate(self.pairs):
            noun = next(place for place, word in enumerate(english) if word in NOUNS)
            for place, origin in enumerate(origins):
                best = int(self.maps[method][row, place, : len(english)].argmax())
                found.append((_kind(english, french, place, origin), best == origin, best in (origin, noun)))
        return found


def _kind(english: Sequence[str], french: Sequence[str], place: int, origin: int) -> str:
    word = english[origin]
    if word in NOUNS:
        return "noun"
    if word in ("the", "a"):
        return "article"
    if word == "not":
        return "negation"
    return "name" if origin == 0 else "verb" if place < french.index(_translated(english, french)) else "adjective"


def _translated(english: Sequence[str], french: Sequence[str]) -> str:
    """The French noun."""
    return next(NOUNS[word] for word in english if word in NOUNS and NOUNS[word] in french)


def tables(folder: Path, quick: bool) -> list[Table]:
    """Five networks."""
    found = [_alignment(folder / str(seed), seed, quick) for seed in range(1 if quick else SEEDS)]
    draw(folder / "alignment.png", found[0])
    right = mean_of([100 * one.right for one in found], ".1f")
    title = f"Translation: GRUs with no attention, {len(found)} networks, {right} % of the held-out words right"
    note = (
        "A language made for this: English sentences of 4 to 6 words to French ones, in which adjectives follow "
        "the noun, "
        "article and adjective agree with it, and “not” stands around the verb, so that every origin is known."
    )
    return [claim_table(title, _claims(found), note), _kind_table(found)]


def _alignment(folder: Path, seed: int, quick: bool) -> Alignment:
    folder.mkdir(parents=True, exist_ok=True)
    right = train_translator(folder, seed, epochs=1 if quick else 12)
    pairs = phrases(6 if quick else ROWS, 1000 + seed)
    source, target = encoded(pairs)
    np.savez(folder / "pairs.npz", source=source, target=target)
    job = {
        "model": {
            "kind": "python",
            "factory": "scripts.networks.translation:translator",
            "checkpoint": "model.pt",
        },
        "dataset": {"kind": "arrays", "path": "pairs.npz", "inputs": ["source", "target"]},
        "explain": {"embedding": "read_words", "reduce": "sum", "store": "reduced"},
        "target": "all",
        "score": "raw",
        "engines": {"integrated_gradients": {"baseline": {"kind": "zero"}, "rtol": 0.05}, "input_x_gradient": {}},
    }
    with run_sections(folder, job, "alignment") as results:
        maps = {name: _by_place(results, name, len(pairs)) for name in METHODS}
    return Alignment(right, pairs, maps)


def _by_place(results: Results, engine: str, count: int) -> np.ndarray:
    """(sentences, French places, English places)."""
    values = results.engine(engine).reduced(slice(None)).reshape(len(results.rows), LENGTH)
    found = np.zeros((count, LENGTH, LENGTH))
    found[results.rows.sample, results.rows.target] = values
    return found


def _share(hits: Sequence[tuple[str, bool, bool]], which: int, kind: str | None = None) -> float:
    own = [hit[which] for hit in hits if kind in (None, hit[0])]
    return float(np.mean(own)) if own else float("nan")


def _claims(found: Sequence[Alignment]) -> list[Claim]:
    own, other = ([_share(one.hits(name), 1) for one in found] for name in METHODS)
    loose = [_share(one.hits("integrated_gradients"), 2) for one in found]
    chance = np.mean([1 / len(english) for one in found for english, french, _ in one.pairs for _ in french])
    gender = [_gender(one) for one in found]
    ahead = sum(a > b for a, b in zip(own, other, strict=True))
    return [
        Claim(
            "Integrated gradients align what a translation network writes with what it has read",
            f"the greatest attribution of a written word lies on the word that it comes from in {mean_of(own)} "
            f"(chance {chance:.2f}), and on that or the noun that it agrees with in {mean_of(loose)}; input × "
            f"gradient: {mean_of(other)}, less in {ahead} of {len(found)} networks",
            "yes" if np.mean(own) > 0.8 else "in part" if np.mean(own) > 2 * chance else "no",
            f"Translation without attention: {np.mean(own):.0%} of the written words are aligned with their "
            f"origin (chance {chance:.0%}, input × gradient {np.mean(other):.0%}).",
        ),
        Claim(
            "Alignments show what a word depends on beside its origin (here the gender of the noun)",
            "share of the absolute attribution that the noun has of an article (le, la, un, une), "
            f"{mean_of([both[0] for both in gender])}, against {mean_of([both[1] for both in gender])} that it "
            "has of the verb, which does not agree with it",
            "yes" if all(both[0] > both[1] for both in gender) else "in part",
        ),
    ]  # fmt: skip


def _gender(one: Alignment) -> tuple[float, float]:
    """Mean share of the noun in the attributions of articles, and of verbs."""
    shares: dict[str, list[float]] = {"article": [], "verb": []}
    for row, (english, french, origins) in enumerate(one.pairs):
        noun = next(place for place, word in enumerate(english) if word in NOUNS)
        for place, origin in enumerate(origins):
            kind = _kind(english, french, place, origin)
            if kind in shares:
                values = np.abs(one.maps["integrated_gradients"][row, place, : len(english)])
                shares[kind].append(float(values[noun] / values.sum()))
    return float(np.mean(shares["article"])), float(np.mean(shares["verb"]))


def _kind_table(found: Sequence[Alignment]) -> Table:
    rows = [
        [kind, *(mean_of([_share(one.hits(name), 1, kind) for one in found]) for name in METHODS)]
        for kind in KINDS
    ]
    columns = {"written word": "", **{f"on its origin, {label}": "" for label in METHODS.values()}}
    note = (
        f"Mean ± standard deviation over networks, {ROWS} held-out sentences each; {len(FEMININE)} of "
        f"{len(NOUNS)} nouns are feminine."
    )
    return Table("Translation: alignment by kind of word", columns, rows, note)


def draw(path: Path, found: Alignment) -> None:
    """Three sentences, written words against read ones."""
    shown = [row for row, (english, _, _) in enumerate(found.pairs) if len(english) == 6][:3] or [0]
    figure, panels = plt.subplots(
        1, len(shown), figsize=(3.4 * len(shown), 3.2), squeeze=False, layout="constrained"
    )
    for panel, row in zip(panels[0], shown, strict=True):
        english, french, origins = found.pairs[row]
        values = found.maps["integrated_gradients"][row, : len(french), : len(english)]
        values = values / np.abs(values).max(
            axis=1, keepdims=True
        )  # a word that had to come has little to share out
        panel.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        panel.scatter(origins, range(len(french)), s=14, facecolors="none", edgecolors="k")
        panel.set_xticks(range(len(english)), english, rotation=60)
        panel.set_yticks(range(len(french)), french)
    panels[0][0].set_title("circles: where the word comes from", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
