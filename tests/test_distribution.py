"""What is handed out: the wheel, the skill for coding agents in it, an isolated installation, the Dockerfile."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import xattr_cli
from xattr_cli.cli import main
from xattr_cli.cli.reference.checks import SKILL
from xattr_cli.errors import ExitCode
from xattr_cli.job.config import parse_job

ROOT = Path(__file__).parents[1]
TEXT = SKILL.read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


COMMANDS = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of a fresh copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "xattr_cli", folder / "xattr_cli", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", folder / "dist", folder], check=True, capture_output=True)
    (built,) = (folder / "dist").iterdir()
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("xattr_cli/")}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        assert f"Version: {xattr_cli.__version__}\n" in archive.read(metadata).decode()
    files = (
        path for path in (ROOT / "xattr_cli").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert "xattr_cli/SKILL.md" in packed


# --- the skill ------------------------------------------------------------------------------------


def test_the_skill_says_what_it_is_for():
    about = yaml.safe_load(TEXT.split("---\n")[1])
    assert about["name"] == "xattr-cli" and 100 < len(about["description"]) <= 1024
    assert len(TEXT) < 8000


def test_every_command_of_the_skill_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        done = CliRunner().invoke(main, shlex.split(command)[1:], catch_exceptions=False)
        assert done.exit_code == ExitCode.DONE, (command, done.stderr)
    assert len(COMMANDS) > 12


def test_commands_and_options_of_the_skill_exist():
    for line in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)):
        name, *rest = line.split()
        if name in main.commands:
            options = [option for each in main.commands[name].params for option in each.opts]
            assert set(re.findall(r"--[a-z-]+", " ".join(rest))) <= set(options), line
        elif name == "xattr-cli" and rest:
            assert isinstance(main.get_command(click.Context(main), rest[0]), click.Command), line


def test_keys_that_the_skill_tells_to_check_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke = CliRunner().invoke
    assert invoke(main, ["init", "job.yaml", "--kind", "regression"]).exit_code == 0
    printed = invoke(main, ["run", "job.yaml", "--quiet", "--json"]).stdout
    for key in ("agreement", "model_notes", "code_changes", "converged", "not_converged", "inconsistent"):
        assert f'"{key}":' in printed
    for key in ("quarantined", "first_quarantined_rows", "relative_error_p95", "rows"):
        assert f'"{key}":' in printed and f"{key}" in TEXT
    assert '"notes":' in invoke(main, ["plan", "job.yaml", "--json"]).stdout


def test_the_job_and_the_program_of_the_skill_are_right(tmp_path):
    (job,) = blocks("yaml")
    assert parse_job(job, folder=tmp_path).model.factory == "my_module:make_network"
    (program,) = blocks("python")
    exec(program, {})


def test_exit_codes_of_the_skill_are_those_of_the_code():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert told == {code for name, code in vars(ExitCode).items() if name.isupper()}


# --- an installation of its own -------------------------------------------------------------------


@pytest.mark.slow
def test_pipx_installs_the_wheel_and_the_command_works(wheel, tmp_path):
    """Real pipx, whose environments see what its shared one holds: here the packages that are installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "PIPX_HOME": f"{tmp_path}/pipx",
        "PIPX_BIN_DIR": f"{tmp_path}/bin",
        "PIPX_MAN_DIR": f"{tmp_path}/man",
    }
    started = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
    pipx = [sys.executable, "-m", "pipx"]
    prepared = subprocess.run([*pipx, "upgrade-shared"], check=False, **started)
    if prepared.returncode:
        pytest.skip(f"pipx needs an index to fetch pip from: {prepared.stderr.strip().splitlines()[-1]}")
    (shared,) = (tmp_path / "pipx" / "shared").glob("lib/python*/site-packages")
    for path in Path(pytest.__file__).parents[1].iterdir():
        is_own = re.match(r"__editable__|xattr_cli|pip(-|$)|__pycache__", path.name)
        if not is_own and path.suffix != ".pth" and not (shared / path.name).exists():
            (shared / path.name).symlink_to(path)
    install = ["install", "--python", sys.executable, "--pip-args=--no-index --no-deps", str(wheel)]
    subprocess.run([*pipx, *install], check=True, **started)
    command = f"{tmp_path}/bin/xattr-cli"
    version = subprocess.run([command, "--version"], check=True, **started).stdout
    assert version == f"xattr-cli, version {xattr_cli.__version__}\n"
    work = f"{command} init job.yaml --kind regression && {command} plan job.yaml && {command} run job.yaml"
    done = subprocess.run(["bash", "-c", work], check=False, **started)
    assert done.returncode == 0 and "converged" in done.stdout, done.stderr
    checks = subprocess.run([command, "checks"], check=True, **started).stdout
    assert f"{tmp_path}/pipx/venvs/xattr-cli/" in re.search(r"^skill +(.*)$", checks, re.MULTILINE)[1]


# --- the Dockerfile -------------------------------------------------------------------------------


def test_the_dockerfile_copies_what_there_is_and_ignores_the_rest():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == names


def test_the_dockerfile_installs_extras_that_there_are():
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(extras.split(",")) <= set(declared)
    assert 'ENTRYPOINT ["xattr-cli"]' in DOCKERFILE


def test_the_dockerfile_passes_its_linter():
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
