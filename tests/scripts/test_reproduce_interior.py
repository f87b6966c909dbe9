"""The experiments of the paper on interior gradients: fingerprints, the next word, what is said about paths."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "configs"))

from paper_networks import next_word
from rdkit import Chem

from scripts.benchmarks.bench_error_bars_language import CASES, Outcome, distance, error_table, unsettled_table
from scripts.benchmarks.benchlib import Table
from scripts.networks import language_training, snippets
from scripts.networks.language_training import END, PAD, batches, word_tokenizer
from scripts.networks.molecules import environment, fingerprints, ligands, ranked_right
from scripts.papers import reproductions
from scripts.papers.interior import interior_language, interior_molecules
from scripts.papers.interior.interior_language import Context, distance_shares
from scripts.papers.interior.interior_paths import Paths, gradient_claim, last_quarter, saturation_claim, sum_claim
from xattr_cli.store.results.reader import Results

ROOT = Path(__file__).parents[2]
needs_snippets = pytest.mark.skipif(not snippets.is_there(), reason="the snippets have not been fetched")
ALPHA = np.linspace(0, 1, 101)
LAST = (np.exp(-15) - np.exp(-20)) / (1 - np.exp(-20))


# --- paths ----------------------------------------------------------------------------------------


def paths(score, maps=None):
    """Of one input from 0 to 1, whose score is that curve."""
    slope = np.gradient(score, ALPHA, axis=1)
    whole = np.diff(score[:, [0, -1]], axis=1) if maps is None else maps
    return Paths(ALPHA, score, np.abs(slope), slope, whole, len(score))


def test_saturation_is_told_from_a_straight_line():
    flat = paths(1 - np.exp(-20 * ALPHA)[None])
    straight = paths(3 * ALPHA[None])
    assert last_quarter(straight) == pytest.approx(0.25)
    assert last_quarter(flat) == pytest.approx(LAST, rel=1e-6)
    assert saturation_claim(flat, "score").holds == "yes"
    assert saturation_claim(straight, "score").holds == "no"
    assert "by α = 0.03" in saturation_claim(flat, "score").found  # ln 2 / 20
    assert gradient_claim(flat).holds == "yes"
    assert gradient_claim(straight).holds == "no"


def test_falling_scores_saturate_too():
    assert last_quarter(paths(np.exp(-20 * ALPHA)[None])) == pytest.approx(LAST, rel=1e-6)


def test_sums_are_told_from_gradients():
    curve = 1 - np.exp(-20 * ALPHA)[None]
    assert sum_claim(paths(curve)).holds == "yes"
    assert sum_claim(paths(curve, maps=np.array([[0.7]]))).holds == "no"


# --- fingerprints ---------------------------------------------------------------------------------


def test_ligands_are_those_of_the_document():
    known = ligands()
    assert len(known) == 1017
    assert (known[0].smiles[:12], known[0].potency) == ("O=S(=O)(Nc1c", 5.48)


def test_environments_are_parts_of_their_molecule():
    smiles = ligands()[5].smiles
    molecule = Chem.MolFromSmiles(smiles)
    bits = fingerprints([smiles])[0]
    assert set(np.unique(bits)) == {0, 1}
    for bit in np.flatnonzero(bits):
        part = Chem.MolFromSmarts(environment(smiles, int(bit)))
        assert part is not None
        assert molecule.HasSubstructMatch(part), environment(smiles, int(bit))


def test_ranking():
    scores, positive = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([True, False, False, True])
    assert ranked_right(scores, positive) == (1 + 1 + 1 + 0.5) / 4


def test_screening(tmp_path):
    claims, parts = interior_molecules.tables(tmp_path, quick=True)
    verdicts = {row[0].partition(":")[0].partition(";")[0]: row[2] for row in claims.rows}
    assert verdicts["Integrated interior gradients sum to the score"] == "yes"
    assert verdicts["The score saturates"] == "yes"
    assert "relu1" in claims.rows[1][1]
    with Results.open(tmp_path / "attributions.h5") as results:
        found = interior_molecules.active_ones(results)
        scores = results.engine("interior_gradients").score_input[results.rows.target == 1]
    assert (scores > 0.5).all()
    for bits, values in zip(found.bits, found.contributions["interior_gradients"], strict=True):
        assert (values[bits == 0] == 0).all()  # what is not there has no part in it
    columns = list(parts.columns)
    means = [row[columns.index("mean contribution")] for row in parts.rows]
    assert means == sorted(means, reverse=True)


# --- the next word --------------------------------------------------------------------------------


def test_words_and_punctuation():
    tokenizer = word_tokenizer(["I don't like the well-made film, it's bad."])
    assert tokenizer.encode("I DON'T like it's film, ok").tokens == [
        "<bos>", "i", "don't", "like", "it's", "film", ",", "<unk>",
    ]  # fmt: skip


def test_batches_have_every_sentence_once():
    sentences = [[2, *[10 + n] * (1 + n % 7), END] for n in range(150)]
    seen = Counter(tuple(row[row != PAD].tolist()) for ids in batches(sentences, seed=3) for row in ids)
    assert seen == Counter(map(tuple, sentences))


def test_padding_does_not_change_the_next_word():
    network = next_word(vocabulary=50, width=8).eval()
    ids = torch.randint(4, 50, (1, 5), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    mask = (torch.arange(9) < 5)[None].long()
    assert torch.allclose(network(padded, mask), network(ids, torch.ones_like(ids)), atol=1e-6)


def test_distances_count_from_the_last_word():
    values = {"interior_gradients": np.array([0.0, 0.1, -0.2, 0.7])}
    context = Context(("<bos>", "a", "b", "c"), np.arange(4), ("d", 9), 0.9, values)
    assert distance_shares([context]) == pytest.approx([0.7, 0.2, 0.1, 0, 0, 0, 0])
    assert distance_shares([context]).sum() == pytest.approx(1)


@needs_snippets
@pytest.mark.filterwarnings("ignore")
def test_the_next_word(tmp_path):
    claims, words, distances = interior_language.tables(tmp_path, quick=True)
    assert claims.rows[3][2] == "yes"  # sums
    assert len(words.rows) == 8
    assert sum(row[1] for row in distances.rows) == pytest.approx(1)
    network = next_word()
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    with Results.open(tmp_path / "attributions.h5") as results, torch.no_grad():
        for context in interior_language.contexts_of(results):
            alone = interior_language.chance_without(network.eval(), context, [])
            assert alone == pytest.approx(context.chance, abs=1e-5)
            assert context.words[0] == "<bos>"
            assert context.following[0].isalpha()


def test_perplexity_of_frequencies():
    training = [[2, 10, 11, END]] * 4
    assert language_training.frequency_perplexity(training, training) == pytest.approx(3)


# --- error bars -----------------------------------------------------------------------------------


def test_error_table_counts_rows_that_do_not_settle():
    reported, true = np.array([0.02, 0.04, 0.03, 0.08]), np.array([0.01, 0.045, 0.04, 0.06])
    settled = np.array([True, True, True, False])
    outcome = Outcome(CASES["minilm"], 0.05, reported, true, np.zeros(4), np.array([9, 9, 17, 1025]), settled)
    assert outcome.covered(1.0) == 0.5
    assert outcome.covered(1.25) == 0.75
    row = dict(zip(error_table([outcome]).columns, error_table([outcome]).rows[0], strict=True))
    assert (row["rows"], row["not settled"], row["true, worst"]) == (4, 1, 0.06)
    assert unsettled_table([outcome]).rows == [["MiniLM, sentences", 0.05, 3, 0.08, 0.06, 1025]]


def test_distance_is_relative_to_the_truth():
    truth = np.array([[3.0, 4.0], [1.0, 0.0]])
    assert distance(truth + np.array([[0.3, 0.4], [0, 0.5]]), truth) == pytest.approx([0.1, 0.5])


# --- kept and published ---------------------------------------------------------------------------


def test_tables_are_kept(tmp_path, monkeypatch):
    assert reproductions.kept(tmp_path) is None
    (tmp_path / "experiment.py").write_text(
        "from scripts.benchmarks.benchlib import Table\n"
        "def tables(folder, quick):\n"
        "    return [Table('title', {'a': '', 'b': '.1%'}, [['x', 0.5]], 'note')]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reproductions.run("experiment", tmp_path / "one", quick=False)
    tables = reproductions.kept(tmp_path / "one").tables
    assert tables == [Table("title", {"a": "", "b": ".1%"}, [["x", 0.5]], "note")]
    assert "| x | 50.0% |" in tables[0].markdown()
    reproductions.run("experiment", tmp_path / "two", quick=True)
    assert not (tmp_path / "two" / "tables.json").exists()


def test_experiments_are_there():
    for script in (
        "reproduce_ig",
        "reproduce_interior",
        "reproduce_ace",
        "reproduce_icc",
        "reproduce_interactions",
    ):
        text = (ROOT / "scripts" / "papers" / f"{script}.py").read_text()
        assert "EXPERIMENTS = {" in text
    results = ROOT / "scripts" / "results" / "error_bars_language.json"
    if results.exists():
        assert {row[0] for row in json.loads(results.read_text())["tables"][0]["rows"]} <= {
            case.network for case in CASES.values()
        }
