"""Checkpoints: what is read, what is refused, and how the refusal reads."""

from __future__ import annotations

import argparse
import re

import numpy as np
import pytest
import torch
from helpers.models import Tripwire, fails, outputs, points, small, source
from safetensors.torch import save_file
from torch import nn

from xattr_cli.fingerprint import fingerprint_file
from xattr_cli.models.loading.checkpoint import read_checkpoint


@pytest.fixture
def trained():
    torch.manual_seed(3)
    return small()


@pytest.fixture
def state(trained):
    return trained.state_dict()


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.ckpt", "pytorch_model.bin", "m.pth.tar"])
def test_a_state_dict_gives_the_same_outputs(tmp_path, trained, state, name):
    torch.save(state, tmp_path / name)
    loaded = source(tmp_path, checkpoint=name).load()
    assert torch.equal(outputs(loaded.module), outputs(trained))
    assert loaded.fingerprint == fingerprint_file(tmp_path / name)
    assert loaded.notes == ()


def test_the_format_before_torch_1_6_is_read(tmp_path, trained, state):
    torch.save(state, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


def test_an_archive_without_checksums_is_read(tmp_path, trained, state):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


def test_safetensors_equals_pt(tmp_path, trained, state):
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "m.safetensors")
    loaded = source(tmp_path, checkpoint="m.safetensors").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("module.", ["DataParallel"]),
        ("_orig_mod.", ["torch.compile"]),
        ("module._orig_mod.", ["torch.compile", "DataParallel"]),
        ("_orig_mod.module.", ["torch.compile", "DataParallel"]),
    ],
)
def test_prefixes_of_wrappers_are_stripped_and_noted(tmp_path, trained, state, prefix, told):
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))
    assert [word in note for word, note in zip(told, loaded.notes, strict=True)] == [True] * len(told)


def test_a_submodule_compiled_on_its_own_is_stripped(tmp_path, trained, state):
    renamed = {name.replace("first.", "first._orig_mod."): tensor for name, tensor in state.items()}
    torch.save(renamed, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


def test_an_old_batch_norm_needs_no_batch_counter(tmp_path, trained, state):
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save(old, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


# --- checkpoint_key -----------------------------------------------------------------------------


def test_the_only_state_dict_is_found_and_noted(tmp_path, trained, state):
    optimizer = torch.optim.Adam(trained.parameters())
    torch.save({"epoch": 3, "model": state, "optimizer": optimizer.state_dict()}, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))
    assert loaded.notes == ("used the entry 'model' of m.pt",)


def test_two_state_dicts_are_a_question_for_the_job(tmp_path, trained, state):
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"model": other, "model_ema": state}, tmp_path / "m.pt")
    fails(tmp_path, "several state dicts: model, model_ema", "model.checkpoint_key", checkpoint="m.pt")
    loaded = source(tmp_path, checkpoint="m.pt", checkpoint_key="model_ema").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


@pytest.mark.parametrize(
    "key", ["nested.state_dict.net", "nested.state_dict.net.body"], ids=["one name", "dotted name"]
)
def test_a_dotted_key_descends_and_selects_a_prefix(tmp_path, trained, state, key):
    prefix = key.removeprefix("nested.state_dict.")
    lightning = {f"{prefix}.{name}": tensor for name, tensor in state.items()}
    torch.save({"nested": {"state_dict": {**lightning, "loss.weight": torch.ones(2)}}}, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt", checkpoint_key=key).load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


def test_a_key_with_a_dot_in_it_is_found(tmp_path, trained, state):
    torch.save({"v1.0": {"weights": state}, "v2.0": {"weights": {}}}, tmp_path / "m.pt")
    fails(tmp_path, "There is: v1.0, v2.0.", checkpoint="m.pt", checkpoint_key="v1.1.weights")
    loaded = source(tmp_path, checkpoint="m.pt", checkpoint_key="v1.0.weights").load()
    assert torch.equal(outputs(loaded.module), outputs(trained))


def test_an_unknown_key_names_its_like(tmp_path, state):
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "m.pt")
    fails(
        tmp_path,
        "model.checkpoint_key: 'state_dct'",
        "There is: state_dict, epoch.",
        "Did you mean 'state_dict'?",
        checkpoint="m.pt",
        checkpoint_key="state_dct",
    )


def test_an_unknown_key_inside_names_its_like_in_full(tmp_path, state):
    torch.save({"all": {"state_dict": state}, "epoch": 3}, tmp_path / "m.pt")
    fails(
        tmp_path,
        "'all.state_dic'",
        "Did you mean 'all.state_dict'?",
        checkpoint="m.pt",
        checkpoint_key="all.state_dic",
    )


def test_a_key_that_leads_to_a_number_says_so(tmp_path, state):
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "m.pt")
    fails(tmp_path, "'epoch'", "is of type int, no state dict", checkpoint="m.pt", checkpoint_key="epoch")
    fails(tmp_path, "epoch is of type int", checkpoint="m.pt", checkpoint_key="epoch.deeper")


def test_a_key_needs_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="checkpoint_key is set, but checkpoint is not"):
        source(tmp_path, checkpoint_key="state_dict")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "an empty mapping"),
        ({"epoch": 3, "lr": 0.1}, "a mapping with epoch, lr"),
        ([1, 2], "of type list"),
        (torch.ones(2, 3), "one tensor of shape (2, 3)"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_is(tmp_path, content, told):
    torch.save(content, tmp_path / "m.pt")
    fails(tmp_path, f"is {told}, in which no state dict was found", checkpoint="m.pt")


# --- what does not fit --------------------------------------------------------------------------


def test_names_that_differ_are_listed_from_both_sides(tmp_path, state):
    renamed = {name.replace("norm.", "bn."): tensor for name, tensor in state.items()}
    torch.save(renamed, tmp_path / "m.pt")
    message = fails(tmp_path, "does not fit the network", "compare model.kwargs", checkpoint="m.pt")
    assert "missing in the file: norm.weight, norm.bias, norm.running_mean and" in message
    assert "not in the network: bn.weight, bn.bias, bn.running_mean and 1 more" in message


def test_shapes_that_differ_are_told_from_both_sides(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    fails(
        tmp_path,
        "shapes differ: last.weight is (2, 4) in the file and (7, 4) in the network, "
        "last.bias is (2,) in the file and (7,) in the network.",
        checkpoint="m.pt",
        kwargs={"classes": 7},
    )


def test_names_that_lie_deeper_show_the_way(tmp_path, state):
    deeper = {f"backbone.net.{name}": tensor for name, tensor in state.items()}
    torch.save({**deeper, "extra": torch.ones(1)}, tmp_path / "m.pt")
    fails(tmp_path, "follow 'backbone.net'", "model.checkpoint_key", checkpoint="m.pt")
    source(tmp_path, checkpoint="m.pt", checkpoint_key="backbone.net").load()


def test_nan_weights_are_refused(tmp_path, state):
    state["last.bias"][1] = torch.nan
    torch.save(state, tmp_path / "m.pt")
    fails(tmp_path, "'last.bias' holds NaN", checkpoint="m.pt")


# --- precision ----------------------------------------------------------------------------------


def cast(state, dtype):
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}


def test_a_float64_checkpoint_keeps_its_precision(tmp_path, trained):
    wide = {name: t * (1 + 1e-12) for name, t in cast(trained.state_dict(), torch.float64).items()}
    wide["norm.num_batches_tracked"] = torch.tensor(0)
    torch.save(wide, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(loaded.module.first.weight, wide["first.weight"])
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float64}
    assert loaded.notes == ("the weights are float64: so is the network now",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_narrow_checkpoint_is_widened_exactly(tmp_path, state, dtype):
    narrow = cast(state, dtype)
    torch.save(narrow, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(loaded.module.first.weight, narrow["first.weight"].float())
    name = str(dtype).removeprefix("torch.")
    assert loaded.notes == (f"the weights are {name}: widened exactly to the network's float32",)


def test_a_mixed_checkpoint_is_copied_and_its_rounding_noted(tmp_path, state):
    state["last.bias"] = state["last.bias"].double()
    torch.save(state, tmp_path / "m.pt")
    loaded = source(tmp_path, checkpoint="m.pt").load()
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert "float32 and float64: rounded where they are wider" in loaded.notes[0]


# --- files that are not what they should be -----------------------------------------------------


def test_a_missing_file_names_its_like(tmp_path, state):
    torch.save(state, tmp_path / "model.pt")
    fails(
        tmp_path,
        "model.checkpoint",
        "no such file. Did you mean",
        str(tmp_path / "model.pt"),
        checkpoint="modle.pt",
    )


def test_a_missing_folder_is_named(tmp_path):
    fails(tmp_path, f"the folder {tmp_path / 'runs'} does not exist", checkpoint="runs/model.pt")


def test_a_folder_is_no_checkpoint(tmp_path):
    fails(tmp_path, "is a folder", checkpoint=".")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(tmp_path, state, zipped, part):
    path = tmp_path / "m.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    fails(tmp_path, str(path), "is truncated" if zipped else "is damaged", checkpoint="m.pt")


def test_a_flipped_bit_is_found(tmp_path, state):
    path = tmp_path / "m.pt"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[content.find(state["first.weight"].numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    fails(tmp_path, str(path), "is damaged: the checksum of its entry 'm/data/0'", checkpoint="m.pt")


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_an_empty_file_is_named(tmp_path, name):
    (tmp_path / name).touch()
    fails(tmp_path, "is empty (0 bytes)", checkpoint=name)


def test_a_truncated_safetensors_file_is_named(tmp_path, state):
    path = tmp_path / "m.safetensors"
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    path.write_bytes(path.read_bytes()[:-10])
    fails(tmp_path, str(path), "truncated or damaged", checkpoint=path.name)


def test_a_git_lfs_pointer_is_told_from_a_damaged_file(tmp_path):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / "m.pt").write_text(text)
    fails(tmp_path, "Git LFS pointer", "git lfs pull", checkpoint="m.pt")


def test_a_text_file_is_no_checkpoint(tmp_path):
    (tmp_path / "m.pt").write_text("hello, this is no checkpoint")
    fails(tmp_path, "not a checkpoint of torch.save", checkpoint="m.pt")


def test_an_archive_of_something_else_is_no_checkpoint(tmp_path):
    np.savez(tmp_path / "m.npz", weight=np.ones(3))
    fails(tmp_path, "is an archive, but not one that torch.save wrote", checkpoint="m.npz")


def test_without_the_package_safetensors_says_what_to_install(tmp_path, state, monkeypatch):
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors")
    monkeypatch.setattr("xattr_cli.models.loading.pickles.load_file", None)  # as if its import had failed
    fails(tmp_path, "pip install 'xattr-cli[safetensors]'", checkpoint="m.safetensors")


# --- pickles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, state, zipped):
    bomb = {"state_dict": state, "extra": Tripwire(tmp_path / "ran")}
    torch.save(bomb, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    message = fails(tmp_path, "would run code", "model.trust_pickle: true", checkpoint="m.pt")
    assert re.search(r"asks for (io|_io|builtins)\.open\b", message)
    assert not (tmp_path / "ran").exists()


def test_a_trusted_pickle_is_read(tmp_path, trained, state):
    options = argparse.Namespace(lr=0.1)
    torch.save({"state_dict": state, "hyper_parameters": options}, tmp_path / "m.pt")
    fails(tmp_path, "argparse.Namespace", checkpoint="m.pt")
    loaded = source(tmp_path, checkpoint="m.pt", trust_pickle=True).load()
    assert torch.equal(outputs(loaded.module), outputs(trained))
    assert loaded.notes == (
        "unpickled m.pt with the code it asked for",
        "used the entry 'state_dict' of m.pt",
    )


def test_trust_changes_nothing_for_plain_weights(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    assert read_checkpoint(tmp_path / "m.pt", trust_pickle=True).notes == ()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_recognised(tmp_path, trained, zipped):
    torch.save(trained, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    message = fails(tmp_path, "helpers.models.Small", "network.state_dict()", checkpoint="m.pt")
    assert ("whole pickled network" in message) == zipped  # the old format shows only its first name
    loaded = source(tmp_path, checkpoint="m.pt", trust_pickle=True).load()
    assert torch.equal(outputs(loaded.module), outputs(trained))
    assert loaded.notes[-1] == "took the weights out of a pickled Small"


def test_a_trusted_pickle_of_lost_code_says_so(tmp_path, monkeypatch):
    class Lost(nn.Linear):
        __module__ = "helpers.models"
        __qualname__ = "Lost"

    monkeypatch.setattr("helpers.models.Lost", Lost, raising=False)
    torch.save(Lost(2, 2), tmp_path / "m.pt")
    monkeypatch.undo()
    fails(tmp_path, "code that fails here (AttributeError", "Lost", checkpoint="m.pt", trust_pickle=True)


def test_reading_leaves_the_global_generator_alone(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    source(tmp_path, checkpoint="m.pt").load()
    assert torch.equal(torch.rand(3), expected)
    assert points().shape == (5, 3)
