"""A result is data: no command that reads one imports, unpickles or runs what it names."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.cli import invoke, run, write_data, write_job

from xattr_cli.cli import main

TAKES = {"file", "files", "a"}
READERS = sorted(name for name, command in main.commands.items() if TAKES & {p.name for p in command.params})
"""Every command that takes results, those that will be added included."""
SEVERAL = ("diff", "combine")

MORE = {"evaluate": ("--metric", "pgu"), "apply-ace": ("samples.csv",)}
ARGUMENTS = {
    "export": [("--to", "npz"), ("--to", "csv")],
    "diff": [()],
    "combine": [("-o", "folds.h5"), ("-o", "folds.h5", "--overwrite")],
    "top": [("--row", "0"), ()],
    "inspect": [(), ("--verify",), ("--json",)],
    "plot": [(), ("--format", "svg")],
    "evaluate": [MORE["evaluate"], (*MORE["evaluate"], "--averages", "--json")],
    "apply-ace": [MORE["apply-ace"], (*MORE["apply-ace"], "--engine", "ace")],
}

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef build(**kwargs): return None\n"
HOSTILE = """
model: {kind: python, factory: "evil:build", kwargs: {}, checkpoint: evil.pt, trust_pickle: true}
dataset: {kind: python, factory: "evil:build", kwargs: {command: "touch ran"}, transform: {function: "evil:build"}}
score: {"evil:build": {}}
engines:
  integrated_gradients: {engine: "evil:build", scm: "evil:build"}
  saliency: {engine: saliency}
  ace: {engine: ace}
output: {path: out.h5}
"""
TAGS = HOSTILE + "\nextra: !!python/object/apply:os.system ['touch ran']\n"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A result with maps and effects whose job names a module that lies beside it, in the working folder too."""
    write_data(tmp_path)
    engines = {"integrated_gradients": None, "saliency": None, "ace": None}
    run(write_job(tmp_path, engines=engines), "--quiet")
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "evil.pt").write_bytes(b"cposix\nsystem\n(S'touch ran'\ntR.")
    names = ",".join(f"X{i}" for i in range(20))
    (tmp_path / "samples.csv").write_text(f"{names}\n" + ",".join(["0.5"] * 20) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def rewritten(folder, job):
    with h5py.File(folder / "out.h5", "r+") as file:
        file.attrs["job"] = job
        file.attrs["job_identity"] = json.dumps({"model": {"factory": "evil:build"}})
        file.attrs["code"] = json.dumps({"modules": {"evil": "0" * 64}})
        file.attrs["model_notes"] = "evil:build"
    return folder / "out.h5"


def ran(folder):
    return (folder / "ran").exists() or "evil" in sys.modules


def test_every_command_on_a_file_is_looked_at():
    assert set(ARGUMENTS) <= set(READERS)


@pytest.mark.parametrize("job", [HOSTILE, TAGS], ids=["names", "tags"])
@pytest.mark.parametrize("command", READERS)
def test_no_command_runs_what_a_result_names(hostile, command, job):
    file = rewritten(hostile, job)
    for arguments in ARGUMENTS.get(command, [()]):
        files = [str(file)] * (1 + (command in SEVERAL))
        CliRunner().invoke(main, [command, *files, *arguments])
        assert not ran(hostile), arguments


def test_a_finished_result_at_the_path_of_a_job_is_not_run_either(hostile):
    rewritten(hostile, HOSTILE)
    run(hostile / "job.yaml", code=1)
    assert not ran(hostile)


def test_evaluate_says_what_it_would_import_and_asks_for_trust_or_a_job(hostile):
    file = rewritten(hostile, HOSTILE)
    outcome = invoke("evaluate", file, *MORE["evaluate"])
    assert outcome.exit_code == 2
    for line in ("model.factory: evil:build", "model.trust_pickle: True", "dataset.factory: evil:build"):
        assert f"\n  {line}\n" in outcome.stderr
    assert "--job JOB" in outcome.stderr and "--trust" in outcome.stderr


def test_evaluate_with_trust_names_what_it_imports_before_it_does(hostile):
    trusted = invoke("evaluate", hostile / "out.h5", "--trust", *MORE["evaluate"])
    assert trusted.exit_code == 0 and "model.factory: helpers.networks:plain" in trusted.stderr
    named = invoke("evaluate", rewritten(hostile, HOSTILE), "--trust", *MORE["evaluate"])
    assert named.exit_code == 2 and "model.factory: evil:build" in named.stderr


def test_evaluate_takes_the_users_own_job_and_refuses_another_one(hostile):
    arguments = (*MORE["evaluate"], "--quiet", "--json")
    own = invoke("evaluate", hostile / "out.h5", "--job", hostile / "job.yaml", *arguments)
    assert own.exit_code == 0, own.stderr
    trusted = invoke("evaluate", hostile / "out.h5", "--trust", *arguments)
    numbers = [json.loads(outcome.stdout)["metrics"] for outcome in (own, trusted)]
    assert numbers[0] == numbers[1]
    np.savez(hostile / "data.npz", X=np.zeros((20, 20), np.float32), y=np.zeros(20, np.int64))
    other = invoke("evaluate", hostile / "out.h5", "--job", hostile / "job.yaml", *arguments)
    assert other.exit_code == 2 and "dataset.path: was [" in other.stderr and not ran(hostile)
    rewritten(hostile, HOSTILE)
    foreign = invoke("evaluate", hostile / "out.h5", "--job", hostile / "job.yaml", *arguments)
    assert foreign.exit_code == 2 and "was not computed by this job" in foreign.stderr and not ran(hostile)
