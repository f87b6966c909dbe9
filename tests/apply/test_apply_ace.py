"""Average causal effects from the command line: rows of a job, new samples, figures, errors."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from helpers.cli import datasets, fork, invoke, parts_of, run, write_job
from torch import nn

from xattr_cli.models.zoo import mlp
from xattr_cli.reports.gallery import plot_all
from xattr_cli.store.results.reader import Results

NAMES = ["age", "income", "kind", "red", "green"]
GROUPS = {"color": ["red", "green"]}
LEVELS = {"color": "one_hot", "kind": [0, 1, 2]}
SPREAD = np.array([10.0, 500.0, 1.0, 1.0, 1.0])
CENTRE = np.array([40.0, 2000.0, 0.0, 0.0, 0.0])


def table(count=90, seed=0):
    """(count, 5) of a table in its own units."""
    random = np.random.default_rng(seed)
    color = random.integers(0, 2, count)
    return np.column_stack(
        [
            np.round(CENTRE[:2] + SPREAD[:2] * random.normal(size=(count, 2)), 3),
            random.integers(0, 3, count),
            color == 0,
            color == 1,
        ]
    ).astype(float)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A finished job on a table that the dataset scales, and its folder."""
    folder = tmp_path_factory.mktemp("ace")
    torch.manual_seed(0)
    torch.save(mlp(5, [12], 3, activation="tanh").state_dict(), folder / "model.pt")
    np.savez(folder / "data.npz", X=table().astype(np.float32), y=np.arange(90) % 3)
    write_job(
        folder,
        model={"factory": "xattr_cli.models.zoo:mlp", "checkpoint": "model.pt",
               "kwargs": {"inputs": 5, "hidden": [12], "outputs": 3, "activation": "tanh"}},
        dataset={"features": NAMES, "mean": CENTRE.tolist(), "std": SPREAD.tolist(),
                 "class_names": ["low", "middle", "high"]},
        engines={"ace": {"alphas": 30, "groups": GROUPS, "levels": LEVELS, "estimator": "both"}},
        target="all",
    )  # fmt: skip
    run(folder / "job.yaml", "--quiet")
    return folder


def write_csv(path, rows, names=NAMES):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows.tolist()])
    return path


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def apply(*arguments, code=0):
    outcome = invoke("apply-ace", *arguments)
    assert outcome.exit_code == code, outcome.stderr
    return outcome


# --- rows of the job ----------------------------------------------------------------------------


def test_a_row_has_the_effects_of_its_own_values(job):
    found = datasets(job / "out.h5")
    effects = {name.removeprefix("effects/ace/"): v for name, v in found.items() if name.startswith("effects/")}
    features = effects["features"].tolist()
    assert features == ["color", "age", "income", "kind"]
    maps, targets = found["engines/ace/attribution"], found["rows/target"]
    scaled = (table() - CENTRE) / SPREAD
    for row in (0, 40, 269):
        sample, target = row // 3, int(targets[row])
        for name in ("age", "income"):
            feature, place = features.index(name), NAMES.index(name)
            exact = np.interp(scaled[sample, place], effects["alpha"][feature], effects["ace"][feature, :, target])
            assert maps[row, place] == pytest.approx(exact, abs=2e-3)
        kind = effects["ace"][features.index("kind"), int(scaled[sample, 2]), target]
        assert maps[row, 2] == pytest.approx(kind, abs=1e-6)
        # a group's effect is shared by its members
        color = effects["ace"][0, int(scaled[sample, 4]), target]
        np.testing.assert_allclose(maps[row, 3:], color / 2, atol=1e-6)
    assert (found["engines/ace/relative_error"] < 0.05).all()
    assert (found["engines/ace/status"] == 0).all()
    np.testing.assert_array_equal(found["effects/ace/target_names"], ["low", "middle", "high"])


def test_the_ranking_of_inputs_is_stored_for_other_commands(job):
    found = datasets(job / "out.h5")
    importance = found["effects/ace/importance"]
    assert importance.shape == (5, 3)
    np.testing.assert_array_equal(importance[3], importance[4])
    ace = found["effects/ace/ace"]
    np.testing.assert_allclose(importance[0], np.abs(ace[1]).mean(axis=0))


def test_a_killed_job_that_goes_on_equals_an_uninterrupted_one(job, tmp_path):
    for name in ("model.pt", "data.npz", "job.yaml"):
        (tmp_path / name).write_bytes((job / name).read_bytes())
    killed = fork(tmp_path, "run", tmp_path / "job.yaml", "--quiet")
    killed.wait_for(lambda: len(list(tmp_path.glob("out.h5.parts/memo-*"))) > 2)
    killed.signal(9)
    killed.wait()
    run(tmp_path / "job.yaml", "--quiet")
    reference, found = datasets(job / "out.h5"), datasets(tmp_path / "out.h5")
    assert reference.keys() == found.keys()
    for name, array in reference.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# --- new samples --------------------------------------------------------------------------------


def test_new_samples_get_what_rows_of_the_job_get(job, tmp_path):
    path = write_csv(tmp_path / "new.csv", table())
    lines = read_csv(apply(job / "out.h5", path).stdout)
    found = datasets(job / "out.h5")
    assert [(line["sample"], line["target"]) for line in lines[:4]] == [
        ("0", "low"), ("0", "middle"), ("0", "high"), ("1", "low"),
    ]  # fmt: skip
    maps = found["engines/ace/attribution"]
    for row, line in enumerate(lines):
        effects = [float(line[name]) for name in ("age", "income", "kind")]
        np.testing.assert_allclose(effects, maps[row, :3], atol=1e-6)
        assert float(line["color"]) == pytest.approx(2 * maps[row, 3], abs=1e-6)
        assert line["outside"] == ""


def test_columns_may_stand_in_any_order_among_others(job, tmp_path):
    rows = table(6)
    plain = write_csv(tmp_path / "plain.csv", rows)
    mixed = write_csv(tmp_path / "mixed.csv", np.column_stack([np.arange(6), rows[:, ::-1]]), ["id", *NAMES[::-1]])
    assert apply(job / "out.h5", plain).stdout == apply(job / "out.h5", mixed).stdout


def test_arrays_give_the_same_as_tables(job, tmp_path):
    rows = table(6)
    expected = apply(job / "out.h5", write_csv(tmp_path / "t.csv", rows)).stdout
    np.save(tmp_path / "t.npy", rows)
    np.savez(tmp_path / "named.npz", X=rows, other=np.zeros(2))
    np.savez(tmp_path / "single.npz", whatever=rows)
    for name in ("t.npy", "named.npz", "single.npz"):
        assert apply(job / "out.h5", tmp_path / name).stdout == expected
    np.save(tmp_path / "scaled.npy", (rows - CENTRE) / SPREAD)
    scaled = read_csv(apply(job / "out.h5", tmp_path / "scaled.npy", "--units", "network").stdout)
    assert float(scaled[0]["age"]) == pytest.approx(float(read_csv(expected)[0]["age"]), abs=1e-7)


def test_targets_are_chosen_by_name_or_number(job, tmp_path):
    path = write_csv(tmp_path / "new.csv", table(3))
    everything = read_csv(apply(job / "out.h5", path).stdout)
    some = read_csv(apply(job / "out.h5", path, "--target", "high", "--target", "0").stdout)
    assert [line["target"] for line in some] == ["high", "low"] * 3
    assert some[0] == everything[2]


def test_arrays_are_written_with_deviations_and_errors(job, tmp_path):
    path = write_csv(tmp_path / "new.csv", table(4))
    apply(job / "out.h5", path, "--to", tmp_path / "effects.h5", "--target", "low")
    with h5py.File(tmp_path / "effects.h5") as file:
        assert file["effect"].shape == (4, 1, 4)
        assert [axis.label for axis in file["effect"].dims] == ["sample", "target", "feature"]
        assert file["features"].asstr()[:].tolist() == ["color", "age", "income", "kind"]
        assert (file["deviation"][:, :, [0, 3]] == 0).all()  # levels
        assert (file["deviation"][:, :, 1:3] > 0).all()
        assert (file["error"][:, :, [0, 3]] == 0).all()
        assert (file["error"][:, :, 1:3] > 0).all()
        line = read_csv(apply(job / "out.h5", path, "--target", "low").stdout)[0]
        assert file["effect"][0, 0, 1] == pytest.approx(float(line["age"]), abs=1e-8)
    outcome = apply(job / "out.h5", path, "--to", tmp_path / "effects.h5", code=2)
    assert "exists. Choose another name, or add --overwrite" in outcome.stderr
    apply(job / "out.h5", path, "--to", tmp_path / "effects.h5", "--overwrite")
    apply(job / "out.h5", path, "--to", tmp_path / "effects.csv")
    assert (tmp_path / "effects.csv").read_text() == apply(job / "out.h5", path).stdout


def test_what_lies_outside_of_the_study_is_marked_and_has_the_effect_of_its_end(job, tmp_path):
    rows = table(3)
    rows[0, 0] = 500.0
    rows[1, 2] = 7.0
    outcome = apply(job / "out.h5", write_csv(tmp_path / "new.csv", rows), "--target", "low")
    lines = read_csv(outcome.stdout)
    assert [line["outside"] for line in lines] == ["age", "kind", ""]
    assert "age: 1 samples lie outside" in outcome.stderr
    assert "kind: 1 samples lie outside" in outcome.stderr
    ace = datasets(job / "out.h5")["effects/ace/ace"]
    assert float(lines[0]["age"]) == pytest.approx(ace[1, -1, 0], abs=1e-3)
    assert float(lines[0]["relative_error"]) > 100
    assert lines[1]["kind"] == "nan"
    assert float(lines[2]["relative_error"]) < 0.05


def test_neither_model_nor_data_nor_torch_are_needed(job, tmp_path):
    path = write_csv(tmp_path / "new.csv", table(2))
    (tmp_path / "alone.h5").write_bytes((job / "out.h5").read_bytes())
    code = (
        "import sys; from xattr_cli.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "apply-ace", tmp_path / "alone.h5", path],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("new.csv", "age,incme,kind,red,green\n1,2,0,0,1\n", "no column 'income'.*Did you mean 'incme'"),
        ("new.csv", "age\n1\n", "no column 'income', nor 3 others"),
        ("new.csv", "age,age,income,kind,red,green\n1,1,2,0,0,1\n", "two columns 'age'"),
        ("new.csv", "age,income,kind,red,green\n1,2,0,0,1\n1,x,0,0,1\n", "line 3: column 'income' holds 'x'"),
        ("new.csv", "age,income,kind,red,green\n1,2,0\n", "line 2: 3 values; the header has 5"),
        ("new.csv", "age,income,kind,red,green\n1,nan,0,0,1\n", "sample 0 has nan at 'income'"),
        ("new.csv", "age,income,kind,red,green\n", "no samples below a header"),
        ("new.csv", "", "no samples below a header"),
        ("new.txt", "1 2 3\n", "unknown type of file.*Allowed: .csv"),
    ],
)
def test_tables_that_do_not_fit(job, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    outcome = apply(job / "out.h5", tmp_path / name, code=2)
    assert re.search(message, outcome.stderr), outcome.stderr


def test_arrays_that_do_not_fit(job, tmp_path):
    np.save(tmp_path / "narrow.npy", np.zeros((3, 4)))
    assert "(samples, 5) is needed" in apply(job / "out.h5", tmp_path / "narrow.npy", code=2).stderr
    np.savez(tmp_path / "two.npz", a=np.zeros((3, 5)), b=np.zeros((3, 5)))
    assert "has no array 'X'" in apply(job / "out.h5", tmp_path / "two.npz", code=2).stderr
    np.save(tmp_path / "empty.npy", np.zeros((0, 5)))
    assert "holds no samples" in apply(job / "out.h5", tmp_path / "empty.npy", code=2).stderr
    assert "missing.npy" in apply(job / "out.h5", tmp_path / "missing.npy", code=2).stderr


def test_files_and_targets_that_do_not_fit(job, tmp_path):
    path = write_csv(tmp_path / "new.csv", table(2))
    outcome = apply(job / "out.h5", path, "--target", "hihg", code=2)
    assert "was not studied. Allowed: low, middle, high, 0, 1, 2. Did you mean 'high'" in outcome.stderr
    assert "Did you mean 'ace'" in apply(job / "out.h5", path, "--engine", "ac", code=2).stderr
    assert "unknown type of file" in apply(job / "out.h5", path, "--to", tmp_path / "x.txt", code=2).stderr
    (tmp_path / "data.npz").write_bytes((job / "data.npz").read_bytes())
    (tmp_path / "model.pt").write_bytes((job / "model.pt").read_bytes())
    text = (job / "job.yaml").read_text()
    (tmp_path / "other.yaml").write_text(
        text[: text.index("engines:")] + "engines: [saliency]\n" + text[text.index("compute:") :]
    )
    run(tmp_path / "other.yaml", "--quiet")
    outcome = apply(tmp_path / "out.h5", path, code=2)
    assert "holds no average causal effects; run a job with the engine 'ace'" in outcome.stderr


# --- sequences ----------------------------------------------------------------------------------


class Summing(nn.Module):
    """Sum over the real steps of a curve of each."""

    def forward(self, x, steps):
        real = torch.arange(x.shape[1]) < steps[:, None]
        return (torch.tanh(x) * real[..., None]).sum(dim=1)


def summing():
    return Summing()


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4, 2)).astype(np.float32)
    steps = random.integers(2, 5, 60)
    x[np.arange(4) >= steps[:, None]] = 0
    np.savez(folder / "data.npz", X=x, n=steps)
    write_job(
        folder,
        model={"factory": "test_apply_ace:summing"},
        dataset={"inputs": ["X", "n"], "labels": None, "axes": {"X": ["time", "channel"]}},
        explain={"inputs": ["X"]},
        engines={"ace": {"alphas": 20, "lengths": "n"}},
        target={"index": 1},
    )
    run(folder / "job.yaml", "--quiet")
    return folder


def test_padding_has_no_effect_in_rows_or_new_samples(sequences, tmp_path):
    found = datasets(sequences / "out.h5")
    stored = np.load(sequences / "data.npz")
    maps = found["engines/ace/attribution"]
    padding = np.arange(4) >= stored["n"][:, None]
    assert (maps[padding] == 0).all()
    assert (maps[~padding][:, 1] != 0).all()
    assert np.abs(maps[~padding][:, 0]).max() < 1e-6  # channel 0 is not in output 1
    lines = read_csv(apply(sequences / "out.h5", sequences / "data.npz").stdout)
    names = [name for name in lines[0] if name.startswith("X[")]
    effects = np.array([[float(line[name]) for name in names] for line in lines]).reshape(60, 4, 2)
    np.testing.assert_allclose(effects, maps, atol=1e-6)
    np.savez(tmp_path / "no_lengths.npz", X=stored["X"])
    assert "as the array 'n'" in apply(sequences / "out.h5", tmp_path / "no_lengths.npz", code=2).stderr
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert "differ in length" in apply(sequences / "out.h5", tmp_path / "t.csv", code=2).stderr


# --- figures ------------------------------------------------------------------------------------


def figures(file, folder):
    with Results.open(file) as results:
        return [path.name for path in plot_all(results, folder, kinds=["causal_effects"])]


def test_figures_of_a_table(job, tmp_path):
    assert figures(job / "out.h5", tmp_path) == [
        "causal-effects-ace.png",
        "causal-effects-ace-0-low.png",
        "causal-effects-ace-1-middle.png",
        "causal-effects-ace-2-high.png",
        "causal-ranking-ace.png",
        "causal-taylor-ace.png",
    ]


def test_figures_of_sequences(sequences, tmp_path):
    names = figures(sequences / "out.h5", tmp_path)
    assert "causal-map-ace.png" in names
    assert (tmp_path / "causal-map-ace.png").stat().st_size > 10_000


# --- what a job cannot ask for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["engines.ace.features=[agee]"], "engines.ace.features: no feature 'agee'.*Did you mean 'age'"),
        (
            ["engines.ace.levels={}", "engines.ace.groups={}"],
            "engines.ace.features: 'kind' takes only the values 0, 1, 2",
        ),
        (["engines.ace.levels={}"], "engines.ace.groups.color: every member takes but a few values"),
        (["engines.ace.range.age=[2, 1]"], "engines.ace.range.*low < high"),
        (["engines.ace.estimater=taylor"], "Did you mean 'estimator'"),
        (["engines.ace.feedback=autoregressive"], "engines.ace.feedback: autoregressive needs a network"),
        (["target={index: 3}"], "target.*3"),
        (["dataset.limit=1"], "engines.ace.estimator: .* a single sample"),
    ],
)
def test_errors_name_the_key(job, tmp_path, settings, message):
    outputs = ["--set", f"output.path={tmp_path / 'other.h5'}"]
    given = [word for setting in settings for word in ("--set", setting)]
    outcome = invoke("run", job / "job.yaml", *given, *outputs)
    assert outcome.exit_code == 2, outcome.stderr
    assert re.search(message, outcome.stderr), outcome.stderr
    assert not parts_of(tmp_path, "other.h5")


def test_a_plan_says_what_a_study_will_take(job, tmp_path):
    outcome = invoke("plan", job / "job.yaml", "--set", f"output.path={tmp_path / 'planned.h5'}")
    assert outcome.exit_code == 0, outcome.stderr
    assert "ace" in outcome.stdout
    assert "about" in outcome.stdout.split("evaluations", 1)[1]
