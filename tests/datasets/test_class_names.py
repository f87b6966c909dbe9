"""Names of a network's outputs: in the job or in a file, numbered, counted, kept in the result."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.cli import invoke, write_data, write_job
from helpers.datasets import opened, refused, source
from helpers.networks import CLASSES

from xattr_cli.datasets.classes.labels import as_labels
from xattr_cli.datasets.classes.names import read_class_names
from xattr_cli.errors import DataError
from xattr_cli.store.results.reader import Results

ANIMALS = ("tench", "great white shark", "crane")


def written(folder, name, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path)
    return tmp_path


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "tench\ngreat white shark\ncrane\n"),
        ("names.txt", "\ufefftench\r\n great white shark\r\ncrane\r\n\r\n"),
        ("NAMES.TXT", "tench\ngreat white shark\ncrane"),
        ("names.json", ["tench", "great white shark", "crane"]),
        ("names.json", [["n01440764", "tench"], ["n01484850", "great white shark"], ["n02012849", "crane"]]),
        ("names.json", {"1": "great white shark", "0": "tench", "2": "crane"}),
        ("names.json", {"0": ["n01440764", "tench"], "2": ["n02012849", "crane"], "1": "great white shark"}),
        ("names.json", {"crane": 2, "great white shark": 1, "tench": 0}),
    ],
)
def test_names_are_in_the_order_of_the_outputs_however_the_file_has_them(tmp_path, name, content):
    assert read_class_names(written(tmp_path, name, content), "dataset.class_names") == ANIMALS


def test_a_number_of_two_digits_is_not_sorted_as_a_text(tmp_path):
    names = {str(number): f"class {number}" for number in sorted(range(12), key=str)}
    assert read_class_names(written(tmp_path, "a.json", names), "k")[2:12:8] == ("class 2", "class 10")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "cat\n\ndog\n", "a.txt: line 2 is empty; every line names an output."),
        ("a.txt", "\n \n", "a.txt: there are no names in it."),
        ("a.json", "[]", "a.json: there are no names in it."),
        ("a.json", "[1", "a.json: is not valid JSON: Expecting"),
        ("a.json", '"cat"', "a.json: must be a list of names, or a mapping from the numbers"),
        (
            "a.json",
            {"0": "cat", "2": "dog"},
            "a.json: 2 names, but none for output 1; outputs count from 0.",
        ),
        ("a.json", {"1": "cat", "2": "dog"}, "a.json: 2 names, but none for output 0;"),
        ("a.json", {"cat": 1, "dog": 1, "cow": 0}, "a.json: output 1 has several names."),
        ("a.json", ["cat", 7], "a.json: output 1: 7 is no name."),
        ("a.json", {"0": [], "1": "cat"}, r"a.json: output 0: \[\] is no name."),
        ("a.json", ["cat", " "], "a.json: output 1: ' ' is no name."),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=f"^dataset.class_names: .*{message}"):
        read_class_names(written(tmp_path, name, content), "dataset.class_names")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"a.txt: cannot be read: 'utf-8' codec"):
        read_class_names(tmp_path / "a.txt", "k")


# --- in a dataset -------------------------------------------------------------------------------


def test_a_file_beside_the_job_names_the_classes(data):
    written(data, "animals.txt", "tench\nshark\ncrane\nloon\n")
    samples = opened(data, "arrays", path="data.npz", labels="y", class_names="animals.txt")
    assert samples.classes == ("tench", "shark", "crane", "loon")


def test_a_missing_file_names_its_like(data):
    written(data, "animals.txt", "a\n")
    message = r"dataset.class_names: .*/animal.txt: no such file. Did you mean '.*/animals.txt'\?"
    refused(data, message, "arrays", path="data.npz", class_names="animal.txt")


def test_names_of_a_file_number_text_labels(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=np.array(["cow", "cat", "dog"]))
    written(tmp_path, "n.json", {"dog": 0, "cow": 1, "cat": 2})
    samples = opened(tmp_path, "arrays", path="a.npz", labels="y", class_names="n.json")
    assert samples.read(0, 3).labels.tolist() == [1, 2, 0]


def test_the_path_and_the_content_of_a_file_decide_as_those_of_the_data_do(data):
    options = {"path": "data.npz", "class_names": "a.txt"}
    written(data, "a.txt", "x\ny\n")
    prints = [opened(data, "arrays", **options).fingerprint]
    assert opened(data, "arrays", **options).fingerprint == prints[0]
    written(data, "a.txt", "x\nz\n")
    prints.append(opened(data, "arrays", **options).fingerprint)
    prints.append(opened(data, "arrays", path="data.npz").fingerprint)
    assert len(set(prints)) == 3
    # a list stands in the job, which is compared itself
    assert opened(data, "arrays", path="data.npz", class_names=["x", "z"]).fingerprint == prints[2]
    assert source(data, "arrays", **options).model_dump(mode="json")["class_names"] == str(data / "a.txt")


def test_two_outputs_may_have_one_name_unless_a_label_bears_it():
    names = ("crane", "cat", "crane")
    assert as_labels(np.array([2, 0]), "y", names).classes == names
    assert as_labels(np.array(["cat"]), "y", names).values.tolist() == [1]
    with pytest.raises(DataError, match=r"y: the label 'crane' is the name of several classes \(0, 2\)"):
        as_labels(np.array(["cat", "crane"]), "y", names)


# --- in a job -----------------------------------------------------------------------------------


def test_the_result_has_the_names_and_its_plots_show_them(data):
    names = [f"animal {number}" for number in range(CLASSES)]
    written(data, "n.json", names)
    job = write_job(data, dataset={"class_names": "n.json", "limit": 3})
    assert invoke("run", job, "--quiet").exit_code == 0
    (data / "n.json").unlink()
    with Results.open(data / "out.h5") as results:
        assert results.classes == tuple(names)
        assert results.class_name(1) == "animal 1"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], f"dataset.class_names: 1 name, but the model has {CLASSES} outputs, 0 to {CLASSES - 1}."),
        (["a"] * (CLASSES + 1), f"dataset.class_names: {CLASSES + 1} names, but the model has {CLASSES} outputs"),
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_another_number_of_names_than_of_outputs_is_refused(data, names, message, in_file):
    written(data, "n.json", names)
    given = {"class_names": "n.json" if in_file else names, "labels": None}
    outcome = invoke("run", write_job(data, dataset=given))
    assert outcome.exit_code == 2 and message in outcome.stderr
    assert not (data / "out.h5.parts").exists()


def test_a_resume_with_other_names_is_told_apart(data):
    written(data, "n.txt", "\n".join("abcdefgh"[:CLASSES]))
    job = write_job(data, dataset={"class_names": "n.txt", "limit": 3})
    assert invoke("run", job, "--quiet").exit_code == 0
    written(data, "n.txt", "\n".join("hgfedcba"[:CLASSES]))
    outcome = invoke("run", job)
    assert outcome.exit_code == 1 and "dataset_hash: was" in outcome.stderr
