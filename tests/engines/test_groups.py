"""The options of second-order engines in a job file: groups, features, smoothing; what is refused, and how."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch
import yaml
from jsonschema import Draft202012Validator
from torch import nn

from xattr_cli.engines.interactions.groups import Groups
from xattr_cli.engines.interactions.membership import LEFT_OUT, membership, positions
from xattr_cli.engines.interactions.superpixels import superpixels
from xattr_cli.errors import JobError
from xattr_cli.job.config import parse_job, to_yaml
from xattr_cli.job.schema import job_schema
from xattr_cli.pipeline.run import run_job
from xattr_cli.samples import InputSpec

FLOAT = np.dtype("float32")
VECTOR = InputSpec("X", (4,), FLOAT, ("feature",), features=("age", "income", "debt", "price"))
IMAGE = InputSpec("photo", (3, 4, 6), FLOAT, ("channel", "height", "width"))
STEPS = InputSpec("text", (5, 2), FLOAT, ("token", "embedding"))


def job(options: dict, folder, engine="integrated_hessians") -> str:
    return yaml.safe_dump({
        "model": {"kind": "python", "factory": "xattr_cli.models.zoo:mlp",
                  "kwargs": {"inputs": 4, "hidden": [8], "outputs": 1, "activation": "tanh"},
                  "checkpoint": "model.pt"},
        "dataset": {"kind": "arrays", "path": "data.npz", "inputs": "X",
                    "features": ["age", "income", "debt", "price"]},
        "target": {"index": 0},
        "engines": {engine: options},
        "output": {"path": "out.h5"},
    }, sort_keys=False)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    torch.save(module.state_dict(), tmp_path / "model.pt")
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    return tmp_path


def engine_of(options, folder, engine="integrated_hessians"):
    return parse_job(job(options, folder, engine), folder=folder).engines[engine]


def refusal(options, folder) -> str:
    """What stops the job, when it is read or when it is opened."""
    with pytest.raises(JobError) as error:
        run_job(parse_job(job(options, folder), folder=folder))
    return str(error.value)


# --- from YAML and back ---------------------------------------------------------------------------

WRITTEN = [
    {"groups": "tokens"},
    {"groups": {"patches": 16}},
    {"groups": {"segments": 50}, "top": 5},
    {"groups": {"money": ["income", "debt"], "other": [0, 3]}},
    {"features": ["age", 2], "smoothing": "none"},
    {"row": "debt", "smoothing": {"beta": 30.0, "allow": ["topk"]}},
    {"groups": {"money": ["income"]}, "rest": "drop", "smoothing": "refuse"},
]


@pytest.mark.parametrize("options", WRITTEN)
@pytest.mark.parametrize("engine", ["integrated_hessians", "expected_hessians"])
def test_options_survive_being_written_and_read_again(options, engine, folder):
    first = parse_job(job(options, folder, engine), folder=folder)
    text = to_yaml(first)
    assert parse_job(text, folder=folder) == first
    written = yaml.safe_load(text)["engines"][engine]
    assert {key: written[key] for key in options} == options


@pytest.mark.parametrize("options", WRITTEN)
def test_the_schema_takes_what_the_reader_takes(options, folder):
    schema = job_schema()
    Draft202012Validator(schema).validate(json.loads(json.dumps(yaml.safe_load(job(options, folder)))))


def test_the_schema_refuses_other_words(folder):
    validator = Draft202012Validator(job_schema())
    assert not validator.is_valid(yaml.safe_load(job({"groups": "pixels"}, folder)))
    assert not validator.is_valid(yaml.safe_load(job({"smoothing": "some"}, folder)))


def test_a_file_of_groups_becomes_part_of_the_job(folder):
    groups = {"money": ["income", "debt", "price"], "person": "age"}
    (folder / "groups.yaml").write_text(yaml.safe_dump(groups))
    engine = engine_of({"groups": {"file": "groups.yaml"}}, folder)
    assert engine.groups == Groups(
        kind="named", members={"money": ("income", "debt", "price"), "person": ("age",)}
    )
    text = to_yaml(parse_job(job({"groups": {"file": "groups.yaml"}}, folder), folder=folder))
    assert "groups.yaml" not in text and "- income" in text


# --- which coordinate is in which group -----------------------------------------------------------


def test_members_of_every_kind():
    named = membership(Groups(kind="named", members={"b": ("price", 0), "a": ("debt",)}), [VECTOR])
    assert named.names == ("b", "a") and named.index.tolist() == [0, LEFT_OUT, 1, 0]
    tokens = membership(Groups(kind="tokens"), [STEPS])
    assert tokens.names[1] == "token 1" and tokens.index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    channels = membership(Groups(kind="channels"), [IMAGE])
    assert np.array_equal(channels.index, np.arange(3).repeat(24))
    patches = membership(Groups(kind="patches", size=4), [IMAGE])
    assert patches.names == ("patch 0,0", "patch 0,1")
    assert patches.index.reshape(3, 4, 6)[1, 2].tolist() == [0, 0, 0, 0, 1, 1]


def test_groups_of_several_inputs_stand_behind_each_other():
    other = InputSpec("speech", (2, 3), FLOAT, ("step", "feature"))
    both = membership(Groups(kind="time"), [STEPS, other])
    assert both.names[4:] == ("text: token 4", "speech: step 0", "speech: step 1")
    assert both.index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6]


def test_eleven_steps_stay_in_their_order():
    steps = membership(Groups(kind="time"), [InputSpec("x", (11, 2), FLOAT, ("step", "feature"))])
    assert steps.names[9:] == ("step 9", "step 10") and np.array_equal(steps.index, np.arange(11).repeat(2))


def test_superpixels_follow_the_edges_of_an_image():
    image = np.zeros((1, 3, 16, 24), np.float32)
    image[..., 12:] = 5.0
    found = superpixels(image, 2)
    assert found.shape == (1, 16, 24) and found.max() == 1
    assert len(np.unique(found[0, :, :10])) == 1 and len(np.unique(found[0, :, 14:])) == 1


def test_there_are_never_more_superpixels_than_asked_for():
    images = np.random.default_rng(0).normal(size=(3, 20, 20))
    for count in (1, 5, 13):
        assert superpixels(images, count).max() < count


def test_a_sample_that_is_not_finite_has_superpixels_too():
    image = np.full((1, 3, 8, 8), np.nan)
    assert superpixels(image, 4).shape == (1, 8, 8)


# --- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": {"file": "group.yaml"}}, ["group.yaml: no such file", "groups.yaml'"]),
        ({"groups": {"file": "model.pt"}}, ["cannot be read as YAML"]),
        ({"groups": {"file": "list.yaml"}}, ["must hold a mapping"]),
        ({"groups": "tokenz"}, ["groups", "not understood", "Did you mean 'tokens'?"]),
        ({"groups": {"patches": 0}}, ["groups: 0", "greater than or equal to 1"]),
        ({"groups": {"a": ["age", "income"], "b": ["income", "debt", "price"]}},
         ["engines.integrated_hessians.groups.b", "'income' is in the group 'a' too", "may not overlap"]),
        ({"groups": {"a": ["agee"]}}, ["groups.a: 'agee' is none of the 4 groups", "Did you mean 'age'?"]),
        ({"groups": {"a": [4]}}, ["groups.a: 4 is none of the 4", "0 to 3"]),
        ({"groups": {"a": ["age"], "b": ["debt"]}},
         ["2 of 4 features are in no group (income, price)", "rest: group", "rest: drop"]),
        ({"groups": "channels"}, ["groups: channels", "'X' of shape (4,)", "axis labelled channel"]),
        ({"groups": "time"}, ["groups: tokens", "sequence"]),
        ({"groups": {"patches": 2}}, ["{patches: 2}", "not an image"]),
        ({"groups": {"segments": 3}}, ["{segments: 3}", "is not one image"]),
        ({"features": ["age", "incme"]}, ["features: 'incme'", "Did you mean 'income'?"]),
        ({"features": ["age", 0]}, ["features: 'age' is named twice"]),
        ({"row": "dept"}, ["row: 'dept'", "Did you mean 'debt'?"]),
        ({"row": 0, "top": 2}, ["row and top both say"]),
        ({"top": 0}, ["top", "greater than or equal to 1"]),
        ({"rest": "keep"}, ["rest", "group"]),
        ({"smoothing": "softplus"}, ["smoothing", "not understood", "none"]),
        ({"smoothing": {"beta": -1}}, ["smoothing.beta", "greater than 0"]),
        ({"max_nodes": 200}, ["max_nodes", "less than or equal to 95"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_way_out(options, words, folder):
    (folder / "groups.yaml").write_text("a: [age]\n")
    (folder / "list.yaml").write_text("- age\n")
    text = refusal(options, folder)
    assert all(word in text for word in words), text


def test_a_network_with_kinks_is_refused_if_asked(folder):
    text = job({"smoothing": "refuse"}, folder).replace("tanh", "relu")
    with pytest.raises(JobError, match=r"engines.integrated_hessians.smoothing: the network has kinks.*relu"):
        run_job(parse_job(text, folder=folder))


def test_positions_of_many_names_do_not_list_them_all():
    names = [f"gene {i}" for i in range(1000)]
    with pytest.raises(JobError) as error:
        positions(["gen 7"], names, "features")
    assert len(str(error.value)) < 120 and "Did you mean" in str(error.value)


# --- a job from end to end ------------------------------------------------------------------------


def test_a_job_leaves_matrices_with_names_and_gaps(folder):
    groups = {"money": ["income", "debt"], "rest of it": ["age", "price"]}
    (folder / "groups.yaml").write_text(yaml.safe_dump(groups))
    report = run_job(parse_job(job({"groups": {"file": "groups.yaml"}}, folder), folder=folder))
    with h5py.File(report.output) as file:
        group = file["engines/integrated_hessians"]
        matrix = group["interaction"][:]
        assert matrix.shape == (6, 2, 2) and [axis.label for axis in group["interaction"].dims] == [
            "row", "group", "group",
        ]  # fmt: skip
        assert group["groups"].asstr()[:].tolist() == ["money", "rest of it"]
        assert group["group_of"][:].tolist() == [1, 0, 0, 1]
        maps = group["attribution"][:]
        sums = np.stack([maps[:, 1:3].sum(1), maps[:, [0, 3]].sum(1)], axis=1)
        assert matrix.sum(2) - sums == pytest.approx(group["row_sum_gap"][:], abs=1e-6)
        change = group["score_input"][:] - group["score_baseline"][:]
        assert matrix.sum((1, 2)) == pytest.approx(change, abs=0.02)
        assert (group["status"][:] == 0).all() and (group["relative_error"][:] <= 0.01).all()
