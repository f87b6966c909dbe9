"""A job from the few words of a command line: `xattr-cli explain` writes what it would have said as a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import JobError, nearest, suggestion
from ..importing import module_of
from ..registry import DATASETS, ENGINES, MODELS, Registry
from ..untrusted.yaml_text import parse_yaml
from .config import resolve_plugin
from .file_kinds import data_kind, is_checkpoint, is_csv, model_kind
from .target import named_target
from .yaml_text import plain_values, write_values

__all__ = ["OneLiner"]

_SUBJECTS = ("factory", "name", "path")  # the option that a plugin's one word stands for


@dataclass(frozen=True)
class OneLiner:
    """What is said on a command line; paths are relative to the working folder.

    Attributes:
        model: `KIND:NAME`, `module:callable`, or a file or folder that says itself what it is.
        data: `KIND:NAME`, or a file or folder.
        output: where the result goes.
        checkpoint: weights of the network; None if it brings its own.
        label: column, or array, of the labels; '' if there are none.
        engines: names.
        baseline, rtol: of all engines that have one; '' and None leave it to them.
        target, score: as a job has them, or for the target a number or the name of a class alone.
        class_names: file of names of the outputs.
        limit: how many samples; None for all.
        overrides: `dotted.key=value` texts on top of all that.
    """

    model: str
    data: str
    output: Path
    checkpoint: Path | None = None
    label: str = ""
    engines: Sequence[str] = ("integrated_gradients",)
    baseline: str = ""
    rtol: float | None = None
    target: str = "predicted"
    score: str = "auto"
    class_names: Path | None = None
    limit: int | None = None
    overrides: Sequence[str] = field(default=())

    @property
    def job_path(self) -> Path:
        """Where the job is written: beside the result, or beside code of the working folder that it names."""
        named = (word.removeprefix("python:") for word in (self.model, self.data) if ":" in word)
        beside_code = any(_is_here(module_of(word)) for word in named)
        path = self.output.with_suffix(".yaml")
        return Path(path.name) if beside_code else path

    def job_text(self) -> str:
        """The job as YAML; its relative paths start at the folder of `job_path`.

        Raises:
            JobError: something is not to be understood; names what to add.
        """
        values = plain_values(write_values(self._values()), self.overrides)
        dataset = values["dataset"]
        known = (
            isinstance(dataset, dict) and dataset.get("kind") in DATASETS.names()
        )  # else the check of the job tells
        if known and "transform" in DATASETS.get(dataset["kind"]).model_fields and "transform" not in dataset:
            dataset |= _transform(values["model"], self.job_path.parent)
        return write_values(values)

    def _values(self) -> dict[str, Any]:
        model = {**self._model(), **({} if self.checkpoint is None else {"checkpoint": self.checkpoint})}
        dataset = self._dataset(model)
        values = {
            "model": self._from_job(model),
            "dataset": self._from_job(dataset),
            "target": named_target(parse_yaml(self.target, f"--target {self.target}", JobError)),
            "score": parse_yaml(self.score, f"--score {self.score}", JobError),
            # ids have no gradient; what they are embedded into has one
            **({"explain": {"embedding": "auto"}} if dataset["kind"] == "text" else {}),
            "engines": {name: self._options(name) or None for name in self.engines},
            "output": self._from_job({"path": self.output}),
        }
        return {key: value for key, value in values.items() if value not in ("predicted", "auto")}

    def _model(self) -> dict[str, Any]:
        kind, colon, rest = self.model.partition(":")
        if colon and kind in MODELS.names():
            return _plugin(MODELS, kind, rest, f"--model {self.model}")
        if colon:
            meant = nearest(kind, MODELS.names())
            if meant and not _is_here(kind):
                raise JobError(f"--model {self.model}: unknown model kind {kind!r}. Did you mean {meant}:{rest}?")
            return {"kind": "python", "factory": self.model}
        path = Path(self.model)
        if path.is_dir() and (path / "config.json").exists():
            return {"kind": "transformers", "path": path}
        if told := model_kind(path):
            return {"kind": told, "path": path}
        raise JobError(f"--model {self.model}: {_unclear(path)}")

    def _dataset(self, model: Mapping[str, Any]) -> dict[str, Any]:
        where = f"--data {self.data}"
        kind, colon, rest = self.data.partition(":")
        if not colon or kind not in DATASETS.names():
            kind, rest = _data_kind(self.data, is_text=model["kind"] == "transformers"), self.data
        dataset = _plugin(DATASETS, kind, rest, where)
        options = DATASETS.get(kind).model_fields
        for name, value in {"label": self.label, "class_names": self.class_names, "limit": self.limit}.items():
            option = "labels" if name == "label" and name not in options else name
            if value and option not in options:
                raise JobError(f"--{name} {value}: a dataset of kind {kind!r} has no such option.")
            dataset |= {option: value} if value else {}
        return dataset

    def _options(self, engine: str) -> dict[str, Any]:
        """Of the options that are given for all engines, those that this one has."""
        options = {"baseline": {"kind": self.baseline} if self.baseline else None, "rtol": self.rtol}
        wanted = {name: value for name, value in options.items() if value is not None}
        for name in wanted:
            if not any(name in ENGINES.get(each).model_fields for each in self.engines):
                raise JobError(f"--{name}: none of the engines has it: {', '.join(self.engines)}.")
        known = ENGINES.get(engine).model_fields
        return {name: value for name, value in wanted.items() if name in known}

    def _from_job(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values with their paths as seen from the folder of the job."""
        folder = self.job_path.parent
        return {key: _seen_from(folder, v) if isinstance(v, Path) else v for key, v in values.items()}


def _is_here(module: str | None) -> bool:
    """Whether a module lies in the working folder: code is looked for beside the job."""
    top = (module or "").partition(".")[0]
    return top not in ("", "xattr_cli") and (Path(f"{top}.py").is_file() or Path(top).is_dir())


def _plugin(registry: Registry[Any], kind: str, word: str, where: str) -> dict[str, Any]:
    """Kind, and the one option that a word beside it stands for."""
    options = registry.get(kind).model_fields
    subject = next((name for name in _SUBJECTS if name in options), None)
    if subject is None or not word:
        raise JobError(f"{where}: give {kind}:{subject or '…'}, or write a job: xattr-cli init.")
    return {registry.tag: kind, subject: Path(word) if subject == "path" else word}


def _unclear(path: Path) -> str:
    """What to add to a word that may be several kinds of model."""
    kinds = ", ".join(f"{kind}:…" for kind in MODELS.names())
    if is_checkpoint(path):
        return (
            f"weights alone do not say which network they are of. Name it, and give them beside it: "
            f"--model torchvision:resnet18 --checkpoint {path}, or --model my_module:my_network. A file of "
            f"torch.jit.save is torchscript:{path}."
        )
    if path.is_dir():
        return "the folder has no config.json, as one of transformers has. Say what it is: " + kinds
    return f"say of what kind it is, such as torchvision:{path} or timm:{path}. Allowed: {kinds}, module:callable."


def _data_kind(named: str, is_text: bool) -> str:
    path = Path(named)
    if path.is_dir():
        arrays = any(path.glob("*.npy"))
        return "arrays" if arrays else "images"
    if is_text and is_csv(path):
        return "text"
    if kind := data_kind(path):
        return kind
    if not path.exists():
        others = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        match = nearest(path.name, others)
        hint = f" Did you mean {str(path.parent / match)!r}?" if match else ""
        raise JobError(f"--data {named}: no such file or folder.{hint}")
    raise JobError(
        f"--data {named}: its name does not say what it holds; write KIND:{named}."
        + suggestion("", DATASETS.names())
    )


def _transform(model: Any, folder: Path) -> dict[str, Any]:
    """How pictures are prepared for this network, as far as its source knows."""
    try:
        source: Any = resolve_plugin(MODELS, model, {"folder": folder})
    except ValueError:  # a wrong option; checking the job says which
        return {}
    transform: dict[str, Any] = source.picture_transform()
    return {"transform": transform} if transform else {}


def _seen_from(folder: Path, path: Path) -> str:
    """A path as it is written in a job file of a folder; absolute ones stay what they are."""
    if path.is_absolute() or str(path).startswith("~"):
        return str(path)
    return os.path.relpath(path, folder)
