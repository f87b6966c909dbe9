"""What can be named, and every option of it: lists, pages, sections of the job, rows' largest features, checks."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.cli import digits_job, invoke, run

from xattr_cli.cli.reference.kinds import KINDS
from xattr_cli.job.config import Job
from xattr_cli.registry import REGISTRIES


def succeed(*arguments):
    outcome = invoke(*arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_of_every_kind_has_a_page_with_each_of_its_options(kind):
    members = REGISTRIES[kind].usable(pytest.fail)
    listed = succeed("ls", kind)
    assert listed == succeed(kind)
    assert [line.split()[0] for line in listed.splitlines()] == list(members)
    for name, member in members.items():
        about = json.loads(succeed(kind, name, "--json"))[name]
        page = succeed("ls", kind, name)
        for option, field in member.model_fields.items():
            assert field.description or about["options"][option].get("options"), f"{kind} {name}: {option}"
            assert f"  {option} " in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_help_of_a_kind_has_an_example_that_runs(kind):
    lines = [line.split() for line in succeed(kind, "--help").splitlines()]
    examples = [line[1:] for line in lines if line[:1] == ["xattr-cli"]]
    assert len(examples) == 2
    for example in examples:
        succeed(*example)


def test_options_that_could_be_found_in_the_schema_only():
    page = succeed("datasets", "table")
    assert "exclude" in page and "columns that are no features" in page and "standardise" in page
    pictures = succeed("datasets", "images")
    assert "damaged" in pictures and "transform" in pictures


def test_all_kinds_at_a_glance():
    assert list(KINDS) == list(REGISTRIES)
    names = json.loads(succeed("ls", "--json"))
    assert list(names) == list(KINDS)
    assert {"parquet", "virelay"} <= set(names["exporters"]) and "table" in names["datasets"]
    assert [line.split()[0] for line in succeed("ls").splitlines() if not line.startswith(" ")] == list(KINDS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("datasets", "tabel"), "Did you mean 'table'?"),
        (("ls", "dataset"), "'datasets'"),
        (("datset", "table"), "No such command"),
        (("job", "computer"), "'compute'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2 and message in outcome.stderr


# --- the job -------------------------------------------------------------------------------------


def test_every_key_of_a_job_is_explained():
    page = succeed("job")
    for name, field in Job.model_fields.items():
        assert field.description, name
        assert f"  {name} " in page


@pytest.mark.parametrize("section", ["compute", "output"])
def test_every_option_of_a_section_is_explained(section):
    about = json.loads(succeed("job", section, "--json"))[section]
    cls = Job.model_fields[section].annotation
    assert list(about["options"]) == list(cls.model_fields)
    assert all(option["description"] or name == "path" for name, option in about["options"].items())


@pytest.mark.parametrize(
    "section, words",
    [("target", ["{top: 5}", "predicted"]), ("explain", ["reduce:", "{layer: name}"]), ("model", ["onnx:"])],
)
def test_sections_with_several_forms_show_them(section, words):
    page = succeed("job", section)
    assert all(word in page for word in words)


# --- rows ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    run(digits_job(folder, 4, engines={"saliency": None, "integrated_gradients": None}), "--quiet")
    return folder / "out.h5"


def test_the_largest_features_of_a_row(digits_file):
    lines = succeed("top", digits_file, "--row", "2", "--count", "3", "--json").splitlines()
    with h5py.File(digits_file) as file:
        for line, label in zip(lines, ("saliency", "integrated_gradients"), strict=True):
            about = json.loads(line)
            flat = file[f"engines/{label}/attribution"][2].ravel()
            largest = np.argsort(-np.abs(flat), kind="stable")[:3]
            assert about["engine"] == label and about["row"] == 2
            assert [feature["attribution"] for feature in about["features"]] == [
                float(value) for value in flat[largest]
            ]
            names = [f"X[channel 0, height {place // 8}, width {place % 8}]" for place in largest]
            assert [feature["feature"] for feature in about["features"]] == names
            pixels = file["inputs/X/values"][2].ravel()[largest]
            assert [feature["value"] for feature in about["features"]] == pixels.tolist()
    table = succeed("top", digits_file, "--row", "2", "--engine", "saliency").splitlines()
    assert table[0].startswith("row 2, sample 2, target") and len([line for line in table if line]) == 12


def test_a_row_that_is_not_there(digits_file):
    outcome = invoke("top", digits_file, "--row", "7")
    assert outcome.exit_code == 2
    assert "no row 7. It has 4 rows, numbered 0 to 3." in outcome.stderr


# --- checks --------------------------------------------------------------------------------------


def test_checks_names_versions_devices_extras_and_room(tmp_path):
    about = json.loads(succeed("checks", "--folder", tmp_path / "not yet", "--json"))
    assert about["versions"]["numpy"] == np.__version__
    assert "cores" in about["devices"]["cpu"]
    assert (
        about["disk"]["folder"] == str(tmp_path) and about["disk"]["free_bytes"] > 0 and about["disk"]["writable"]
    )
    page = succeed("checks")
    assert "GiB free in" in page and "torch" in page


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(
        "xattr_cli.cli.reference.checks.metadata.requires",
        lambda name: ['nowhere-to-be-found>=1 ; extra == "onnx"'],
    )
    assert "missing: nowhere-to-be-found; pip install 'xattr-cli[onnx]'" in succeed("checks")
