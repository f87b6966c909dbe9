"""Programs, scripted or exported: their outputs, what they need, and how they fail."""

from __future__ import annotations

import json
import logging
import warnings
import zipfile

import pytest
import torch
from helpers.models import Tripwire, fails, outputs, points, small, source
from torch import nn

from xattr_cli.fingerprint import fingerprint_file
from xattr_cli.models import frozen, zoo

# --- torchscript --------------------------------------------------------------------------------


@pytest.fixture
def scripted(tmp_path):
    network = small().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(tmp_path / "m.pt"))
    return network, tmp_path / "m.pt"


def test_torchscript_gives_the_same_outputs_without_a_warning(scripted):
    network, path = scripted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = source(path.parent, "torchscript", path="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(network))
    assert loaded.fingerprint == fingerprint_file(path)
    assert loaded.fixed_batch is None


def test_a_program_is_not_taken_for_a_checkpoint(scripted):
    fails(scripted[1].parent, "is a program of kind torchscript", "kind: torchscript", checkpoint="m.pt")


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_a_checkpoint_is_not_taken_for_a_program(tmp_path, kind):
    torch.save(small().state_dict(), tmp_path / "m.pt2")
    fails(tmp_path, "model.path", "weights alone", "kind: python", kind=kind, path="m.pt2")


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_a_program_that_is_missing_or_damaged_is_named(tmp_path, kind, scripted):
    path = scripted[1]
    fails(tmp_path, "model.path", f"Did you mean '{path}'", kind=kind, path="n.pt")
    (tmp_path / "half.pt").write_bytes(path.read_bytes()[:1000])
    fails(tmp_path, "is truncated", kind=kind, path="half.pt")
    (tmp_path / "text.pt").write_text("hello")
    fails(tmp_path, "is no ", kind=kind, path="text.pt")


def test_a_torchscript_archive_with_broken_code_is_named(scripted):
    rewrite(scripted[1], lambda name, content: b"def (" if name.endswith("helpers/models.py") else content)
    fails(scripted[1].parent, "cannot be read as TorchScript", kind="torchscript", path="m.pt")


# --- exported -----------------------------------------------------------------------------------


def rewrite(path, change):
    """Replace entries of an archive, with checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


def export(path, network=None, x=None, **bounds):
    """Save a program with a dynamic batch axis, or a static one if `bounds` is {"static": True}."""
    network = small().eval() if network is None else network
    x = points(6) if x is None else x
    shapes = None if bounds.pop("static", False) else ({0: torch.export.Dim("batch", **bounds)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (x,), dynamic_shapes=shapes), path)
    return network


def test_an_exported_program_gives_the_same_outputs(tmp_path):
    network = export(tmp_path / "m.pt2")
    loaded = source(tmp_path, "exported", path="m.pt2").load()
    with frozen(loaded.module) as lent:
        assert torch.equal(lent(points(1)), outputs(network, points(1)))
        assert torch.equal(lent(points(9)), outputs(network, points(9)))
    assert loaded.fingerprint == fingerprint_file(tmp_path / "m.pt2")
    assert loaded.fixed_batch is None


def test_a_program_may_have_any_file_name(tmp_path, caplog):
    export(tmp_path / "m.pt2")
    (tmp_path / "m.pt2").rename(tmp_path / "program.bin")
    source(tmp_path, "exported", path="program.bin").load()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    fails(tmp_path, "is a program of kind exported", checkpoint="program.bin")


@pytest.mark.parametrize(
    ("bounds", "batch"),
    [
        ({"static": True}, 6),
        ({"max": 16}, 16),
        ({"min": 2, "max": 512}, 32),
        ({"min": 40, "max": 512}, 40),
        ({"min": 5}, 5),
        ({"min": 2}, None),
    ],
)
def test_the_batch_size_that_a_program_needs_is_found(tmp_path, bounds, batch):
    network = nn.Linear(3, 2)
    export(tmp_path / "m.pt2", network, torch.zeros(max(6, bounds.get("min", 0)), 3), **bounds)
    loaded = source(tmp_path, "exported", path="m.pt2").load()
    assert loaded.fixed_batch == batch
    x = points(batch or 1)
    assert torch.equal(outputs_of(loaded, x), network(x))


def outputs_of(loaded, x):
    with frozen(loaded.module) as lent:
        return lent(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_programs_run_in_another_precision_than_they_were_exported_in(tmp_path, dtype):
    network = zoo.sequence_classifier(3, 4, 2, "lstm").eval()
    x = torch.randn(6, 5, 3)
    export(tmp_path / "m.pt2", network, x)
    loaded = source(tmp_path, "exported", path="m.pt2").load()
    with frozen(loaded.module, "cpu", dtype) as lent:
        found = lent(x.to(dtype))
    with frozen(network, "cpu", dtype) as lent:
        expected = lent(x.to(dtype))
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_programs_run_on_another_device_than_they_were_exported_on(tmp_path):
    x = torch.randn(6, 5, 3)
    export(tmp_path / "m.pt2", zoo.sequence_classifier(3, 4, 2, "lstm").eval(), x)
    loaded = source(tmp_path, "exported", path="m.pt2").load()
    assert loaded.module.to("meta")(x.to("meta")).device.type == "meta"


class Casting(nn.Module):
    """Casts, so that the export asserts a dtype and a device."""

    def forward(self, x):
        half = x.to(torch.float32).mean(dim=1).to(torch.bfloat16)
        return half.to(torch.float32)[:, None] * x + torch.arange(3.0, dtype=x.dtype, device=x.device)


def test_casts_to_the_program_s_precision_follow_and_others_stay(tmp_path):
    x = points(6).double()
    export(tmp_path / "m.pt2", Casting().eval(), points(6))
    loaded = source(tmp_path, "exported", path="m.pt2").load()
    with frozen(loaded.module, "cpu", torch.float64) as lent:
        found = lent(x)
    expected = x.mean(dim=1).to(torch.bfloat16).double()[:, None] * x + torch.arange(3.0)
    assert torch.equal(found, expected)
    assert "follow the job" in loaded.notes[0]


def test_a_program_that_torch_cannot_read_is_one_message(tmp_path, caplog):
    export(tmp_path / "m.pt2")
    rewrite(tmp_path / "m.pt2", lambda name, content: b"{}" if name.endswith("model.json") else content)
    fails(tmp_path, f"torch {torch.__version__} cannot read this program", kind="exported", path="m.pt2")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_program_that_would_run_code_is_refused_and_not_run(tmp_path):
    export(tmp_path / "m.pt2")
    torch.save((Tripwire(tmp_path / "ran"),), tmp_path / "bomb.pt")
    bomb = (tmp_path / "bomb.pt").read_bytes()
    rewrite(tmp_path / "m.pt2", lambda n, content: bomb if "sample_inputs" in n else content)
    fails(tmp_path, "model.path", "would run code", "open", kind="exported", path="m.pt2")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_weight_of_a_program_is_looked_into(tmp_path):
    export(tmp_path / "m.pt2")
    torch.save(Tripwire(tmp_path / "ran"), tmp_path / "bomb.pt")
    bomb = (tmp_path / "bomb.pt").read_bytes()

    def plant(name, content):
        if name.endswith("weights/model_weights_config.json"):
            table = json.loads(content)
            next(row for row in table["config"].values() if row["path_name"] == "weight_0")["use_pickle"] = True
            return json.dumps(table)
        return bomb if name.endswith("/weight_0") else content

    rewrite(tmp_path / "m.pt2", plant)
    fails(tmp_path, "would run code", kind="exported", path="m.pt2")
    assert not (tmp_path / "ran").exists()
