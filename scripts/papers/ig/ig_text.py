"""Integrated gradients on a sentiment classifier: which words decide what it makes of a snippet of a review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from scripts.benchmarks.benchlib import Table
from scripts.networks.language_training import train_movies
from scripts.networks.snippets import lexicon
from scripts.papers.paper_jobs import Claim, accuracy_claim, claim_table, removal_claim, run_config, trained_once
from xattr_cli.store.results.reader import Results

__all__ = ["METHODS", "Reading", "readings", "tables", "whole_words"]

METHODS = {"integrated_gradients": "integrated gradients", "input_x_gradient": "input × gradient"}
_SHOWN = 12


@dataclass(frozen=True)
class Reading:
    """What the words of a snippet do to the chance of the predicted class.

    Attributes:
        words: of the snippet.
        places: the tokens that each is made of.
        contributions: method -> (words,) sums over their tokens.
        positive: whether the snippet is taken for a positive one.
        chance: of that.
        rise: of the chance above that of a text of padding.
    """

    words: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    contributions: dict[str, np.ndarray]
    positive: bool
    chance: float
    rise: float


def tables(folder: Path, quick: bool) -> list[Table]:
    """Train, explain, and compare with what people think of words."""
    sizes = {"training": 48, "held_out": 24, "shown": 6, "epochs": 1} if quick else {}
    trained = trained_once(folder, lambda: train_movies(folder, **sizes))
    paths = {"model.path": folder / "model", "dataset.path": folder / "test.csv"}
    with Results.open(run_config("movies", folder, paths, plots=not quick)) as results:
        found = readings(results)
        steps = accuracy_claim(results.engine("integrated_gradients"))
    claims = [steps, sum_claim(found), sign_claim(found), padding_claim(folder / "model", found)]
    return [
        claim_table(f"Movie snippets: {trained}", claims, note=f"{len(found)} held-out snippets; PAD baseline."),
        word_table(found[:_SHOWN]),
    ]


def readings(results: Results) -> list[Reading]:
    """All rows of the result of the job `movies`."""
    tensor, rows = results.explained[0], results.rows
    maps = {name: results.engine(name).reduced(slice(None)) for name in METHODS}
    scores = results.engine("integrated_gradients")
    found = []
    for row, sample in enumerate(rows.sample):
        words, places = whole_words(results.inputs[tensor].tokens(int(sample)))
        sums = {name: np.array([values[row, [*place]].sum() for place in places]) for name, values in maps.items()}
        rise = scores.score_input[row] - scores.score_baseline[row]
        chance = float(scores.score_input[row])
        found.append(Reading(words, places, sums, bool(rows.target[row] == 1), chance, float(rise)))
    return found


def whole_words(tokens: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Words, and the numbers of the word pieces that each is made of; [CLS] and [SEP] are none."""
    words: list[str] = []
    places: list[tuple[int, ...]] = []
    for place, token in enumerate(tokens):
        if token.startswith("##") and words:
            words[-1] += token[2:]
            places[-1] += (place,)
        elif token not in ("[CLS]", "[SEP]"):
            words.append(token)
            places.append((place,))
    return tuple(words), tuple(places)


# --- claims ---------------------------------------------------------------------------------------


def sum_claim(found: Sequence[Reading]) -> Claim:
    whole = {name: np.array([abs(reading.contributions[name].sum() / reading.rise - 1) for reading in found])
             for name in METHODS}  # fmt: skip
    text = ", ".join(f"{label} {np.median(whole[name]):.0%}" for name, label in METHODS.items())
    return Claim(
        "Attributions add up to the change of the score; gradients do not",
        f"distance of the sum over words from the rise of the chance, median over snippets: {text} "
        "([CLS] and [SEP] do not change)",
        "yes" if np.median(whole["integrated_gradients"]) < 0.05 < np.median(whole["input_x_gradient"]) else "no",
    )


def sign_claim(found: Sequence[Reading]) -> Claim:
    """Words that people call good should speak for the positive class, and bad ones against it."""
    agreement = {name: agreement_with_people(found, name) for name in METHODS}
    text = "; ".join(
        f"{label}: {right:.0%} of {count} words have people's sign, and their share of the absolute attribution "
        f"is {share:.0%}"
        for (right, count, share), label in zip(agreement.values(), METHODS.values(), strict=True)
    )
    portion = share_of_known_words(found)
    right, _, share = agreement["integrated_gradients"]
    return Claim(
        "The words that decide are those that make sense to people (trigger phrases of a question classifier)",
        f"against a lexicon of words that people rated, which has {portion:.0%} of all words: {text}",
        "yes" if right > 0.75 and share > 1.5 * portion else "in part" if right > 0.6 else "no",
    )


def agreement_with_people(found: Sequence[Reading], method: str) -> tuple[float, int, float]:
    """Share of rated words with the sign of their rating, their number, and their share of the attribution."""
    known = lexicon()
    right, count, theirs, total = 0, 0, 0.0, 0.0
    for reading in found:
        towards_positive = reading.contributions[method] * (1 if reading.positive else -1)
        total += float(np.abs(towards_positive).sum())
        for word, value in zip(reading.words, towards_positive, strict=True):
            if word in known:
                right += bool(value * known[word] > 0)
                count += 1
                theirs += abs(float(value))
    return right / max(count, 1), count, theirs / total


def share_of_known_words(found: Sequence[Reading]) -> float:
    known = lexicon()
    words = [word for reading in found for word in reading.words]
    return sum(word in known for word in words) / len(words)


def padding_claim(folder: Path, found: Sequence[Reading], count: int = 3) -> Claim:
    """Padding in place of the words that speak most for the predicted class, or of some at random."""
    rng = np.random.default_rng(0)
    orders = {label: [np.argsort(-r.contributions[name]) for r in found] for name, label in METHODS.items()}
    orders["at random"] = [rng.permutation(len(r.words)) for r in found]
    fall = {label: falls(folder, found, [o[:count] for o in order]) for label, order in orders.items()}
    what = f"fall of the chance when the {count} words that a method names are padded"
    return removal_claim(
        "They matter to the network: without them the score falls", what, fall, f"Reviews, {what}"
    )


def falls(folder: Path, found: Sequence[Reading], removed: Sequence[np.ndarray]) -> np.ndarray:
    """(snippets,) fall of the chance of the predicted class."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    fallen = []
    for reading, words in zip(found, removed, strict=True):
        given = tokenizer(" ".join(reading.words), return_tensors="pt")
        changed = given["input_ids"].clone()
        for word in words:
            changed[0, [*reading.places[word]]] = tokenizer.pad_token_id
        with torch.no_grad():
            chances = [network(ids, given["attention_mask"]).logits.softmax(1)[0, int(reading.positive)]
                       for ids in (given["input_ids"], changed)]  # fmt: skip
        fallen.append(float(chances[0] - chances[1]))
    return np.array(fallen)


def word_table(found: Sequence[Reading]) -> Table:
    rows = []
    for reading in found:
        values = reading.contributions["integrated_gradients"]
        order = np.argsort(-np.abs(values))[:4]
        told = ", ".join(f"{reading.words[place]} {values[place]:+.2f}" for place in order)
        rows.append(
            [" ".join(reading.words), "positive" if reading.positive else "negative", reading.chance, told]
        )
    columns = {"snippet": "", "taken for": "", "chance": ".2f", "words that decide": ""}
    return Table("Words that decide", columns, rows, "Contributions to the chance of the class it is taken for.")
