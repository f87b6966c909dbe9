"""Rules of questions, alignments of translations, and implementations of one function."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "configs"))

from scripts.networks import questions
from scripts.networks.translation import SOURCE, TARGET, Translator, encoded, phrases
from scripts.papers.ig import ig_invariance
from scripts.papers.ig.ig_questions import by_rules
from scripts.papers.ig.ig_translation import Alignment
from xattr_cli.reports.html.phrases import Phrase

needs_questions = pytest.mark.skipif(not questions.is_there(), reason="the questions have not been fetched")


# --- questions ------------------------------------------------------------------------------------


@needs_questions
def test_questions_ask_for_what_they_are_labelled_with():
    texts, labels = questions.questions()
    assert len(texts) == 258
    named = dict(zip(texts, labels, strict=True))
    asks_for = {text: questions.CLASSES[label] for text, label in named.items()}
    assert all(asks_for[text] == "number" for text in texts if text.startswith("How many"))
    assert asks_for["Who was the 37th President of the United States?"] == "person"
    assert asks_for["Which African country was formerly known as Abyssinia?"] == "place"
    assert asks_for["What is the rarest M&M color?"] == "thing"


def test_rules_predict_by_the_surest_sum():
    rules = {0: [Phrase("who", 9, 1.0, 0.1)], 2: [Phrase("how many", 9, 0.8, 0.0), Phrase("year", 9, 0.7, 0.0)]}
    asked = [
        "Who wrote it?",
        "How many years?",
        "How many did the one who wrote it sell in a year?",
        "Why?",
        "Whose?",
    ]
    assert by_rules(rules, asked, otherwise=3).tolist() == [0, 2, 2, 3, 3]


# --- translations ---------------------------------------------------------------------------------


def test_origins_of_words():
    found = phrases(200, seed=0)
    for english, french, origins in found:
        assert len(french) == len(origins) <= 7
        assert english[origins[0]] == french[0]  # names stay
        assert french.count("ne") == french.count("pas") == english.count("not")
    _, french, origins = next(one for one in found if "not" not in one[0] and len(one[0]) == 5)
    assert origins == [0, 1, 2, 4, 3]  # the adjective follows its noun


def test_articles_agree_with_their_noun():
    for english, french, _ in phrases(200, seed=1):
        assert ("la" in french or "une" in french) == any(
            noun in english for noun in ("house", "car", "door", "table")
        )


def test_the_network_answers_log_probabilities_of_the_given_words():
    source, target = (torch.from_numpy(each) for each in encoded(phrases(3, seed=2)))
    network = Translator()
    assert source.max() < len(SOURCE)
    assert target.max() < len(TARGET)
    found = network(source, target)
    exact = network.logits(source, target).log_softmax(dim=2)
    assert found.shape == (3, 7)
    assert found[1, 2] == exact[1, 2, target[1, 2]]
    changed = target.clone()
    changed[:, 3] = 4
    assert torch.equal(network(source, changed)[:, :3], found[:, :3])  # later words do not matter


def test_an_alignment_hits_where_the_map_is_greatest():
    (pair,) = (one for one in phrases(200, seed=0)[:50] if one[0] == phrases(200, seed=0)[0][0])
    english, french, origins = pair
    maps = np.zeros((1, 7, 7))
    maps[0, range(len(french)), origins] = 1.0
    maps[0, 0] = np.eye(7)[english.index(english[-1])]  # the name is taken for the noun
    hits = Alignment(1.0, [pair], {"integrated_gradients": maps}).hits("integrated_gradients")
    assert [exact for _, exact, _ in hits] == [False] + [True] * (len(french) - 1)
    assert hits[0] == ("name", False, True)
    assert {kind for kind, _, _ in hits} >= {"name", "verb", "article", "noun"}


# --- implementations ------------------------------------------------------------------------------


def test_both_networks_are_one_function():
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 8 - 2
    for constants in ((1.0, 1.0, 1.0), (0.3, 1.7, 0.6)):
        f, g = (ig_invariance.pair(which, *constants)(points) for which in ig_invariance.PAIRED)
        assert torch.allclose(f, g, atol=1e-6)
        assert (f > 0).float().mean() > 0.1


def test_relevance_is_that_of_the_papers_figure():
    point = torch.tensor([ig_invariance.POINT])
    f, g = (ig_invariance.relevance(ig_invariance.pair(which), point)[0] for which in ig_invariance.PAIRED)
    assert f == pytest.approx([1.5, -0.5])
    assert g == pytest.approx([2.0, -1.0])


def test_methods_of_jobs_on_the_papers_point(tmp_path):
    found = {which: ig_invariance._maps(tmp_path, which, torch.tensor([ig_invariance.POINT])) for which in "fg"}
    assert found["f"][0, 0] == pytest.approx([1.5, -0.5], abs=2e-3)
    assert found["g"][0, 0] == pytest.approx([1.5, -0.5], abs=2e-3)
    assert found["f"][1, 0] == pytest.approx([1.5, -0.5], abs=1e-5)
    assert found["g"][1, 0] == pytest.approx([2.0, -1.0], abs=1e-5)
