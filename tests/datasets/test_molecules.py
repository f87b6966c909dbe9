"""Molecules: SMILES to arrays, texts beside samples, and atoms and bonds coloured from the file alone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from helpers.cli import invoke
from matplotlib.image import AxesImage
from matplotlib.text import Text

from xattr_cli.datasets import open_dataset
from xattr_cli.errors import DataError, JobError
from xattr_cli.job.config import parse_job, resolve_plugin
from xattr_cli.registry import DATASETS, FIGURES
from xattr_cli.reports.drawing.selection import Drawing, Nothing, select
from xattr_cli.reports.drawing.style import styled, symmetric_limit
from xattr_cli.reports.drawing.words import number
from xattr_cli.reports.rows.molecule_maps import (
    fingerprint_map,
    molecule_map,
    names_atoms,
    places,
    shared_among_atoms,
)
from xattr_cli.store.results.reader import Results

Chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
from rdkit.Chem import rdFingerprintGenerator  # noqa: E402

from xattr_cli.datasets.molecules.features import ATOM_FEATURES  # noqa: E402
from xattr_cli.reports.rows.molecule_drawing import parsed  # noqa: E402

SMI = "CCO ethanol\nCC(=O)Oc1ccccc1C(=O)O  aspirin, acetylsalicylic acid\n\nO water\n"
BONDED = frozenset({(0, 1), (1, 2)})


def open_samples(folder, **options):
    given = {"kind": "molecules", **options}
    return open_dataset(resolve_plugin(DATASETS, given, {"folder": folder}))


def molecules(folder, content=SMI, name="molecules.smi", **options):
    (folder / name).write_text(content)
    return open_samples(folder, path=str(folder / name), **options)


# --- SMILES to arrays ---------------------------------------------------------------------------


def test_a_molecule_is_a_graph_with_features_of_its_atoms(tmp_path):
    samples = molecules(tmp_path)
    batch = samples.read(0, 3)
    specs = {spec.name: spec for spec in samples.inputs}
    assert list(specs) == ["atoms", "bonds", "mask"]
    assert specs["atoms"].features == ATOM_FEATURES and specs["atoms"].axes == ("atom", "feature")
    assert specs["bonds"].axes == ("atom", "neighbour") and not specs["mask"].explainable
    assert {spec.sequence for spec in samples.inputs} == {"atom_count"}
    ethanol = [{ATOM_FEATURES[i] for i in np.flatnonzero(row)} for row in batch.inputs["atoms"][0, :3]]
    assert ethanol == [
        {"is C", "1 heavy neighbours", "3 hydrogens"},
        {"is C", "2 heavy neighbours", "2 hydrogens"},
        {"is O", "1 heavy neighbours", "1 hydrogens"},
    ]
    assert (batch.inputs["atoms"][0, 3:] == 0).all()
    assert batch.inputs["bonds"][0, :3, :3].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert batch.inputs["bonds"][1][4, 5] == 1.5 and batch.inputs["bonds"][1][1, 2] == 2
    assert batch.inputs["mask"].sum(1).tolist() == batch.real["atom_count"].sum(1).tolist() == [3, 13, 1]
    assert batch.tokens["atom_count"][0, :4].tolist() == ["C0", "C1", "O2", ""]
    assert batch.keys == ("ethanol", "aspirin, acetylsalicylic acid", "water")
    assert batch.texts["smiles"][2] == "O"
    assert samples.read(2, 3).tokens["atom_count"][0, 0] == "O0"


def test_charges_and_rare_elements(tmp_path):
    batch = molecules(tmp_path, "C[N+](C)(C)CC(=O)[O-]\n[Se]1C=CC=C1\n").read(0, 2)
    charge = ATOM_FEATURES.index("formal charge")
    assert batch.inputs["atoms"][0, :, charge].tolist() == [0, 1, 0, 0, 0, 0, 0, -1]
    assert batch.inputs["atoms"][1, 0, ATOM_FEATURES.index("is another element")] == 1
    assert batch.inputs["atoms"][1, :5, ATOM_FEATURES.index("in a ring")].tolist() == [1] * 5
    assert batch.keys == ()  # no names


def test_tables_have_labels_and_keys(tmp_path):
    table = "name,smiles,solubility\nethanol,CCO,1.1\nwater,O,0.5\n"
    samples = molecules(tmp_path, table, "m.csv", label="solubility", key="name", hand_over="lengths")
    batch = samples.read(0, 2)
    assert batch.labels.tolist() == [1.1, 0.5] and batch.keys == ("ethanol", "water")
    assert batch.inputs["atoms"].shape == (2, 3, 26) and batch.inputs["atom_count"].tolist() == [3, 1]
    limited = molecules(tmp_path, table, "m.csv", limit=1)
    assert len(limited) == 1 and limited.fingerprint != samples.fingerprint


def test_fingerprints_have_no_padding(tmp_path):
    samples = molecules(tmp_path, features="morgan")
    batch = samples.read(0, 3)
    (spec,) = samples.inputs
    assert spec.features[17] == "bit 17" and spec.axes == ("feature",)
    assert (spec.name, spec.shape, spec.sequence) == ("bits", (2048,), "") and not batch.real
    made = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    expected = made.GetFingerprintAsNumPy(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    np.testing.assert_array_equal(batch.inputs["bits"][1], expected)


def test_a_fingerprint_of_another_radius_and_length(tmp_path):
    samples = molecules(tmp_path, features={"morgan": {"radius": 3, "bits": 256}})
    (spec,) = samples.inputs
    assert (spec.shape, spec.features[255]) == ((256,), "bit 255")
    made = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=256)
    expected = made.GetFingerprintAsNumPy(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    np.testing.assert_array_equal(samples.read(1, 2).inputs["bits"][0], expected)


@pytest.mark.parametrize("features", ["morgan", {"morgan": {}}, {"morgan": {"radius": 2}}])
def test_a_job_spells_its_fingerprint_out(features):
    source = resolve_plugin(DATASETS, {"kind": "molecules", "path": "a.smi", "features": features}, {})
    assert source.model_dump(mode="json")["features"] == {"morgan": {"radius": 2, "bits": 2048}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "dataset.features.morgan.radios=2",
            "dataset.features.morgan.radios: 2: unknown key. Allowed: bits, radius",
        ),
        ("dataset.features.morgan.bits=0", "dataset.features.morgan.bits: 0: must be greater than or equal to 1"),
        ("dataset.features={morgn: {}}", "dataset.features.morgn: {}: unknown key. Allowed: morgan."),
    ],
)
def test_faults_of_a_fingerprint_are_named(override, message):
    job = {
        "model": {"kind": "python", "factory": "net:Linear"},
        "dataset": {"kind": "molecules", "path": "m.smi", "features": {"morgan": {"bits": 64}}},
        "engines": ["saliency"],
        "output": {"path": "out.h5"},
    }
    with pytest.raises(JobError) as error:
        parse_job(yaml.safe_dump(job), folder=Path("/jobs"), overrides=[override])
    assert message in str(error.value)


OWN = """
import numpy as np

def dummy(molecule):
    count = molecule.GetNumAtoms()
    names = ["dummy", *(f"{a.GetSymbol()}{a.GetIdx()}" for a in molecule.GetAtoms())]
    charges = np.array([[9]] + [[a.GetAtomicNum()] for a in molecule.GetAtoms()], dtype=np.float32)
    return {"z": charges, "pairs": np.ones((count + 1, count + 1, 2)), "size": np.array([count]), "steps": names}

def uneven(molecule):
    return {"z": np.ones((molecule.GetNumAtoms() + 1, 2))}

def changing(molecule):
    return {f"z{molecule.GetNumAtoms()}": np.ones(3)}

def failing(molecule):
    raise RuntimeError("no")
"""


def test_features_of_ones_own_may_have_a_dummy_node(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    samples = molecules(tmp_path, features="own:dummy", hand_over="none")
    batch = samples.read(0, 3)
    assert {spec.name: (spec.shape, spec.sequence) for spec in samples.inputs} == {
        "z": ((14, 1), "atom_count"), "pairs": ((14, 14, 2), "atom_count"), "size": ((1,), ""),
    }  # fmt: skip
    assert batch.inputs["z"][0, :5, 0].tolist() == [9, 6, 6, 8, 0] and batch.inputs["size"].tolist() == [
        [3],
        [13],
        [1],
    ]
    assert batch.inputs["pairs"][0, :, :, 0].sum() == 16
    assert batch.tokens["atom_count"][0, :5].tolist() == ["dummy", "C0", "C1", "O2", ""]


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        ("CCO\nC1CC\n", {}, "molecules.smi, line 2: 'C1CC' is no SMILES of a molecule"),
        ("\n\n", {}, "the dataset is empty, without a molecule"),
        ("CCO\n", {"features": "grap"}, "dataset.features: unknown features 'grap'. Allowed: graph, morgan"),
        ("CCO\n", {"features": "own:failing"}, "line 1: 'own:failing' failed on 'CCO': RuntimeError: no"),
        ("CCO\nO\n", {"features": "own:uneven"}, "no row per atom of each molecule; make them alike, or name"),
        (
            "CCO\nO\n",
            {"features": "own:changing"},
            "line 2: ['z1'] were returned, but for the first molecule ['z3']",
        ),
        ("CCO\n", {"label": "y"}, "has no column 'y'"),
    ],
)
def test_faults(tmp_path, content, options, text, capfd):
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(DataError) as error:
        molecules(tmp_path, content, **options)
    assert text in str(error.value)
    assert capfd.readouterr().err == ""  # RDKit keeps its own complaints to itself


def test_without_rdkit_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(DataError, match=r"needs rdkit.*pip install 'xattr-cli\[molecules\]'"):
        molecules(tmp_path)


# --- texts beside samples -----------------------------------------------------------------------


def test_texts_of_arrays_are_read_in_order(tmp_path):
    names = np.array(["CCO", "O", "C"])
    np.savez(tmp_path / "a.npz", X=np.eye(3, dtype=np.float32), smiles=names, wrong=np.arange(3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.eye(3, dtype=np.float32)
        file.create_dataset("smiles", data=list(names), dtype=h5py.string_dtype())
    for name in ("a.npz", "a.h5"):
        samples = open_samples(tmp_path, kind="arrays", path=str(tmp_path / name), texts=["smiles"])
        assert samples.read(1, 3).texts == {"smiles": ("O", "C")}
        assert samples.read(0, 3).take(np.array([2, 0])).texts == {"smiles": ("C", "CCO")}
    with pytest.raises(DataError, match=r"dataset.texts: 'wrong' in .* is int64 \(3,\); texts of shape \(n,\)"):
        open_samples(tmp_path, kind="arrays", path=str(tmp_path / "a.npz"), texts=["wrong"])
    with pytest.raises(DataError, match="has no array 'smile'"):
        open_samples(tmp_path, kind="arrays", path=str(tmp_path / "a.npz"), texts=["smile"])


def test_texts_of_a_python_dataset_are_no_inputs(tmp_path):
    (tmp_path / "made.py").write_text(
        "import numpy as np\n"
        "def both(names=('CCO', 'O')):\n"
        "    return {'X': np.eye(2), 'smiles': list(names), 'y': ['b', 'a']}\n"
    )
    samples = open_samples(tmp_path, kind="python", factory="made:both")
    assert [spec.name for spec in samples.inputs] == ["X"] and samples.classes == ("a", "b")
    assert samples.read(0, 2).texts == {"smiles": ("CCO", "O")}
    with pytest.raises(
        DataError, match="disagree about the number of samples: X has 2, labels has 2, smiles has 3"
    ):
        open_samples(tmp_path, kind="python", factory="made:both", kwargs={"names": ["C", "C", "C"]})


# --- atoms and bonds ----------------------------------------------------------------------------


def test_steps_are_atoms_by_their_names_or_in_order():
    assert places(["dummy", "C0", "O1"], 3, 2) == [(), (0,), (1,)]
    assert places(["C0-O1", "N2=C0"], 2, 3) == [(0, 1), (2, 0)]
    assert places(["C0", "C7"], 2, 3) == [(0,), ()]  # no such atom
    assert places([], 3, 3) == [(0,), (1,), (2,)]
    assert places([], 4, 3) == [(), (0,), (1,), (2,)]  # a dummy node comes first
    assert places([], 5, 3) is None and places(["C", "C"], 2, 2) is None
    assert names_atoms(["C0", "C1", "x"]) and not names_atoms(["C", "1", "C", "1"])  # a ring in a SMILES


NETWORK = """
import torch


class Linear(torch.nn.Module):
    '''Sum of weights of the elements, and a quarter of each bond's order.'''

    def forward(self, atoms, bonds, mask):
        weights = torch.arange(26, dtype=atoms.dtype, device=atoms.device) - 2.0
        count = atoms.shape[1]
        return (atoms @ weights).sum(1, keepdim=True) - 0.25 * bonds[:, :count, :count].sum((1, 2))[:, None]
"""


def linear_job(folder, **changes):
    """A job on molecules and a network that is linear in atoms and bonds; its outcome is a success."""
    (folder / "net.py").write_text(NETWORK)
    (folder / "m.smi").write_text(SMI)
    job = {
        "model": {"kind": "python", "factory": "net:Linear"},
        "dataset": {"kind": "molecules", "path": "m.smi"},
        "explain": {"inputs": ["atoms", "bonds"], "reduce": "sum"},
        "engines": {"integrated_gradients": {}, "saliency": {}},
        "output": {"path": "out.h5"},
        **changes,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    outcome = invoke("run", folder / "job.yaml", "--quiet")
    assert outcome.exit_code == 0, outcome.stderr
    return folder / "out.h5"


def test_rows_and_columns_of_padding_have_no_part_whatever_the_baseline(tmp_path):
    engines = {"integrated_gradients": {"baseline": {"kind": "constant", "value": 0.5}}}
    with Results.open(linear_job(tmp_path, engines=engines, explain={"inputs": ["atoms", "bonds"]})) as results:
        engine = results.engine("integrated_gradients")
        bonds = engine.attribution([0], "bonds")[0]
        bonds = bonds.reshape(bonds.shape[:2])
        assert (bonds[:3, :3] != 0).all()  # of 3 atoms; the longest molecule has more
        assert len(bonds) > 3
        assert not bonds[3:].any() and not bonds[:, 3:].any()
        change = engine.score_input[0] - engine.score_baseline[0]
        whole = bonds.sum() + engine.attribution([0], "atoms").sum()
        assert whole == pytest.approx(change, rel=1e-5)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Maps of atoms and bonds of a network that is linear in both; model and data are gone afterwards."""
    folder = tmp_path_factory.mktemp("molecules")
    linear_job(folder)
    (folder / "net.py").unlink()
    (folder / "m.smi").unlink()
    return folder / "out.h5"


def test_atoms_get_the_sums_of_their_features_and_bonds_both_entries(result):
    with Results.open(result) as results:
        engine = results.engine("integrated_gradients")
        found = molecule_map(results, engine, ["atoms", "bonds"], 0, BONDED, 3)
        atoms = results.original("atoms", 0)[:3] @ (np.arange(26) - 2.0)
        assert found.atoms == pytest.approx(dict(enumerate(atoms)), rel=1e-5)
        assert found.bonds == pytest.approx({(0, 1): -0.5, (1, 2): -0.5}, rel=1e-5)
        assert found.elsewhere == pytest.approx(0, abs=1e-6)
        change = engine.score_input[0] - engine.score_baseline[0]
        assert found.values.sum() + found.elsewhere == pytest.approx(change, rel=1e-5)
        whole = molecule_map(results, engine, ["atoms", "bonds"], 0, frozenset({(0, 1)}), 3)
        assert whole.elsewhere == pytest.approx(-0.5, rel=1e-5)  # a pair that has no bond
        assert molecule_map(results, engine, [], 0, BONDED, 3) is None


def test_the_file_has_the_smiles_and_the_names_of_the_atoms(result):
    with Results.open(result) as results:
        assert results.sample_texts["smiles"] == {0: "CCO", 1: "CC(=O)Oc1ccccc1C(=O)O", 2: "O"}
        assert results.inputs["bonds"].tokens(0) == ("C0", "C1", "O2")
        results.verify()


@styled
def drawn(results, kind="molecules", rows=None):
    return list(FIGURES.get(kind)().draw(select(results, None, 8, rows)))


def test_molecules_are_drawn_from_the_file_alone(result):
    with Results.open(result) as results:
        (item,) = drawn(results)
        pictures = [one for one in item.figure.findobj(AxesImage) if one.get_array().shape[0] > 500]
        assert item.stem == "molecules" and len(pictures) == 6  # three rows, two engines
        words = [text.get_text() for text in item.figure.findobj(Text)]
        assert any("aspirin" in word for word in words)
        assert any(word.startswith("CC(=O)Oc1ccccc1C(=O)O") for word in words)
        engine = results.engine("integrated_gradients")
        found = molecule_map(results, engine, ["atoms", "bonds"], 0, BONDED, 3)
        assert number(symmetric_limit(found.values)) in words
        for kind, text in (("tokens", "no explained tensor has tokens"), ("samples", "'tokens' and 'molecules'")):
            assert any(isinstance(one, Nothing) and text in one.reason for one in drawn(results, kind))


def test_the_ground_of_an_atom_has_its_colour():
    molecule = parsed("CCO")
    assert molecule.atoms == 3 and set(molecule.bonds) == BONDED
    blue, orange = (0.2, 0.4, 0.8), (0.9, 0.5, 0.1)
    picture = molecule.draw({0: blue}, {(1, 2): orange}, 2.0, 1.5)
    assert picture.shape[:2] == (675, 900)
    for colour in (blue, orange):
        assert (np.abs(picture[..., :3] - colour).max(axis=-1) < 0.02).sum() > 1000
    np.testing.assert_array_equal(picture, molecule.draw({0: blue}, {(1, 2): orange}, 2.0, 1.5))
    assert parsed("C1CC") is None


def test_what_is_no_molecule_is_not_drawn(result, tmp_path, monkeypatch):
    shutil.copy(result, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for name in ("atoms", "bonds"):
            del file[f"inputs/{name}/tokens"]
        file["samples/texts/smiles"][:] = ["CCC(=O)OCC", "nonsense", "O"]
    with Results.open(tmp_path / "a.h5") as results:
        (item,) = drawn(results)
        assert sum(one.get_array().shape[0] > 500 for one in item.figure.findobj(AxesImage)) == 2  # water
        (reason,) = drawn(results, rows=[0, 1])
        assert reason == Nothing(
            "no explained tensor has steps that are atoms, or called as atoms or bonds: C0, C0-N1; nor is it a "
            "Morgan fingerprint made by the job"
        )
    with Results.open(result) as results:
        monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
        (reason,) = drawn(results)
        assert "pip install 'xattr-cli[molecules]'" in reason.reason and not isinstance(reason, Drawing)


# --- fingerprints on atoms ----------------------------------------------------------------------

LIGANDS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C1CC1CC1CC1",
    "Cn1cnc2n(C)c(=O)n(C)c(=O)c12",
    "[Na+].[Cl-]",
    "C1CC2CCC1CC2",
    "O",
]

WEIGHTS = """
import torch


class Weights(torch.nn.Module):
    def __init__(self, bits):
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(bits, generator=draw))

    def forward(self, x):
        return (x @ self.weight)[:, None]
"""


def test_equal_shares_of_a_bit_by_hand():
    values = np.array([6.0, -1.0, 0.5, 4.0])
    found = shared_among_atoms(values, {0: [(0, 1, 2)], 3: [(0,), (1, 2)]})
    assert found.atoms == {0: 2 + 2, 1: 2 + 1, 2: 2 + 1} and not found.bonds
    assert found.elsewhere == -0.5 and found.of_bits


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize("smiles", LIGANDS)
def test_environments_have_the_atoms_that_rdkit_finds_around_theirs(smiles, radius):
    molecule = Chem.MolFromSmiles(smiles)
    told = rdFingerprintGenerator.AdditionalOutput()
    told.AllocateBitInfoMap()
    made = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=128)
    bits = made.GetFingerprintAsNumPy(molecule, additionalOutput=told)
    found = parsed(smiles).environments(radius, 128)
    assert sorted(found) == np.flatnonzero(bits).tolist()
    for bit, centres in told.GetBitInfoMap().items():
        expected = []
        for atom, reach in centres:
            bonds = Chem.FindAtomEnvironmentOfRadiusN(molecule, reach, atom) if reach else []
            ends = [molecule.GetBondWithIdx(bond) for bond in bonds]
            atoms = {atom, *(b.GetBeginAtomIdx() for b in ends), *(b.GetEndAtomIdx() for b in ends)}
            expected.append(tuple(sorted(atoms)))
        assert list(found[bit]) == expected


@pytest.fixture(scope="module", params=["morgan", {"morgan": {"radius": 3, "bits": 64}}], ids=["plain", "crowded"])
def screened(request, tmp_path_factory):
    """Maps of the bits of a linear network; model and data are gone afterwards."""
    folder = tmp_path_factory.mktemp("fingerprints")
    bits = 2048 if request.param == "morgan" else 64
    (folder / "weights.py").write_text(WEIGHTS)
    (folder / "m.smi").write_text("\n".join(LIGANDS) + "\n")
    job = {
        "model": {"kind": "python", "factory": "weights:Weights", "kwargs": {"bits": bits}},
        "dataset": {"kind": "molecules", "path": "m.smi", "features": request.param},
        "engines": {"integrated_gradients": {}, "saliency": {}},
        "output": {"path": "out.h5"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    outcome = invoke("run", folder / "job.yaml", "--quiet")
    assert outcome.exit_code == 0, outcome.stderr
    for name in ("weights.py", "m.smi", "job.yaml"):
        (folder / name).unlink()
    return folder / "out.h5"


def test_atoms_sum_to_the_bits_that_are_set(screened):
    with Results.open(screened) as results:
        for label, engine in results.engines.items():
            for row, smiles in enumerate(LIGANDS):
                found = fingerprint_map(results, engine, row, parsed(smiles))
                values = engine.attribution([row])[0].astype(np.float64)
                set_here = results.inputs["bits"].values([row])[0] > 0
                assert found.values.sum() == pytest.approx(values[set_here].sum(), abs=1e-6)
                assert found.elsewhere == pytest.approx(values[~set_here].sum(), abs=1e-6)
                assert sorted(found.atoms) == list(range(parsed(smiles).atoms))
                if label == "integrated_gradients":
                    assert found.elsewhere == 0
                    change = engine.score_input[row] - engine.score_baseline[row]
                    assert found.values.sum() == pytest.approx(change, abs=1e-5)


def test_symmetric_atoms_get_the_same(screened):
    with Results.open(screened) as results:
        found = fingerprint_map(results, results.engine("integrated_gradients"), 1, parsed(LIGANDS[1])).atoms
    assert found[0] == pytest.approx(found[1]) and found[0] == pytest.approx(found[5])  # cyclopropyl, CH2
    assert found[2] == pytest.approx(found[4])  # its CH


def test_fingerprints_are_drawn_from_the_file_alone(screened):
    with Results.open(screened) as results:
        (item,) = drawn(results)
        pictures = [one for one in item.figure.findobj(AxesImage) if one.get_array().shape[0] > 500]
        assert item.stem == "molecules" and len(pictures) == 2 * len(LIGANDS)
        words = " ".join(text.get_text() for text in item.figure.findobj(Text))
        assert "shared equally among the environments that set it" in words and "not drawn: " in words


def test_bits_of_another_molecule_are_not_drawn(screened, tmp_path):
    shutil.copy(screened, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["samples/texts/smiles"][:] = ["CCO", *LIGANDS[1:]]
    with Results.open(tmp_path / "a.h5") as results:
        engine = results.engine("integrated_gradients")
        assert fingerprint_map(results, engine, 0, parsed("CCO")) is None
        assert fingerprint_map(results, engine, 1, parsed(LIGANDS[1])) is not None
