"""Networks as people have them: outputs of any shape and kind, hard-wired batches, probabilities, dicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

FEATURES, CLASSES, STEPS = 6, 4, 5


class Built(nn.Module):
    """A smooth body (n, 6) → (n, width), seen through a function of it and of the input."""

    def __init__(self, width, head):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.body = nn.Sequential(nn.Linear(FEATURES, 12), nn.Tanh(), nn.Linear(12, width))
        self.head = head

    def forward(self, x, *more, **constants):
        return self.head(self.body(x), x, *more, **constants)


@dataclass
class Answer:
    scores: Tensor
    hidden: Tensor


@dataclass
class WithMore:
    scores: Tensor
    more: dict
    count: int = 3


class Named(NamedTuple):
    loss: Tensor
    logits: Tensor


def logits():
    return Built(CLASSES, lambda h, x: h)


def one_logit():
    return Built(1, lambda h, x: h)


def squeezed():
    return Built(1, lambda h, x: h.squeeze())


def softmaxed():
    return Built(CLASSES, lambda h, x: h.softmax(1))


def log_softmaxed():
    return Built(CLASSES, lambda h, x: h.log_softmax(1))


def one_sigmoid():
    return Built(1, lambda h, x: h.sigmoid())


def sigmoids():
    return Built(CLASSES, lambda h, x: h.sigmoid())


def segmentation():
    return Built(CLASSES * 6, lambda h, x: h.view(-1, CLASSES, 2, 3))


def tokens():
    return Built(STEPS * CLASSES, lambda h, x: h.view(-1, STEPS, CLASSES))


def time_first():
    return Built(STEPS * CLASSES, lambda h, x: h.view(-1, STEPS, CLASSES).transpose(0, 1))


def masked_tokens():
    """Takes the mask, and does nothing with it."""
    return Built(STEPS * CLASSES, lambda h, x, mask: h.view(-1, STEPS, CLASSES))


def in_a_dict():
    return Built(CLASSES, lambda h, x: {"out": h})


def in_a_dict_of_two():
    return Built(CLASSES, lambda h, x: {"logits": h, "hidden": x})


def in_a_tuple():
    return Built(CLASSES, lambda h, x: (x, h))


def in_a_dataclass():
    return Built(CLASSES, lambda h, x: Answer(h, x))


def in_a_named_tuple():
    return Built(CLASSES, lambda h, x: Named(h.mean(), h))


def nested():
    return Built(CLASSES, lambda h, x: {"heads": [x, {"scores": h}], "aux": x})


def spans():
    return Built(2 * STEPS, lambda h, x: {"start": h[:, :STEPS], "end": h[:, STEPS:]})


def batches_of_two():
    return Built(CLASSES, lambda h, x: h.view(2, CLASSES))


def reshaped_to_sixteen():
    """Of 4 samples it makes 16 rows of one number, and does not complain."""
    return Built(CLASSES, lambda h, x: h.reshape(16, -1))


def complex_outputs():
    return Built(CLASSES, lambda h, x: torch.complex(h, h))


def in_a_dataclass_with_more():
    return Built(CLASSES, lambda h, x: WithMore(h, {"hidden": h.sum(1)}))


def batches_of_eight():
    return Built(CLASSES, lambda h, x: h.reshape(8, CLASSES))


def batches_of_one():
    return Built(CLASSES, lambda h, x: h.reshape(1, CLASSES))


def batches_of_five():
    return Built(CLASSES, lambda h, x: h.reshape(5, CLASSES))


def averages_over_the_batch():
    return Built(CLASSES, lambda h, x: h.mean(0))


def loss_of_the_batch():
    return Built(1, lambda h, x: h.mean())


def with_a_rate():
    return Built(CLASSES, lambda h, x, *, sr: h * (sr / 16000))


class _Rated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = logits().body

    def forward(self, x: Tensor, sr: int) -> Tensor:
        return self.body(x) * (sr / 16000)


def scripted(path):
    """A program that takes a sampling rate, in a file."""
    torch.jit.script(_Rated()).save(str(path))


# --- scores of one's own ------------------------------------------------------------------------


def total(outputs):
    return outputs.flatten(1).sum(1)


def gap_to(outputs, target):
    rows = torch.arange(len(outputs))
    return outputs[rows, target] - outputs.mean(1)


def weighed(outputs, target, context, *, factor=1.0):
    """Of tokens (n, steps, classes): the mean of the step `target`, times the steps that the mask counts."""
    rows = torch.arange(len(outputs))
    return factor * outputs[rows, target].mean(1) * context["mask"].sum(1)


def of_both(outputs):
    return outputs["start"].max(1).values + outputs["end"].max(1).values


def wrong(outputs):
    return outputs.argmax(1)


# --- checkpoints --------------------------------------------------------------------------------


class Tied(nn.Module):
    """(n, 6) → (n, 4) with one weight under two names, and a table of positions that is no weight."""

    def __init__(self, table=True):
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES, bias=False)
        self.again = nn.Linear(FEATURES, FEATURES, bias=False)
        self.again.weight = self.first.weight
        self.last = nn.Linear(FEATURES, CLASSES)
        if table:
            self.register_buffer("position_ids", torch.arange(3))

    def forward(self, x):
        return self.last(torch.tanh(self.again(torch.tanh(self.first(x)))))


class HalfInside(nn.Module):
    """(n, 6) → (n, 4), a layer of which is half precision and casts what it is given."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.first = nn.Linear(FEATURES, 8)
            self.last = nn.Linear(8, CLASSES).to(torch.bfloat16)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)).to(torch.bfloat16))


def fold():
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.Softplus(), nn.Linear(8, CLASSES))


def seeded(build, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()
