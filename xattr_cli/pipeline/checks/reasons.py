"""Why a network does not run on the inputs of a dataset: its own words first, and what they usually mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...device import Scorer
from ...errors import ModelError

__all__ = ["does_not_run"]

LONGEST_REASON = 300

HINTS: Mapping[str, str] = {
    r"missing value for argument|missing \d+ required|missing a required":
        "The network takes more than the dataset hands over: name further inputs (dataset.inputs), or constants "
        "that are no tensors as model.call: {NAME: value}.",
    r"positional arguments? but|too many positional|but (got|received) \d+ argument":
        "The dataset hands over more inputs than the network takes: name the right ones in dataset.inputs.",
    r"indices' to have one of the following scalar types":
        "The network looks ids up, and is given floats: set dataset.dtype: int64, and explain: {embedding: auto}.",
    r"index out of range in self|indexSelectLargeIndex|out of bounds for (dimension|array)":
        "An id lies beyond the table that it is looked up in: check the vocabulary or the codes of the "
        "categories.",
    r"same dtype|scalar type|expected m1 and m2|Input type .* (weight|bias) type|Half|BFloat16":
        "Set dataset.dtype to what the network was trained on; compute: {precision: as_stored} leaves the weights "
        "of a network that casts inside as they are.",
    r"object has no attribute|not subscriptable|string indices|indices must be":
        "The network seems to want a mapping or an object, and gets tensors in the dataset's order: wrap it, with "
        "kind python, in a module whose forward makes one of them.",
    r"is invalid for input of size|invalid for input":
        "A fixed number of rows seems to be built in: set compute.batch_rows to it, or replace it by -1 or "
        "len(x).",
}  # fmt: skip
"""What to do, by what a network says when it fails."""

USUAL_HINT = "Check the dataset's shape and order of inputs against what the model was trained on."


def does_not_run(scorer: Scorer, rows: int, error: Exception) -> ModelError:
    """What to say when a network fails on the inputs of a dataset: its own words first."""
    shapes = ", ".join(f"{s.name} {(rows, *s.shape)} {s.dtype}" for s in scorer.inputs)
    reason = str(error).strip()
    hint = next((text for pattern, text in HINTS.items() if re.search(pattern, reason)), USUAL_HINT)
    first = " ".join(reason.split("\n")[:2]) if len(reason) < LONGEST_REASON else reason.partition("\n")[0]
    return ModelError(
        f"the model fails with {type(error).__name__}: {first.rstrip('.')}. So it does not run on the dataset's "
        f"inputs ({shapes}). {hint}"
    )
