"""Completion of a shell: subcommands, plugins, keys of a job and labels of a result; in the real shells, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from helpers.cli import digits_job, run

from xattr_cli.cli import main
from xattr_cli.registry import ENGINES, REGISTRIES

SCRIPT = Path(sys.executable).with_name("xattr-cli")
ROOT = Path(__file__).parents[2]


def completed(line, shell="bash"):
    """What a shell gets for the last word of a line."""
    *before, last = line.split(" ")
    complete = get_completion_class(shell)(main, {}, "xattr-cli", "_XATTR_CLI_COMPLETE")
    return complete.get_completions(before, last)


def words(line):
    return [item.value for item in completed(line)]


def test_subcommands_are_completed():
    assert words("") == list(main.commands)
    assert words("in") == ["init", "inspect"]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_names_of_plugins_are_completed(kind):
    assert words(f"ls {kind} ") == words(f"{kind} ") == REGISTRIES[kind].names()


def test_beginnings_of_names_are_completed():
    assert words("engines int") == [name for name in ENGINES.names() if name.startswith("int")]
    assert words("ls ex") == ["exporters"]
    assert words("ls nothing x") == []
    assert words("export result.h5 --to n") == ["netcdf", "npz"]
    assert words("plot result.h5 --kind caus") == ["causal_effects", "causal_graph"]
    assert words("run job.yaml --acc") == ["--accept-changes"]


def test_keys_of_a_job_are_completed():
    assert words("run job.yaml --set compute.de") == ["compute.device="]
    assert {"target=", "output.path=", "dataset.limit="} <= set(words("plan job.yaml --set "))
    assert [(item.type, item.value) for item in completed("run jo")] == [("file", "jo")]


def test_engines_of_a_result_are_completed_by_their_labels(tmp_path):
    run(digits_job(tmp_path, 2, engines={"first": {"engine": "saliency"}, "saliency": None}), "--quiet")
    assert words(f"top {tmp_path}/out.h5 --engine ") == ["first", "saliency"]
    assert words(f"export {tmp_path}/out.h5 --to csv --engine f") == ["first"]
    (tmp_path / "broken.h5").write_text("no result")
    assert words(f"top {tmp_path}/broken.h5 --engine ") == words("top missing.h5 --engine ") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_what_names_mean_beside_them(shell):
    (item,) = completed("engines sal", shell)
    assert item.help.startswith("Absolute gradient of the score")


def test_completion_takes_no_torch():
    probe = "import sys; from xattr_cli.cli import main\ntry: main(prog_name='xattr-cli')\nfinally: "
    environment = {"_XATTR_CLI_COMPLETE": "bash_complete", "COMP_WORDS": "xattr-cli engines ", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", probe + "assert 'torch' not in sys.modules"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "saliency" in done.stdout, done.stderr


IN_A_SHELL = {
    "bash": 'eval "$(_XATTR_CLI_COMPLETE=bash_source xattr-cli)"\n'
    "COMP_WORDS=(xattr-cli engines sal); COMP_CWORD=2; _xattr_cli_completion xattr-cli; echo ${COMPREPLY[@]}",
    "fish": "_XATTR_CLI_COMPLETE=fish_source xattr-cli | source; complete -C 'xattr-cli engines sal'",
    "zsh": 'autoload -Uz compinit && compinit -u -D; eval "$(_XATTR_CLI_COMPLETE=zsh_source xattr-cli)"\n'
    "compdef | grep xattr-cli; _XATTR_CLI_COMPLETE=zsh_complete COMP_WORDS='xattr-cli engines sal' "
    "COMP_CWORD=2 xattr-cli",
}


@pytest.mark.parametrize("shell", IN_A_SHELL)
def test_a_real_shell_completes(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    environment = {**os.environ, "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [shell, "-c", IN_A_SHELL[shell]],
        env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "saliency" in done.stdout, done.stderr
