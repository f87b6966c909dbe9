"""What weights of half precision, used as they are stored, change of scores and gradients."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from ...device import Rows, Scorer, stored_dtype
from ...errors import Interrupted

__all__ = ["precision_notes"]

HALVES = (torch.float16, torch.bfloat16)


def precision_notes(scorer: Scorer, rows: Rows) -> tuple[str, ...]:
    """How far the first rows drift from those of the same weights in float32; nothing if these are float32.

    Arguments:
        scorer: the network.
        rows: some rows of the job.
    """
    own = stored_dtype(scorer.module)
    if scorer.feed is None or own not in HALVES:
        return ()
    name = str(own).removeprefix("torch.")
    try:
        scores, gradients = (
            _apart(a, b) for a, b in zip(_at(scorer, rows), _at(_exact(scorer), rows), strict=True)
        )
    except Interrupted:
        raise
    except Exception as error:  # a network that casts inside, or is too large to be there twice
        return (f"weights {name} as stored; the drift from float32 is not known ({type(error).__name__})",)
    return (
        f"weights {name} as stored: on the first {len(rows)} rows scores differ by {scores:.2g} and gradients by "
        f"{gradients:.2g} of their size from those in float32",
    )


def _exact(scorer: Scorer) -> Scorer:
    """The same weights in float32."""
    module = copy.deepcopy(scorer.module).float()
    sites = tuple(replace(site, module=module.get_submodule(site.layer)) for site in scorer.sites)
    return replace(scorer, module=module, sites=sites, feed=torch.float32, folds=())


def _at(scorer: Scorer, rows: Rows) -> tuple[Tensor, Tensor]:
    """(rows,) scores and (rows, D) gradients at the inputs."""
    count = scorer.packing.rows if scorer.packing.fixed else len(rows)
    with scorer.exact_arithmetic():
        [evaluated] = scorer.gradients_of_call(rows.inputs, rows.context, [rows.target], count)
    return evaluated


def _apart(values: Tensor, exact: Tensor) -> float:
    """Relative L2 distance."""
    return float(torch.linalg.vector_norm(values - exact) / torch.linalg.vector_norm(exact).clamp(min=1e-30))
