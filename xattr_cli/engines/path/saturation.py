"""Saturation of layers along a path (Sundararajan, Taly, Yan 2016, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...device import Rows, Scorer, layer_activations
from ...numerics.paths.straight import StraightPath
from ..block import Block

__all__ = ["check_layers", "saturation"]


def check_layers(block: Block, layers: Sequence[str]) -> None:
    """Refuse layers that the network does not have, or that cannot be followed.

    Raises:
        JobError: there is no such layer.
        ModelError: a layer is not called exactly once, or does not return one tensor.
    """
    path = StraightPath(block.inputs[:1], block.inputs[:1])
    saturation(block.scorer, block.rows, path, torch.ones_like(block.inputs[0, :1]), layers)


def saturation(scorer: Scorer, rows: Rows, path: StraightPath, alpha: Tensor, layers: Sequence[str]) -> Tensor:
    """Cosine between the activation of a layer at γ(α) and at the input.

    Arguments:
        scorer: the network.
        rows, path: the block and its paths.
        alpha: (alphas,) positions, the last of them 1.
        layers: names of submodules, as `device.layer_activations` takes them.

    Returns:
        (rows, layers, alphas); a layer that is 1 well before α = 1 has saturated.
    """
    # activations are large: as many rows at a time as one device call has room for
    together = max(1, scorer.packing.rows // len(alpha))
    every = torch.arange(len(path.input), device=path.input.device)
    groups = torch.split(every, together)
    return torch.cat([_of_rows(scorer, rows, path, alpha, layers, some) for some in groups])


def _of_rows(
    scorer: Scorer, rows: Rows, path: StraightPath, alpha: Tensor, layers: Sequence[str], some: Tensor
) -> Tensor:
    row = some.repeat_interleave(len(alpha))
    points = path.at(row, alpha.repeat(len(some))).take(slice(None))
    context = {name: tensor[row] for name, tensor in rows.context.items()}
    activations = layer_activations(scorer, points, context, layers)
    along = [activations[layer].view(len(some), len(alpha), -1) for layer in layers]
    cosines = [torch.cosine_similarity(values, values[:, -1:], dim=2) for values in along]
    return torch.stack(cosines, dim=1) if cosines else points.new_empty(len(some), 0, len(alpha))
