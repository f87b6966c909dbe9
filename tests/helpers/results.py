"""Result files for the tests of everything that reads one: real data, small trained networks, real maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_sample_images
from torch import nn

from helpers.weights import with_weights

ALPHAS = np.linspace(0.0, 1.0, 21)
MAP_ALPHA = np.array([0.05, 0.25, 0.5, 0.75, 1.0])


@dataclass(frozen=True)
class Problem:
    """A trained network and the samples to explain, as the model takes them: inputs (samples, *shape)."""

    module: nn.Module
    inputs: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    offset: np.ndarray | None = None
    scale: np.ndarray | None = None
    axes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    regression: bool = False
    targets: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    tensors: dict[str, slice] = field(default_factory=dict)  # cuts of the last axis, as inputs of their own


# --- networks, and what they were trained on ------------------------------------------------------


def digits_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


class LastStep(nn.Module):
    def __init__(self, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(lines)[0][:, -1])


def lines_network() -> nn.Module:
    return LastStep(8, 24, 10)


def cancer_network() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))


def diabetes_network() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 1))


def photograph_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip


def digit_lines() -> tuple[torch.Tensor, np.ndarray]:
    """Digits (n, 8, 8) in [0, 1] and their labels (n,)."""
    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32), data.target


def standardised(data: Any) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """A table of scikit-learn (n, columns), each column with mean 0 and deviation 1; and both as they were."""
    offset, scale = data.data.mean(0), data.data.std(0)
    return torch.tensor((data.data - offset) / scale, dtype=torch.float32), offset, scale


MEAN, STD = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255


def crops() -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of two photographs (24, 3, 224, 224), and which of the two each is of (24,)."""
    photos = load_sample_images().images
    corners = [(top, left) for top in (0, 100, 200) for left in (0, 130, 260, 400)]
    pixels = np.stack([photo[t : t + 224, s : s + 224] for photo in photos for t, s in corners])
    images = torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2).contiguous()
    return images, torch.arange(2).repeat_interleave(len(corners))


@cache
def digits() -> Problem:
    lines, labels = digit_lines()
    return Problem(
        with_weights(digits_network(), "reports_digits"), lines[:40, None].numpy(), labels[:40],
        tuple(str(d) for d in range(10)), offset=np.zeros(1), scale=np.full(1, 1 / 16),
        axes=("channel", "height", "width"), layers=("1", "5"),
    )  # fmt: skip


@cache
def scanned_digits() -> Problem:
    """Digits read line by line: 8 steps of 8 features, without labels."""
    module = with_weights(lines_network(), "reports_lines")
    return Problem(module, digit_lines()[0][:20].numpy(), None, axes=("step", "feature"))


@cache
def cancer() -> Problem:
    data = load_breast_cancer()
    table, offset, scale = standardised(data)
    return Problem(
        with_weights(cancer_network(), "reports_cancer"), table[:200].numpy(), data.target[:200],
        tuple(data.target_names), features=tuple(data.feature_names), offset=offset, scale=scale,
        axes=("feature",), layers=("1", "3"),
    )  # fmt: skip


@cache
def diabetes() -> Problem:
    data = load_diabetes(scaled=False)
    table, offset, scale = standardised(data)
    return Problem(
        with_weights(diabetes_network(), "reports_diabetes"), table[:120].numpy(),
        data.target[:120].astype(np.float64), features=tuple(data.feature_names),
        offset=offset, scale=scale, axes=("feature",), regression=True,
    )  # fmt: skip


@cache
def photographs() -> Problem:
    """Crops of two photographs, 3x224x224, and a network that tells them apart."""
    images, labels = crops()
    shown = [0, 5, 13, 20]
    return Problem(
        with_weights(photograph_network(), "reports_photographs"), images[shown].numpy(), labels[shown].numpy(),
        ("Chinese temple at the lake", "dahlia, yellow"), offset=MEAN, scale=STD,
        axes=("channel", "height", "width"),
        keys=tuple(f"crops/{'china' if k < 12 else 'flower'}-{k:02d}.jpg" for k in shown),
    )  # fmt: skip


# --- the methods, written plainly ---------------------------------------------------------------


def gradients(problem: Problem, points: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,) and their gradients (n, *shape)."""
    inputs = torch.tensor(points, dtype=torch.float32, requires_grad=True)
    chosen = problem.module(inputs).gather(1, torch.tensor(targets)[:, None])[:, 0]
    (slopes,) = torch.autograd.grad(chosen.sum(), inputs)
    return chosen.detach().numpy().astype(np.float64), slopes.numpy().astype(np.float64)


def path_integral(
    problem: Problem, sample: np.ndarray, baseline: np.ndarray, target: int, nodes: int
) -> np.ndarray:
    delta = (sample - baseline).astype(np.float64)
    middles = (np.arange(nodes) + 0.5) / nodes
    points = baseline + middles.reshape(-1, *[1] * sample.ndim) * delta
    return delta * gradients(problem, points, np.full(nodes, target))[1].mean(0)


def integrated_gradients(problem: Problem, rows: Rows, rtol: float, baseline: np.ndarray) -> Engine:
    """The midpoint rule, doubled until two levels agree within `rtol` or 64 nodes are spent."""
    engine = Engine.empty("integrated_gradients", {"rtol": rtol, "max_nodes": 64}, rows, problem)
    for row, (sample, target) in enumerate(zip(rows.sample, rows.target, strict=True)):
        x = problem.inputs[sample]
        ends, _ = gradients(problem, np.stack([x, baseline]), np.full(2, target))
        nodes, error = 4, np.inf
        coarse = path_integral(problem, x, baseline, target, nodes)
        spent = nodes
        while error > rtol and nodes < 64 and np.isfinite(coarse).all():
            nodes *= 2
            fine = path_integral(problem, x, baseline, target, nodes)
            spent += nodes
            error = float(np.linalg.norm(fine - coarse) / np.linalg.norm(fine))
            coarse = fine
        engine.put(row, coarse, ends, error, spent, rtol)
    return engine


def saliency(problem: Problem, rows: Rows) -> Engine:
    engine = Engine.empty("saliency", {}, rows, problem)
    scores, slopes = gradients(problem, problem.inputs[rows.sample], rows.target)
    engine.attribution[:] = np.abs(slopes)
    engine.score_input[:] = scores
    bad = ~np.isfinite(scores) | ~np.isfinite(slopes).reshape(len(slopes), -1).all(1)
    engine.attribution[bad] = np.nan
    engine.status[bad] = 2
    engine.relative_error[:], engine.evaluations[:] = 0.0, 1
    return engine


def expected_gradients(problem: Problem, rows: Rows, draws: int = 64) -> Engine:
    engine = Engine.empty("expected_gradients", {"rtol": 0.5, "draws": draws}, rows, problem)
    engine.standard_error = np.full_like(engine.attribution, np.nan)
    generator = np.random.default_rng(0)
    clean = problem.inputs[np.isfinite(problem.inputs.reshape(len(problem.inputs), -1)).all(1)]
    for row, (sample, target) in enumerate(zip(rows.sample, rows.target, strict=True)):
        x = problem.inputs[sample]
        baselines = clean[generator.integers(len(clean), size=draws)]
        shares = generator.uniform(size=(draws, *[1] * x.ndim))
        many = np.full(draws, target)
        terms = (x - baselines) * gradients(problem, baselines + shares * (x - baselines), many)[1]
        standard = terms.std(0, ddof=1) / np.sqrt(draws)
        start = gradients(problem, baselines, many)[0].mean()
        ends = np.array([gradients(problem, x[None], many[:1])[0][0], start])
        error = float(np.linalg.norm(standard) / np.linalg.norm(terms.mean(0)))
        engine.put(row, terms.mean(0), ends, error, draws, 0.5)
        engine.standard_error[row] = standard if np.isfinite(terms).all() else np.nan
    return engine


def interior_gradients(problem: Problem, rows: Rows, baseline: np.ndarray) -> Engine:
    engine = integrated_gradients(problem, rows, 0.05, baseline)
    engine.engine = "interior_gradients"
    lead = (len(rows.sample), len(ALPHAS))
    names = ("score", "gradient_norm", "directional_derivative", "running_sum")
    engine.curves = {name: np.full(lead, np.nan) for name in names}
    engine.layers = problem.layers
    if problem.layers:
        engine.curves["saturation"] = np.full((lead[0], len(problem.layers), lead[1]), np.nan)
    engine.maps = np.full((lead[0], len(MAP_ALPHA), *problem.inputs.shape[1:]), np.nan, np.float32)
    engine.running = engine.maps.copy()
    for row, (sample, target) in enumerate(zip(rows.sample, rows.target, strict=True)):
        _interior_row(engine, problem, row, problem.inputs[sample], baseline, int(target))
    return engine


def _interior_row(
    engine: Engine, problem: Problem, row: int, x: np.ndarray, baseline: np.ndarray, target: int
) -> None:
    delta = (x - baseline).astype(np.float64)
    points = baseline + ALPHAS.reshape(-1, *[1] * x.ndim) * delta
    with recorded(problem.module, problem.layers) as activations:
        scores, slopes = gradients(problem, points, np.full(len(ALPHAS), target))
    flat = slopes.reshape(len(ALPHAS), -1)
    along = flat @ delta.ravel()
    assert engine.maps is not None and engine.running is not None
    engine.curves["score"][row] = scores
    engine.curves["gradient_norm"][row] = np.linalg.norm(flat, axis=1)
    engine.curves["directional_derivative"][row] = along
    steps = np.diff(ALPHAS) * (along[1:] + along[:-1]) / 2
    engine.curves["running_sum"][row] = np.concatenate([[0.0], steps.cumsum()])
    for layer, name in enumerate(problem.layers):
        seen = activations[name].reshape(len(ALPHAS), -1)
        norms = np.linalg.norm(seen, axis=1) * np.linalg.norm(seen[-1])
        engine.curves["saturation"][row, layer] = seen @ seen[-1] / norms
    for k, alpha in enumerate(MAP_ALPHA):
        point = baseline + alpha * delta
        engine.maps[row, k] = delta * gradients(problem, point[None], np.array([target]))[1][0]
        inner = path_integral(problem, point, baseline, target, 32)
        engine.running[row, k] = inner


class recorded:  # noqa: N801 - a context manager that reads like a function
    """The outputs of named layers during one forward pass."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        self.module, self.names = module, names
        self.seen: dict[str, np.ndarray] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> dict[str, np.ndarray]:
        for name in self.names:
            hook = self._keep(name)
            self.handles.append(self.module.get_submodule(name).register_forward_hook(hook))
        return self.seen

    def _keep(self, name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            self.seen[name] = output.detach().numpy().astype(np.float64)

        return keep

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


# --- the file -----------------------------------------------------------------------------------


@dataclass
class Rows:
    sample: np.ndarray
    target: np.ndarray
    prediction: np.ndarray


def make_rows(problem: Problem) -> Rows:
    with torch.no_grad():
        outputs = problem.module(torch.tensor(problem.inputs)).numpy()
    samples = np.arange(len(problem.inputs))
    if problem.regression:
        return Rows(samples, np.zeros(len(samples), np.int64), outputs[:, 0].astype(np.float64))
    predicted = outputs.argmax(1)
    if not problem.targets:
        return Rows(samples, predicted, predicted)
    many = len(problem.targets)
    repeated = np.repeat(samples, many)
    return Rows(repeated, np.tile(problem.targets, len(samples)), predicted[repeated])


@dataclass
class Engine:
    engine: str
    options: dict[str, Any]
    attribution: np.ndarray
    score_input: np.ndarray
    score_baseline: np.ndarray
    completeness_gap: np.ndarray
    relative_error: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray
    standard_error: np.ndarray | None = None
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    maps: np.ndarray | None = None
    running: np.ndarray | None = None

    @classmethod
    def empty(cls, name: str, options: dict[str, Any], rows: Rows, problem: Problem) -> Engine:
        count = len(rows.sample)
        floats = [np.full(count, np.nan) for _ in range(4)]
        attribution = np.full((count, *problem.inputs.shape[1:]), np.nan, np.float32)
        whole = np.zeros(count, np.int64), np.zeros(count, np.int8)
        return cls(name, {"engine": name, **options}, attribution, *floats, *whole)

    def put(self, row: int, total: np.ndarray, ends: np.ndarray, error: float, spent: int, rtol: float) -> None:
        self.evaluations[row] = spent
        if not np.isfinite(total).all():
            self.status[row] = 2
            return
        self.attribution[row] = total
        self.score_input[row], self.score_baseline[row] = ends
        self.completeness_gap[row] = total.sum() - (ends[0] - ends[1])
        self.relative_error[row] = error
        self.status[row] = 0 if error <= rtol else 1


def write_file(
    path: Path,
    problem: Problem,
    rows: Rows,
    engines: dict[str, Engine],
    *,
    stored: int | None = None,
    explain: Any = "inputs",
    name: str = "X",
) -> Path:
    """A result file in the format `xattr-cli/1`; `stored` samples keep their inputs (None: all)."""
    with h5py.File(path, "w") as file:
        _write_attributes(file, explain, engines, "raw" if problem.regression else "logit")
        _write_rows(file, problem, rows)
        _write_inputs(file, problem, name, len(problem.inputs) if stored is None else stored)
        for label, engine in engines.items():
            _write_engine(file.create_group(f"engines/{label}"), engine, problem)
    return path


def _write_attributes(file: h5py.File, explain: Any, engines: dict[str, Engine], score: str) -> None:
    job = {
        "model": {"kind": "python", "factory": "nets:digits", "checkpoint": "model.pt"},
        "dataset": {"kind": "builtin", "name": "digits"},
        "explain": explain,
        "engines": {label: engine.options for label, engine in engines.items()},
        "score": score,
        "target": "predicted",
    }
    texts = {
        "format": "xattr-cli/1", "package_version": "0.1.0", "torch_version": "2.15.0", "device": "cpu",
        "job": yaml.safe_dump(job, sort_keys=False), "job_hash": "ab" * 32, "checkpoint_hash": "cd" * 32,
        "dataset_hash": "ef" * 32, "host": "node17", "started": "2026-11-22T10:00:00+00:00",
        "ended": "2026-11-22T10:01:05+00:00", "command_line": "xattr-cli run job.yaml",
        "model_notes": "stripped the prefix 'module.'",
    }  # fmt: skip
    file.attrs.update({**texts, "seed": 0})


def _write_rows(file: h5py.File, problem: Problem, rows: Rows) -> None:
    group = file.create_group("rows")
    group["id"] = np.arange(len(rows.sample))
    group["sample"], group["target"] = rows.sample, rows.target
    group["prediction"] = rows.prediction
    none = np.full(len(rows.sample), np.nan if problem.regression else -1)
    group["label"] = none if problem.labels is None else problem.labels[rows.sample]
    if problem.labels is None and not problem.regression:
        del group["label"]
        group["label"] = none.astype(np.int64)
    if problem.classes:
        file.create_dataset("classes", data=list(problem.classes), dtype=h5py.string_dtype())


def _write_inputs(file: h5py.File, problem: Problem, name: str, stored: int) -> None:
    file["samples/index"] = np.arange(stored)
    if problem.keys:
        file.create_dataset("samples/key", data=list(problem.keys[:stored]), dtype=h5py.string_dtype())
    for tensor, cut in (problem.tensors or {name: slice(None)}).items():
        group = file.create_group(f"inputs/{tensor}")
        group["values"] = problem.inputs[:stored, ..., cut]
        if problem.features:
            group.create_dataset("features", data=list(problem.features[cut]), dtype=h5py.string_dtype())
        if problem.offset is not None:
            per_feature = len(problem.offset) == problem.inputs.shape[-1]
            group["offset"], group["scale"] = (
                numbers[cut] if per_feature else numbers for numbers in (problem.offset, problem.scale)
            )


def _write_engine(group: h5py.Group, engine: Engine, problem: Problem) -> None:
    group.attrs["engine"] = engine.engine
    group.attrs["options"] = yaml.safe_dump(engine.options)
    _write_map(group, "attribution", engine.attribution, problem)
    per_row = ("score_input", "score_baseline", "completeness_gap", "relative_error", "evaluations", "status")
    for name in per_row:
        group[name] = getattr(engine, name)
    if engine.standard_error is not None:
        _write_map(group, "standard_error", engine.standard_error, problem)
    if engine.curves:
        group["alpha"] = ALPHAS
        for name, values in engine.curves.items():
            group[f"curve/{name}"] = values
    if engine.layers:
        group.create_dataset("layers", data=list(engine.layers), dtype=h5py.string_dtype())
    if engine.maps is not None:
        group["map_alpha"] = MAP_ALPHA
        _write_map(group, "maps", engine.maps, problem, "alpha")
        _write_map(group, "running", engine.running, problem, "alpha")


def _write_map(group: h5py.Group, name: str, values: np.ndarray, problem: Problem, *inner: str) -> None:
    cuts = {f"{name}/{tensor}": cut for tensor, cut in problem.tensors.items()} or {name: slice(None)}
    for path, cut in cuts.items():
        group[path] = values[..., cut]
        for axis, label in enumerate(("row", *inner, *problem.axes)):
            group[path].dims[axis].label = label
