"""Plugins of another distribution: installed for real, found by name, run from YAML; and broken ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from xattr_cli.errors import ExitCode, JobError
from xattr_cli.randomness import Purpose, sample_generator
from xattr_cli.registry import BASELINES, DATASETS, ENGINES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin_package"
GAIN, NOISE, DRAWS, SEED = 2.0, 0.2, 32, 5
JOB = f"""\
model: {{kind: readout, weights: weights.npy, gain: {GAIN}}}
dataset: {{kind: waves, count: 7, length: 8}}
target: label
engines:
  smoothgrad: {{noise: {NOISE}, draws: {DRAWS}}}
  from_median: {{engine: integrated_gradients, baseline: median, rtol: 0.01}}
compute: {{device: cpu, seed: {SEED}}}
output: {{path: maps.h5}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the package."""
    folder = tmp_path_factory.mktemp("plugins")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    offline = "--no-deps --no-build-isolation --no-index --disable-pip-version-check --quiet".split()
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", folder / "site", source]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def result(site, tmp_path_factory):
    """What a run of the job leaves."""
    folder = tmp_path_factory.mktemp("job")
    weights = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    np.save(folder / "weights.npy", weights)
    (folder / "job.yaml").write_text(JOB)
    done = xattr_cli(site, "run", "job.yaml", cwd=folder)
    assert done.returncode == ExitCode.DONE, done.stderr
    with h5py.File(folder / "maps.h5") as file:
        yield file, weights.astype(np.float64)


def xattr_cli(*arguments, cwd=None):
    """Run the command of this very checkout with folders of packages, the arguments that are paths, importable."""
    sites = [*(str(argument) for argument in arguments if isinstance(argument, Path)), str(ROOT)]
    texts = [argument for argument in arguments if isinstance(argument, str)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sites), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", "xattr_cli", *texts],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd, env=environment,
    )  # fmt: skip


# --- a package that works -----------------------------------------------------------------------


def test_a_third_party_engine_takes_at_most_40_lines():
    text = (PACKAGE / "xattr_example" / "smoothgrad.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40


def test_the_data_are_those_of_the_plugin(result):
    file, _ = result
    np.testing.assert_allclose(file["inputs/wave/values"], waves(), atol=1e-6)
    assert file["rows/target"][:].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert [name.decode() for name in file["classes"]] == ["one", "two", "three"]
    assert file["engines/smoothgrad/attribution"].dims[1].label == "time"


def test_the_engine_gives_the_mean_over_draws_of_the_sample(result):
    file, weights = result
    engine = file["engines/smoothgrad"]
    for row, x in enumerate(waves()):
        noise = sample_generator(SEED, row, Purpose.PLUGIN).standard_normal((DRAWS, 8))
        gradients = GAIN * (1 - np.tanh(GAIN * (x + NOISE * noise)) ** 2) * weights[:, row % 3]
        mean, error = gradients.mean(axis=0), gradients.std(axis=0, ddof=1) / np.sqrt(DRAWS)
        np.testing.assert_allclose(engine["attribution"][row], mean, atol=1e-5)
        np.testing.assert_allclose(engine["standard_error"][row], error, atol=1e-5)
        expected = np.linalg.norm(error) / np.linalg.norm(mean)
        assert engine["relative_error"][row] == pytest.approx(expected, rel=1e-4)
        assert engine["score_input"][row] == pytest.approx(np.tanh(GAIN * x) @ weights[:, row % 3], abs=1e-5)
    assert (engine["evaluations"][:] == DRAWS).all()
    assert (engine["status"][:] == 0).all()


def test_the_baseline_is_where_the_paths_of_a_built_in_engine_start(result):
    file, weights = result
    engine = file["engines/from_median"]
    median = np.median(waves(), axis=0)
    for row, x in enumerate(waves()):
        exact = (np.tanh(GAIN * x) - np.tanh(GAIN * median)) * weights[:, row % 3]
        error = np.linalg.norm(engine["attribution"][row] - exact) / np.linalg.norm(exact)
        assert error <= engine["relative_error"][row] <= 0.01
        assert engine["score_baseline"][row] == pytest.approx(
            np.tanh(GAIN * median) @ weights[:, row % 3], abs=1e-5
        )


def test_the_file_says_which_plugins_it_comes_from(result):
    file, _ = result
    assert file["engines/smoothgrad"].attrs["engine"] == "smoothgrad"
    assert "draws: 32" in file["engines/smoothgrad"].attrs["options"]
    for text in ("kind: readout", "kind: waves", "kind: median"):
        assert text in file.attrs["job"]


def test_the_engine_is_listed_and_documented(site):
    listed = xattr_cli(site, "engines")
    assert "smoothgrad            SmoothGrad, the mean of ∇f(x + ε)" in listed.stdout
    page = xattr_cli(site, "engines", "smoothgrad")
    assert "arXiv 1706.03825" in page.stdout
    assert "  noise  number > 0; default 0.1\n         standard deviation of ε" in page.stdout
    assert (listed.stderr, page.stderr) == ("", "")


def test_other_baselines_are_documented_with_the_engines_that_take_one(site):
    page = xattr_cli(site, "engines", "integrated_gradients").stdout
    assert "  median      The median of every feature over the whole dataset." in page


def test_wrong_options_of_a_plugin_are_refused_as_those_of_any_other(site, tmp_path):
    (tmp_path / "job.yaml").write_text(JOB.replace("noise: 0.2", "nois: 0.2").replace("gain: 2.0", "gain: 0"))
    done = xattr_cli(site, "run", "job.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "engines.smoothgrad.nois: 0.2: unknown key. Allowed: draws, noise. Did you mean 'noise'?" in done.stderr
    assert "model.gain: 0: must be greater than 0" in done.stderr


# --- packages that do not -----------------------------------------------------------------------

BROKEN = {
    "unimportable": ("import surely_not_installed", "Wobble"),
    "exiting": ("raise SystemExit(3)", "Wobble"),
    "misspelt": ("", "Wobble"),
    "unrelated": ("class Wobble: pass", "Wobble"),
    "function": ("def wobble(): pass", "wobble"),
    "other_sort": ("from xattr_cli.baselines import Zero\nclass Wobble(Zero): pass", "Wobble"),
    "unfinished": (
        "from xattr_cli.engines.base import LocalEngine\nclass Wobble(LocalEngine): pass",
        "Wobble",
    ),
    "opaque": (
        """
        from collections.abc import Callable
        from xattr_cli.engines.base import LocalEngine

        class Wobble(LocalEngine):
            hook: Callable[[int], int]

            def explain(self, block):
                return None
        """,
        "Wobble",
    ),
}
FAULTS = {
    "unimportable": "cannot be imported: ModuleNotFoundError: No module named 'surely_not_installed'",
    "exiting": "cannot be imported: SystemExit: 3",
    "misspelt": "cannot be imported: AttributeError: module 'broken_misspelt' has no attribute 'Wobble'",
    "unrelated": "is not a subclass of xattr_cli.engines.base.Engine",
    "function": "is not a subclass of xattr_cli.engines.base.Engine",
    "other_sort": "is not a subclass of xattr_cli.engines.base.Engine",
    "unfinished": "does not define explain",
    "opaque": "has options that YAML cannot hold",
}


def distribution(folder: Path, name: str, group: str, offers: dict[str, str], module: str = "") -> None:
    """What an installer leaves of a package with one module, named as the package."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(textwrap.dedent(module))
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{offered} = {target}" for offered, target in offers.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Installed packages, each of which offers an engine that cannot be used."""
    folder = tmp_path_factory.mktemp("broken") / "site"
    for name, (module, attribute) in BROKEN.items():
        offers = {name: f"broken_{name}:{attribute}"}
        distribution(folder, f"broken_{name}", "xattr_cli.engines", offers, module)
    return folder


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_refused_by_name(name, broken, monkeypatch):
    monkeypatch.syspath_prepend(broken)
    with pytest.raises(JobError) as caught:
        ENGINES.get(name)
    assert caught.value.exit_code == ExitCode.USAGE
    attribute = BROKEN[name][1]
    source = f"engine {name!r}, offered by broken_{name} 1.0 as 'broken_{name}:{attribute}', "
    assert str(caught.value).startswith(source + FAULTS[name])


def test_the_listing_survives_broken_plugins_and_names_each_on_stderr(site, broken):
    done = xattr_cli(site, broken, "engines")
    assert done.returncode == ExitCode.DONE
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == sorted([*(name for name in ENGINES.names() if name not in BROKEN), "smoothgrad"])
    for name, fault in FAULTS.items():
        assert f"Warning: engine {name!r}, offered by broken_{name} 1.0" in done.stderr
        assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_survives_broken_plugins(site, broken):
    done = xattr_cli(site, broken, "schema")
    assert done.returncode == ExitCode.DONE
    definitions = json.loads(done.stdout)["$defs"]
    for key in ("engine.smoothgrad", "model-kind.readout", "dataset-kind.waves", "baseline-kind.median"):
        assert key in definitions
    assert not any(f"engine.{name}" in definitions for name in BROKEN)
    assert done.stderr.count("Warning: engine") == len(BROKEN)


def test_asking_for_a_broken_engine_fails_and_for_another_does_not(broken):
    asked, other = xattr_cli(broken, "engines", "unimportable"), xattr_cli(broken, "engines", "saliency")
    assert (asked.returncode, other.returncode) == (ExitCode.USAGE, ExitCode.DONE)
    assert asked.stderr.startswith("Error: engine 'unimportable', offered by broken_unimportable 1.0")
    assert asked.stderr.endswith("Repair or uninstall that package.\n")
    assert (asked.stdout, other.stderr) == ("", "")


def test_a_name_that_two_packages_offer_is_refused(tmp_path, monkeypatch):
    for name in ("first_waves", "second_waves"):
        distribution(tmp_path / "site", name, "xattr_cli.datasets", {"surf": f"{name}:Surf"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(JobError, match=r"is offered by .*_waves 1.0 and .*_waves 1.0. Uninstall all but one"):
        DATASETS.get("surf")


def test_a_built_in_name_cannot_be_taken_over(tmp_path, monkeypatch):
    distribution(tmp_path / "site", "greedy", "xattr_cli.baselines", {"zero": "greedy:Zero"}, "1 / 0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert BASELINES.get("zero").__module__ == "xattr_cli.baselines.constant"


def test_one_class_cannot_have_two_names(tmp_path, monkeypatch):
    offers = {"nil": "xattr_cli.baselines.constant:Zero"}
    distribution(tmp_path / "site", "alias", "xattr_cli.baselines", offers)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(JobError, match=r"baseline kind 'nil': Zero is known as 'zero' already. Make a subclass"):
        BASELINES.get("nil")
    assert BASELINES.get("zero").registered_name == "zero"


def waves():
    """The samples of the job, (7, 8) float64."""
    index = np.arange(7)[:, None]
    time = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return np.sin((index % 3 + 1) * time + index)
