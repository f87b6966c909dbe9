"""The command line: what it says about itself, what it imports, where it prints, how it exits."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from xattr_cli import __version__
from xattr_cli.cli import main
from xattr_cli.errors import ExitCode
from xattr_cli.job.config import Job, load_job
from xattr_cli.job.starter import STARTER_JOB, STARTERS
from xattr_cli.registry import BASELINES, ENGINES
from xattr_cli.store.results.reader import Results

README = Path(__file__).parents[2] / "README.md"
COMMANDS = (
    "init", "explain", "plan", "run", "status", "merge", "slurm",
    "inspect", "report", "top", "plot", "export", "diff", "combine", "evaluate", "apply-ace",
    "engines", "ls", "job", "schema", "checks",
)  # fmt: skip


def invoke(*arguments, **options):
    """Outcome of a command: `exit_code`, `stdout`, `stderr`; an exception is a failure of the test."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False, **options)


def succeed(*arguments, **options):
    outcome = invoke(*arguments, **options)
    assert outcome.exit_code == ExitCode.DONE, outcome.stderr
    return outcome.stdout


# --- imports ------------------------------------------------------------------------------------

HEAVY = {"torch", "torchvision", "numpy", "pydantic", "h5py", "yaml", "matplotlib", "tqdm", "PIL"}


def imported(*arguments):
    """Top-level packages that a command has imported when it ends."""
    program = (
        "import runpy, sys\n"
        "sys.argv[0] = 'xattr-cli'\n"
        "try:\n"
        "    runpy.run_module('xattr_cli', run_name='__main__')\n"
        "finally:\n"
        "    print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.stdout, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "init -"])
def test_help_imports_nothing_heavy(arguments):
    assert not imported(*arguments.split()) & HEAVY


@pytest.mark.parametrize(
    "arguments",
    ["engines", "engines integrated_gradients", "engines --json", "datasets table", "exporters", "job compute"],
)
def test_documenting_the_engines_imports_no_torch(arguments):
    assert not imported(*arguments.split()) & {"torch", "torchvision", "matplotlib"}


# --- help ---------------------------------------------------------------------------------------


def test_the_commands_are_those_that_are_tested():
    assert tuple(main.commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_ends_with_an_example_of_it(name):
    title, *example = inspect.cleandoc(main.commands[name].help).split("\b\n")[-1].splitlines()
    assert title == "Example:"
    assert any(line.split()[:2] == ["xattr-cli", name] for line in example)
    help_page = succeed(name, "--help")
    assert all(f"  {line}\n" in help_page for line in example)  # as written, not rewrapped


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    options = [each for each in main.commands[name].params if isinstance(each, click.Option)]
    assert not [option.name for option in options if not option.help]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_overview_names_every_command_with_a_whole_sentence(flag):
    page = succeed(flag)
    listed = page[page.index("Commands:") :]
    assert re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE) == list(COMMANDS)
    assert "..." not in listed
    assert listed.count(".\n") == len(COMMANDS)


def test_the_overview_has_the_exit_codes():
    page = " ".join(succeed("--help").split())
    for code in vars(ExitCode):
        if code.isupper():
            assert re.search(rf"\b{getattr(ExitCode, code)} ", page)


def test_the_version():
    assert succeed("--version") == f"xattr-cli, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"xattr-cli {name}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ENGINES.names())
def test_every_engine_is_in_the_readme(name):
    assert name in README.read_text(encoding="utf-8")


# --- engines ------------------------------------------------------------------------------------


def test_engines_are_listed_one_a_line_with_what_they_compute():
    lines = succeed("engines").splitlines()
    assert [line.split()[0] for line in lines] == ENGINES.names()
    assert "saliency              Absolute gradient of the score at the input, |∇f(x)|." in lines
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("name", ENGINES.names())
def test_the_page_of_an_engine_has_all_of_its_options(name):
    page = succeed("engines", name)
    options = json.loads(succeed("engines", name, "--json"))[name]["options"]
    assert set(options) == set(ENGINES.get(name).model_fields)
    assert page.startswith(f"{name}\n\n")
    assert "Reference: " in page
    for option, about in options.items():
        (line,) = re.findall(rf"^  {option} +(.*)$", page, re.MULTILINE)
        assert line.startswith(f"{about['type']}; ")
        assert about["description"] and about["description"].split()[0] in page


@pytest.mark.parametrize("name", ENGINES.names())
def test_types_and_defaults_read_as_yaml_does(name):
    about = json.loads(succeed("engines", name, "--json"))[name]
    written = succeed("engines", name).partition("Baselines:")[0]
    for option, details in about["options"].items():
        (shown,) = re.findall(rf"^  {option} .*; (?:default (.*)|required)$", written, re.MULTILINE)
        assert yaml.safe_load(shown) == details["default"]
    assert not re.search(
        r"anything|\bany\b|object|\"kind\"|PydanticUndefined|<class", written.split("Options:")[1]
    )


def test_an_option_is_shown_with_type_bounds_default_and_meaning():
    page = succeed("engines", "integrated_gradients")
    assert (
        "  rtol                number > 0 and < 1; default 0.05\n"
        "                      relative L2 error of the map at which a row stops\n"
    ) in page
    assert "  baseline            baseline kind, or {kind: NAME, its options}, or a list of these; default" in page
    assert "  nodes               integer ≥ 2 or null; default null\n" in page
    assert "  alphas           list of numbers; default [0.1, 0.25, 0.5, 1.0]\n" in succeed(
        "engines", "interior_gradients"
    )


def test_an_engine_that_takes_a_baseline_documents_the_kinds():
    page = succeed("engines", "expected_gradients").partition("Baselines:\n")[2]
    assert re.findall(r"^  (\w+) ", page, re.MULTILINE) == BASELINES.names()
    assert "sigma: number > 0; required; standard deviation in pixels" in page
    assert "Baselines:" not in succeed("engines", "saliency")
    assert "Options:\n  none\n" in succeed("engines", "input_x_gradient")


def test_the_lines_of_a_page_fit_a_terminal():
    for name in ENGINES.names():
        assert max(map(len, succeed("engines", name).splitlines())) <= 118


def test_an_unknown_engine_is_answered_with_its_like():
    outcome = invoke("engines", "integrated_gradient")
    assert outcome.exit_code == ExitCode.USAGE
    assert outcome.stderr.startswith(
        "Error: unknown engine 'integrated_gradient'. Allowed: ace, deeplift, expected_gradients, "
    )
    assert outcome.stderr.endswith("Did you mean 'integrated_gradients'?\n")
    assert outcome.stdout == ""


def test_all_engines_as_json():
    documented = json.loads(succeed("engines", "--json"))
    assert list(documented) == ENGINES.names()
    rtol = documented["integrated_gradients"]["options"]["rtol"]
    assert (rtol["type"], rtol["required"], rtol["default"]) == ("number > 0 and < 1", False, 0.05)
    sigma = documented["integrated_gradients"]["baselines"]["blur"]["options"]["sigma"]
    assert (sigma["required"], sigma["default"]) == (True, None)


# --- schema and init ----------------------------------------------------------------------------


def test_the_schema_is_printed_as_json():
    assert set(json.loads(succeed("schema"))["properties"]) == set(Job.model_fields)


def test_init_writes_a_job_that_parses(tmp_path):
    path = tmp_path / "job.yaml"
    assert succeed("init", path) == f"wrote {path}; edit it, then: xattr-cli plan {path}\n"
    job = load_job(str(path))
    assert list(job.engines) == ["integrated_gradients", "expected_gradients"]
    assert job.output.path == tmp_path / "attributions.h5"


@pytest.mark.parametrize("kind", STARTERS)
def test_what_init_writes_runs_as_it_is(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    succeed("init", "--kind", kind)
    if kind == "text":
        pytest.importorskip("tokenizers")
    with Results.open(run_few(tmp_path / "job.yaml")) as results:
        assert len(results.rows) == 6
        if kind != "regression":
            assert (results.rows.label == results.rows.prediction).mean() > 0.6


def run_few(job):
    """Run a job on its first samples, with a loose tolerance; where its result is."""
    succeed(
        "run", job, "--quiet", "--set", "dataset.limit=6", "--set", "engines={integrated_gradients: {rtol: 0.2}}"
    )
    return job.parent / "attributions.h5"


def test_init_writes_job_yaml_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeed("init")
    assert (tmp_path / "job.yaml").read_text(encoding="utf-8") == STARTER_JOB


def test_init_refuses_to_overwrite(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("mine")
    outcome = invoke("init", path)
    assert outcome.exit_code == ExitCode.USAGE
    assert outcome.stderr == f"Error: {path}: exists already. Choose another name, or add --overwrite.\n"
    assert path.read_text() == "mine"
    succeed("init", path, "--overwrite")
    assert path.read_text(encoding="utf-8") == STARTER_JOB


def test_init_says_why_it_cannot_write(tmp_path):
    outcome = invoke("init", tmp_path / "missing" / "job.yaml")
    assert outcome.exit_code == ExitCode.USAGE
    assert outcome.stderr.endswith("job.yaml: cannot be written: No such file or directory\n")


def test_init_prints_to_standard_output():
    assert succeed("init", "-") == STARTER_JOB


def test_what_the_starter_job_has_commented_out_is_right_too(tmp_path):
    text = STARTER_JOB
    for line in (
        "checkpoint: model.pt",
        "checkpoint_key: state_dict",
        "interior_gradients:",
        "saliency:",
        "from_mean:",
    ):
        assert f"  # {line}" in text
        text = text.replace(f"  # {line}", f"  {line}")
    builtin = ("kind: builtin", "name: digits", "split: test", "limit: 200")
    for line in builtin:
        text = text.replace(f"\n  {line} ", f"\n  # {line} ").replace(f"\n  {line}\n", f"\n  # {line}\n")
    for line in ("kind: arrays", "path: test.npz", "inputs: X", "labels: y"):
        text = text.replace(f"\n  # {line}", f"\n  {line}")
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    job = load_job(str(tmp_path / "job.yaml"))
    assert job.dataset.registered_name == "arrays"
    assert job.model.checkpoint_key == "state_dict"
    assert list(job.engines) == [
        "integrated_gradients", "expected_gradients", "interior_gradients", "saliency", "from_mean",
    ]  # fmt: skip


# --- exit codes and streams ---------------------------------------------------------------------

NETWORK = """\
import torch

class Bumps(torch.nn.Module):
    def forward(self, x):
        return torch.stack([torch.sin(9 * x).sum(1), (x ** 3).sum(1)], 1)
"""
JOB = """\
model: {kind: python, factory: xattr_cli_test_bumps:Bumps}
dataset: {kind: arrays, path: data.npz}
engines: {integrated_gradients: {rtol: 1e-6, max_nodes: 9}}
compute: {device: cpu}
output: {path: maps.h5}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a job of three rows that cannot converge."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "xattr_cli_test_bumps.py").write_text(NETWORK)
    (folder / "job.yaml").write_text(JOB)
    np.savez(folder / "data.npz", X=np.linspace(0.2, 2, 12, dtype=np.float32).reshape(3, 4))
    return folder


def test_a_run_prints_its_table_on_stdout_and_its_progress_on_stderr(folder):
    outcome = invoke("run", folder / "job.yaml", "--overwrite")
    assert outcome.exit_code == ExitCode.DONE
    assert "integrated_gradients" in outcome.stdout
    assert outcome.stderr.splitlines()[0] == "3 rows to compute"
    assert "3/3 rows" in outcome.stderr and "3/3" not in outcome.stdout


def test_strict_tells_by_the_exit_code_that_rows_are_not_to_be_trusted(folder):
    assert invoke("run", folder / "job.yaml", "--strict").exit_code == ExitCode.INCOMPLETE


def test_quiet_says_nothing(folder):
    outcome = invoke("run", folder / "job.yaml", "--quiet")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (ExitCode.DONE, "", "")


def test_json_is_one_object(folder):
    summary = json.loads(succeed("run", folder / "job.yaml", "--json"))
    assert (summary["rows"], summary["merged"]) == (3, True)
    assert summary["engines"]["integrated_gradients"]["not_converged"] == 3
    plan = json.loads(succeed("plan", folder / "job.yaml", "--json"))
    assert plan["rows"] == 3


def test_a_job_is_read_from_standard_input(folder, monkeypatch):
    monkeypatch.chdir(folder)
    job = (folder / "job.yaml").read_text()
    assert json.loads(succeed("run", "-", "--json", "--set", "output.path=other.h5", input=job))["rows"] == 3
    assert (folder / "other.h5").exists()


def test_a_wrong_job_is_one_message_on_stderr(folder):
    outcome = invoke("run", folder / "job.yaml", "--set", "compute.devise=cpu", "--set", "score=logits")
    assert (outcome.exit_code, outcome.stdout) == (ExitCode.USAGE, "")
    first, second = outcome.stderr.splitlines()
    assert first.startswith("Error: score: unknown score 'logits'. Allowed: auto, ")
    assert second.startswith("compute.devise: 'cpu': unknown key.")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", ExitCode.USAGE, "Usage: "),
        ("rnu job.yaml", ExitCode.USAGE, "No such command 'rnu'"),
        ("run", ExitCode.USAGE, "Missing argument 'JOB'"),
        ("run job.yaml --fast", ExitCode.USAGE, "No such option"),
        ("run job.yaml --device cpu", ExitCode.USAGE, "It is a key of the job: --set compute.device="),
        ("run result.h5", ExitCode.USAGE, "`xattr-cli inspect result.h5` and `report` read results"),
        ("run job.yaml --set engines=[ig]", ExitCode.USAGE, "Did you mean 'integrated_gradients'?"),
        ("run job.yaml --set score=softmax", ExitCode.USAGE, "Did you mean 'probability'?"),
        ("run job.yaml --set target=cat", ExitCode.USAGE, "The class cat is {index: cat}."),
        ("run missing.yaml", ExitCode.USAGE, "job file missing.yaml: no such file."),
        ("plan missing.yaml", ExitCode.USAGE, "job file missing.yaml: no such file."),
        ("run - --set engines=saliancy", ExitCode.USAGE, "must be a mapping"),
        ("merge job.yaml", ExitCode.FAILED, "Error: "),
        ("inspect missing.h5", ExitCode.USAGE, "missing.h5: no such file."),
        ("plot missing.h5", ExitCode.USAGE, "missing.h5: no such file."),
    ],
)
def test_what_is_wrong_is_told_on_stderr_with_its_exit_code(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "result.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    outcome = invoke(*arguments.split(), input="")
    assert (outcome.exit_code, outcome.stdout) == (code, "")
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("command", [["-m", "xattr_cli"], [str(Path(sys.executable).with_name("xattr-cli"))]])
def test_the_module_and_the_script_are_the_same_command(command):
    start = [sys.executable] if command[0] == "-m" else []
    done = subprocess.run([*start, *command, "engines", "nothing"], capture_output=True, text=True)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith("Error: unknown engine 'nothing'.")
    usage = subprocess.run([*start, *command, "--help"], capture_output=True, text=True)
    assert usage.stdout.startswith("Usage: xattr-cli [OPTIONS] COMMAND")


def test_a_reader_that_leaves_early_is_no_crash():
    command = f"{sys.executable} -m xattr_cli engines --json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("{")
    assert "Traceback" not in done.stderr
