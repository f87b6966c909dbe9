"""A new engine, dataset, score or figure is one file of another distribution, used from YAML by the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from helpers.cli import write_data, write_job
from helpers.networks import plain

from xattr_cli.errors import ExitCode

ROOT = Path(__file__).parents[1]
PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "1.0"

[project.entry-points."xattr_cli.{group}"]
{name} = "{name}:Plugin"

[tool.setuptools]
py-modules = ["{name}"]
"""
ENGINE = '''
"""The gradient, doubled."""

from pydantic import Field

from xattr_cli.plugins import LocalEngine, exact


class Plugin(LocalEngine):
    """The gradient times a factor."""

    factor: float = Field(default=1.0, description="what the gradient is multiplied by")

    def explain(self, block):
        _, gradients = block.gradients(block.inputs[:, None])
        return exact(self.factor * gradients[:, 0], block.input_scores())
'''
DATASET = '''
"""Points on a line."""

import numpy as np
from pydantic import Field

from xattr_cli.plugins import ArraySamples, Column, DatasetSource, InputSpec, as_labels, fingerprint_arrays


class Plugin(DatasetSource):
    """Points from 0 to 1."""

    count: int = Field(ge=2, description="how many")

    def open(self):
        points = np.linspace(0, 1, self.count)[:, None] * np.array([1.0, 2.0, 3.0])
        spec = InputSpec("X", (3,), np.dtype(np.float32))
        labels = as_labels(np.arange(self.count) % 4, "dataset", ())
        return ArraySamples([Column(spec, points)], labels, fingerprint=fingerprint_arrays([points]))
'''
SCORE = '''
"""How far an output is above the mean of all."""

from pydantic import Field

from xattr_cli.plugins import Score


class Plugin(Score):
    """How far an output is above the mean of all."""

    ratio: float = Field(default=1.0, gt=0, description="what it is multiplied by")

    def of_all(self, outputs):
        return self.ratio * (outputs - outputs.mean(dim=1, keepdim=True))
'''
FIGURE = '''
"""Scores of all rows."""

from matplotlib.figure import Figure

from xattr_cli.plugins import Drawing, FigureKind


class Plugin(FigureKind):
    """How the scores of all rows are distributed."""

    def draw(self, selection):
        for engine in selection.engines:
            figure = Figure()
            figure.subplots().hist(engine.score_input)
            yield Drawing(f"scores-{engine.label}", figure)
'''
EXPORTER = '''
"""Scores of all rows, for another program."""

from xattr_cli.plugins import Exporter


class Plugin(Exporter):
    """The score of every row, a line each."""

    suffix = ".txt"

    def write(self, source, path):
        path.write_text("".join(f"{score}\\n" for score in source.engines[0].score_input[source.rows]))
        return ("scores are logits",)
'''
PLUGINS = {
    "doubled": ("engines", ENGINE),
    "line": ("datasets", DATASET),
    "contrast": ("scores", SCORE),
    "distribution": ("figures", FIGURE),
    "scores": ("exporters", EXPORTER),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed five distributions, each of one file."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, (group, module) in PLUGINS.items():
        source = folder / name
        source.mkdir()
        (source / f"{name}.py").write_text(module.lstrip())
        (source / "pyproject.toml").write_text(PROJECT.format(name=name, group=group))
        assert len(list(source.glob("*.py"))) == 1
    offline = "--no-deps --no-build-isolation --no-index --disable-pip-version-check --quiet".split()
    sources = [folder / name for name in PLUGINS]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", folder / "site", *sources]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def job(tmp_path):
    """Writes a job on a network of three features and four classes, and its data; the path of the job."""
    write_data(tmp_path)

    def write(**sections):
        return write_job(tmp_path, **{"engines": {"saliency": None}, **sections})

    return write


def command(site, *arguments, code=ExitCode.DONE):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, ROOT, ROOT / "tests")))}
    words = [sys.executable, "-m", "xattr_cli", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == code, done.stderr
    return done


def test_an_engine_is_one_file(site, job, tmp_path):
    command(site, "run", job(engines={"doubled": {"factor": 2}, "input_x_gradient": None}), "--quiet")
    with h5py.File(tmp_path / "out.h5") as file:
        values = file["inputs/X/values"][()]
        doubled, product = (file[f"engines/{label}/attribution"][()] for label in ("doubled", "input_x_gradient"))
    np.testing.assert_allclose(doubled * values, 2 * product, rtol=1e-5)
    assert "factor" in command(site, "engines", "doubled").stdout


def test_a_dataset_is_one_file(site, job, tmp_path):
    command(site, "run", job(dataset={"kind": "line", "count": 5, "path": None, "labels": None}), "--quiet")
    with h5py.File(tmp_path / "out.h5") as file:
        values = file["inputs/X/values"][()]
        np.testing.assert_allclose(values, np.linspace(0, 1, 5)[:, None] * [1, 2, 3], rtol=1e-6)
        assert file["rows/label"][()].tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(("score", "ratio"), [("contrast", 1.0), ({"contrast": {"ratio": 2.5}}, 2.5)])
def test_a_score_is_one_file(site, job, tmp_path, score, ratio):
    command(site, "run", job(score=score), "--quiet")
    with h5py.File(tmp_path / "out.h5") as file:
        values, target = file["inputs/X/values"][()], file["rows/target"][()]
        found = file["engines/saliency/score_input"][()]
        written = yaml.safe_load(file.attrs["job"])["score"]
    outputs = outputs_of(values)
    margins = ratio * (outputs - outputs.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(found, np.take_along_axis(margins, target[:, None], axis=1)[:, 0], atol=1e-5)
    assert written == {"contrast": {"ratio": ratio}}
    assert f"score contrast {{ratio: {ratio}}}" in command(site, "inspect", tmp_path / "out.h5").stdout


def outputs_of(values):
    """(n, 4) outputs of the network of the jobs."""
    torch.manual_seed(0)
    with torch.no_grad():
        return plain().eval()(torch.from_numpy(values)).double().numpy()


def test_wrong_options_of_a_score_are_refused_and_an_unknown_one_names_its_like(site, job):
    refused = {"code": ExitCode.USAGE}
    assert (
        "score.contrast.ratio: 0: must be greater than 0"
        in command(site, "run", job(score={"contrast": {"ratio": 0}}), **refused).stderr
    )
    assert "unknown score 'contrasts'" in (text := command(site, "run", job(score="contrasts"), **refused).stderr)
    assert "Did you mean 'contrast'?" in text


def test_a_figure_is_one_file(site, job, tmp_path):
    command(site, "run", job(), "--quiet")
    drawn = command(site, "plot", tmp_path / "out.h5", "--kind", "distribution").stdout.split()
    assert [Path(path).name for path in drawn] == ["scores-saliency.png"]
    every = command(site, "plot", tmp_path / "out.h5").stdout.split()
    assert drawn[0] in every and len(every) > 1
    assert "distribution" in command(site, "plot", "--help").stdout


def test_an_exporter_is_one_file(site, job, tmp_path):
    command(site, "run", job(), "--quiet")
    done = command(site, "export", tmp_path / "out.h5", "--to", "scores")
    assert done.stdout.strip() == str(tmp_path / "out.txt") and "scores are logits" in done.stderr
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_allclose(np.loadtxt(tmp_path / "out.txt"), file["engines/saliency/score_input"])
    assert "scores" in command(site, "ls", "exporters").stdout


def test_the_schema_has_them(site):
    schema = command(site, "schema").stdout
    for key in ("engine.doubled", "dataset-kind.line", "score.contrast"):
        assert f'"{key}"' in schema
