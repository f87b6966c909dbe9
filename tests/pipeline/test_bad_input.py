"""Bad input gets one clear message and its exit code, before anything is computed; and nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import struct

import h5py
import numpy as np
import pytest
import torch
from helpers.cli import (
    datasets,
    differences,
    digits_job,
    explained,
    fork,
    invoke,
    parts_of,
    run,
    samples,
    write_data,
    write_job,
)
from helpers.networks import plain
from torch import nn

CONVERGED, NOT_CONVERGED, QUARANTINED, NOT_JUDGED = 0, 1, 2, 4


@pytest.fixture
def folder(tmp_path):
    """A folder with good data."""
    write_data(tmp_path)
    return tmp_path


def refused(folder, *texts, code=2, arguments=(), commands=("run", "plan"), **sections):
    """`run` and `plan` end with one message that has every text, and leave nothing behind; the message."""
    job = write_job(folder, **sections)
    for command in commands:
        outcome = invoke(command, job, *arguments)
        assert outcome.exit_code == code, outcome.output
        assert outcome.stdout == ""
        message = outcome.stderr
        assert message.startswith("Error: ") and "Traceback" not in message
        for text in texts:
            assert text in message, message
        assert list(folder.glob("out.h5*")) == []
    return message


# --- the job file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "texts"),
    [
        ({"ouput": {"path": "x.h5"}}, ["ouput", "unknown key", "Did you mean 'output'?"]),
        ({"compute": {"batch_size": 3}}, ["compute.batch_size", "unknown key", "Did you mean 'batch_rows'?"]),
        (
            {"engines": {"integrated_gradients": {"rtoll": 0.1}}},
            ["engines.integrated_gradients", "rtoll", "Did you mean 'rtol'?"],
        ),
        (
            {"engines": {"integrated_gradient": None}},
            ["unknown engine 'integrated_gradient'", "Did you mean 'integrated_gradients'?"],
        ),
        (
            {"engines": {"ig": {"engine": "integrated_gradients", "baseline": {"kind": "zeros"}}}},
            ["engines.ig.baseline", "'zeros'", "Did you mean 'zero'?"],
        ),
        ({"model": {"kind": "pyton"}}, ["model", "'pyton'", "Did you mean 'python'?"]),
        ({"dataset": {"kind": "array"}}, ["dataset", "'array'", "Did you mean 'arrays'?"]),
        ({"dataset": {"pth": "x"}}, ["dataset", "pth", "Did you mean 'path'?"]),
        ({"score": "logits"}, ["score", "logits", "Did you mean 'logit'?"]),
        ({"target": "predict"}, ["target", "Did you mean 'predicted'?"]),
        ({"target": {"index": -1}}, ["target.index", "-1"]),
        ({"target": {"top": 0}}, ["target.top", "0"]),
        ({"engines": {}}, ["engines"]),
        ({"output": None}, ["output: this key is missing"]),
        ({"dataset": {"limit": 0}}, ["dataset.limit: 0"]),
        ({"output": {"part_rows": 0}}, ["output.part_rows", "0"]),
        ({"engines": {"integrated_gradients": {"rtol": 2}}}, ["engines.integrated_gradients.rtol: 2"]),
        ({"dataset": {"path": "${NO_SUCH_PLACE}/x.npz"}}, ["dataset.path", "'NO_SUCH_PLACE' is not set"]),
        ({"compute": {"device": "gpu"}}, ["compute.device", "'gpu'", "cuda"]),
        ({"compute": {"device": "cuda:99"}}, ["compute.device: 'cuda:99'", "Use auto or cpu"]),
    ],
)
def test_every_wrong_key_is_named(folder, sections, texts):
    refused(folder, *texts, **sections)


def test_all_wrong_keys_are_named_at_once(folder):
    message = refused(folder, compute={"sed": 1}, score="logits", engines={"salience": None})
    for text in ("compute.sed", "score", "engines.salience", "Did you mean 'saliency'?"):
        assert text in message
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("compute.device", ["--set 'compute.device'", "must look like compute.device=cpu"]),
        ("=3", ["--set '=3'"]),
        ("compute.seed=[1", ["--set 'compute.seed=[1'", "YAML"]),
        ("score.kind=logit", ["score is", "which has no keys"]),
        ("compute.sed=1", ["compute.sed", "Did you mean 'seed'?"]),
        ("compute.seed=one", ["compute.seed", "'one'", "integer"]),
    ],
)
def test_a_bad_override_is_named(folder, override, texts):
    refused(folder, *texts, score="logit", arguments=("--set", override))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"model: [1", ["not valid YAML"]),
        (b"- a\n- b\n", ["must be a mapping"]),
        (b"", ["must be a mapping"]),
        (b"just words", ["must be a mapping"]),
        (b"\xff\xfe\x00\x01", ["cannot be read"]),
        (b"model:\n\tkind: python\n", ["not valid YAML"]),
    ],
)
def test_what_is_no_job_file_is_told(tmp_path, content, texts):
    (tmp_path / "job.yaml").write_bytes(content)
    outcome = run(tmp_path / "job.yaml", code=2)
    for text in texts:
        assert text in outcome.stderr


def test_a_missing_job_file_names_its_like(folder):
    write_job(folder, "digits.yaml")
    outcome = run(folder / "digit.yaml", code=2)
    assert "no such file" in outcome.stderr
    assert f"Did you mean '{folder / 'digits.yaml'}'?" in outcome.stderr


def test_a_folder_is_no_job_file(folder):
    assert "is a folder" in run(folder, code=2).stderr


@pytest.mark.parametrize("text", [b"model: [1", b"", b"\xff\xfe"])
def test_nonsense_on_standard_input_is_told(text):
    outcome = run("-", code=2, input=text)
    assert outcome.stderr.startswith("Error: the job ")


@pytest.mark.parametrize("shard", ["x", "2", "4/3", "1/0", "-1/2", "1.5/2", "1/2/3", ""])
def test_nonsense_for_a_shard_is_told(folder, shard):
    outcome = run(write_job(folder), f"--shard={shard}", code=2)
    assert "--shard" in outcome.stderr and outcome.stdout == ""
    assert list(folder.glob("out.h5*")) == []


def test_an_unknown_command_or_option_is_usage(folder):
    assert invoke("rnu", "job.yaml").exit_code == 2
    assert invoke("run", write_job(folder), "--overwrit").exit_code == 2
    assert invoke("run").exit_code == 2


# --- the model ----------------------------------------------------------------------------------


@pytest.fixture
def weights(folder):
    torch.save(plain().state_dict(), folder / "model.pt")
    return folder / "model.pt"


def test_a_missing_checkpoint_names_its_like(folder, weights):
    refused(
        folder, "model.checkpoint", "no such file", f"Did you mean '{weights}'?", model={"checkpoint": "modle.pt"}
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_told(folder, weights, share):
    os.truncate(weights, int(weights.stat().st_size * share))
    words = "is truncated" if share else "is empty"
    refused(folder, "model.checkpoint", words, "copy it again", model={"checkpoint": "model.pt"})


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.makedirs, (str(self.path), 0o777, True)


def test_a_pickle_is_not_run_without_trust(folder):
    torch.save({"state_dict": plain().state_dict(), "hook": Trap(folder / "ran")}, folder / "model.pt")
    refused(
        folder, "reading it would run code", "model.trust_pickle: true", "torch.save(network.state_dict()",
        model={"checkpoint": "model.pt"},
    )  # fmt: skip
    assert not (folder / "ran").exists()
    run(write_job(folder, model={"checkpoint": "model.pt", "trust_pickle": True, "checkpoint_key": "state_dict"}))
    assert (folder / "ran").exists()


def test_keys_that_do_not_match_are_named_the_first_few(folder):
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(12)))
    torch.save(network.state_dict(), folder / "model.pt")
    message = refused(folder, "model.checkpoint", "does not fit the network", model={"checkpoint": "model.pt"})
    assert "inner.0.weight" in message and "0.weight" in message and " more" in message
    assert "11.bias" not in message


def test_weights_of_another_shape_show_both(folder):
    state = plain().state_dict()
    state["inner.2.weight"] = torch.zeros(7, 8)
    torch.save(state, folder / "model.pt")
    refused(folder, "inner.2.weight is (7, 8) in the file and (4, 8) in the network",
            model={"checkpoint": "model.pt"})  # fmt: skip


@pytest.mark.parametrize(
    ("factory", "texts"),
    [
        ("ignores_its_input", ["ignores input 'X'", "would be zero"]),
        ("multiplies_by_zero", ["ignores input 'X'"]),
        ("rounds_its_input", ["ignores input 'X'", "rounds"]),
        ("gives_classes", ["ignores input 'X'", "argmax"]),
        ("active_dropout", ["different scores for the same input", "dropout"]),
        ("coupled_by_the_mean", ["depends on the other samples of its batch"]),
        ("coupled_by_batch_norm", ["depends on the other samples of its batch", "one sample alone"]),
        ("returns_a_tuple", ["returns a tuple of 2", "(0 (2, 4), 1 (2, 3))", "model: {output: 0}"]),
        ("returns_a_mapping", ["returns a mapping with the keys logits, hidden", "model: {output: logits}"]),
        ("returns_a_sequence", ["scores of shape (5, 4)", "{index: [0, 0]}", "{select: predicted, reduce: mean}"]),
        ("takes_a_mapping", ["does not run on the dataset's inputs (X (4, 3) float32)"]),
    ],
)
def test_a_network_that_cannot_be_explained_says_why(folder, factory, texts):
    refused(folder, *texts, model={"factory": f"helpers.networks:{factory}"})


def test_a_coupled_network_is_found_on_a_single_sample_too(folder):
    for factory, text in (
        ("coupled_by_the_mean", "depends on the other samples"),
        ("coupled_by_batch_norm", "Expected more than 1 value per channel when training"),
    ):
        refused(folder, text, dataset={"limit": 1}, model={"factory": f"helpers.networks:{factory}"})


def test_an_input_without_a_gradient_is_named_among_several(folder):
    x, y = samples()
    write_data(folder, None, y, a=x, b=x[::-1].copy())
    sections = {"model": {"factory": "helpers.networks:ignores_b"}, "dataset": {"inputs": ["a", "b"]}}
    refused(folder, "the model ignores input 'b'", "explain: {inputs: [...]}", **sections)
    run(write_job(folder, explain={"inputs": ["a"]}, **sections))
    refused_name = {"explain": {"inputs": ["c"]}, "commands": ("plan",)}
    shutil.rmtree(folder / "out.h5.parts", ignore_errors=True)
    (folder / "out.h5").unlink()
    refused(folder, "explain.inputs: 'c'", "Allowed: a, b", **sections, **refused_name)


def test_a_network_that_writes_into_its_input_spoils_nothing(folder):
    """Calls as large as there are rows: nothing is padded, and so nothing is copied by chance."""
    sections = {
        # as many draws for every row: the two networks may round differently, and so stop differently
        "engines": {"saliency": None, "integrated_gradients": None, "expected_gradients": {"rtol": 0.99}},
        # not bfloat16, in which the first rows of the one job may be faster and those of the other not
        "compute": {"batch_rows": 20, "arithmetic": "float32"},
    }
    found = explained(folder, model={"factory": "helpers.networks:writes_into_its_input"}, **sections)
    expected = explained(folder, model={"factory": "helpers.networks:same_without_writing"}, **sections)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
        else:
            assert np.array_equal(found[name], values), name
    x, y = samples()
    write_data(folder, None, y, a=x, b=x[::-1].copy())
    (folder / "out.h5").unlink()
    refused(
        folder, "writes into its input 'b'", "clone()", dataset={"inputs": ["a", "b"]}, explain={"inputs": ["a"]},
        model={"factory": "helpers.networks:writes_into_its_context"},
    )  # fmt: skip


def test_a_gradient_that_is_zero_on_the_first_samples_only_is_no_fault(folder):
    """f(a, b) = net(a ⊙ b) with b = 0 in the samples that are looked at."""
    x, y = samples()
    b = x.copy()
    b[:8] = 0
    write_data(folder, None, y, a=x, b=b)
    run(write_job(folder, model={"factory": "helpers.networks:two_inputs"}, dataset={"inputs": ["a", "b"]},
                  engines={"saliency": None}))  # fmt: skip


def test_a_network_in_train_mode_with_dropout_is_explained_in_eval_mode(folder):
    with_dropout = explained(folder, model={"factory": "helpers.networks:with_dropout_layer"})
    without = explained(folder)
    assert np.array_equal(with_dropout["engines/integrated_gradients/attribution"],
                          without["engines/integrated_gradients/attribution"])  # fmt: skip


def test_a_program_scripted_with_dropout_at_work_is_told(folder):
    class Scripted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 4)

        def forward(self, x):
            return nn.functional.dropout(self.inner(x), 0.5, True)

    torch.jit.trace(Scripted(), torch.zeros(2, 3), check_trace=False).save(str(folder / "net.pt"))
    refused(
        folder, "dropout", "traced in train mode must be exported again after model.eval()",
        model={"kind": "torchscript", "path": "net.pt", "factory": None},
    )  # fmt: skip


# --- the data -----------------------------------------------------------------------------------


def test_inputs_of_another_shape_show_what_the_model_says(folder):
    write_data(folder, *samples(features=5))
    refused(folder, "does not run on the dataset's inputs (X (4, 5) float32)", "shapes cannot be multiplied")


def test_inputs_in_another_order_or_number_show_what_the_model_says(folder):
    x, y = samples()
    write_data(folder, None, y, a=x, b=x)
    refused(folder, "does not run on the dataset's inputs (a (4, 3) float32, b (4, 3) float32)", "argument",
            dataset={"inputs": ["a", "b"]})  # fmt: skip


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (np.zeros((20, 3), complex), ["complex128", "integers, floats or booleans"]),
        (np.array([["a", "b", "c"]] * 20), ["integers, floats or booleans"]),
        (np.array([[1, 2, None]] * 20, dtype=object), ["Python objects"]),
        (np.array(3.0), ["the first axis must count the samples"]),
        (np.zeros((19, 3), np.float32), ["disagree about the number of samples", "X has 19, labels has 20"]),
    ],
)
def test_arrays_that_no_network_takes_are_told(folder, values, texts):
    write_data(folder, values, samples()[1])
    refused(folder, "dataset", *texts)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_are_no_inputs_to_explain(folder, dtype):
    write_data(folder, np.ones((20, 3), dtype), samples()[1])
    name = np.dtype(dtype).name
    refused(folder, f"input 'X' holds {name}", "no gradient", "silently zero", "dataset.dtype: float32")
    explained(folder, dataset={"dtype": "float32"})


@pytest.mark.parametrize("engine", ["saliency", "integrated_gradients", "expected_gradients"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_inputs_are_refused_or_quarantined(folder, value, engine):
    """Also by an engine, and on a network, that give finite numbers for infinite inputs: tanh does."""
    x, y = samples()
    x[[2, 11]] = value
    write_data(folder, x, y)
    refused(folder, "2 of 20 samples", "samples 2, 11", "dataset.bad_rows: quarantine", engines={engine: None})
    found = explained(folder, dataset={"bad_rows": "quarantine"}, engines={engine: None})
    assert np.flatnonzero(found[f"engines/{engine}/status"] == QUARANTINED).tolist() == [2, 11]
    assert np.flatnonzero(np.isnan(found[f"engines/{engine}/attribution"]).all(axis=1)).tolist() == [2, 11]
    assert np.isfinite(found[f"engines/{engine}/attribution"][[1, 3, 10, 12]]).all()


def test_the_checks_look_at_finite_samples(folder):
    """NaN in the first samples must not hide a network that cannot be explained."""
    x, y = samples(40)
    x[:8] = np.nan
    write_data(folder, x, y)
    for factory, text in (("active_dropout", "dropout"), ("coupled_by_the_mean", "other samples")):
        refused(folder, text, dataset={"bad_rows": "quarantine"}, model={"factory": f"helpers.networks:{factory}"})
    status = explained(folder, dataset={"bad_rows": "quarantine"})["engines/integrated_gradients/status"]
    assert status.tolist() == [QUARANTINED] * 8 + [CONVERGED] * 32


def test_data_of_nothing_but_nan_are_quarantined_as_a_whole(folder):
    x, y = samples()
    write_data(folder, x * np.nan, y)
    status = explained(folder, dataset={"bad_rows": "quarantine"})["engines/integrated_gradients/status"]
    assert (status == QUARANTINED).all()


def test_a_network_without_a_finite_score_is_told(folder):
    model = {"factory": "helpers.networks:gives_nan"}
    refused(folder, "NaN or infinite for all of the 4 samples looked at", "scaled as in training", model=model)
    found = explained(folder, model=model, dataset={"bad_rows": "quarantine"}, engines=["saliency"])
    assert (found["engines/saliency/status"] == QUARANTINED).all()


def test_an_empty_dataset_is_told(folder):
    write_data(folder, np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
    refused(folder, "the dataset is empty")
    (folder / "data.csv").write_text("a,b,c\n")
    refused(folder, "the dataset is empty", dataset={"kind": "table", "path": "data.csv", "labels": None})


def test_a_missing_array_names_its_like(folder):
    refused(folder, "dataset.inputs", "no array 'x'", "Did you mean 'X'?", dataset={"inputs": "x"})
    refused(folder, "dataset.labels", "no array 'labels'", dataset={"labels": "labels"})


# --- labels and targets -------------------------------------------------------------------------


def test_a_label_out_of_range_is_found_before_the_start(folder):
    x, y = samples(5000)
    y[[3210, 4999]] = 4, 7
    write_data(folder, x, y)
    refused(
        folder, "dataset.labels: 2 of 5000 labels are out of range (sample 3210 has 4, sample 4999 has 7)",
        "4 outputs, 0 to 3", target="label",
    )  # fmt: skip
    explained(folder, target="predicted", dataset={"limit": 8})
    (folder / "out.h5").unlink()
    explained(folder, target="label", dataset={"limit": 3210}, engines={"saliency": None})


def test_a_label_is_found_without_reading_the_inputs(folder):
    """4 GB of inputs, mapped: reading them would take minutes, and more memory than a test may have."""
    rows, features = 1_000_000, 1000
    data = folder / "data"
    data.mkdir()
    header = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, features)}).encode().ljust(117) + b"\n"
    with (data / "X.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        file.truncate(file.tell() + 4 * rows * features)
    labels = np.zeros(rows, np.int64)
    labels[-1] = 9
    np.save(data / "y.npy", labels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(
        folder, "1 of 1000000 labels are out of range (sample 999999 has 9)", "4 outputs", target="label",
        dataset={"path": "data"}, engines={"saliency": None},
        model={"factory": "xattr_cli.models.zoo:mlp", "kwargs": {"inputs": features, "hidden": [4], "outputs": 4}},
    )  # fmt: skip
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


def test_a_label_that_only_reading_can_find_stops_the_run_and_loses_nothing(folder):
    (folder / "pairs.py").write_text(
        "import numpy as np\n"
        "class Pairs:\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i): return np.full(3, i / 20, np.float32), 4 if i == 13 else i % 4\n"
    )
    job = write_job(folder, target="label", dataset={"kind": "python", "factory": "pairs:Pairs", "path": None,
                    "labels": None}, output={"part_rows": 4})  # fmt: skip
    outcome = run(job, code=2)
    assert "1 of 4 labels are out of range (sample 13 has 4)" in outcome.stderr
    assert parts_of(folder) == ["part-00000.h5", "part-00001.h5", "part-00002.h5"]


def test_labels_that_are_no_classes_are_told(folder):
    x, y = samples()
    write_data(folder, x, y - 1)
    refused(folder, "dataset.labels", "-1", "class numbers, 0 or more", target="label")
    write_data(folder, x, y + 0.5)
    refused(folder, "dataset.labels: float64 values are no classes", "4 outputs", target="label")
    refused(folder, "target: 'label'", "the dataset has no labels", "Set dataset.labels", target="label",
            dataset={"labels": None})  # fmt: skip


@pytest.mark.parametrize(
    ("target", "factory", "texts"),
    [
        ({"index": 4}, "plain", ["target.index: 4", "4 outputs, 0 to 3"]),
        ({"index": [0, 17]}, "plain", ["target.index: 17", "4 outputs, 0 to 3"]),
        ({"top": 5}, "plain", ["target.top: 5", "4 outputs, 0 to 3"]),
        ({"index": 1}, "single_output", ["target.index: 1", "one output, number 0"]),
    ],
)
def test_a_target_out_of_range_is_told(folder, target, factory, texts):
    refused(folder, *texts, target=target, model={"factory": f"helpers.networks:{factory}"})


# --- baselines ----------------------------------------------------------------------------------


def test_a_baseline_that_equals_the_input_is_told(folder):
    write_data(folder, np.full((20, 3), 0.5, np.float32), samples()[1])
    baseline = {"kind": "constant", "value": 0.5}
    refused(
        folder, "engines.ig.baseline: equals the input", "every map would be zero", "{kind: zero}",
        engines={"ig": {"engine": "integrated_gradients", "baseline": baseline}},
    )  # fmt: skip


@pytest.mark.parametrize("rule", [{}, {"rule": "midpoint", "nodes": 8}])
def test_a_single_row_that_equals_its_baseline_gets_a_map_of_zeros(tmp_path, rule):
    job = digits_job(tmp_path, 12, engines={"integrated_gradients": rule, "interior_gradients": None})
    with np.load(tmp_path / "data.npz") as data:
        arrays = dict(data)
    arrays["X"][7] = 0
    np.savez(tmp_path / "data.npz", **arrays)
    run(job)
    found = datasets(tmp_path / "out.h5")
    for engine in ("integrated_gradients", "interior_gradients"):
        assert (found[f"engines/{engine}/attribution"][7] == 0).all()
        assert found[f"engines/{engine}/relative_error"][7] == 0
        judged = NOT_JUDGED if engine == "integrated_gradients" and "rule" in rule else CONVERGED
        assert (found[f"engines/{engine}/status"] == judged).all()
        assert (found[f"engines/{engine}/attribution"][8] != 0).any()


def test_a_background_where_a_baseline_is_needed_is_told(folder):
    refused(folder, "engines.integrated_gradients.baseline", "expected_gradients",
            engines={"integrated_gradients": {"baseline": {"kind": "samples"}}})  # fmt: skip


def test_a_baseline_of_each_sample_is_no_background(folder):
    refused(folder, "engines.expected_gradients.baseline", "{kind: samples",
            engines={"expected_gradients": {"baseline": {"kind": "gaussian", "sigma": 0.5}}})  # fmt: skip


def test_a_background_of_nothing_but_the_input_is_told(folder):
    refused(folder, "engines.expected_gradients.baseline: the background holds nothing but the input itself",
            engines=["expected_gradients"], dataset={"limit": 1})  # fmt: skip
    explained(folder, engines=["expected_gradients"], dataset={"limit": 2})


# --- rows that cannot be explained --------------------------------------------------------------


def background(folder):
    np.savez(folder / "background.npz", X=samples(64, seed=9)[0])
    return {"kind": "samples", "dataset": {"kind": "arrays", "path": "background.npz"}}


def test_a_bad_row_is_quarantined_and_touches_no_other(folder):
    engines = {
        "saliency": None,
        "integrated_gradients": None,
        "interior_gradients": {"layers": ["inner.1"]},
        "expected_gradients": {"baseline": background(folder)},
    }
    x, y = samples()
    good = explained(folder, engines=engines)
    spoilt = x.copy()
    spoilt[[0, 9], 1] = np.nan, -np.inf
    write_data(folder, spoilt, y)
    bad = explained(folder, engines=engines, dataset={"bad_rows": "quarantine"})
    others = np.delete(np.arange(20), [0, 9])
    assert bad.keys() == good.keys()
    for name, values in bad.items():
        if name.startswith(("engines/", "rows/")) and len(values) == 20:
            assert values[others].tobytes() == good[name][others].tobytes(), name
    for engine in engines:
        at = f"engines/{engine}"
        good_row = NOT_JUDGED if engine == "saliency" else CONVERGED
        assert bad[f"{at}/status"].tolist() == [2, *[good_row] * 8, 2, *[good_row] * 10]
        assert np.isnan(bad[f"{at}/attribution"][[0, 9]]).all()
        assert np.isnan(bad[f"{at}/relative_error"][[0, 9]]).all()
    assert bad["rows/prediction"][[0, 9]].tolist() == [-1, -1]


def test_rows_are_the_same_without_the_bad_one(folder):
    x, y = samples()
    spoilt = x.copy()
    spoilt[0] = np.nan
    write_data(folder, spoilt, y)
    bad = explained(folder, dataset={"bad_rows": "quarantine"})
    write_data(folder, x[1:], y[1:])
    without = explained(folder)
    for name in ("attribution", "relative_error", "evaluations", "status", "completeness_gap"):
        at = f"engines/integrated_gradients/{name}"
        assert bad[at][1:].tobytes() == without[at].tobytes(), name


def test_strict_tells_rows_that_are_quarantined_or_did_not_converge(folder):
    capped = {"integrated_gradients": {"rtol": 1e-6, "max_nodes": 9, "rule": "gradient"}}
    job = write_job(folder, engines=capped)
    assert "--strict" not in run(job).stderr
    assert (datasets(folder / "out.h5")["engines/integrated_gradients/status"] == NOT_CONVERGED).all()
    run(job, "--strict", code=3)  # a finished job is judged again
    run(job, "--strict", "--json", code=3)
    run(write_job(folder), "--strict", "--overwrite")
    x, y = samples()
    x[5] = np.nan
    write_data(folder, x, y)
    job = write_job(folder, dataset={"bad_rows": "quarantine"})
    run(job, "--overwrite")
    run(job, "--strict", code=3)


def test_a_network_that_fails_in_mid_run_names_the_samples_and_loses_nothing(folder):
    x, y = samples()
    reference = explained(folder, output={"part_rows": 4})
    (folder / "out.h5").unlink()
    spoilt = x.copy()
    spoilt[13] = 91
    write_data(folder, spoilt, y)
    outcome = run(
        write_job(folder, model={"factory": "helpers.networks:fails_above_90"}, output={"part_rows": 4}), code=1
    )
    assert "samples 12 to 15: IndexError: token 91 is not in the vocabulary" in outcome.stderr
    assert "networks.py, line " in outcome.stderr and "Traceback" not in outcome.stderr
    assert len(parts_of(folder)) == 3
    with h5py.File(folder / "out.h5.parts" / "part-00001.h5") as part:
        found = part["engines/integrated_gradients/attribution"][()]
    assert np.array_equal(found, reference["engines/integrated_gradients/attribution"][4:8])


# --- the output ---------------------------------------------------------------------------------


def test_an_output_that_cannot_be_written_is_told_before_the_start(folder):
    (folder / "file").write_text("")
    (folder / "there").mkdir()
    for path, text in (
        ("file/out.h5", f"{folder / 'file'} is not a folder"),
        ("there", "is not a regular file"),
        ("/proc/no/out.h5", "cannot be written"),
        ("/dev/null", "is not a regular file"),
    ):
        refused(folder, f"output.path: {folder / path}", text, output={"path": path})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_told(folder):
    (folder / "locked").mkdir(mode=0o500)
    refused(folder, "output.path", "Permission denied", output={"path": "locked/out.h5"})


def test_the_output_never_takes_the_place_of_an_input(folder):
    torch.save(plain().state_dict(), folder / "model.pt")
    np.save(folder / "zeros.npy", np.zeros(3, np.float32))
    engines = {"ig": {"engine": "integrated_gradients", "baseline": {"kind": "file", "path": "zeros.npy"}}}
    for name, key in (
        ("data.npz", "dataset.path"),
        ("model.pt", "model.checkpoint"),
        ("zeros.npy", "engines.ig.baseline.path"),
    ):
        before = (folder / name).read_bytes()
        refused(
            folder, "output.path", f"is {key}, which the job reads", output={"path": name},
            model={"checkpoint": "model.pt"}, engines=engines, arguments=(),
        )  # fmt: skip
        run(folder / "job.yaml", "--overwrite", code=2)
        assert (folder / name).read_bytes() == before


def test_a_file_that_is_no_result_is_not_replaced(folder):
    (folder / "thesis.h5").write_text("precious")
    outcome = run(write_job(folder, output={"path": "thesis.h5"}), code=1)
    assert "thesis.h5: is not a result of xattr-cli" in outcome.stderr and "--overwrite" in outcome.stderr
    assert (folder / "thesis.h5").read_text() == "precious"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs a limit for another process")
def test_a_disk_that_fills_up_in_mid_run_loses_no_part(tmp_path):
    engines = {"integrated_gradients": None}
    job = digits_job(tmp_path, 120, engines=engines, output={"part_rows": 4})
    reference = fork(tmp_path, "run", job, "--set", "output.path=reference.h5", "--quiet")
    assert reference.wait() == 0, reference.stderr
    full = fork(tmp_path, "run", job, "--quiet")
    full.wait_for(lambda: len(parts_of(tmp_path)) >= 2)
    resource.prlimit(full.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    assert full.wait() == 1
    finished = parts_of(tmp_path)
    assert f"part-{len(finished):05d}.h5: cannot be written: File too large" in full.stderr
    assert "All parts finished before are kept" in full.stderr and "Traceback" not in full.stderr
    assert 2 <= len(finished) < 30 and not (tmp_path / "out.h5").exists()
    assert list(tmp_path.rglob("*.tmp")) == []
    again = fork(tmp_path, "run", job)
    assert again.wait() == 0, again.stderr
    assert f"{120 - 4 * len(finished)} rows to compute" in again.stderr
    assert differences(tmp_path / "out.h5", tmp_path / "reference.h5") == []


def test_a_damaged_part_is_told_and_computed_again(folder):
    job = write_job(folder, output={"part_rows": 4, "keep_parts": True})
    run(job, "--quiet")
    shutil.copy(folder / "out.h5", folder / "reference.h5")
    (folder / "out.h5").unlink()
    part = folder / "out.h5.parts" / "part-00002.h5"
    os.truncate(part, part.stat().st_size - 100)
    again = fork(folder, "run", job)
    assert again.wait() == 0
    assert "part-00002.h5" in again.stderr and "the part is computed again" in again.stderr
    assert "4 rows to compute" in again.stderr
    assert differences(folder / "out.h5", folder / "reference.h5") == []


def test_parts_of_another_job_are_refused_naming_what_changed(folder):
    job = write_job(folder, output={"part_rows": 4})
    run(job, "--shard", "1/2")
    before = parts_of(folder)
    outcome = run(job, "--set", "engines.integrated_gradients.rtol=0.01", code=1)
    assert "out.h5.parts: holds parts of another job" in outcome.stderr
    assert "engines.integrated_gradients.rtol" in outcome.stderr and "0.05" in outcome.stderr
    assert "--overwrite" in outcome.stderr
    assert parts_of(folder) == before
    outcome = invoke("merge", job, "--set", "engines.integrated_gradients.rtol=0.01")
    assert outcome.exit_code == 1 and "holds parts of another job" in outcome.stderr
    # what only says how to compute may change
    run(job, "--set", "compute.batch_rows=3", "--quiet")


@pytest.mark.parametrize("changed", ["checkpoint", "dataset", "rtol"])
def test_a_result_of_another_job_is_refused_naming_what_changed(folder, changed):
    torch.save(plain().state_dict(), folder / "model.pt")
    job = write_job(folder, model={"checkpoint": "model.pt"})
    run(job, "--quiet")
    before = (folder / "out.h5").read_bytes()
    arguments = []
    if changed == "checkpoint":
        torch.save({k: 2 * v for k, v in plain().state_dict().items()}, folder / "model.pt")
    elif changed == "dataset":
        write_data(folder, *samples(seed=1))
    else:
        arguments = ["--set", "engines.integrated_gradients.rtol=0.01"]
    outcome = run(job, *arguments, code=1)
    assert "out.h5: is the result of another job" in outcome.stderr
    assert changed in outcome.stderr and "--overwrite" in outcome.stderr
    assert (folder / "out.h5").read_bytes() == before
    run(job, *arguments, "--overwrite", "--quiet")
    assert (folder / "out.h5").read_bytes() != before


def test_a_job_that_turned_out_wrong_on_the_way_does_not_stand_in_the_way_of_the_corrected_one(folder):
    """A constant column is found by the flow of `icc`, when the parts folder is there already."""
    inputs, labels = samples(40)
    inputs[:, 1] = 2.0
    write_data(folder, inputs, labels)
    icc = {"graph": {"X[0]": [], "X[1]": ["X[0]"], "X[2]": ["X[0]"]}}
    outcome = run(write_job(folder, engines={"icc": icc}), "--quiet", code=2)
    assert "column 'X[1]' is 2 in all 40 rows" in outcome.stderr
    assert list(folder.glob("out.h5*")) == []
    run(write_job(folder, engines={"saliency": {}}), "--quiet")
    assert (folder / "out.h5").exists()


def test_of_a_job_that_turned_out_wrong_finished_parts_are_kept(folder):
    """Sobol' indices do not mind the constant; the flow of `icc`, which comes after them, does."""
    inputs, labels = samples(40)
    inputs[:, 1] = 2.0
    write_data(folder, inputs, labels)
    icc = {"graph": {"X[0]": [], "X[1]": ["X[0]"], "X[2]": ["X[0]"]}}
    job = write_job(folder, engines={"sobol": {"rtol": 0.05}, "icc": icc})
    run(job, "--quiet", code=2)
    (finished,) = (folder / "out.h5.parts").glob("part-*.h5")
    before = finished.read_bytes()
    outcome = run(write_job(folder, engines={"saliency": {}}), "--quiet", code=1)
    assert "holds parts of another job" in outcome.stderr and "--overwrite" in outcome.stderr
    assert finished.read_bytes() == before
