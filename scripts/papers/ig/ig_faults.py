"""Faults that attributions expose: parts of the input that are never read, and gradients that vanish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scripts.benchmarks.benchlib import Table
from scripts.networks.descent import descend
from scripts.networks.image_networks import stretched, strided
from scripts.papers.paper_jobs import Claim, run_sections

__all__ = ["Fault", "fault_claims", "fault_table", "networks_found"]

NETWORKS = {
    "stride without padding": ("scripts.networks.image_networks:strided", {"padding": 0}),
    "repaired: padding of 1": ("scripts.networks.image_networks:strided", {"padding": 1}),
    "repaired, contrast that saturates": ("scripts.networks.image_networks:stretched", {}),
}
FAULTY, REPAIRED, SATURATED = NETWORKS


@dataclass(frozen=True)
class Fault:
    """What attributions say about the pixels of a network, beside the truth.

    Attributes:
        accuracy: on held-out digits.
        varying: (pixels,) whether a pixel is not the same in all pictures.
        uncredited: (pixels,) whether integrated gradients are exactly 0 in every row.
        unread: (pixels,) whether the network's outputs stay the same, whatever the pixel is.
        without_gradient: mean share of the inked pixels that have no gradient at the input.
        without_credit: the same of integrated gradients.
    """

    accuracy: float
    varying: np.ndarray
    uncredited: np.ndarray
    unread: np.ndarray
    without_gradient: float
    without_credit: float

    @property
    def dead(self) -> np.ndarray:
        """Pixels that vary, and never get credit."""
        return self.varying & self.uncredited


def networks_found(folder: Path, epochs: int) -> dict[str, Fault]:
    """Train each network, explain the held-out digits, and check what it reads."""
    found = {}
    for number, (name, (factory, kwargs)) in enumerate(NETWORKS.items()):
        own = folder / f"fault-{number}"
        own.mkdir(parents=True, exist_ok=True)
        network = {"strided": strided, "stretched": stretched}[factory.partition(":")[2]](**kwargs)
        found[name] = _found(network, factory, kwargs, own, epochs)
    return found


def _found(network: nn.Module, factory: str, kwargs: dict[str, int], folder: Path, epochs: int) -> Fault:
    train_x, test_x, train_y, test_y = _digits()
    _train(network, torch.from_numpy(train_x), torch.from_numpy(train_y), epochs)
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=test_x, y=test_y)
    job = {
        "model": {"kind": "python", "factory": factory, "kwargs": kwargs, "checkpoint": "model.pt"},
        "dataset": {"kind": "arrays", "path": "test.npz", "labels": "y"},
        "engines": {"integrated_gradients": {}, "saliency": {}},
    }
    with run_sections(folder, job, "attributions") as results:
        maps, gradients = (
            results.engine(name).attribution(slice(None)).reshape(len(test_x), -1)
            for name in ("integrated_gradients", "saliency")
        )
        accuracy = float((results.rows.target == test_y).mean())
    pixels = test_x.reshape(len(test_x), -1)
    inked = pixels > 0.5
    return Fault(
        accuracy, np.ptp(pixels, axis=0) > 0, ~maps.any(axis=0), _unread(network, torch.from_numpy(test_x)),
        float((gradients[inked] == 0).mean()), float((maps[inked] == 0).mean()),
    )  # fmt: skip


def _digits() -> list[np.ndarray]:
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    parts: list[np.ndarray] = train_test_split(
        images, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    return parts


def _train(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    torch.manual_seed(0)
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    descend(optimizer, lambda part: cross_entropy(network(images[part]), labels[part]), len(images), epochs=epochs)
    network.eval()


def _unread(network: nn.Module, images: Tensor) -> np.ndarray:
    """(pixels,) whether any value of the pixel gives the same outputs: it is set to three in turn."""
    with torch.no_grad():
        found = []
        for pixel in range(images[0].numel()):
            outputs = []
            for value in (0.0, 0.1, 1.0):
                changed = images.flatten(1).clone()
                changed[:, pixel] = value
                outputs.append(network(changed.view_as(images)))
            found.append(all(torch.equal(outputs[0], each) for each in outputs))
    return np.array(found)


def fault_claims(found: dict[str, Fault]) -> list[Claim]:
    """Sections 6.5 and 2.1 of the paper."""
    faulty, repaired, saturated = (found[name] for name in (FAULTY, REPAIRED, SATURATED))
    exposed = np.array_equal(faulty.dead, faulty.varying & faulty.unread) and faulty.dead.any()
    debugging = (
        f"a network that reads {faulty.accuracy:.1%} of the digits right gives {int(faulty.dead.sum())} pixels "
        "that vary exactly 0 in every row: the last row and column of the picture, which its first convolution "
        f"never reaches; repaired, {int(repaired.dead.sum())}, and {repaired.accuracy:.1%} right"
    )
    sensitivity = (
        f"behind a contrast that saturates, {saturated.without_gradient:.0%} of the inked pixels have no gradient "
        f"at the input; integrated gradients are 0 at {saturated.without_credit:.1%} of them"
    )
    broken = saturated.without_gradient > 0.5 > 10 * saturated.without_credit
    return [
        Claim("Attributions helped to find that an architecture ignores part of its input", debugging,
              "yes" if exposed and not repaired.dead.any() else "in part" if exposed else "no"),
        Claim("Gradients break sensitivity where the network saturates; integrated gradients do not", sensitivity,
              "yes" if broken else "no"),
    ]  # fmt: skip


def fault_table(found: dict[str, Fault]) -> Table:
    """What is dead by attribution, beside what is dead."""
    rows = [
        (
            name, one.accuracy, int(one.varying.sum()), int(one.dead.sum()), int((one.dead & one.unread).sum()),
            int((one.varying & one.unread & ~one.dead).sum()), one.without_gradient, one.without_credit,
        )
        for name, one in found.items()
    ]  # fmt: skip
    note = (
        "Dead: exactly 0 in the integrated gradients of every held-out digit, though the pixel varies; unread: "
        "no value of the pixel changes any output. The baseline is a blank picture; inked: more than half black. "
        "Dead but read: pixels whose ink in these data never reaches the contrast's threshold."
    )
    columns = {
        "network": "", "held-out digits right": ".1%", "pixels that vary": "d", "dead by IG": "d",
        "of these unread": "d", "unread, not found": "d", "inked pixels without gradient": ".1%",
        "without integrated gradient": ".1%",
    }  # fmt: skip
    return Table("Pixels that attributions call dead", columns, rows, note)
