"""Tables and labels as people have them: read as they are meant, or named cell by cell."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from helpers.cli import datasets, invoke, run, write_job
from helpers.datasets import opened

from xattr_cli.errors import DataError

HEAD = ["name", "a", "b", "c", "y"]
ROWS = [["p1", 1.5, -2.0, 3.0, "low"], ["p2", 0.25, 1.0, 2.5, "high"], ["p3", -1.0, 0.5, 0.0, "mid"]]


def text(separator=",", decimal=".", head=HEAD, rows=ROWS):
    cells = [
        [str(cell).replace(".", decimal) if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    return "\n".join(separator.join(line) for line in [head, *cells]) + "\n"


def table(folder, content, name="t.csv", **options):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return opened(folder, kind="table", path=name, **{"label": "y", "id": "name", **options})


VALUES = np.array([row[1:4] for row in ROWS], np.float32)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (text(), ""),
        (text(";", ","), "table: read with separator ';', decimal comma"),
        (text("\t"), "table: read with separator '\\t'"),
        (text("|", ","), "table: read with separator '|', decimal comma"),
        (text().encode("utf-16"), "table: read with encoding utf-16"),
        (b"\xef\xbb\xbf" + text().encode(), ""),
        (text(rows=[["Jos\u00e9", *ROWS[0][1:]], *ROWS[1:]]).encode("cp1252"), "table: read with encoding cp1252"),
    ],
)
def test_separators_commas_and_encodings_are_recognised(tmp_path, content, note):
    samples = table(tmp_path, content)
    batch = samples.read(0, 3)
    np.testing.assert_array_equal(batch.inputs["X"], VALUES)
    assert batch.keys[1:] == ("p2", "p3") and batch.keys[0] in ("p1", "Jos\u00e9")
    assert batch.labels.tolist() == [1, 0, 2]  # high, low, mid
    assert samples.notes == (*([note] if note else []), "labels: 0 high, 1 low, 2 mid")


def test_a_packed_file_is_recognised_too(tmp_path):
    samples = table(tmp_path, gzip.compress(text(";", ",").encode()), "t.csv.gz")
    np.testing.assert_array_equal(samples.read(0, 3).inputs["X"], VALUES)


def test_a_thousands_comma_is_no_decimal_comma(tmp_path):
    with pytest.raises(DataError, match=r"'a' \(such as '1,234.5' in row 0 \(p1\)"):
        table(tmp_path, text(";", rows=[["p1", "1,234.5", -2.0, 3.0, "low"], *ROWS[1:]]))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("n.a.", r"'a' \(such as 'n.a.' in row 2 \(p3\); 1 of 3 cells are no numbers\)"),
        ("2024-05-01", r"'a' \(such as '2024-05-01' in row 2 \(p3\); dates: store the days since"),
        ("", r"values are missing .*'a' in row 2 \(p3\).*dataset.bad_rows: quarantine"),
        ("NA", r"values are missing .*'a' in row 2 \(p3\)"),
    ],
)
def test_a_bad_cell_is_quoted_as_it_is_and_named(tmp_path, cell, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text(rows=[*ROWS[:2], ["p3", cell, 0.5, 0.0, "mid"]]))


@pytest.mark.parametrize("word", ["NA", "None", "null"])
def test_words_for_nothing_can_be_classes(tmp_path, word):
    samples = table(tmp_path, text(rows=[*ROWS[:2], [*ROWS[2][:4], word]]))
    assert sorted(samples.classes) == sorted(["low", "high", word])


def test_beside_numbers_they_are_missing(tmp_path):
    rows = [[*row[:4], label] for row, label in zip(ROWS, ["3", "0", "NA"], strict=True)]
    with pytest.raises(DataError, match=r"dataset.label: values are missing .*'y' in row 2 \(p3\)"):
        table(tmp_path, text(rows=rows))
    samples = table(tmp_path, text(rows=rows), bad_rows="quarantine")
    assert samples.read(0, 3).labels.dtype == np.float64 or samples.read(0, 3).labels.tolist() == [3, 0, -1]


def test_a_bad_cell_among_numbers_follows_bad_rows(tmp_path):
    rows = [[*row[:1], *row[1:]] for row in ROWS]
    rows[1][2] = "?"
    samples = table(tmp_path, text(rows=rows), bad_rows="quarantine")
    values = samples.read(0, 3).inputs["X"]
    assert np.isnan(values[1, 1]) and np.isfinite(np.delete(values.ravel(), 4)).all()
    assert "table: column 'b': '?' in row 1: no numbers, so these rows are quarantined" in samples.notes
    with pytest.raises(DataError, match=r"'b' \(such as '\?' in row 1 .*bad_rows: quarantine"):
        table(tmp_path, text(rows=rows))
    mostly = [[*row[:2], word, *row[3:]] for row, word in zip(ROWS, ["red", "blue", 3.0], strict=True)]
    with pytest.raises(DataError, match=r"'b' .*Encode them as numbers"):  # another kind of column, and said so
        table(tmp_path, text(rows=mostly), bad_rows="quarantine")


def test_a_folder_where_a_file_of_arrays_is_meant(tmp_path):
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(DataError, match=r"data.npz is a folder without \.npy files"):
        opened(tmp_path, kind="arrays", path="data.npz", inputs="X")


def test_categories_of_parquet_keep_their_codes(tmp_path):
    frame = pd.DataFrame(ROWS, columns=HEAD)
    frame["y"] = pd.Categorical(frame["y"], ["low", "mid", "high"])
    frame.to_parquet(tmp_path / "t.parquet")
    samples = opened(tmp_path, kind="table", path="t.parquet", label="y", key="name")
    assert samples.classes == ("low", "mid", "high")
    assert samples.read(0, 3).labels.tolist() == [0, 2, 1]
    assert "labels: 0 low, 1 mid, 2 high" in samples.notes


def test_digit_texts_count_as_numbers(tmp_path):
    rows = [[f"p{i}", 1.0 * i, 2.0, 3.0, i] for i in range(12)]
    frame = pd.DataFrame(rows, columns=HEAD)
    frame["y"] = frame["y"].astype(str)
    frame.to_parquet(tmp_path / "t.parquet")
    samples = opened(tmp_path, kind="table", path="t.parquet", label="y", key="name")
    assert samples.read(0, 12).labels.tolist() == list(range(12))


@pytest.mark.parametrize("bad_rows", ["error", "quarantine"])
def test_missing_cells_and_labels_follow_one_setting(tmp_path, bad_rows, caplog):
    rows = [[f"p{i}", 1.0 + i, 2.0, -1.0, ["ant", "bee", "cat", "dog"][i % 4]] for i in range(6)]
    rows[1][2], rows[4][4] = "", ""
    (tmp_path / "t.csv").write_text(text(rows=rows))
    job = write_job(
        tmp_path,
        dataset={
            "kind": "table",
            "path": "t.csv",
            "labels": None,
            "label": "y",
            "id": "name",
            "bad_rows": bad_rows,
        },
        target="label",
        engines={"input_x_gradient": None},
    )
    if bad_rows == "error":
        outcome = invoke("run", job)
        assert outcome.exit_code == 2 and "row 1 (p1)" in outcome.stderr
        return
    run(job)
    found = datasets(tmp_path / "out.h5")
    assert found["engines/input_x_gradient/status"].tolist() == [4, 2, 4, 4, 2, 4]
    assert [str(key) for key in found["rows/key"]] == [f"p{i}" for i in range(6)]
    assert found["rows/label"].tolist() == [0, 1, 2, 3, -1, 1]
    assert "quarantined: samples 1 (p1), 4 (p4)" in caplog.text
    assert "labels: 0 ant, 1 bee, 2 cat, 3 dog" in caplog.text
