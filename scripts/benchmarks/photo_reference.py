"""Integrated gradients of the photographs from 1,025 nodes: what every other map of them is measured against.

Leaves a folder of arrays, one row per photograph, in the order of the dataset; a row is computed once.

    images.npy    (photographs, 3, 224, 224) float32, as the network is given them
    targets.npy   (photographs,) predicted classes
    reference.npy (photographs, 3, 224, 224) float32, the map from all nodes
    levels.npy    (photographs, 9, 3 · 224 · 224) float32, T_n of n = 4, 8, ..., 1024 intervals in u, t = u²
    scores.npy    (photographs, 1025) score at the nodes t = (k / 1024)²
    norms.npy     (photographs, 1025) length of the gradient there
    sketches.npy  (photographs, 1025, 8192) float32, count sketch of Δ ⊙ ∇f there: lengths of any sum of the
                  nodes are right within two percent, so that rules on these nodes can be compared at no cost
    done.npy      (photographs,) which rows are computed

Example: python -m scripts.benchmarks.photo_reference
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scripts.benchmarks.benchlib import ROOT
from scripts.networks.photographs import PHOTOGRAPHS
from xattr_cli.datasets import open_dataset
from xattr_cli.job.config import parse_job

__all__ = [
    "BLACK",
    "FOLDER",
    "INTERVALS",
    "LEVELS",
    "folded",
    "gradients_at",
    "open_photos",
    "reference",
    "weights_of",
]

FOLDER = ROOT / "runs" / "photos" / "reference"
INTERVALS = 1024
LEVELS = tuple(2**k for k in range(2, 11))
BLACK = -127 / 128
_SKETCH = 8192
_ROWS_PER_CALL = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    reference(options.folder)


def reference(folder: Path = FOLDER, limit: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of the folder, name -> memory-mapped array, after what misses of the first `limit` rows."""
    network, images = open_photos(limit)
    arrays = _arrays(folder, len(PHOTOGRAPHS))
    arrays["images"][: len(images)] = images
    network = folded(network).to(memory_format=torch.channels_last)
    for row, image in enumerate(torch.from_numpy(images)):
        if not arrays["done"][row]:
            began = time.perf_counter()
            _fill(arrays, row, network, image)
            print(f"reference {row + 1} / {len(images)}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return arrays


def open_photos(limit: int | None = None, folder: Path | None = None) -> tuple[nn.Module, np.ndarray]:
    """The network and the photographs (n, 3, 224, 224) of configs/photos.yaml; `folder`: where they are."""
    path = ROOT / "configs" / "photos.yaml"
    names = {"model.checkpoint": "model.pt", "dataset.path": "images", "dataset.class_names": "classes.txt"}
    moved = [f"{key}={folder / name}" for key, name in names.items()] if folder else []
    job = parse_job(path.read_text(), folder=path.parent, overrides=moved)
    with open_dataset(job.dataset) as samples:
        images = samples.read(0, min(len(samples), limit or len(samples))).inputs["X"]
    return job.model.load().module.eval().requires_grad_(False), images


def folded(network: nn.Module) -> nn.Module:
    """An efficientnet-lite whose batch normalisation has become part of the convolutions before.

    The same function, at two thirds of the time; and its float32 gradients are 20 times closer to float64.
    """
    network = copy.deepcopy(network)
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for owner, convolution, normalisation in pairs:
        fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, normalisation))
        setattr(owner, convolution, fused)
        setattr(owner, normalisation, nn.Identity())
    return network.requires_grad_(False)


def _arrays(folder: Path, rows: int) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    pixels, nodes = (3, 224, 224), INTERVALS + 1
    shapes: Mapping[str, tuple[tuple[int, ...], type]] = {
        "images": (pixels, np.float32), "targets": ((), np.int64), "reference": (pixels, np.float32),
        "levels": ((len(LEVELS), 3 * 224 * 224), np.float32), "scores": ((nodes,), np.float64),
        "norms": ((nodes,), np.float64), "sketches": ((nodes, _SKETCH), np.float32), "done": ((), np.bool_),
    }  # fmt: skip
    return {name: _array(folder / f"{name}.npy", (rows, *shape), kind) for name, (shape, kind) in shapes.items()}


def _array(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def _fill(arrays: Mapping[str, np.ndarray], row: int, network: nn.Module, image: Tensor) -> None:
    start = torch.full_like(image, BLACK)
    delta = (image - start).flatten()
    with torch.no_grad():
        target = int(network(image[None]).argmax())
    hashing = _hashing(len(delta))
    sums = torch.zeros(len(LEVELS), len(delta), dtype=torch.float64)
    for nodes in torch.arange(INTERVALS + 1).split(_ROWS_PER_CALL):
        u = nodes.double() / INTERVALS
        points = start.lerp(image, u.square().float()[:, None, None, None])
        scores, gradients = gradients_at(network, points, target)
        here = slice(int(nodes[0]), int(nodes[-1]) + 1)
        arrays["scores"][row, here] = scores.numpy()
        arrays["norms"][row, here] = gradients.norm(dim=1).numpy()
        integrand = gradients * delta
        arrays["sketches"][row, here] = _sketched(integrand, *hashing).numpy()
        sums += weights_of(nodes) @ integrand.double()
    arrays["levels"][row] = sums.float().numpy()
    arrays["reference"][row] = sums[-1].view_as(image).float().numpy()
    arrays["targets"][row] = target
    arrays["done"][row] = True


def weights_of(nodes: Tensor) -> Tensor:
    """(levels, n) of T_n for every level: trapezoids in u of 2u g(u²); what is no node of a level weighs 0."""
    u = nodes.double() / INTERVALS
    weights = [torch.where(nodes % (INTERVALS // n) == 0, 2 * u / n, 0.0) for n in LEVELS]
    return torch.where(nodes == INTERVALS, 0.5, 1.0) * torch.stack(weights)


def gradients_at(network: nn.Module, points: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Scores (n,) and gradients (n, D)."""
    points = points.contiguous(memory_format=torch.channels_last).requires_grad_()
    scores = network(points)[:, target]
    (gradients,) = torch.autograd.grad(scores.sum(), points)
    return scores.detach(), gradients.contiguous().flatten(1)


def _hashing(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    bucket = torch.randint(_SKETCH, (size,), generator=generator)
    return bucket, torch.randint(2, (size,), generator=generator) * 2.0 - 1


def _sketched(values: Tensor, bucket: Tensor, sign: Tensor) -> Tensor:
    return torch.zeros(len(values), _SKETCH).index_add_(1, bucket, values * sign)


if __name__ == "__main__":
    main()
