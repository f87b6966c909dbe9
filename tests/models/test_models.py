"""Every kind of model source: its outputs, its fingerprint, and how it fails."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest
import torch
import torchvision
from helpers.models import Small, fails, outputs, points, source
from pydantic import ValidationError
from torch import nn

from xattr_cli.errors import JobError
from xattr_cli.fingerprint import fingerprint_file
from xattr_cli.job.config import resolve_plugin
from xattr_cli.models import LoadedModel, ModelSource, frozen, zoo
from xattr_cli.models.loading.weights import fingerprint_weights
from xattr_cli.registry import MODELS


def test_every_kind_is_registered_and_documented():
    assert {"exported", "python", "torchscript", "torchvision"} <= set(MODELS.names())
    for name in MODELS.names():
        kind = MODELS.get(name)
        assert issubclass(kind, ModelSource)
        assert kind.__doc__
        assert all(field.description for field in kind.model_fields.values()), name


def test_another_kind_can_be_registered(tmp_path):
    @MODELS.register("constant")
    class Constant(ModelSource):
        """A network that ignores its input."""

        def load(self) -> LoadedModel:
            return LoadedModel(nn.Identity(), "none")

    try:
        assert isinstance(source(tmp_path, "constant").load().module, nn.Identity)
    finally:
        MODELS._members.pop("constant")


# --- python -------------------------------------------------------------------------------------


def write(folder, text, name="nets_beside.py"):
    (folder / name).write_text(text)


def test_a_factory_beside_the_job_file_is_found(tmp_path):
    write(tmp_path, "from torch import nn\ndef build(width=4):\n    return nn.Linear(3, width)\n")
    path = list(sys.path)
    loaded = source(tmp_path, factory="nets_beside:build", kwargs={"width": 7}).load()
    assert outputs(loaded.module).shape == (5, 7)
    assert sys.path == path


def test_a_factory_may_import_its_neighbours_late(tmp_path):
    write(tmp_path, "width = 6\n", "sizes_beside.py")
    write(
        tmp_path,
        "from torch import nn\ndef build():\n    import sizes_beside\n"
        "    return nn.Linear(3, sizes_beside.width)\n",
        "late_beside.py",
    )
    assert outputs(source(tmp_path, factory="late_beside:build").load().module).shape == (5, 6)


def test_the_folder_stays_with_a_source_that_is_written_out(tmp_path):
    made = source(tmp_path, checkpoint="m.pt")
    assert made.model_dump(mode="json") == {
        "kind": "python",
        "output": None,
        "call": {},
        "checkpoint": str(tmp_path / "m.pt"),
        "checkpoints": None,
        "keep_folds": False,
        "strict": "error",
        "checkpoint_key": None,
        "trust_pickle": False,
        "factory": "helpers.models:small",
        "kwargs": {},
    }


def test_without_a_checkpoint_the_factory_s_weights_are_used_and_reproducible(tmp_path):
    first, second = source(tmp_path).load(), source(tmp_path).load()
    assert torch.equal(outputs(first.module), outputs(second.module))
    assert first.fingerprint == second.fingerprint
    assert first.notes == ("no checkpoint: the weights are those that the network was built with",)
    other = source(tmp_path, kwargs={"classes": 3}).load()
    assert other.fingerprint != first.fingerprint


def test_building_leaves_the_process_as_it_was(tmp_path, capsys):
    write(
        tmp_path,
        "import torch\ndef build():\n    print('Loading!')\n    return torch.nn.Linear(3, 2)\n",
        "noisy_beside.py",
    )
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    source(tmp_path, factory="noisy_beside:build").load()
    assert torch.equal(torch.rand(2), expected)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Loading!\n"


def test_wrappers_are_taken_off(tmp_path):
    write(
        tmp_path,
        "import torch\nfrom helpers import models\n"
        "def build():\n    return torch.nn.DataParallel(torch.compile(models.small()))\n",
        "wrapped_beside.py",
    )
    loaded = source(tmp_path, factory="wrapped_beside:build").load()
    assert type(loaded.module) is Small
    assert [note.split()[-1] for note in loaded.notes[:2]] == ["DataParallel", "OptimizedModule"]


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("helpers.models:smal", "Did you mean 'small'?"),
        ("helpers.model:small", "Did you mean 'helpers.models'?"),
        ("helpers.models.py:small", "Did you mean 'helpers.models:small'?"),
        ("helpers.models:FACTORY", "cannot be called"),
    ],
)
def test_a_factory_that_is_not_there_names_its_like(tmp_path, factory, told):
    fails(tmp_path, "model.factory", told, error=JobError, factory=factory)


def test_a_factory_that_returns_no_network_says_what(tmp_path):
    fails(tmp_path, "helpers.models:points returned Tensor", "torch.nn.Module", factory="helpers.models:points")


def test_a_factory_that_fails_is_quoted_with_its_arguments(tmp_path):
    fails(tmp_path, "failed with kwargs {'classes': -1}", "RuntimeError", kwargs={"classes": -1})


def test_a_factory_that_exits_does_not_end_the_run(tmp_path):
    write(tmp_path, "import sys\ndef build():\n    sys.exit(3)\n", "exits_beside.py")
    fails(tmp_path, "exits_beside:build failed", "SystemExit: 3", factory="exits_beside:build")


def test_an_unknown_argument_names_its_like(tmp_path):
    fails(
        tmp_path,
        "model.kwargs: helpers.models:small(classes",
        "unexpected keyword argument 'clases'",
        "Did you mean 'classes'?",
        kwargs={"clases": 3},
    )


def test_a_missing_argument_is_named(tmp_path):
    fails(
        tmp_path,
        "missing a required argument: 'hidden'",
        factory="xattr_cli.models.zoo:mlp",
        kwargs={"inputs": 3},
    )


def test_lazy_layers_need_a_checkpoint_or_a_call(tmp_path):
    write(tmp_path, "from torch import nn\ndef build():\n    return nn.LazyLinear(2)\n", "lazy_beside.py")
    fails(tmp_path, "'weight' has no shape yet", "lazy layer", factory="lazy_beside:build")
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "m.pt")
    loaded = source(tmp_path, factory="lazy_beside:build", checkpoint="m.pt").load()
    assert outputs(loaded.module).shape == (5, 2)


def test_fingerprints_of_weights_see_names_types_and_bytes():
    network = nn.Linear(3, 2).bfloat16()
    first = fingerprint_weights(network)
    assert fingerprint_weights(network) == first
    network.bias.data[0] += 1
    assert fingerprint_weights(network) != first
    assert fingerprint_weights(nn.Sequential(network)) != fingerprint_weights(network)


# --- torchvision --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(9)
    network = torchvision.models.resnet18(num_classes=7)
    path = tmp_path_factory.mktemp("resnet") / "resnet18.pt"
    torch.save(network.state_dict(), path)
    return network, path


def test_resnet18_from_a_state_dict(resnet):
    network, path = resnet
    made = source(path.parent, "torchvision", name="resnet18", kwargs={"num_classes": 7}, checkpoint=path.name)
    loaded = made.load()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(outputs(loaded.module, x), outputs(network, x))
    assert loaded.fingerprint == fingerprint_file(path)
    written = made.model_dump(mode="json")
    assert written["name"] == "resnet18"
    assert resolve_plugin(MODELS, written) == made


def test_a_wrong_number_of_classes_shows_both_shapes(resnet):
    fails(
        resnet[1].parent,
        "fc.weight is (7, 512) in the file and (1000, 512) in the network",
        kind="torchvision",
        name="resnet18",
        checkpoint="resnet18.pt",
    )


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_answer_with_one_tensor(tmp_path, name):
    loaded = source(tmp_path, "torchvision", name=name, kwargs={"num_classes": 3}).load()
    with frozen(loaded.module) as lent, torch.no_grad():
        assert lent(torch.zeros(1, 3, 75, 75)).shape == (1, 3)
    assert "transform_input" in loaded.notes[-1]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", "Did you mean 'resnet18'?"),
        ("perceptron", "list_models()"),
        ("fcn_resnet50", "kind: python"),
    ],
)
def test_a_name_that_is_no_classifier_is_refused(tmp_path, name, told):
    fails(tmp_path, "model.name", repr(name), told, kind="torchvision", name=name)


def test_a_wrong_argument_of_a_builder_is_quoted(tmp_path):
    fails(tmp_path, "model.kwargs", "num_clases", kind="torchvision", name="resnet18", kwargs={"num_clases": 3})


@pytest.mark.parametrize("key", ["weights", "pretrained"])
def test_downloads_are_refused_with_the_way_out(tmp_path, key):
    with pytest.raises(ValidationError, match=f"'{key}' would download.*model.checkpoint"):
        source(tmp_path, "torchvision", name="resnet18", kwargs={key: "DEFAULT"})


# --- zoo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "examples"), [("zoo", 3), ("frozen", 3)])
def test_the_examples_are_true(name, examples):
    found = doctest.testmod(importlib.import_module(f"xattr_cli.models.{name}"))
    assert (found.failed, found.attempted) == (0, examples)


def test_the_digits_network_has_the_documented_size():
    assert sum(p.numel() for p in zoo.digits_cnn().parameters()) == 38_282
    assert zoo.digits_cnn(widths=(4,), hidden=5, classes=3)(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "softplus"])
def test_an_mlp_has_the_asked_layers(activation):
    network = zoo.mlp(3, [5, 4], 2, activation)
    assert [m.out_features for m in network if isinstance(m, nn.Linear)] == [5, 4, 2]
    assert len(network) == 5
    assert network(points()).shape == (5, 2)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_bidirectional_network_reads_every_step_from_both_ends(cell):
    torch.manual_seed(2)
    network = zoo.sequence_classifier(2, 4, 3, cell, bidirectional=True)
    x = torch.randn(1, 6, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0], x)
    assert (gradient.abs().sum(dim=-1) > 0).all()
    output, _ = network.recurrence(x)
    ends = torch.cat([output[:, -1, :4], output[:, 0, 4:]], dim=-1)
    assert torch.allclose(network(x), network.readout(ends))


def test_unknown_words_of_the_zoo_are_refused():
    with pytest.raises(ValueError, match="'swish' must be one of relu, gelu, tanh, softplus"):
        zoo.mlp(3, [4], 2, "swish")
    with pytest.raises(ValueError, match="'rnn' must be one of gru, lstm"):
        zoo.sequence_classifier(3, 4, 2, "rnn")
