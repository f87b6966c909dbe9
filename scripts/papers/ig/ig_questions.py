"""Question classification: rules that attributions extract, checked by predicting with them alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.benchmarks.benchlib import Table
from scripts.networks.questions import CLASSES, predictions, questions, train_questions
from scripts.papers.paper_jobs import Claim, claim_table, mean_of, run_sections
from xattr_cli.reports.gallery import plot_all
from xattr_cli.reports.html.phrases import Phrase, phrases

__all__ = ["Rules", "by_rules", "tables"]

FOLDS = 5
MOST = 40  # rules of a class
SHOWN = 6

Rules = Mapping[int, Sequence[Phrase]]
"""Class -> phrases that raise its score, the surest first."""


@dataclass(frozen=True)
class Fold:
    """A network that was trained without a fifth of the questions.

    Attributes:
        rules: extracted over those that it was trained with.
        labels, given, ruled: (held out,) what they ask for, what the network says, and what its rules say.
        common: (held out,) the class that most training questions have.
    """

    rules: Rules
    labels: np.ndarray
    given: np.ndarray
    ruled: np.ndarray
    common: np.ndarray


def tables(folder: Path, quick: bool) -> list[Table]:
    """Five folds."""
    texts, labels = questions()
    if quick:
        texts, labels = texts[:60], labels[:60]
    order = np.random.default_rng(0).permutation(len(texts))
    parts = np.array_split(order, FOLDS)
    found = [
        _fold(folder / str(fold), texts, labels, parts[fold], fold, quick) for fold in range(1 if quick else FOLDS)
    ]
    title = f"Question classification: {len(texts)} real questions, {len(found)} networks (MiniLM, end trained)"
    note = (
        "The table questions of the paper are not to be had here: these are trivia questions of the package "
        "chatterbot-corpus 1.3.3, and what they ask for was labelled by hand after TREC's coarse classes."
    )
    return [claim_table(title, _claims(found), note), _rule_table(found)]


def _fold(
    folder: Path, texts: Sequence[str], labels: np.ndarray, held_out: np.ndarray, seed: int, quick: bool
) -> Fold:
    folder.mkdir(parents=True, exist_ok=True)
    training = np.setdiff1d(np.arange(len(texts)), held_out)
    known, unknown = [texts[n] for n in training], [texts[n] for n in held_out]
    train_questions(folder, known, labels[training], seed, epochs=2 if quick else 6)
    with (folder / "known.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([text] for text in known)])
    job = {
        "model": {"kind": "transformers", "path": "model"},
        "dataset": {"kind": "text", "path": "known.csv"},
        "explain": {"embedding": "auto", "reduce": "sum", "store": "reduced"},
        "target": "predicted",
        "score": "margin",
        "engines": {"integrated_gradients": {"baseline": {"kind": "token", "token": "pad"}, "rtol": 0.1}},
    }
    with run_sections(folder, job, "questions") as results:
        engine = results.engine("integrated_gradients")
        found = phrases(results, engine, results.explained[0], range(len(CLASSES)), MOST)
        if seed == 0:
            plot_all(results, folder / "plots", kinds=["tokens"])
    rules = {one.target: one.raise_ for one in found}
    common = int(np.bincount(labels[training]).argmax())
    return Fold(
        rules, labels[held_out], predictions(folder, unknown), by_rules(rules, unknown, common),
        np.full(len(held_out), common),
    )  # fmt: skip


def by_rules(rules: Rules, texts: Sequence[str], otherwise: int) -> np.ndarray:
    """(n,) classes of texts whose rules together are surest to raise them; `otherwise` where no rule applies."""
    found = []
    for text in texts:
        words = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text.lower()).split())} "
        sums = {
            target: sum(rule.surely for rule in own if f" {rule.text} " in words) for target, own in rules.items()
        }
        best = max(sums, key=lambda target: sums[target], default=otherwise)
        found.append(best if sums.get(best, 0) > 0 else otherwise)
    return np.array(found)


def _claims(found: Sequence[Fold]) -> list[Claim]:
    network, ruled, common, agreeing = (
        [float((one == other).mean()) for one, other in pairs]
        for pairs in (
            [(fold.given, fold.labels) for fold in found],
            [(fold.ruled, fold.labels) for fold in found],
            [(fold.common, fold.labels) for fold in found],
            [(fold.ruled, fold.given) for fold in found],
        )
    )
    triggers = ", ".join(
        f"{CLASSES[target]}: {', '.join(f'“{rule.text}”' for rule in own[:3])}"
        for target, own in found[0].rules.items()
    )
    expected = {0: ("who",), 1: ("where", "country", "city"), 2: ("how many", "year")}
    named = [
        any(word in f" {rule.text} " for rule in fold.rules.get(target, ())[:10] for word in words)
        for fold in found for target, words in expected.items()
    ]  # fmt: skip
    return [
        Claim(
            "Attributions find trigger phrases that make sense, such as “how many” and “who”",
            f"surest phrases of the first network: {triggers}; the words that one would expect (who; where, "
            f"country, city; how many, year) are among the first ten of their class in {np.mean(named):.0%}",
            "yes" if np.mean(named) >= 0.9 else "in part" if np.mean(named) > 0.5 else "no",
        ),
        Claim(
            "The phrases are rules: they can be checked by predicting with them alone",
            f"held-out questions right: network {mean_of(network)}, its rules alone {mean_of(ruled)}, the "
            f"commonest class {mean_of(common)}; rules say what the network says in {mean_of(agreeing)}",
            "yes" if np.mean(ruled) > np.mean(common) + 0.5 * (np.mean(network) - np.mean(common)) else "in part"
            if np.mean(ruled) > np.mean(common) else "no",
            f"Real questions: held out, the network is right in {np.mean(network):.0%}, the phrases that it rests "
            f"on alone in {np.mean(ruled):.0%}, the commonest class in {np.mean(common):.0%}.",
        ),
    ]  # fmt: skip


def _rule_table(found: Sequence[Fold]) -> Table:
    rows = [
        [CLASSES[target], rule.text, rule.texts, rule.mean, rule.error, _in_folds(found, target, rule.text)]
        for target, own in found[0].rules.items()
        for rule in own[:SHOWN]
    ]
    columns = {
        "asks for": "", "phrase": "", "questions with it": "d", "mean attribution": "+.2f", "its error": ".2f",
        "among the rules of": "",
    }  # fmt: skip
    note = (
        "Phrases of one to three words in at least three questions that the first network takes for the class, "
        "integrated gradients of its log-odds against the best other class, padding as baseline; by the nearer "
        "end of the 95 % interval of the mean."
    )
    return Table("Question classification: rules", columns, rows, note)


def _in_folds(found: Sequence[Fold], target: int, text: str) -> str:
    having = sum(any(rule.text == text for rule in fold.rules.get(target, ())) for fold in found)
    return f"{having} of {len(found)} networks"
