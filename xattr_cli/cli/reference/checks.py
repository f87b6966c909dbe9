"""`xattr-cli checks`: what is installed, which devices there are, and how much room."""

from __future__ import annotations

import json as json_format
import os
import platform
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import click

__all__ = ["checks"]

SKILL = Path(__file__).parents[2] / "SKILL.md"
"""What coding agents should know of the commands; it comes with the package."""


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(), help="Where results will go; default: here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def checks(folder: Path, as_json: bool) -> None:
    """Say what this installation can do: versions, devices, optional packages, and room on the disk.

    Put its output into a report of a fault.

    \b
    Example:
      xattr-cli checks
    """
    from ...device.select import describe_devices

    about = {"versions": _versions(), "devices": describe_devices(), "extras": _extras(), "disk": _disk(folder)}
    click.echo(json_format.dumps(about) if as_json else "\n".join(_lines(about)))


def _versions() -> dict[str, str]:
    from ... import __version__

    names = ("torch", "torchvision", "numpy", "h5py", "pydantic")
    own = {"xattr-cli": __version__, "python": platform.python_version(), "system": platform.platform()}
    own |= {"skill": str(SKILL)}
    return own | {name: _version(name) or "missing" for name in names}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, dict[str, str | None]]:
    """Extra → the packages that it adds → their versions, None where one is missing."""
    try:
        requirements = metadata.requires("xattr-cli") or []
    except metadata.PackageNotFoundError:  # run from its sources, never installed
        return {}
    found: dict[str, dict[str, str | None]] = {}
    for line in requirements:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and extra and name[0] != "xattr-cli" and extra[1] not in ("test", "lint", "papers"):
            found.setdefault(extra[1], {})[name[0]] = _version(name[0])
    return found


def _disk(folder: Path) -> dict[str, Any]:
    nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    return {
        "folder": str(nearest),
        "free_bytes": shutil.disk_usage(nearest).free,
        "writable": os.access(nearest, os.W_OK | os.X_OK),
    }


def _lines(about: dict[str, Any]) -> list[str]:
    lines = [f"{name:<12} {version}" for name, version in {**about["versions"], **about["devices"]}.items()]
    for extra, packages in about["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
        hint = f"missing: {', '.join(missing)}; pip install 'xattr-cli[{extra}]'" if missing else there
        lines.append(f"{extra:<12} {hint}")
    disk = about["disk"]
    state = "" if disk["writable"] else ", not writable"
    return [*lines, f"{'disk':<12} {disk['free_bytes'] / 2**30:.1f} GiB free in {disk['folder']}{state}"]
