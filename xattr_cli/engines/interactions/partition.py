"""From the options of a second-order engine to the groups of a block: rows and columns of its matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ...device.padding import real_key
from ...errors import JobError
from ...numerics.interactions.grouping import Grouping
from ...samples import InputSpec, feature_names
from .groups import FeatureKey, Groups
from .membership import LEFT_OUT, Membership, is_image, membership, positions
from .superpixels import superpixels

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["REST", "Partition", "PartitionRequest", "partition"]

REST = "rest"
"""Name of the group of all coordinates that are in no other one."""

_MOST_LISTED = 5


class PartitionRequest(Protocol):
    """The options that say which groups there are, and which of them are looked at."""

    @property
    def groups(self) -> Groups:
        """How coordinates are taken together."""

    @property
    def features(self) -> tuple[FeatureKey, ...]:
        """Groups to look at; empty for all."""

    @property
    def row(self) -> FeatureKey | None:
        """The only group whose interactions are wanted."""

    @property
    def top(self) -> int | None:
        """How many groups to choose for each row."""

    @property
    def rest(self) -> str | None:
        """What becomes of coordinates in no group: "group", "drop" or None."""


@dataclass(frozen=True)
class Partition:
    """Groups of the coordinates of a block.

    Attributes:
        grouping: for the numerics.
        names: of the groups that are shown, in the order of the columns; with `top`, of all that were screened.
        rows: names of the groups that are rows of the matrices, if they differ from the columns.
        top: (rows, k) int64, which of `names` the columns of each row are; None if all have the same.
        segments: (rows, height, width) int64, the superpixel of every pixel; None if there are none.
    """

    grouping: Grouping
    names: tuple[str, ...]
    rows: tuple[str, ...] = ()
    top: Tensor | None = None
    segments: Tensor | None = None


def partition(block: Block, request: PartitionRequest, screen: Callable[[], Tensor]) -> Partition:
    """The groups that the options ask for.

    Arguments:
        block: rows.
        request: the options.
        screen: first-order attributions (rows, D), by which `top` chooses.

    Raises:
        JobError: an option names what there is not, or leaves coordinates out without saying so.
    """
    specs = block.scorer.layout.specs
    groups = request.groups
    segments = _segments(block, specs, groups.size) if groups.kind == "segments" and groups.size else None
    is_of_prompts = groups.kind == "segments" and not groups.size
    if is_of_prompts:
        known, index = _of_prompts(block, specs)
    elif segments is not None:
        known = Membership(tuple(f"segment {i}" for i in range(request.groups.size)), np.empty(0, np.int64))
        index = _of_pixels(segments, specs[0])
    else:
        known = membership(request.groups, specs)
        index = torch.from_numpy(known.index).to(block.inputs.device)
        _refuse_left_out(known, block, request)
    if request.top is not None:
        return _top(known.names, index, request, screen(), segments)
    chosen = positions(request.features, known.names, "features")
    names = tuple(known.names[position] for position in chosen) if chosen else known.names
    if chosen:
        index = _renumbered(index, chosen)
    # whether a token of a prompt is in no segment differs from part to part, which must have the same groups
    return _with_rest(index, names, request, segments, has_rest=is_of_prompts or bool((index == LEFT_OUT).any()))


def _with_rest(
    index: Tensor, names: tuple[str, ...], request: PartitionRequest, segments: Tensor | None, *, has_rest: bool
) -> Partition:
    """Give what is in no group a group of its own, shown unless it is dropped."""
    count = len(names)
    index = torch.where(index == LEFT_OUT, count, index)
    total = count + has_rest
    shown = count if request.rest == "drop" else total
    names = (*names, REST)[:shown]
    rows = torch.arange(shown, device=index.device)
    if request.row is not None:
        rows = rows[positions([request.row], names, "row")]
    grouping = Grouping(index, total, rows, shown)
    return Partition(grouping, names, () if request.row is None else (names[int(rows[0])],), None, segments)


def _top(
    names: tuple[str, ...], index: Tensor, request: PartitionRequest, attributions: Tensor, segments: Tensor | None
) -> Partition:
    """For every row the groups with the largest attributions; all others are its rest."""
    rows, count = len(attributions), min(int(request.top or 0), len(names))
    every = torch.where(index == LEFT_OUT, len(names), index).expand(rows, -1)
    sums = attributions.new_zeros(rows, len(names) + 1).scatter_add_(1, every, attributions)
    sizes = sums[:, : len(names)].abs().nan_to_num(0.0)
    chosen = sizes.topk(count, dim=1).indices
    rank = torch.full_like(sums, count, dtype=torch.int64)
    places = torch.arange(count, device=rank.device).expand_as(chosen)
    rank.scatter_(1, chosen, places)
    shown = count if request.rest == "drop" else count + 1
    grouping = Grouping(rank.gather(1, every), count + 1, torch.arange(shown, device=rank.device), shown)
    return Partition(grouping, names, top=chosen, segments=segments)


def _renumbered(index: Tensor, chosen: list[int]) -> Tensor:
    renumbered = torch.full_like(index, LEFT_OUT)
    for rank, number in enumerate(chosen):
        renumbered[index == number] = rank
    return renumbered


def _refuse_left_out(known: Membership, block: Block, request: PartitionRequest) -> None:
    left_out = np.flatnonzero(known.index == LEFT_OUT)
    if not len(left_out) or request.rest is not None or request.features or request.top:
        return
    names = feature_names(block.scorer.layout.specs)
    listed = ", ".join(names[coordinate] for coordinate in left_out[:_MOST_LISTED]) + (
        ", …" if len(left_out) > _MOST_LISTED else ""
    )
    raise JobError(
        f"groups: {len(left_out)} of {len(known.index)} features are in no group ({listed}). Put them into one, "
        "or say what becomes of them: rest: group makes them one more group, rest: drop leaves them out."
    )


def _of_prompts(block: Block, specs: tuple[InputSpec, ...]) -> tuple[Membership, Tensor]:
    """The segments of prompts, and (rows, D) which of them each coordinate is in; what is in none is left out."""
    named = [spec for spec in block.scorer.inputs if spec.categories and spec.sequence]
    if not named or all(spec.sequence != named[0].sequence for spec in specs):
        raise JobError(
            "groups: segments: the explained tensors are no prompts of several segments. Use dataset kind prompts "
            "with lists, mappings or conversations as prompts; {segments: 50} makes superpixels of a picture."
        )
    segment, known = block.rows.context[named[0].name], Membership(named[0].categories, np.empty(0, np.int64))
    real = block.rows.context[real_key(named[0].sequence)]
    segment = torch.where(real, segment, LEFT_OUT)
    pieces = []
    for spec in specs:
        shape = (len(block.rows), *spec.shape)
        if spec.sequence == named[0].sequence:
            steps = segment.reshape(*segment.shape, *[1] * (len(spec.shape) - 1))
            pieces.append(steps.expand(shape).flatten(1))
        else:
            pieces.append(torch.full(shape, LEFT_OUT, device=segment.device).flatten(1))
    return known, torch.cat(pieces, dim=1)


def _segments(block: Block, specs: tuple[InputSpec, ...], count: int) -> Tensor:
    """(rows, height, width) superpixels of the samples, each computed once."""
    if len(specs) != 1 or not is_image(specs[0]):
        shapes = ", ".join(f"{spec.name!r} of shape {spec.shape}" for spec in specs)
        raise JobError(f"groups: {{segments: {count}}}: {shapes} is not one image. Use groups: features.")
    images = block.inputs.reshape(len(block.rows), *specs[0].shape).cpu().numpy()
    return torch.from_numpy(superpixels(images, count)).to(block.inputs.device)


def _of_pixels(segments: Tensor, spec: InputSpec) -> Tensor:
    """(rows, D) segment of each coordinate: the same for all channels of a pixel."""
    lead = [1] * (len(spec.shape) - 2)
    rows, *pixels = segments.shape
    return segments.reshape(rows, *lead, *pixels).expand(rows, *spec.shape).reshape(rows, -1)
