"""Maps from so many nodes that they stand for the truth: computed once, committed, remade by `make test-networks`.

They are of the committed networks, on the first held-out digits, and take minutes. That they are what is computed
now is tested on a few rows.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from helpers.blocks import KINKED, digits, explain, trained
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

FILE = Path(__file__).parent / "references" / "error_bars.safetensors"
ROWS, EXPECTED_ROWS, BACKGROUND = 200, 60, 16
EXPECTED = ("relu_cnn_maxpool", "gelu_mlp")


def rows_of(name, rows=slice(0, ROWS)):
    """A network, some of the held-out digits, and the classes that it takes them for."""
    images = digits()[2][rows]
    return trained(name), images, trained(name)(images).argmax(1)


def integrated_gradients(name, rows=slice(0, ROWS)):
    """(rows, 64), of the logit from zero, from 2,048 intervals for every row."""
    network, images, targets = rows_of(name, rows)
    engine = IntegratedGradients(rtol=1e-9, max_nodes=2049)
    return explain(engine, network, images, target=targets, score="logit", rows=512).attribution


def expected_gradients(name, rows=slice(0, EXPECTED_ROWS)):
    """(rows, 64), the mean over all of the background of accurate path integrals."""
    network, images, targets = rows_of(name, rows)
    engine = IntegratedGradients(rtol=1e-9, max_nodes=257)
    maps = [
        explain(engine, network, images, target=targets, baseline=one.expand_as(images), rows=512).attribution
        for one in digits()[0][:BACKGROUND]
    ]
    return torch.stack(maps).mean(0)


@cache
def committed():
    """Name -> maps, as this module made them once."""
    return load_file(FILE)


def remake():
    """Compute all of them again, of the networks as they are committed now."""
    FILE.parent.mkdir(exist_ok=True)
    maps = {name: integrated_gradients(name) for name in sorted(KINKED)}
    save_file(maps | {f"expected {name}": expected_gradients(name) for name in EXPECTED}, FILE)
