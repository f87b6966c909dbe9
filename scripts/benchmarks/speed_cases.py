"""Networks, rows and jobs on which whole jobs are timed against captum and against bare gradient passes."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
import yaml
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import NETWORKS, digits, trained
from scripts.benchmarks.benchlib import ROOT
from scripts.benchmarks.photo_reference import BLACK, reference
from scripts.networks.real_networks import NETWORKS as MADE
from scripts.networks.real_networks import read_series_of, table_of
from xattr_cli.device.execution.rounding import rounded_products
from xattr_cli.job.config import Job, parse_job
from xattr_cli.models.zoo import mlp, sequence_classifier
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

__all__ = ["CASES", "SpeedCase", "network", "timing_cases", "true_error"]

REFERENCE = 385  # nodes
NOISE = 0.02


@dataclass(frozen=True)
class SpeedCase:
    """A network and rows.

    Attributes:
        name: in tables.
        module: frozen, in float32.
        inputs: (rows, *shape), explained.
        start: value of the baseline, the same everywhere.
        lengths: (rows,) of sequences that are padded at the end; None for other inputs.
        known: (rows, D) maps from very many nodes; None to compute them by the job itself.
        options: sections of the job.
        classes: (rows,) that are explained; None for the predicted ones.
        tf32: whether products of the network alone, and of captum's, are rounded; None as torch does by itself.
    """

    name: str
    module: nn.Module
    inputs: Tensor
    start: float = 0.0
    lengths: Tensor | None = None
    known: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: Tensor | None = None
    tf32: bool | None = None

    @property
    def device(self) -> torch.device:
        """Where the rows are, and the network."""
        return self.inputs.device

    @property
    def is_large(self) -> bool:
        """Whether few rows make a full call."""
        return self.inputs[0].numel() > 10_000

    def on(self, device: torch.device, *, tf32: bool | None = None) -> SpeedCase:
        """The same on another device."""
        module = copy.deepcopy(self.module).to(device)
        for layer in module.modules():
            # cuDNN differentiates recurrent layers in this mode alone; without dropout it computes the same
            if device.type == "cuda" and isinstance(layer, nn.RNNBase) and not layer.dropout:
                layer.train()
        lengths = None if self.lengths is None else self.lengths.to(device)
        return replace(self, module=module, inputs=self.inputs.to(device), lengths=lengths, tf32=tf32)

    def first(self, rows: int) -> SpeedCase:
        """The same with no more than so many rows."""
        fewer = {name: getattr(self, name) for name in ("inputs", "lengths", "known", "classes")}
        return replace(self, **{name: None if each is None else each[:rows] for name, each in fewer.items()})

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Around what is timed without a job: products rounded as asked, and nothing left to do at the end."""
        with nullcontext() if self.tf32 is None else rounded_products(self.tf32):
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

    @property
    def extra(self) -> tuple[Tensor, ...]:
        """What the network takes beside the explained input."""
        return () if self.lengths is None else (self.lengths,)

    @cached_property
    def target(self) -> Tensor:
        """(rows,) the classes that are explained."""
        if self.classes is not None:
            return self.classes
        with torch.no_grad(), self.computing():
            parts = [
                self.module(*some) for some in zip(*(t.split(8) for t in (self.inputs, *self.extra)), strict=True)
            ]
        return torch.cat(parts).argmax(dim=1)

    @cached_property
    def truth(self) -> Tensor:
        """(rows, D) float64."""
        if self.known is not None:
            return self.known.double()
        with self.opened(rtol=1e-9, max_nodes=REFERENCE) as job:
            run_job(job, overwrite=True)
            return maps_of(job)

    @contextmanager
    def opened(self, **engine: Any) -> Iterator[Job]:
        """The job of this case, whose files are gone afterwards."""
        scratch = ROOT / "runs"
        scratch.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name)
            torch.save(self.module.state_dict(), folder / "model.pt")
            arrays = {"X": self.inputs.cpu().numpy()}
            if self.lengths is not None:
                arrays["lengths"] = self.lengths.cpu().numpy()
            np.savez(folder / "rows.npz", **arrays)
            yield parse_job(yaml.safe_dump(self._content(engine)), folder=folder)

    def read(self, folder: Path) -> SpeedCase:
        """The same, from the files of its job, whose targets are still to be found."""
        with np.load(folder / "rows.npz") as arrays:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        module = network(self.name)
        module.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        module.eval().requires_grad_(False)
        case = replace(self, module=module, inputs=tensors["X"], lengths=tensors.get("lengths"))
        return case if self.device.type == "cpu" else case.on(self.device, tf32=self.tf32)

    def _content(self, engine: Mapping[str, Any]) -> dict[str, Any]:
        dataset: dict[str, Any] = {"kind": "arrays", "path": "rows.npz"}
        if self.lengths is not None:
            dataset = {"kind": "sequences", "path": "rows.npz", "hand_over": "lengths"}
        baseline = {"kind": "constant", "value": self.start}
        factory = {
            "kind": "python",
            "factory": "scripts.benchmarks.speed_cases:network",
            "kwargs": {"name": self.name},
        }
        return {
            "model": {**factory, "checkpoint": "model.pt"},
            "dataset": dataset,
            "score": "logit",
            "engines": {"integrated_gradients": {"baseline": baseline, **engine}},
            "output": {"path": "attributions.h5"},
            **self.options,
            "compute": {"device": str(self.device), **self.options.get("compute", {})},
        }


def maps_of(job: Job) -> Tensor:
    """(rows, D) float64, of a finished job."""
    with Results.open(job.output.path) as results:
        return (
            torch.from_numpy(results.engine("integrated_gradients").attribution(slice(None))).flatten(1).double()
        )


def evaluations_of(job: Job) -> float:
    """Gradients per row of a finished job."""
    with Results.open(job.output.path) as results:
        # one of a row's evaluations is the score of the baseline
        return float(results.engine("integrated_gradients").evaluations.mean()) - 1


def true_error(found: Tensor, truth: Tensor) -> Tensor:
    """(rows,) relative L2 error of each map."""
    found = found.flatten(1).double().cpu()
    return (found - truth).norm(dim=1) / truth.norm(dim=1)


def network(name: str) -> nn.Module:
    """An untrained network: the factory that the jobs name."""
    return _FACTORIES[name]()


_FACTORIES: Mapping[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": lambda: EfficientNet.from_name("efficientnet-lite0"),
    "digits CNN": lambda: NETWORKS["relu_cnn_maxpool"](),
    "MLP": lambda: mlp(30, [64, 64], 2),
    "BiLSTM": lambda: sequence_classifier(12, 32, 9, cell="lstm", bidirectional=True),
    "resnet18": lambda: torchvision.models.resnet18(),
    "googlenet": lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False),
}


def _loaded(name: str, folder: str) -> nn.Module:
    path = ROOT / "runs" / folder
    if not (path / "model.pt").exists():
        path.mkdir(parents=True, exist_ok=True)
        MADE[folder](path)
    module = network(name)
    module.load_state_dict(torch.load(path / "model.pt", weights_only=True))
    return module.eval().requires_grad_(False)


def photographs(rows: int) -> SpeedCase:
    """Photographs through an ImageNet network, from a black picture."""
    module = _loaded("efficientnet-lite0", "photos")
    rows = min(rows, 20)
    found = reference(limit=rows)
    images, maps = (torch.from_numpy(np.array(found[key][:rows])) for key in ("images", "reference"))
    return SpeedCase("efficientnet-lite0", module, images, start=BLACK, known=maps.flatten(1))


def digits_cnn(rows: int) -> SpeedCase:
    """Digits, held-out ones first; beyond all of them, each is drawn several times, darker and lighter."""
    training, _, test, _ = digits()
    images = torch.cat([test, training])
    if rows > len(images):
        generator = torch.Generator().manual_seed(0)
        chosen = images[torch.randint(len(images), (rows,), generator=generator)]
        images = chosen * (1 + NOISE * torch.randn(chosen.shape, generator=generator))  # what is black stays so
    return SpeedCase("digits CNN", trained("relu_cnn_maxpool"), images[:rows])


def breast_cancer(rows: int) -> SpeedCase:
    """Patients drawn with replacement, with a little noise so that no two are equal."""
    table = torch.from_numpy(table_of("test")[0])
    return SpeedCase("MLP", _loaded("MLP", "breast_cancer"), _resampled(table, rows)[0])


def vowels(rows: int) -> SpeedCase:
    """Utterances of 7 to 29 steps, drawn with replacement, with a little noise."""
    steps, lengths, _ = (torch.from_numpy(each) for each in read_series_of("TEST"))
    noisy, drawn = _resampled(steps, rows)
    lengths = lengths[drawn]
    real = torch.arange(noisy.shape[1]) < lengths[:, None]
    return SpeedCase("BiLSTM", _loaded("BiLSTM", "vowels"), noisy * real[:, :, None], lengths=lengths)


def _resampled(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(rows), (count,), generator=generator)
    chosen = rows[drawn]
    return chosen + NOISE * torch.randn(chosen.shape, generator=generator), drawn


CASES: Mapping[str, tuple[Callable[[int], SpeedCase], int]] = {
    "efficientnet-lite0": (photographs, 8),
    "digits CNN": (digits_cnn, 1000),
    "MLP": (breast_cancer, 1000),
    "BiLSTM": (vowels, 1000),
}
"""Name -> the case, and its number of rows."""


def timing_cases(rows: int) -> Iterator[SpeedCase]:
    """Architectures of torchvision with random weights: for the time of an evaluation only."""
    images = torch.from_numpy(np.array(reference(limit=rows)["images"][:rows]))
    for name in ("resnet18", "googlenet"):
        torch.manual_seed(0)
        yield SpeedCase(name, network(name).eval().requires_grad_(False), images)
