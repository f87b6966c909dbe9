"""Negation and repeated adjectives in a sentiment transformer: what interactions tell, and what a random one says.

The network is MiniLM with its last layer and a head trained on snippets of film reviews; the paper's is DistilBERT
on SST-2, of the same kind. Its rival is the same architecture with random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from matplotlib.figure import Figure

from scripts.benchmarks.benchlib import Table
from scripts.networks.language_training import train_movies
from scripts.papers.paper_jobs import Claim, claim_table, mean_of, run_sections, trained_once
from xattr_cli.reports.drawing.style import diverging_map, styled
from xattr_cli.reports.interactions.matrix import row_matrix

__all__ = ["Sentence", "adjective_pairs", "negation", "tables"]

GOOD, BAD = ("good", "great", "charming", "funny", "moving"), ("bad", "dull", "boring", "terrible", "awful")
NOT = "not"
SEEDS = 5


@dataclass(frozen=True)
class Sentence:
    """One sentence explained.

    Attributes:
        words: its tokens.
        change: of the log-odds of praise from padding to the sentence.
        matrix: (words, words) interactions.
    """

    words: tuple[str, ...]
    change: float
    matrix: np.ndarray

    def pair(self, one: str, other: str) -> float:
        """Γ + Γᵀ of two words."""
        first, second = self.words.index(one), self.words.index(other)
        return float(self.matrix[first, second] + self.matrix[second, first])

    def main(self, word: str) -> float:
        """What a word does alone."""
        place = self.words.index(word)
        return float(self.matrix[place, place])

    @property
    def size(self) -> float:
        """Of all interactions between words, relative to all main effects."""
        main = np.abs(np.diag(self.matrix)).sum()
        return float((np.abs(self.matrix).sum() - main) / main)


def sentences() -> list[str]:
    """Six negations, and four with three adjectives of one side."""
    negated = [f"the film is {NOT} {word}" for pair in zip(BAD[:3], GOOD[:3], strict=True) for word in pair]
    repeated = [f"a {words[k]} {words[k + 1]} and {words[k + 2]} film" for k in (0, 2) for words in (BAD, GOOD)]
    return negated + repeated


def tables(folder: Path, quick: bool) -> list[Table]:
    """The trained network, and random ones."""
    sizes = {"training": 48, "held_out": 24, "shown": 6, "epochs": 1} if quick else {}
    told = trained_once(folder, lambda: train_movies(folder, **sizes))
    asked = sentences()[:: 6 if quick else 1]
    trained = explained(folder, folder / "model", asked)
    random = []
    for seed in range(1 if quick else SEEDS):
        own = folder / f"random-{seed}"
        randomised(folder / "model", own / "model", seed)
        random.append(explained(own, own / "model", asked[:1]))
    draw(trained, folder / "negation.png")
    claims = [*_claims(trained), _random_claim(trained, random)]
    return [claim_table(f"Negation and repeated adjectives: {told}", claims), _sentence_table(trained)]


def randomised(model: Path, folder: Path, seed: int) -> None:
    """The same architecture and tokenizer with weights that nobody trained."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.from_pretrained(model, local_files_only=True)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(model, local_files_only=True).save_pretrained(folder)


def explained(folder: Path, model: Path, asked: Sequence[str]) -> list[Sentence]:
    """Interactions of the tokens of sentences, for the log-odds of praise."""
    (folder / "sentences.txt").write_text("\n".join(asked) + "\n", encoding="utf-8")
    job = {
        "model": {"kind": "transformers", "path": str(model.resolve())},
        "dataset": {"kind": "text", "path": "sentences.txt"},
        "explain": {"embedding": "auto", "store": "reduced"},
        "target": {"index": 1},
        "score": {"margin": {"against": "negative"}},
        "engines": {"integrated_hessians": {"baseline": {"kind": "token", "token": "pad"}, "groups": "tokens",
                                            "rtol": 0.1}},
    }  # fmt: skip
    with run_sections(folder, job, "negation") as results:
        engine = results.engine("integrated_hessians")
        found = []
        for row in range(len(results.rows)):
            matrix = row_matrix(results, engine, engine.interactions, row)
            change = float(engine.score_input[row] - engine.score_baseline[row])
            found.append(Sentence(tuple(matrix.rows), change, np.asarray(matrix.values)))
    return found


def negation(found: Sequence[Sentence]) -> list[tuple[float, float]]:
    """Of each sentence with "not": the adjective's interaction with it, and its main effect, in the direction of
    what the adjective says."""
    pairs = []
    for one in found:
        if NOT in one.words:
            word = next(each for each in one.words if each in GOOD + BAD)
            side = 1 if word in GOOD else -1
            pairs.append((side * one.pair(NOT, word), side * one.main(word)))
    return pairs


def adjective_pairs(found: Sequence[Sentence]) -> list[float]:
    """Of each pair of adjectives in a sentence without "not": their interaction in the direction of both."""
    values = []
    for one in found:
        words = [each for each in one.words if each in GOOD + BAD]
        if NOT not in one.words:
            side = 1 if words[0] in GOOD else -1
            values += [side * one.pair(a, b) for k, a in enumerate(words) for b in words[k + 1 :]]
    return values


def _claims(found: Sequence[Sentence]) -> list[Claim]:
    flips = np.array([pair for pair, _ in negation(found)])
    repeated = np.array(adjective_pairs(found))
    against, saturating = float((flips < 0).mean()), float((repeated < 0).mean())
    return [
        Claim(
            "Negation is an interaction: “not” and the adjective act together against what the adjective says",
            "Γ + Γᵀ of “not” and the adjective, positive where it strengthens the adjective: "
            f"{mean_of(flips, '+.2f')} of log-odds, below 0 in {against:.0%} of {len(flips)} sentences",
            "yes" if against >= 0.9 else "in part" if against > 0.6 else "no",
            f"Sentiment transformer: “not” and its adjective interact against the adjective in {against:.0%} of "
            "sentences.",
        ),
        Claim(
            "Repeated adjectives saturate: they interact against each other's main effect",
            f"Γ + Γᵀ of two adjectives of one side: {mean_of(repeated, '+.2f')}, below 0 in {saturating:.0%} of "
            f"{len(repeated)} pairs",
            "yes" if saturating >= 0.8 else "in part" if saturating > 0.6 else "no",
        ),
    ]


def _random_claim(trained: Sequence[Sentence], random: Sequence[Sequence[Sentence]]) -> Claim:
    own = [abs(pair) for pair, _ in negation(trained)]
    theirs = [np.mean([abs(pair) for pair, _ in negation(one)]) for one in random]
    signs = [float(np.mean([pair < 0 for pair, _ in negation(one)])) for one in random]
    ratio = float(np.mean(own) / np.mean(theirs))
    return Claim(
        "What is found is what was learnt: a network with random weights has no such interactions",
        f"|Γ + Γᵀ| of “not” and the adjective: trained {np.mean(own):.2f}, random {mean_of(theirs, '.4f')} of "
        f"log-odds ({len(random)} networks), {ratio:,.0f} times less, and against the adjective in "
        f"{np.mean(signs):.0%}; all interactions over all main effects: trained "
        f"{np.mean([one.size for one in trained]):.2f}, random "
        f"{np.mean([one.size for every in random for one in every]):.2f}",
        "yes" if ratio > 10 else "in part" if ratio > 2 else "no",
    )


def _sentence_table(found: Sequence[Sentence]) -> Table:
    rows = []
    for one in found:
        size = np.abs(one.matrix + one.matrix.T)
        np.fill_diagonal(size, 0)
        first, second = np.unravel_index(size.argmax(), size.shape)
        adjectives = ", ".join(f"{each} {one.main(each):+.2f}" for each in one.words if each in GOOD + BAD)
        strongest = (
            f"{one.words[first]} × {one.words[second]} {one.pair(one.words[first], one.words[second]):+.2f}"
        )
        rows.append([" ".join(one.words[1:-1]), one.change, adjectives, strongest])
    columns = {"sentence": "", "change of the log-odds": "+.2f", "main effects": "", "strongest pair, Γ + Γᵀ": ""}
    return Table(
        "Negation and repeated adjectives, sentence by sentence", columns, rows, "Padding is the baseline."
    )


@styled
def draw(found: Sequence[Sentence], path: Path) -> None:
    """The matrices of four sentences."""
    shown = [found[place] for place in (0, 1, 6, 7) if place < len(found)]
    figure = Figure(figsize=(3.0 * len(shown) + 0.8, 3.4), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    limit = max(float(np.abs(one.matrix).max()) for one in shown)
    for panel, one in zip(panels, shown, strict=True):
        inner = one.matrix[1:-1, 1:-1]
        picture = panel.imshow(inner, cmap=diverging_map(), vmin=-limit, vmax=limit)
        panel.set_xticks(range(len(inner)), one.words[1:-1], rotation=90)
        panel.set_yticks(range(len(inner)), one.words[1:-1])
        panel.set_title(f"log-odds {one.change:+.1f}")
    figure.colorbar(picture, ax=panels, label="Γ, log-odds of praise", shrink=0.8)
    figure.savefig(path, dpi=110)
