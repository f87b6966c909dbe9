"""README and the pages of the documentation: every command runs, and what is shown is what one sees."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import captum.attr
import click
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.blocks import block_of
from torch import nn

from xattr_cli.cli import main
from xattr_cli.errors import ExitCode
from xattr_cli.evaluation import EvaluationOptions, evaluate_file
from xattr_cli.export.source import choose
from xattr_cli.export.write import export
from xattr_cli.job.config import load_job, parse_job
from xattr_cli.registry import BASELINES, DATASETS, ENGINES, EXPORTERS, FIGURES, METRICS, MODELS, SCORES
from xattr_cli.reports.drawing.selection import select
from xattr_cli.store.axes import is_only_an_axis
from xattr_cli.store.results.reader import Results

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts/docs/pages").glob("*.md"))]
EVERYWHERE = "\n".join([TEXT, *PAGES])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
REGISTRIES = [ENGINES, MODELS, DATASETS, BASELINES, SCORES, FIGURES, EXPORTERS, METRICS]
ELSEWHERE = {
    "_XATTR_CLI_COMPLETE=fish_source",
    "cd",
    "crontab",
    "docker",
    "echo",
    "git",
    "man",
    "pip",
    "pipx",
    "sbatch",
    "uvx",
}  # programs of other machines, or of a first installation


@dataclass(frozen=True)
class Shown:
    """A command of the README, and the lines that are shown below it."""

    command: str
    output: tuple[str, ...] = ()

    @property
    def program(self):
        return self.command.split()[0]


def blocks(language, text=TEXT):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown():
    """Every command: lines of `bash` blocks, and lines of `console` blocks that begin with a dollar."""
    for block in blocks("bash", EVERYWHERE):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split(" #")[0].strip()
            if command and not command.startswith("#"):
                yield Shown(command)
    for block in blocks("console", EVERYWHERE):
        for piece in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, *output = piece.rstrip("\n").split("\n")
            yield Shown(command.strip(), tuple(line for line in output if line.strip()))


COMMANDS = list({each.command: each for each in shown()}.values())
DEMO = next(each for each in COMMANDS if each.command == "make demo")
SMALL_JOB = """\
model: {kind: python, factory: "xattr_cli.models.zoo:digits_cnn", checkpoint: runs/digits/model.pt}
dataset: {kind: arrays, path: runs/digits/test.npz, labels: y, limit: 8}
engines: [saliency]
output: {path: runs/job.h5, part_rows: 2}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project as somebody has it who has just fetched it; only the package is the installed one."""
    folder = tmp_path_factory.mktemp("readme") / "project"
    left_out = shutil.ignore_patterns(".*", "runs", "tests", "xattr_cli*", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / "xattr_cli").symlink_to(ROOT / "xattr_cli")
    (folder / "job.yaml").write_text(SMALL_JOB)
    return folder


@pytest.fixture(scope="module")
def demo(copy):
    """What `make demo` prints: (stdout, stderr); only the installation is left out."""
    installed = Path(sys.prefix)
    skipped = [word for target in ("install", installed / ".installed") for word in ("-o", str(target))]
    done = bash(shlex.join(["make", "demo", f"VENV={installed}", *skipped]), copy)
    assert done.returncode == ExitCode.DONE, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def tables(copy):
    """The networks of `make tables`."""
    done = bash(f"{sys.executable} -m scripts.networks.train_tables runs", copy)
    assert done.returncode == ExitCode.DONE, done.stderr


def bash(command, folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    start = {"cwd": folder, "env": environment, "encoding": "utf-8"}
    return subprocess.run(["bash", "-eu", "-c", command], capture_output=True, **start)


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.command)
def test_every_command_runs(each, copy, demo, tables, monkeypatch):
    if each.program == "make":
        for target in each.command.split()[1:]:
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
        return
    if each.program in ELSEWHERE:
        return
    for left in (copy / "runs").glob("job.h5*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    code, stdout, stderr = outcome(each.command, copy, monkeypatch)
    fails = bool(each.output) and each.output[0].startswith("Error: ")
    assert code == (ExitCode.USAGE if fails else ExitCode.DONE), stderr
    if each.output and not torch.cuda.is_available():
        assert_looks_like(each.output, stdout, stderr)


def outcome(line, folder, monkeypatch):
    """Exit code and streams. Our own commands run in this process, one after the other, which saves imports."""
    commands = [command.strip() for command in re.split(r"&&|[&;]", line) if command.strip() != "wait"]
    if re.search(r"[|<>$]", line) or not all(command.startswith("xattr-cli ") for command in commands):
        done = bash(line, folder)
        return done.returncode, done.stdout, done.stderr
    monkeypatch.chdir(folder)
    done = [CliRunner().invoke(main, shlex.split(each)[1:], catch_exceptions=False) for each in commands]
    code = next((each.exit_code for each in done if each.exit_code), ExitCode.DONE)
    return code, "".join(each.stdout for each in done), "".join(each.stderr for each in done)


def test_the_report_of_the_demo_is_small(copy, demo):
    assert 3e5 < (copy / "runs/digits/attributions.html").stat().st_size < 3e6


def test_the_first_screen_shows_what_the_demo_prints(demo):
    assert TEXT[: TEXT.index("$ make demo")].count("\n") <= 20
    assert DEMO.output
    assert_looks_like(DEMO.output, *demo)


def test_the_first_screen_shows_how_the_tests_end():
    tests = next(each for each in COMMANDS if each.command == "make test")
    assert re.search(r"\d+ passed.* in \d+", tests.output[-1])
    assert "failed" not in tests.output[-1]


def test_the_demo_leaves_what_the_readme_says(copy, demo):
    plots = copy / "runs" / "digits" / "attributions-plots"
    assert len(list(plots.glob("*.png"))) >= 3
    assert (copy / "runs" / "digits" / "attributions.h5").exists()


def assert_looks_like(lines, stdout, stderr):
    """What is shown was printed, and all that goes to stdout is shown; numbers, sizes and times may differ.

    A line of dots in the README stands for lines that are left out.
    """
    printed = [form(line) for line in stdout.splitlines() if line.strip()]
    told = {form(line) for line in stderr.splitlines()}
    dots = {"...", "…"}
    expected = [form(line) for line in lines if line.strip() not in dots]
    assert [line for line in expected if line not in printed and line not in told] == []
    in_order = [line for line in expected if line in printed]
    assert in_order == ([line for line in printed if line in in_order] if len(expected) < len(lines) else printed)


def form(line):
    line = re.sub(r"\[[0-9a-f]{8}\]", "[#]", line)
    line = re.sub(r"(?<![A-Za-z])\d[\w.,:+-]*", "#", line)
    line = re.sub(r"(# (ms|s|min|h)\b ?)+", "# s ", line)
    line = re.sub(r"# (B|KiB|MiB|GiB)\b", "# B", line)
    return " ".join(line.split())


def test_every_array_of_a_result_is_on_the_page_of_the_file(copy, demo, tables, monkeypatch):
    monkeypatch.chdir(copy)
    page = (ROOT / "scripts/docs/pages/result-file.md").read_text(encoding="utf-8")
    told = [
        re.escape(path).replace("LABEL", "[^/]+").replace("INPUT", "[^/]+").replace(r"\*", ".+")
        for line in page.splitlines() if line.startswith("| `")
        for path in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]  # fmt: skip
    assert CliRunner().invoke(main, ["run", "configs/iris.yaml", "--quiet"]).exit_code == ExitCode.DONE
    for name in ("digits/attributions.h5", "iris/effects.h5"):
        with h5py.File(copy / "runs" / name) as file:
            paths: list[str] = []
            file.visit(paths.append)
            found = [path for path in paths if isinstance(file[path], h5py.Dataset)]
            arrays = [path for path in found if not is_only_an_axis(file[path])]
        assert arrays and [path for path in arrays if not any(re.fullmatch(each, path) for each in told)] == []


LANGUAGES = {"bash", "console", "python", "toml", "yaml", "text"}


def test_every_block_is_of_a_language_that_is_tested():
    """Commands stand in `bash` and `console`, which run; `text` and `toml` are not run by anybody."""
    assert set(re.findall(r"^ *```(\S*)\n", EVERYWHERE, re.MULTILINE)) - {""} <= LANGUAGES
    assert not re.search(r"^(\$ |xattr-cli )", "".join(blocks("text", EVERYWHERE)), re.MULTILINE)


def test_the_programs_of_the_pages_run():
    (comparison,) = [block for block in blocks("python", EVERYWHERE) if "captum.attr" in block]
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    found = {"network": network, "inputs": inputs, "baselines": torch.zeros(4, 3), "targets": targets}
    exec(comparison, found)
    theirs = captum.attr.IntegratedGradients(network).attribute(inputs, target=targets, n_steps=200)
    np.testing.assert_allclose(found["maps"], theirs.numpy(), atol=0.05 * float(theirs.abs().max()))
    tour = next(
        block for page in PAGES for block in blocks("python", page) if "xattr_cli.explain(network, torch" in block
    )
    exec(tour, found)
    assert found["maps"].shape == (5, 3)
    smallest = next(block for page in PAGES for block in blocks("python", page) if "GradientTimesSign" in block)
    exec(smallest, found)
    engine = found["GradientTimesSign"]()
    x = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(engine.explain(block_of(Cubes(), x)).attribution, 3 * x * x * x.sign())


# --- what is told between the commands ----------------------------------------------------------


def test_commands_and_options_that_are_named_exist():
    for name, rest in re.findall(r"xattr-cli ([a-z-]+)([^`\n;&|']*)", EVERYWHERE):
        assert name in main.commands, name
        known = {flag for option in options(main.commands[name]) for flag in option.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest.split(" #")[0])) <= known, (name, rest)


def options(command):
    return [each for each in command.params if isinstance(each, click.Option)]


def test_options_that_are_named_alone_exist():
    known = {flag for command in main.commands.values() for option in options(command) for flag in option.opts}
    assert set(re.findall(r"`(--[a-z-]+)", EVERYWHERE)) <= known


def test_make_targets_that_are_named_exist():
    for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", EVERYWHERE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_files_that_are_named_exist():
    for path in re.findall(r"`((?:configs|scripts|tests|xattr_cli)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.noun)
def test_every_plugin_is_named(registry):
    missing = [name for name in registry.names() if not re.search(rf"\b{name}\b", TEXT)]
    assert missing == []
    assert registry.group in TEXT


def test_exit_codes_are_those_of_the_code():
    told = " ".join(TEXT[TEXT.index("Exit codes:") :].split("\n\n")[0].split())
    for name, code in vars(ExitCode).items():
        if name.isupper():
            assert re.search(rf"\b{code} [a-z]", told), code


# --- code of other languages --------------------------------------------------------------------


def test_the_job_that_is_shown_is_that_of_the_demo():
    job = parse_job(blocks("yaml")[0], folder=ROOT / "configs")
    assert job == load_job(str(ROOT / "configs" / "digits.yaml"))


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.split("\n")[0])
def test_every_job_parses(block):
    if "model:" in block and "output:" in block:
        parse_job(block, folder=ROOT / "configs")


def test_the_file_reads_as_the_readme_reads_it(copy, demo, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    (program,) = [block for block in blocks("python") if "h5py.File" in block]
    exec(program, {})
    assert re.match(r"\(200, 1, 8, 8\) 0\.0\d+ \[\d \d \d\]\n$", capsys.readouterr().out)


def test_the_job_runs_from_python_as_the_readme_runs_it(copy, demo, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    (program,) = [block for block in blocks("python") if "xattr_cli.run" in block]
    exec(program, {})
    assert capsys.readouterr().out == "20 (8, 1, 8, 8)\n"


def test_a_network_in_memory_is_explained_as_the_readme_does(capsys):
    (program,) = [block for block in blocks("python") if "xattr_cli.explain" in block]
    exec(program, {})
    assert re.match(r"\(10, \d+\) True\n$", capsys.readouterr().out)


class Cubes(nn.Module):
    def forward(self, x):
        return (x**3).sum(1, keepdim=True)


def defined_by(base):
    """What the block that shows a plugin of that base class defines."""
    (program,) = [block for block in blocks("python") if f"({base}):" in block]
    defined = {}
    exec(program, defined)
    return defined


def test_the_dataset_plugin_that_is_shown_works():
    with defined_by("DatasetSource")["Steps"](count=7).open() as samples:
        batch = samples.read(0, len(samples))
    steps, up = batch.inputs["x"], batch.labels
    assert steps.shape == (7, 16) and set(np.unique(steps)) == {-1.0, 1.0}
    assert (np.count_nonzero(np.diff(steps), axis=1) == 1).all()
    assert (steps[:, -1] == 2 * up - 1).all()
    assert samples.classes == ("down", "up")


def test_the_score_plugin_that_is_shown_works():
    score = defined_by("Score")["Margin"](ratio=2)
    found = score.of_all(torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]]))
    assert found.tolist() == [[-4.0, -2.0, 6.0], [0.0, 0.0, 0.0]]


def test_the_figure_plugin_that_is_shown_works(copy, demo):
    kind = defined_by("FigureKind")["ScoreHistogram"]()
    with Results.open(copy / "runs" / "digits" / "attributions.h5") as results:
        drawn = list(kind.draw(select(results, ["integrated_gradients"], 1, None)))
        bars = drawn[0].figure.axes[0].patches
        assert [each.stem for each in drawn] == ["score-histogram-integrated_gradients"]
        assert sum(bar.get_height() for bar in bars) == len(results.rows) == 200


def test_the_exporter_that_is_shown_works(copy, demo, tmp_path):
    exporter = defined_by("Exporter")["ScoreList"]()
    with Results.open(copy / "runs" / "digits" / "attributions.h5") as results:
        path = export(choose(results, ["integrated_gradients"], None), exporter, tmp_path / "scores.txt")
        assert np.loadtxt(path).tolist() == results.engine("integrated_gradients").score_input.tolist()


def test_the_metric_that_is_shown_works(copy, demo, monkeypatch):
    monkeypatch.setattr(METRICS, "_members", dict(METRICS._members))
    METRICS.register("largest_share")(defined_by("Metric")["LargestShare"])
    found = evaluate_file(
        copy / "runs" / "digits" / "attributions.h5",
        EvaluationOptions(metrics=("largest_share",), limit=20),
        load_job(str(copy / "configs" / "digits.yaml")),
    )
    ((shares, *_),) = [one.values for one in found.measurements]
    assert ((shares > 1 / 64) & (shares < 1)).all()


@pytest.mark.parametrize(
    "registry", [ENGINES, DATASETS, SCORES, FIGURES, EXPORTERS, METRICS], ids=lambda registry: registry.noun
)
def test_every_plugin_that_is_shown_is_offered_by_an_entry_point(registry):
    (offers,) = blocks("toml")
    (target,) = re.findall(rf'"{re.escape(registry.group)}"\]\n\w+ = "my_package:(\w+)"', offers)
    assert any(re.search(rf"^class {target}\(", block, re.MULTILINE) for block in blocks("python"))


def test_the_plugin_that_is_shown_works():
    defined = defined_by("LocalEngine")
    engine = defined["GradientTimesDelta"](position=0.25)
    x = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    found = engine.explain(block_of(Cubes(), x))
    torch.testing.assert_close(found.attribution, x * 3 * (0.25 * x) ** 2)
    torch.testing.assert_close(found.score_input, (x**3).sum(1))
    assert (found.relative_error == 0).all() and (found.evaluations == 1).all()
