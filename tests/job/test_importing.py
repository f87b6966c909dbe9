"""Callables that a job names."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import textwrap

import pytest

from xattr_cli.errors import ExitCode, JobError
from xattr_cli.importing import import_callable, importable_from


@pytest.fixture
def folder(tmp_path):
    """A job's folder with a module, a package and modules that cannot be imported."""
    write(tmp_path / "xattr_factories.py", "def make(): return 'mine'\nTABLE = 3\n")
    write(tmp_path / "xattr_package" / "__init__.py", "")
    write(
        tmp_path / "xattr_package" / "nets.py",
        "class Net:\n    @staticmethod\n    def small(): return 'small'\n",
    )
    write(tmp_path / "xattr_broken.py", "1 / 0\n")
    write(tmp_path / "xattr_needy.py", "import surely_not_installed\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("xattr_") and not name.startswith("xattr_cli"):
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))


def test_modules_beside_the_job_are_found(folder):
    assert import_callable("xattr_factories:make", folder, "model.factory")() == "mine"


def test_dotted_modules_and_attributes_are_found(folder):
    assert import_callable("xattr_package.nets:Net.small", folder, "model.factory")() == "small"


def test_installed_modules_need_no_folder():
    assert import_callable("json:dumps", None, "dataset.factory") is json.dumps


@pytest.mark.parametrize("reference", ["xattr_factories:make", "xattr_broken:make", "missing:make"])
def test_the_search_path_is_left_as_it_was(folder, reference):
    before = list(sys.path)
    with contextlib.suppress(JobError):
        import_callable(reference, folder, "model.factory")
    assert sys.path == before


def test_a_second_job_gets_the_module_of_its_own_folder(folder, tmp_path_factory):
    import_callable("xattr_factories:make", folder, "model.factory")
    other = tmp_path_factory.mktemp("other")
    write(other / "xattr_factories.py", "def make(): return 'theirs'\n")
    assert import_callable("xattr_factories:make", other, "model.factory")() == "theirs"


def test_a_second_job_gets_the_namespace_package_of_its_own_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "xattr_space" / "nets.py", f"def make(): return {name!r}\n")
    made = [import_callable("xattr_space.nets:make", tmp_path / name, "model.factory")() for name in ("a", "b")]
    assert made == ["a", "b"]


def test_a_folder_of_data_does_not_hide_an_installed_package(tmp_path):
    (tmp_path / "numpy").mkdir()
    assert import_callable("numpy:zeros", tmp_path, "dataset.factory")(2).shape == (2,)


def test_a_module_with_the_name_of_one_in_use_is_refused(tmp_path):
    write(tmp_path / "numpy.py", "def make(): return 0\n")
    with pytest.raises(JobError, match=r"'numpy' in .* has the name of a module that is installed and in use"):
        import_callable("numpy:make", tmp_path, "dataset.factory")


def test_late_imports_work_within_the_block(folder):
    with importable_from(folder):
        nets = importlib.import_module("xattr_package.nets")
    assert nets.Net.small() == "small"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("xattr_factories.make", "must look like 'module:callable'. Did you mean 'xattr_factories:make'?"),
        ("xattr_factories.py:make", "must look like 'module:callable'. Did you mean 'xattr_factories:make'?"),
        ("", "'' must look like 'module:callable'."),
        ("xattr_factory:make", "'xattr_factory' was not found in .* Did you mean 'xattr_factories'?"),
        ("xattr_package.net:Net", "'xattr_package.net' was not found .* Did you mean 'xattr_package.nets'?"),
        ("xattr_factories:mak", "the module has no attribute 'mak'. Did you mean 'make'?"),
        ("xattr_factories:TABLE", "'xattr_factories:TABLE' is int, which cannot be called."),
        ("xattr_broken:make", "importing 'xattr_broken' failed: ZeroDivisionError: division by zero"),
        ("xattr_needy:make", "needs a module that is not installed: No module named 'surely_not_installed'"),
    ],
)
def test_errors_name_the_key_and_what_was_meant(folder, reference, message):
    with pytest.raises(JobError, match=message.replace("?", r"\?")) as caught:
        import_callable(reference, folder, "model.factory")
    assert str(caught.value).startswith("model.factory: ")
    assert caught.value.exit_code == ExitCode.USAGE
