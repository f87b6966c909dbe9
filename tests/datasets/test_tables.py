"""Datasets of tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.datasets import opened, refused, source, whole

AGES = [30.0, 40.0, 50.0, 60.0]
FRAME = pd.DataFrame(
    {
        "age": AGES,
        "income": [1, 3, 2, 5],
        "constant": [7.0] * 4,
        "smokes": [True, False, False, True],
        "name": ["Ann", "Bob", "Cy", "Di"],
        "risk": ["low", "high", "low", "mid"],
    }
)
FEATURES = ["age", "income", "constant", "smokes"]


@pytest.fixture
def folder(tmp_path):
    FRAME.to_csv(tmp_path / "people.csv", index=False)
    FRAME.to_csv(tmp_path / "people.csv.gz", index=False)
    FRAME.to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    FRAME.to_parquet(tmp_path / "people.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [
        {"path": "people.csv"},
        {"path": "people.csv.gz"},
        {"path": "people.parquet"},
        {"path": "semicolons.csv", "separator": ";"},
    ],
)
def test_every_format_gives_the_features_in_order(folder, options):
    samples = opened(folder, "table", **options, label="risk", key="name")
    batch = whole(samples)
    np.testing.assert_array_equal(batch.inputs["X"], FRAME[FEATURES].to_numpy(np.float32))
    assert batch.inputs["X"].dtype == np.float32
    assert samples.inputs[0].features == tuple(FEATURES)
    assert samples.inputs[0].offset is None
    assert samples.classes == ("high", "low", "mid")
    assert batch.labels.tolist() == [1, 0, 1, 2]
    assert batch.keys == ("Ann", "Bob", "Cy", "Di")
    assert samples.read(1, 2).keys == ("Bob",)


def test_columns_choose_and_order(folder):
    samples = opened(folder, "table", path="people.csv", columns=["smokes", "age"], dtype="float64")
    assert whole(samples).inputs["X"].tolist() == [[1, 30], [0, 40], [0, 50], [1, 60]]
    assert whole(samples).inputs["X"].dtype == np.float64
    assert whole(samples).labels is None and whole(samples).keys == ()


def test_exclude_leaves_out(folder):
    samples = opened(folder, "table", path="people.csv", exclude=["name", "constant"], label="risk")
    assert samples.inputs[0].features == ("age", "income", "smokes")


@pytest.mark.parametrize(
    ("label", "values", "dtype"), [("income", [1, 3, 2, 5], np.int64), ("age", AGES, np.float64)]
)
def test_integers_are_classes_and_floats_a_regression(folder, label, values, dtype):
    batch = whole(opened(folder, "table", path="people.csv", columns=["constant"], label=label))
    assert batch.labels.tolist() == values and batch.labels.dtype == dtype


def test_class_names_number_the_labels(folder):
    options = {"path": "people.csv", "columns": ["age"], "label": "risk"}
    samples = opened(folder, "table", **options, class_names=["low", "mid", "high"])
    assert whole(samples).labels.tolist() == [0, 2, 0, 1]
    shown = opened(folder, "table", **options, class_names=["HIGH!", "LOW!", "MID!"])
    assert whole(shown).labels.tolist() == [1, 0, 1, 2]
    refused(folder, "'mid' is not among the 2 class names", "table", **options, class_names=["low", "high"])


def test_standardising_keeps_the_original_units(folder):
    samples = opened(folder, "table", path="people.csv", columns=FEATURES, standardise=True)
    spec, values = samples.inputs[0], whole(samples).inputs["X"].astype(np.float64)
    np.testing.assert_allclose(values[:, :2].mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(values[:, :2].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(values[:, 2], 0)
    np.testing.assert_allclose(values * spec.scale + spec.offset, FRAME[FEATURES].astype(float), rtol=1e-6)


@pytest.mark.parametrize("way", ["mapping", "training.json", "training.yaml"])
def test_statistics_of_the_training_data_may_be_given(folder, way):
    given = {"mean": {"income": 1, "age": 20, "other": 0}, "std": {"income": 0, "age": 10, "other": 1}}
    (folder / "training.json").write_text(json.dumps(given))
    (folder / "training.yaml").write_text(yaml.safe_dump(given))
    options = {"path": "people.csv", "columns": ["age", "income"]}
    samples = opened(folder, "table", **options, standardise=given if way == "mapping" else way)
    assert whole(samples).inputs["X"].tolist() == [[1, 0], [2, 2], [3, 1], [4, 4]]


def test_the_statistics_file_is_part_of_the_fingerprint(folder):
    prints = []
    for mean in (1, 2):
        (folder / "s.json").write_text(json.dumps({"mean": {"age": mean}, "std": {"age": 1}}))
        prints.append(
            opened(folder, "table", path="people.csv", columns=["age"], standardise="s.json").fingerprint
        )
    assert prints[0] != prints[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"dataset.columns: not numeric: 'name' \(such as 'Ann' in row 0\); 'risk' \(such as 'low' in row 0\)",
        ),
        ({"columns": ["agee"]}, "dataset.columns: .* has no column 'agee'.* Did you mean 'age'"),
        ({"exclude": ["Age"]}, "dataset.exclude: .* has no column 'Age'.* Did you mean 'age'"),
        ({"label": "risks"}, "dataset.label: .* has no column 'risks'.* Did you mean 'risk'"),
        ({"key": "nam"}, "dataset.key: .* has no column 'nam'.* Did you mean 'name'"),
        ({"columns": ["age", "age"]}, "dataset.columns: a column is named twice"),
        ({"columns": ["age", "income"], "label": "age"}, "'age' is the label; the network must not see it"),
        ({"columns": ["age"], "exclude": ["age"]}, "no column of .* is left"),
        ({"columns": ["age"], "standardise": "no.json"}, "dataset.standardise: .*no.json: no such file"),
        (
            {"columns": ["age"], "standardise": "bad.json"},
            "dataset.standardise: .*bad.json: std: Field required",
        ),
        (
            {"columns": ["age"], "standardise": {"mean": {"age": 1}, "std": {"agee": 1}}},
            "dataset.standardise.std: no value for column 'age'. Allowed: agee. Did you mean 'agee'",
        ),
        (
            {"columns": ["age"], "standardise": {"mean": {"age": 1}, "std": {"age": -1}}},
            "dataset.standardise.std: 'age' has -1.0, which is negative",
        ),
        (
            {"columns": ["age"], "standardise": {"mean": {"age": float("nan")}, "std": {"age": 1}}},
            "dataset.standardise.mean: 'age' is not finite",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(folder, options, message):
    (folder / "bad.json").write_text('{"mean": {"age": 1}}')
    refused(folder, message, "table", path="people.csv", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,\n,4\n", r"missing \(rows count from 0 below the header\): 'a' in row 2; 'b' in row 1"),
        ("a,b\n" + "1,\n" * 9, "'b' in row 0, 1, 2, 3, 4 and 4 more"),
        ("a,b,a,b\n1,2,3,4\n", "several columns are called 'a', 'b'"),
        (",a\n0,1\n", "column 1 has no name. If it is an index that pandas wrote, .* index=False"),
        ("a,b\n1,2,3\n4,5,6\n", "the rows have more values than the header has names"),
        ("a,b\n", "the dataset is empty, a header without rows"),
        ("", "cannot be read as a table"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as a table"),
    ],
)
def test_tables_with_gaps_or_bad_headers_are_told(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    refused(tmp_path, message, "table", path="t.csv")


def test_missing_labels_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,\n")
    refused(tmp_path, "dataset.label: values are missing .* 'b' in row 1", "table", path="t.csv", label="b")


def test_unreadable_files_are_told(folder):
    (folder / "people.xlsx").touch()
    (folder / "cut.parquet").write_bytes((folder / "people.parquet").read_bytes()[:100])
    (folder / "cut.csv.gz").write_bytes((folder / "people.csv.gz").read_bytes()[:40])
    refused(folder, "people.xlsx: unknown type of file. Allowed: .csv, .parquet", "table", path="people.xlsx")
    refused(folder, "cut.parquet cannot be read as a table", "table", path="cut.parquet")
    refused(folder, "cut.csv.gz cannot be read as a table", "table", path="cut.csv.gz")
    refused(folder, "Did you mean .*people.csv", "table", path="poeple.csv")


def test_nullable_columns_of_parquet_are_numbers(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "y": [1, 0]}).convert_dtypes()
    frame.to_parquet(tmp_path / "t.parquet")
    batch = whole(opened(tmp_path, "table", path="t.parquet", label="y"))
    assert batch.inputs["X"].tolist() == [[1, 0.5], [2, 1.5]] and batch.labels.tolist() == [1, 0]


def test_infinite_values_are_left_to_the_model_side(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\ninf\n")
    assert whole(opened(tmp_path, "table", path="t.csv")).inputs["X"].tolist() == [[1], [np.inf]]


def test_the_resolved_job_opens_the_same_table(folder):
    first = source(folder, "table", path="people.csv", columns=["age"], standardise=True)
    options = first.model_dump(mode="json")
    again = source(folder / "elsewhere", **options)
    assert again == first or again.model_dump() == first.model_dump()
    assert again.standardise is True
