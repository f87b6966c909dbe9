"""Checkpoints as people have them: tied weights, harmless extras, several folds, half precision, ONNX, scripts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.any_networks import CLASSES, FEATURES, HalfInside, Tied, fold, scripted, seeded
from helpers.cli import datasets, invoke, run, write_data, write_job
from helpers.models import fails, source
from safetensors.torch import save_model
from torch import nn

import __main__

X = np.random.default_rng(5).normal(size=(6, FEATURES)).astype(np.float32)


def source_of(name, folder, **options):
    return source(folder, factory=f"helpers.any_networks:{name}", **options).load()


def outputs_of(network):
    with torch.no_grad():
        return network.eval()(torch.from_numpy(X))


@pytest.fixture
def trained():
    return seeded(Tied, 3)


def test_tied_weights_that_safetensors_keeps_once(tmp_path, trained):
    save_model(trained, str(tmp_path / "m.safetensors"))
    loaded = source_of("Tied", tmp_path, checkpoint="m.safetensors")
    assert torch.equal(outputs_of(loaded.module), outputs_of(trained))
    assert "one tensor under several names, in the file once: " in "\n".join(loaded.notes)


def test_a_weight_that_is_not_tied_is_still_missed(tmp_path, trained):
    state = trained.state_dict()
    del state["last.bias"]
    torch.save(state, tmp_path / "m.pt")
    fails(tmp_path, "missing in the file: last.bias", factory="helpers.any_networks:Tied", checkpoint="m.pt")


@pytest.mark.parametrize("extra", ["total_ops", "first.total_params", "encoder.embeddings.position_ids"])
def test_counters_and_tables_are_passed_over(tmp_path, trained, extra):
    torch.save({**trained.state_dict(), extra: torch.zeros(1)}, tmp_path / "m.pt")
    loaded = source_of("Tied", tmp_path, checkpoint="m.pt")
    assert torch.equal(outputs_of(loaded.module), outputs_of(trained))
    assert f"passed over in the file, no weights: {extra}" in loaded.notes


def test_a_table_that_the_file_lacks_is_the_networks_own(tmp_path):
    torch.save(seeded(lambda: Tied(table=False), 3).state_dict(), tmp_path / "m.pt")
    loaded = source_of("Tied", tmp_path, checkpoint="m.pt")
    assert loaded.module.position_ids.tolist() == [0, 1, 2]


def test_what_does_not_fit_is_reported_on_request(tmp_path, trained):
    state = {**trained.state_dict(), "head.weight": torch.zeros(2)}
    del state["last.bias"]
    torch.save(state, tmp_path / "m.pt")
    options = {"factory": "helpers.any_networks:Tied", "checkpoint": "m.pt"}
    fails(
        tmp_path,
        "missing in the file: last.bias",
        "not in the network: head.weight",
        "model.strict: report",
        **options,
    )
    notes = "\n".join(source(tmp_path, strict="report", **options).load().notes)
    assert "NOT LOADED, missing in the file: last.bias (model.strict: report)" in notes
    assert "not in the network, passed over: head.weight" in notes


def test_a_checkpoint_of_another_network_is_refused_even_then(tmp_path, trained):
    torch.save({"a": torch.ones(2)}, tmp_path / "m.pt")
    fails(tmp_path, "missing in the file", factory="helpers.any_networks:Tied", checkpoint="m.pt", strict="report")


def test_a_pickle_from_a_script_names_the_way_out(tmp_path, monkeypatch):
    class Mine(nn.Linear):
        pass

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    monkeypatch.setattr(__main__, "Mine", Mine, raising=False)
    torch.save(Mine(FEATURES, CLASSES), tmp_path / "m.pt")
    monkeypatch.delattr(__main__, "Mine")
    texts = ["The class Mine was defined in the script that saved it (__main__)", "factory: 'file:Mine'"]
    for trust in (False, True):
        fails(tmp_path, *texts, factory="helpers.any_networks:Tied", checkpoint="m.pt", trust_pickle=trust)


# --- folds --------------------------------------------------------------------------------------


FOLDS = 4


@pytest.fixture
def folds(tmp_path):
    """The networks of four folds; their checkpoints lie in the folder."""
    networks = [seeded(fold, seed).eval() for seed in range(FOLDS)]
    for number, network in enumerate(networks):
        torch.save(network.state_dict(), tmp_path / f"fold{number}.pt")
    write_data(tmp_path, X=X)
    return networks


def folds_job(folder, **sections):
    model = {"factory": "helpers.any_networks:fold", "checkpoints": "fold*.pt", **sections.pop("model", {})}
    dataset = {"labels": None}
    return write_job(folder, model=model, dataset=dataset, **{"target": {"index": 2}, **sections})


def maps_of(folder, **sections):
    run(folds_job(folder, **sections), "--overwrite", "--quiet")
    return datasets(folder / "out.h5")


def exact_map(network, target=2, steps=4000):
    """Integrated gradients from zero by the midpoint rule, in float64."""
    network = network.double()
    x = torch.from_numpy(X).double()
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (x * (k + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(network(point)[:, target].sum(), point)[0] / steps
    return (x * total).numpy()


def test_the_map_of_folds_is_the_mean_of_theirs_with_their_deviation(tmp_path, folds):
    found = maps_of(tmp_path, model={"keep_folds": True}, engines={"integrated_gradients": {"rtol": 0.01}})
    each = np.stack([exact_map(network, steps=400) for network in folds], axis=1)
    at = "engines/integrated_gradients"
    mean = each.mean(1)
    error = np.linalg.norm(found[f"{at}/attribution"] - mean, axis=1) / np.linalg.norm(mean, axis=1)
    assert (error <= 1.25 * found[f"{at}/relative_error"] + 1e-4).all()
    np.testing.assert_allclose(found[f"{at}/folds"], each, atol=0.02 * np.abs(each).max())
    np.testing.assert_allclose(found[f"{at}/fold_deviation"], each.std(1, ddof=1), atol=0.02 * np.abs(each).max())
    scores = np.stack([network(torch.from_numpy(X).double())[:, 2].detach().numpy() for network in folds], axis=1)
    np.testing.assert_allclose(found[f"{at}/fold_scores"], scores, rtol=1e-5, atol=1e-6)
    assert found[f"{at}/fold_names"].tolist() == [f"fold{i}.pt" for i in range(FOLDS)]


def test_the_predicted_class_of_folds_is_that_of_their_mean(tmp_path, folds):
    found = maps_of(tmp_path, target="predicted", engines={"saliency": None})
    with torch.no_grad():
        mean = torch.stack([network(torch.from_numpy(X)) for network in folds]).mean(0)
    assert found["rows/target"].tolist() == mean.argmax(1).tolist()
    np.testing.assert_allclose(found["engines/saliency/score_input"], mean.amax(1).numpy(), rtol=1e-5)
    assert "folds" not in {name.rpartition("/")[2] for name in found}


def test_metrics_of_folds_replace_features_of_their_mean(tmp_path, folds):
    run(folds_job(tmp_path, engines={"input_x_gradient": None}), "--quiet")
    outcome = invoke("evaluate", tmp_path / "out.h5", "--metric", "deletion", "--trust")
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("sections", "texts"),
    [
        ({"model": {"checkpoints": "flod*.pt"}}, ["model.checkpoints: the pattern", "flod*.pt' fits 0 files"]),
        ({"model": {"checkpoints": ["fold0.pt", "fold0.pt"]}}, ["two or more different ones"]),
        ({"model": {"checkpoint": "fold0.pt"}}, ["either checkpoint or checkpoints"]),
        ({"explain": {"layer": "1"}}, ["explain: a tensor inside the network", "model.checkpoints"]),
        ({"engines": {"ace": None}}, ["engines.ace", "model.checkpoints"]),
    ],
)
def test_what_has_no_mean_over_folds_is_refused(tmp_path, folds, sections, texts):
    outcome = invoke("plan", folds_job(tmp_path, **sections))
    assert outcome.exit_code == 2
    for text in texts:
        assert text in outcome.stderr


# --- precision, constants, other formats --------------------------------------------------------


def test_a_network_that_casts_inside_runs_as_it_is_stored(tmp_path):
    write_data(tmp_path, X=X)
    job = write_job(
        tmp_path,
        model={"factory": "helpers.any_networks:HalfInside"},
        dataset={"labels": None},
        target={"index": 1},
        engines={"input_x_gradient": None},
        compute={"precision": "as_stored"},
    )
    run(job, "--quiet")
    found = datasets(tmp_path / "out.h5")
    x = torch.from_numpy(X).requires_grad_()
    score = HalfInside()(x)[:, 1]
    (gradient,) = torch.autograd.grad(score.float().sum(), x)
    np.testing.assert_allclose(found["engines/input_x_gradient/score_input"], score.detach().float(), rtol=1e-6)
    np.testing.assert_allclose(found["engines/input_x_gradient/attribution"], (x * gradient).detach(), rtol=1e-5)


def test_a_constant_reaches_a_torchscript_program(tmp_path):
    write_data(tmp_path, X=X)
    scripted(tmp_path / "m.pt")
    model = {"kind": "torchscript", "factory": None, "path": "m.pt"}
    sections = {"dataset": {"labels": None}, "target": {"index": 1}, "engines": {"input_x_gradient": None}}
    outcome = invoke("plan", write_job(tmp_path, model=model, **sections))
    assert outcome.exit_code == 2
    assert "sr" in outcome.stderr and "model.call" in outcome.stderr
    scores = {}
    for rate in (8000, 16000):
        run(write_job(tmp_path, model={**model, "call": {"sr": rate}}, **sections), "--overwrite", "--quiet")
        scores[rate] = datasets(tmp_path / "out.h5")["engines/input_x_gradient/score_input"]
    np.testing.assert_allclose(scores[16000], 2 * scores[8000], rtol=1e-5)


def onnx_file(path, *, pool="GlobalMaxPool", constant=True):
    """x (n, 2, 3) → conv with weights 1 → pool → (n, 4, 1)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnx2torch")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.arange(8, dtype=np.float32).reshape(4, 2, 1) / 8
    tensor = onnx.numpy_helper.from_array(weights, "W")
    nodes = [helper.make_node("Constant", [], ["W"], "weights", value=tensor)] if constant else []
    nodes += [
        helper.make_node("Conv", ["X", "W"], ["h"], "conv", kernel_shape=[1]),
        helper.make_node(pool, ["h"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["scores"], "flat"),
    ]
    values = [helper.make_tensor_value_info("X", kind, ["N", 2, 3])]
    results = [helper.make_tensor_value_info("scores", kind, ["N", 4])]
    graph = helper.make_graph(nodes, "g", values, results, [] if constant else [tensor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return weights


@pytest.mark.parametrize("constant", [True, False])
def test_onnx_with_weights_in_constants_and_a_global_maximum(tmp_path, constant):
    weights = onnx_file(tmp_path / "m.onnx", constant=constant)
    loaded = source(tmp_path, kind="onnx", path="m.onnx").load()
    x = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    expected = np.einsum("ocd,nct->not", weights, x).max(-1)
    np.testing.assert_allclose(loaded.module(torch.from_numpy(x)).detach(), expected, rtol=1e-5)


def test_operators_that_cannot_be_converted_are_named(tmp_path):
    onnx_file(tmp_path / "m.onnx", pool="Det")
    message = fails(tmp_path, "onnx2torch has no Det", kind="onnx", path="m.onnx")
    assert "Conv" not in message
