"""The experiments of the paper on integrated gradients: real words and molecules, and what is said about them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "configs"))

from rdkit import Chem
from rdkit.Chem.Crippen import MolLogP

from scripts.networks import snippets
from scripts.networks.molecules import KNOWN, ordinary_molecules
from scripts.papers.ig import ig_molecules, ig_text
from scripts.papers.ig.ig_text import Reading, agreement_with_people, whole_words
from scripts.papers.paper_jobs import accuracy_claim, rank_correlation, removal_claim
from xattr_cli.store.results.reader import Results

needs_snippets = pytest.mark.skipif(not snippets.is_there(), reason="the snippets have not been fetched")


# --- words ----------------------------------------------------------------------------------------


@needs_snippets
def test_snippets_are_those_of_the_paper():
    movies = snippets.snippets()
    assert len(movies) == 10_605
    assert movies[2] == snippets.Snippet("Effective but too tepid biopic", -0.6)
    assert len(snippets.snippets(snippets.CORPORA)) == 10_605 + 5_190 + 3_708
    assert not any("&amp;" in one.text for one in movies)
    assert snippets.lexicon()["terrible"] == -2.1


def test_word_pieces_become_words():
    words, places = whole_words(["[CLS]", "un", "##believ", "##able", "!", "a", "film", "[SEP]"])
    assert words == ("unbelievable", "!", "a", "film")
    assert places == ((1, 2, 3), (4,), (5,), (6,))


@needs_snippets
def test_signs_count_towards_the_positive_class():
    words = ("good", "terrible", "the")
    right = {"m": np.array([0.4, -0.3, 0.1])}
    wrong = {"m": np.array([-0.4, -0.3, 0.1])}
    as_positive, as_negative = (
        Reading(words, ((1,), (2,), (3,)), right, positive, 0.9, 0.2) for positive in (1, 0)
    )
    assert agreement_with_people([as_positive], "m") == (1.0, 2, pytest.approx(0.7 / 0.8))
    assert agreement_with_people([as_negative], "m")[0] == 0.0
    mixed = Reading(words, ((1,), (2,), (3,)), wrong, True, 0.9, 0.2)
    assert agreement_with_people([as_positive, mixed], "m")[0] == 0.75


@needs_snippets
@pytest.mark.filterwarnings("ignore")
def test_words_of_snippets(tmp_path):
    claims, words = ig_text.tables(tmp_path, quick=True)
    assert "trained on 48 snippets" in claims.title
    assert "6 of 6 rows settle" in claims.rows[0][1]
    assert claims.rows[1][2] == "yes"  # sums
    assert len(words.rows) == 6
    with Results.open(tmp_path / "attributions.h5") as results:
        found = ig_text.readings(results)
        gap = results.engine("integrated_gradients").completeness_gap
        maps = results.engine("integrated_gradients").reduced(slice(None))
    for row, reading in enumerate(found):
        # [CLS] and [SEP] are the same in the baseline, so that words have all of the change
        total = reading.contributions["integrated_gradients"].sum()
        assert total == pytest.approx(maps[row].sum(), abs=1e-5)
        assert total - reading.rise == pytest.approx(gap[row], abs=1e-5)


# --- atoms ----------------------------------------------------------------------------------------


def test_reference_values_of_soltrannet():
    for smiles, _wanted, here, difference in ig_molecules.reference_table().rows:
        assert difference < 2e-6, (smiles, here)


def test_molecules_are_ordinary():
    chosen = ordinary_molecules(40)
    assert chosen[: len(KNOWN)] == [*KNOWN.values()]
    assert len(set(chosen)) == 40
    for smiles in chosen:
        molecule = Chem.MolFromSmiles(smiles)
        assert "." not in smiles
        assert 5 <= molecule.GetNumAtoms() <= 30


def test_liking_of_fat_is_that_of_the_whole_molecule():
    molecule = Chem.MolFromSmiles(KNOWN["ibuprofen"])
    assert ig_molecules.liking_of_fat(molecule).sum() == pytest.approx(MolLogP(molecule), abs=1e-9)


def test_kinds_of_atoms():
    aspirin = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    kinds = [ig_molecules.kind_of(atom) for atom in aspirin.GetAtoms()]
    assert kinds[:4] == ["C, other", "C, other", "O, other", "O, other"]
    assert kinds[4] == "C, aromatic"
    assert kinds[-1] == "O with hydrogen"


def test_atoms_of_molecules(tmp_path):
    tables = ig_molecules.tables(tmp_path, quick=True)
    claims = tables[1]
    assert "12 of 12 rows settle" in claims.rows[0][1]
    assert claims.rows[1][2] == "yes"  # sums
    assert sum(row[1] for row in tables[3].rows) == pytest.approx(1)
    with Results.open(tmp_path / "attributions.h5") as results:
        atoms = ig_molecules.atoms_of(results, 3)
        assert atoms.smiles == KNOWN["paracetamol"]
        error = results.engine("input_x_gradient").relative_error
        assert (error == 0).all() and not np.signbit(error).any()  # scores are below 0
        assert len(atoms.kinds) == len(atoms.fat) == len(atoms.features) == 11
        assert atoms.contributions["integrated_gradients"] == pytest.approx(atoms.features.sum(axis=1), abs=1e-5)
        # padding and mask leave a molecule what it is alone
        assert atoms.solubility == pytest.approx(ig_molecules.predicted(atoms.smiles), abs=1e-5)
        everything = range(len(atoms.kinds))
        assert ig_molecules.predicted(atoms.smiles, without=everything) != pytest.approx(atoms.solubility, abs=0.1)
    assert (tmp_path / "plots" / "molecules.png").exists()


# --- what is said ---------------------------------------------------------------------------------


def test_removal_is_judged_on_the_same_rows():
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.5, 50)  # rows differ more than methods do
    noise = rng.normal(0, 0.02, (3, 50))
    better = {"ours": base + 0.05 + noise[0], "theirs": base + noise[1], "at random": base - 0.3}
    assert removal_claim("", "", better).holds == "yes"
    certain_but_tiny = {"ours": base + 0.002, "theirs": base, "at random": base - 0.3}
    assert removal_claim("", "", certain_but_tiny).holds == "in part"
    level = {"ours": base + noise[0], "theirs": base + noise[1], "at random": base - 0.3}
    assert removal_claim("", "", level).holds == "in part"
    assert removal_claim("", "", {"ours": base - 1, "theirs": base, "at random": base}).holds == "no"


def test_rank_correlation():
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 90])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
    assert rank_correlation(np.array([1.0, 1, 2, 2]), np.array([2.0, 1, 1, 2])) == pytest.approx(0)  # ties


def test_steps_are_counted():
    class Engine:
        evaluations = np.array([17, 33, 400])
        relative_gap = np.array([0.01, 0.2, 0.0])
        status = np.array([0, 0, 1])
        rtol = 0.05

    claim = accuracy_claim(Engine())
    assert claim.holds == "in part"
    assert "2 of 3 rows settle" in claim.found
    assert "sum of 50% of them" in claim.found
