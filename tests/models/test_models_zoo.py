"""Networks of timm and in ONNX files: the same numbers as their own libraries give, and honest errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cli import explained, relative

from xattr_cli.errors import ModelError
from xattr_cli.job.config import resolve_plugin
from xattr_cli.registry import MODELS

MAP = "engines/integrated_gradients/attribution"


def load(**options):
    return resolve_plugin(MODELS, options).load()


# --- timm ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network of timm with random weights, and its checkpoint."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3).eval()
    path = tmp_path_factory.mktemp("timm") / "model.pt"
    torch.save(network.state_dict(), path)
    return network, path


def test_timm_with_a_checkpoint(tmp_path, checkpoint):
    network, path = checkpoint
    images = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=images)
    model = {
        "kind": "timm",
        "factory": None,
        "name": "resnet10t",
        "kwargs": {"num_classes": 3},
        "checkpoint": str(path),
    }
    engines = {"input_x_gradient": None}
    found = explained(
        tmp_path, model=model, dataset={"labels": None}, engines=engines, explain={"layer": "layer1"}
    )
    with torch.no_grad():
        scores = network(torch.from_numpy(images))
    assert np.array_equal(found["rows/prediction"], scores.argmax(1).numpy())
    assert found["engines/input_x_gradient/score_input"] == pytest.approx(scores.amax(1).numpy(), abs=1e-4)
    assert found["engines/input_x_gradient/attribution"].shape == (3, 64, 8, 8)


def test_what_timms_own_weights_expect_is_noted(checkpoint):
    loaded = load(kind="timm", name="resnet10t", kwargs={"num_classes": 3}, checkpoint=str(checkpoint[1]))
    assert any("take (3, 176, 176) with mean (0.485, 0.456, 0.406)" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "resnet10x"}, "timm has no model 'resnet10x'. Did you mean 'resnet10t'?"),
        ({"name": "resnet10t", "kwargs": {"clases": 3}}, "timm's resnet10t cannot be built with"),
        (
            {"name": "resnet10t", "kwargs": {"pretrained": True}},
            "'pretrained' may download, which a job never does",
        ),
        ({"name": "hf-hub:timm/resnet10t"}, "would be fetched from a hub, which a job never does"),
    ],
)
def test_faults_of_timm_models(checkpoint, options, text):
    with pytest.raises((ModelError, ValueError)) as error:
        load(kind="timm", **options)
    assert text in str(error.value)


# --- ONNX ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnx2torch")
    return pytest.importorskip("onnx")


WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def save(onnx, path, batch="N", outputs=("scores",), operation="Tanh"):
    """tanh(x) W, and tanh(x) itself as a second output."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node(operation, ["x"], ["hidden"], name="squash"),
             helper.make_node("MatMul", ["hidden", "W"], ["scores"], name="head")]  # fmt: skip
    width = {"scores": 4, "hidden": 3}
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", kind, [batch, 3])],
        [helper.make_tensor_value_info(name, kind, [batch, width[name]]) for name in outputs],
        [onnx.numpy_helper.from_array(WEIGHTS, "W")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("batch", ["N", 4])
def test_a_network_in_an_onnx_file(tmp_path, onnx, batch):
    save(onnx, tmp_path / "model.onnx", batch)
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=x)
    model = {"kind": "onnx", "factory": None, "path": "model.onnx"}
    found = explained(tmp_path, model=model, dataset={"labels": None}, target={"index": [2]},
                      engines={"integrated_gradients": {"rtol": 1e-4}})  # fmt: skip
    assert relative(found[MAP], np.tanh(x) * WEIGHTS[:, 2]).max() < 1e-4
    layer = explained(
        tmp_path, model=model, dataset={"labels": None}, explain={"layer": "squash"}, target={"index": [1]}
    )
    assert relative(layer[MAP], np.tanh(x) * WEIGHTS[:, 1]).max() < 1e-5


def test_one_of_several_outputs(tmp_path, onnx):
    path = save(onnx, tmp_path / "model.onnx", outputs=("scores", "hidden"))
    with pytest.raises(ModelError, match=r"model.output: .* has several outputs: scores, hidden. Name the one"):
        load(kind="onnx", path=str(path))
    with pytest.raises(ModelError, match=r"model.output: 'hiden': no such output. .*mean 'hidden'"):
        load(kind="onnx", path=str(path), output="hiden")
    x = torch.randn(2, 3)
    assert torch.allclose(load(kind="onnx", path=str(path), output="hidden").module(x), x.tanh())
    single = save(onnx, tmp_path / "single.onnx")
    assert torch.allclose(
        load(kind="onnx", path=str(single), output="scores").module(x), x.tanh() @ torch.tensor(WEIGHTS)
    )


def test_faults_of_onnx_files(tmp_path, onnx):
    with pytest.raises(ModelError, match="no such file"):
        load(kind="onnx", path=str(tmp_path / "model.onnx"))
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="cannot be read as ONNX"):
        load(kind="onnx", path=str(tmp_path / "model.onnx"))
    save(onnx, tmp_path / "model.onnx", operation="Hardmax")
    with pytest.raises(ModelError, match=r"onnx2torch has no Hardmax .*kind: python"):
        load(kind="onnx", path=str(tmp_path / "model.onnx"))
