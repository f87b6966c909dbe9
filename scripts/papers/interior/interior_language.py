"""Interior gradients of an LSTM language model: which earlier words decide the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from paper_networks import NextWord, next_word

from scripts.benchmarks.benchlib import Table
from scripts.networks.language_training import train_next_word
from scripts.papers.interior.interior_paths import (
    gradient_claim,
    layers_claim,
    paths_of,
    saturation_claim,
    sum_claim,
)
from scripts.papers.paper_jobs import Claim, claim_table, rank_correlation, removal_claim, run_config, trained_once
from xattr_cli.store.results.reader import Results

__all__ = ["Context", "contexts_of", "tables"]

METHODS = {"interior_gradients": "interior gradients", "input_x_gradient": "input × gradient"}
LEAST_CHANGE = 0.1  # of a probability, for its path to be worth looking at
FARTHEST = 6
_SHOWN = 15


@dataclass(frozen=True)
class Context:
    """The beginning of a sentence, and what its words do to the chance of the next one.

    Attributes:
        words: with the mark of the beginning.
        ids: (words,) of the vocabulary.
        following: the next word, and its number.
        chance: of the next word.
        contributions: method -> (words,).
    """

    words: tuple[str, ...]
    ids: np.ndarray
    following: tuple[str, int]
    chance: float
    contributions: dict[str, np.ndarray]


def tables(folder: Path, quick: bool) -> list[Table]:
    """Train, follow the chance along the way, and leave words out."""
    sizes = {"epochs": 1, "sentences": 1200, "shown": 8, "least": 0.003} if quick else {}
    trained = trained_once(folder, lambda: train_next_word(folder, **sizes))
    paths = {
        "model.checkpoint": folder / "model.pt",
        "dataset.path": folder / "contexts.txt",
        "dataset.tokenizer": folder / "tokenizer",
    }
    with Results.open(run_config("next_word", folder, paths, plots=not quick)) as results:
        way = paths_of(results.engine("interior_gradients"), 0 if quick else LEAST_CHANGE)
        layers = layers_claim(results.engine("interior_gradients"))
        found = contexts_of(results)
    network = next_word()
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    claims = [
        saturation_claim(way, "probability"), layers, gradient_claim(way), sum_claim(way),
        agreement_claim(network, found), words_claim(network, found),
    ]  # fmt: skip
    note = (
        f"{len(found)} beginnings of held-out sentences whose next word it expects; saturation over the "
        f"{len(way.score)} whose chance changes by {LEAST_CHANGE} or more. All embeddings are 0 at the baseline."
    )
    return [claim_table(f"The next word: {trained}", claims, note), context_table(found), distance_table(found)]


def contexts_of(results: Results) -> list[Context]:
    """All rows of the result of the job `next_word`."""
    ids, found = results.inputs["input_ids"], []
    scores = results.engine("interior_gradients").score_input
    maps = {name: results.engine(name).reduced(slice(None)) for name in METHODS}
    for row, sample in enumerate(results.rows.sample):
        words = results.inputs[results.explained[0]].tokens(int(sample))
        target = int(results.rows.target[row])
        found.append(
            Context(
                words,
                ids.values([sample])[0, : len(words)],
                (results.class_name(target), target),
                float(scores[row]),
                {name: values[row, : len(words)] for name, values in maps.items()},
            )
        )
    return found


# --- claims ---------------------------------------------------------------------------------------


def chance_without(network: NextWord, context: Context, left_out: Sequence[int]) -> float:
    """Chance of the next word when the vectors of some words are 0."""
    vectors = network.embedding(torch.from_numpy(context.ids)[None])
    vectors[0, [*left_out]] = 0
    logits = network.logits(network.recurrence(vectors)[0][0, -1])
    return float(logits.softmax(dim=0)[context.following[1]])


@torch.no_grad()
def agreement_claim(network: NextWord, found: Sequence[Context]) -> Claim:
    """Against leaving words out one by one."""
    network.eval()
    agreement: dict[str, list[float]] = {name: [] for name in METHODS}
    for context in found:
        losses = [
            context.chance - chance_without(network, context, [place]) for place in range(len(context.words))
        ]
        for name, values in agreement.items():
            values.append(rank_correlation(context.contributions[name], np.array(losses)))
    means = {name: float(np.nanmean(values)) for name, values in agreement.items()}
    text = ", ".join(f"{label} {means[name]:+.2f}" for name, label in METHODS.items())
    own, other = means.values()
    return Claim(
        "Interior gradients tell how much each word matters, better than gradients at the input do",
        f"rank correlation with what leaving out one word costs, mean over contexts: {text}",
        "yes" if own > other + 0.05 and own > 0.3 else "in part" if own > 0.3 else "no",
    )


@torch.no_grad()
def words_claim(network: NextWord, found: Sequence[Context], count: int = 2) -> Claim:
    rng = np.random.default_rng(0)
    orders = {label: [np.argsort(-c.contributions[name]) for c in found] for name, label in METHODS.items()}
    orders["at random"] = [rng.permutation(len(c.words)) for c in found]
    falls = {
        label: np.array(
            [c.chance - chance_without(network, c, order[:count]) for c, order in zip(found, each, strict=True)]
        )
        for label, each in orders.items()
    }  # fmt: skip
    what = f"fall of the chance without the {count} words that a method names"
    return removal_claim("The words that they name matter to the network", what, falls, f"Language model, {what}")


# --- tables ---------------------------------------------------------------------------------------


def distance_shares(found: Sequence[Context], method: str = "interior_gradients") -> np.ndarray:
    """(FARTHEST + 1,) mean share of the absolute attribution of the last word, the one before, …, the rest."""
    shares = np.zeros((len(found), FARTHEST + 1))
    for row, context in enumerate(found):
        values = np.abs(context.contributions[method])[::-1] / np.abs(context.contributions[method]).sum()
        near = values[:FARTHEST]
        shares[row, : len(near)] = near
        shares[row, FARTHEST] = values[FARTHEST:].sum()
    return shares.mean(axis=0)


def distance_table(found: Sequence[Context]) -> Table:
    shares = [distance_shares(found, name) for name in METHODS]
    names = [*map(str, range(1, FARTHEST + 1)), "more"]
    rows = [[name, *map(float, values)] for name, *values in zip(names, *shares, strict=True)]
    columns = {"words back": "", **{f"share of {label}": ".1%" for label in METHODS.values()}}
    last = [np.argmax(np.abs(c.contributions["interior_gradients"])) == len(c.words) - 1 for c in found]
    note = (
        "Of the absolute attribution, mean over contexts; 1 is the last word, which has the most in "
        f"{np.mean(last):.0%} of the contexts."
    )
    return Table("How far back the network looks", columns, rows, note)


def context_table(found: Sequence[Context]) -> Table:
    rows = []
    for context in sorted(found, key=lambda context: -context.chance)[:_SHOWN]:
        values = context.contributions["interior_gradients"]
        told = ", ".join(f"{context.words[p]} {values[p]:+.2f}" for p in np.argsort(-np.abs(values))[:3])
        rows.append([" ".join(context.words[1:]), context.following[0], context.chance, told])
    columns = {"beginning": "", "next word": "", "chance": ".2f", "words that decide": ""}
    return Table(
        "Words that decide the next one", columns, rows, "Contributions to its chance; the surest contexts."
    )
