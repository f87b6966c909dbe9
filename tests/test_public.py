"""What is for others: the functions of `xattr_cli`, and the names of `xattr_cli.plugins`."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest
from helpers.cli import write_data, write_job
from helpers.networks import CLASSES

import xattr_cli
import xattr_cli.device.scores
import xattr_cli.plugins
from xattr_cli.errors import JobError, StoreError
from xattr_cli.job.config import load_job
from xattr_cli.job.yaml_text import plain_values


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The path of a job, in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    return write_job(tmp_path, engines={"saliency": None})


def forms(path):
    """The same job as every form that `run` takes."""
    return {
        "text": str(path),
        "path": path,
        "mapping": plain_values(path.read_text(encoding="utf-8")),
        "job": xattr_cli.load_job(path),
    }


@pytest.mark.parametrize("form", ["text", "path", "mapping", "job"])
def test_a_job_is_a_path_a_mapping_or_a_job(form, job):
    calls = []
    report = xattr_cli.run(forms(job)[form], progress=lambda done, total: calls.append((done, total)))
    assert report.merged and report.computed == report.rows > 0
    assert (calls[0], calls[-1]) == ((0, report.rows), (report.rows, report.rows))
    with xattr_cli.open_results(report.output) as results:
        assert len(results.rows) == report.rows
        assert results.engine("saliency").attribution(slice(0, 2)).shape[0] == 2


def test_a_file_is_overridden_key_by_key_and_nothing_else_is(job):
    asked = xattr_cli.plan(job, overrides=["dataset.limit=2", "target=all"])
    assert asked.rows == 2 * CLASSES
    assert not xattr_cli.load_job(job).output.path.exists()
    with pytest.raises(JobError, match=r"dataset.limit=2.*go with a job file"):
        xattr_cli.run(forms(job)["mapping"], overrides=["dataset.limit=2"])


def test_a_wrong_key_of_a_mapping_is_named_as_that_of_a_file(job):
    with pytest.raises(JobError, match=r"engines: unknown engine 'salience'.*Did you mean 'saliency'"):
        xattr_cli.run({**forms(job)["mapping"], "engines": ["salience"]})


def test_a_file_that_is_no_result_is_refused(job):
    with pytest.raises(StoreError, match="a job, not a result"):
        xattr_cli.open_results(job)


@pytest.mark.parametrize("module", [xattr_cli, xattr_cli.plugins], ids=lambda module: module.__name__)
def test_every_name_is_there_and_listed(module):
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    assert not hasattr(module, "surely_not")


def test_a_name_stays_the_class_or_function_that_its_home_has():
    for name, home in xattr_cli.plugins._HOMES.items():
        value = getattr(xattr_cli.plugins, name)
        assert value is getattr(sys.modules[f"xattr_cli{home}"], name)
    assert xattr_cli.load_job is load_job


def test_all_but_models_is_imported_without_torch():
    program = """
import sys, xattr_cli, xattr_cli.plugins as plugins
for name in plugins.__all__:
    if name not in ("LoadedModel", "ModelSource", "Score"):
        getattr(plugins, name)
assert "torch" not in sys.modules
plugins.ModelSource
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "module", [xattr_cli.plugins, xattr_cli.device.scores], ids=lambda module: module.__name__
)
def test_examples_run(module):
    tried = doctest.testmod(module)
    assert tried.attempted > 0 and tried.failed == 0
