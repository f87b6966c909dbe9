"""Networks, questions, labels and tables as people have them: the right value, or the message with the way out.

Every map is compared with plain autograd on the same network, row by row: x times the gradient of the score that
the case writes down again in its own words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import helpers.any_networks as networks
import numpy as np
import pytest
import torch
from helpers.any_networks import CLASSES, FEATURES, STEPS
from helpers.cli import datasets, invoke, run, write_data, write_job

ROWS = 9
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, FEATURES)).astype(np.float32)
Y = RNG.integers(0, CLASSES, ROWS)
MASK = (RNG.random((ROWS, STEPS)) < 0.6).astype(np.int64)
MASK[:, 0] = 1
PLACES = np.stack([RNG.integers(0, CLASSES, ROWS), RNG.integers(0, 2, ROWS), RNG.integers(0, 3, ROWS)], 1)
HOT = (RNG.random((ROWS, CLASSES)) < 0.5).astype(np.int64)
HOT[0] = [1, 1, 0, 0]
BINARY = (np.arange(ROWS) % 3 > 0).astype(np.float32)
VALUES = RNG.normal(size=(ROWS, CLASSES))
NAMES = ["ant", "bee", "cat", "dog"]
ENGINE = "input_x_gradient"


@dataclass(frozen=True)
class Case:
    """A job, and what it must explain.

    Attributes:
        factory: of the network.
        score: of (output of the whole batch, row) → what is explained of that row.
        sections: of the job.
        says: texts that the run must tell on standard error.
        targets: what the file must say the targets are; None not to look.
    """

    factory: str
    score: Any
    sections: dict[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    targets: Any = None


def by_hand(case, x=X):
    """Scores (n,) and maps (n, 6) of x ⊙ ∇score, a row at a time."""
    network = getattr(networks, case.factory)().eval()
    sizes = {"batches_of_eight": 8, "batches_of_five": 5, "batches_of_one": 1, "reshaped_to_sixteen": 16}
    size = sizes.get(case.factory, 2)
    scores, maps = [], []
    for row in range(len(x)):
        batch = torch.from_numpy(np.repeat(x[row : row + 1], size, 0)).requires_grad_()
        more = (
            [torch.from_numpy(np.repeat(MASK[row : row + 1], size, 0))] if case.factory == "masked_tokens" else []
        )
        constants = {"sr": 8000} if case.factory == "with_a_rate" else {}
        score = case.score(network(batch, *more, **constants), row)
        (gradient,) = torch.autograd.grad(score, batch)
        scores.append(score.item())
        maps.append((batch * gradient).sum(0).detach().numpy())  # every row of the batch is the same one
    return np.array(scores), np.array(maps)


def one_job(folder, case, **more):
    labels = {"binary": BINARY, "one_and_two": BINARY.astype(int) + 1, "floats": Y.astype(float), "values": VALUES}
    write_data(folder, X=X, y=Y, mask=MASK, places=PLACES, second=(Y + 1) % CLASSES, hot=HOT, **labels)
    sections = {"engines": {ENGINE: None}, **case.sections, **more}
    model = {"factory": f"helpers.any_networks:{case.factory}", **sections.pop("model", {})}
    return write_job(folder, model=model, **sections)


def predicted(output, row):
    return output[0, output[0].argmax()]


CASES = {
    # outputs
    "a dict with one tensor": Case("in_a_dict", lambda out, i: predicted(out["out"], i)),
    "a key of a dict": Case(
        "in_a_dict_of_two", lambda out, i: predicted(out["logits"], i), {"model": {"output": "logits"}}
    ),
    "a position of a tuple": Case("in_a_tuple", lambda out, i: predicted(out[1], i), {"model": {"output": 1}}),
    "an attribute of a dataclass": Case(
        "in_a_dataclass", lambda out, i: predicted(out.scores, i), {"model": {"output": "scores"}}
    ),
    "a field of a named tuple": Case(
        "in_a_named_tuple", lambda out, i: predicted(out.logits, i), {"model": {"output": "logits"}}
    ),
    "a dotted way into nested outputs": Case(
        "nested", lambda out, i: predicted(out["heads"][1]["scores"], i), {"model": {"output": "heads.1.scores"}}
    ),
    "the start of a span": Case(
        "spans", lambda out, i: out["start"][0, 2], {"model": {"output": "start"}, "target": {"index": 2}}
    ),
    "one place of a segmentation": Case(
        "segmentation",
        lambda out, i: out[0, 1, 0, 2],
        {"target": {"index": [1, 0, 2]}},
        targets=[1 * 6 + 2] * ROWS,
    ),
    "two places of a segmentation": Case(
        "segmentation", lambda out, i: out[0, 3, 1, 1], {"target": {"index": [[3, 1, 1]]}}
    ),
    "one place of tokens": Case("tokens", lambda out, i: out[0, 4, 2], {"target": {"index": [4, 2]}}),
    "the sum over pixels": Case(
        "segmentation", lambda out, i: out[0, 2].sum(), {"target": {"index": 2, "reduce": "sum"}}
    ),
    "the mean over pixels of the predicted class": Case(
        "segmentation",
        lambda out, i: out[0].mean((1, 2)).max(),
        {"target": {"select": "predicted", "reduce": "mean"}},
    ),
    "the label's mean over tokens": Case(
        "tokens",
        lambda out, i: out[0, :, Y[i]].mean(),
        {"dataset": {"labels": "y"}, "target": {"select": "label", "reduce": "mean"}},
    ),
    "pixels predicted as the class, as captum's tutorial sums them": Case(
        "segmentation",
        lambda out, i: (out[0, 1] * (out[0].argmax(0) == 1)).sum(),
        {"target": {"index": 1, "reduce": {"mask": "predicted"}}},
    ),
    "steps that a mask of the dataset counts": Case(
        "tokens",
        lambda out, i: (out[0, :, 2] * torch.from_numpy(MASK[i])).sum(),
        {"dataset": {"inputs": ["X", "mask"]}, "target": {"index": 2, "reduce": {"mask": "mask"}}},
    ),
    "steps that a mask of the network counts, their mean": Case(
        "masked_tokens",
        lambda out, i: (out[0, :, 2] * torch.from_numpy(MASK[i])).sum() / MASK[i].sum(),
        {"dataset": {"inputs": ["X", "mask"]}, "target": {"index": 2, "reduce": {"mask": "mask", "take": "mean"}}},
    ),
    "classes along another axis": Case(
        "tokens", lambda out, i: out[0, 2].sum(), {"target": {"index": 2, "reduce": "sum", "axis": 1}}
    ),
    "classes found by their names": Case(
        "tokens",
        lambda out, i: out[0, :, 3].sum(),
        {"dataset": {"class_names": NAMES}, "target": {"index": "dog", "reduce": "sum"}},
    ),
    "steps before samples": Case("time_first", lambda out, i: out[3, 0, 1], {"target": {"index": [3, 1]}}),
    "probabilities of tokens": Case(
        "tokens", lambda out, i: out[0, 1].softmax(0)[2], {"target": {"index": [1, 2]}, "score": "probability"}
    ),
    "(n, 1).squeeze()": Case(
        "squeezed", lambda out, i: out.reshape(-1)[0], {"score": "raw", "compute": {"batch_rows": 1}}
    ),
    "a batch of eight hard-wired": Case("batches_of_eight", predicted, says=("batches of 8 only",)),
    "a batch of five hard-wired, and said": Case(
        "batches_of_five", predicted, {"compute": {"batch_rows": 5}}, ("batches of 5 only",)
    ),
    "a batch of two hard-wired": Case("batches_of_two", predicted, says=("batches of 2 only",)),
    "a batch of sixteen, of which others are cut without a word": Case(
        "reshaped_to_sixteen", predicted, says=("batches of 16 only",)
    ),
    "a dataclass with a tensor beside a mapping": Case(
        "in_a_dataclass_with_more", lambda out, i: predicted(out.scores, i)
    ),
    "a batch of one hard-wired": Case("batches_of_one", predicted, says=("batches of 1 only",)),
    # scores
    "margin to the best other": Case(
        "logits", lambda out, i: out[0].topk(2).values[0] - out[0].topk(2).values[1], {"score": "margin"}
    ),
    "margin of the label": Case(
        "logits",
        lambda out, i: out[0, Y[i]] - torch.cat([out[0, : Y[i]], out[0, Y[i] + 1 :]]).max(),
        {"score": "margin", "target": "label"},
    ),
    "margin between two": Case(
        "logits",
        lambda out, i: out[0, 2] - out[0, 0],
        {"score": {"margin": {"against": 0}}, "target": {"index": 2}},
    ),
    "margin against a name": Case(
        "logits",
        lambda out, i: out[0, 2] - out[0, 1],
        {"score": {"margin": {"against": "bee"}}, "target": {"index": "cat"}, "dataset": {"class_names": NAMES}},
    ),
    "sigmoid": Case("logits", lambda out, i: out[0, 1].sigmoid(), {"score": "sigmoid", "target": {"index": 1}}),
    "entropy": Case(
        "logits", lambda out, i: torch.distributions.Categorical(logits=out[0]).entropy(), {"score": "entropy"}
    ),
    "loss": Case(
        "logits",
        lambda out, i: torch.nn.functional.cross_entropy(out[:1], torch.tensor(Y[i : i + 1])),
        {"score": "loss", "target": "label"},
    ),
    "loss of the predicted class, which is the least": Case(
        "logits", lambda out, i: -out[0].log_softmax(0).max(), {"score": "loss"}
    ),
    "a function of outputs": Case(
        "segmentation", lambda out, i: out[0].sum(), {"score": {"function": "helpers.any_networks:total"}}
    ),
    "a function of outputs and target": Case(
        "logits",
        lambda out, i: out[0, 1] - out[0].mean(),
        {"score": {"function": "helpers.any_networks:gap_to"}, "target": {"index": 1}},
    ),
    "a function of the context": Case(
        "masked_tokens",
        lambda out, i: 3 * out[0, 1].mean() * MASK[i].sum(),
        {
            "dataset": {"inputs": ["X", "mask"]},
            "explain": {"inputs": ["X"]},
            "score": {"function": {"function": "helpers.any_networks:weighed", "kwargs": {"factor": 3.0}}},
            "target": {"index": 1},
        },
    ),
    "a function of several tensors": Case(
        "spans",
        lambda out, i: out["start"][0].max() + out["end"][0].max(),
        {"score": {"function": "helpers.any_networks:of_both"}},
    ),
    "no softmax of a softmax": Case("softmaxed", predicted, {"score": "probability"}, ("probabilities already",)),
    "the log of a softmax": Case(
        "softmaxed",
        lambda out, i: predicted(out, i).log(),
        {"score": "log_probability"},
        ("probabilities already",),
    ),
    "the probability of a log-softmax": Case(
        "log_softmaxed", lambda out, i: predicted(out, i).exp(), {"score": "probability"}
    ),
    "the margin of probabilities, in logits": Case(
        "softmaxed",
        lambda out, i: out[0].log().topk(2).values[0] - out[0].log().topk(2).values[1],
        {"score": "margin"},
    ),
    "independent probabilities are taken as they are": Case(
        "sigmoids", predicted, {"score": "probability"}, ("independent labels already",)
    ),
    "one logit and two classes: the predicted class": Case(
        "one_logit",
        lambda out, i: out[0, 0].abs(),
        {"dataset": {"class_names": ["no", "yes"], "labels": None}},
        ("binary classifier", "log-odds of class 1 'yes'"),
    ),
    "one logit and labels 0.0 and 1.0, as binary cross-entropy wants them": Case(
        "one_logit",
        lambda out, i: out[0, 0] * (1 if BINARY[i] else -1),
        {"dataset": {"labels": "binary"}, "target": "label"},
        ("0.0 and 1.0 are taken as the classes", "binary classifier", "agree with labels"),
        targets=BINARY.astype(int).tolist(),
    ),
    "one output and labels 1 and 2 is a number": Case(
        "one_logit", lambda out, i: out[0, 0], {"dataset": {"labels": "one_and_two"}}, ("the labels 1 and 2",)
    ),
    "classes stored as floats": Case(
        "logits",
        lambda out, i: out[0, Y[i]],
        {"dataset": {"labels": "floats"}, "target": "label"},
        ("agree with labels",),
    ),
    "values of a regression, several outputs": Case(
        "logits",
        lambda out, i: out[0].max(),
        {"dataset": {"labels": "values"}},
        ("values of a regression, of which",),
    ),
    "one logit and two classes: class 0": Case(
        "one_logit",
        lambda out, i: -out[0, 0],
        {"dataset": {"class_names": ["no", "yes"], "labels": None}, "target": {"index": "no"}},
        targets=[0] * ROWS,
    ),
    "one probability and two classes": Case(
        "one_sigmoid",
        lambda out, i: torch.maximum(out[0, 0], 1 - out[0, 0]),
        {"dataset": {"class_names": ["no", "yes"], "labels": None}},
        ("the probability of class 1 'yes'",),
    ),
    "one output without classes is a number": Case(
        "one_logit", lambda out, i: out[0, 0], {"dataset": {"labels": None}}
    ),
    # targets
    "a class by its name": Case(
        "logits",
        lambda out, i: out[0, 2],
        {"dataset": {"class_names": NAMES}, "target": {"index": "cat"}},
        targets=[2] * ROWS,
    ),
    "several classes by name": Case(
        "logits", lambda out, i: out[0, 1], {"dataset": {"class_names": NAMES}, "target": {"index": ["bee"]}}
    ),
    "the second": Case("logits", lambda out, i: out[0].topk(2).values[1], {"target": "second"}),
    "a column of targets": Case(
        "logits", lambda out, i: out[0, (Y[i] + 1) % CLASSES], {"target": {"column": "second"}}
    ),
    "a column of places": Case(
        "segmentation", lambda out, i: out[0][tuple(PLACES[i])], {"target": {"column": "places"}}
    ),
    "multi-hot labels": Case(
        "logits",
        lambda out, i: out[0, 3].sigmoid(),
        {"dataset": {"labels": "hot"}, "score": "sigmoid", "target": {"index": 3}},
        ("do not exclude each other",),
    ),
    # the call
    "a constant of the call": Case("with_a_rate", predicted, {"model": {"call": {"sr": 8000}}}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_the_one_that_was_asked_for(name, tmp_path):
    case = CASES[name]
    job = one_job(tmp_path, case)
    outcome = run(job)
    found = datasets(tmp_path / "out.h5")
    scores, maps = by_hand(case)
    np.testing.assert_allclose(found[f"engines/{ENGINE}/score_input"], scores, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(
        found[f"engines/{ENGINE}/attribution"].reshape(maps.shape), maps, rtol=1e-4, atol=1e-6
    )
    for text in case.says:
        assert text in outcome.stderr + outcome.stdout
    if case.targets is not None:
        assert found["rows/target"].tolist() == case.targets


REFUSED = {
    "two tensors": ("in_a_dict_of_two", {}, ["logits (2, 4), hidden (2, 6)", "model: {output: logits}"]),
    "no such key": (
        "in_a_dict_of_two",
        {"model": {"output": "logit"}},
        ["model.output: 'logit'", "Did you mean 'logits'?"],
    ),
    "no such position": ("in_a_tuple", {"model": {"output": 2}}, ["model.output: '2'", "Allowed: 0, 1"]),
    "the mean over the batch": (
        "averages_over_the_batch",
        {},
        ["(4,) for 2 samples", "(4,) for 3 samples", "no axis of it counts"],
    ),
    "one number for the batch": ("loss_of_the_batch", {}, ["() for 2 samples", "averages or sums over the batch"]),
    "too few numbers of a place": (
        "segmentation",
        {"target": {"index": [1, 0]}},
        ["target.index: [1, 0]", "takes 3 numbers", "(4, 2, 3)"],
    ),
    "a place out of range": (
        "segmentation",
        {"target": {"index": [1, 2, 0]}},
        ["target.index: 2: out of range", "2 entries, 0 to 1"],
    ),
    "predicted, of positions": ("tokens", {}, ["scores of shape (5, 4)", "{index: [0, 0]}", "reduce: mean"]),
    "label, of positions": ("tokens", {"target": "label"}, ["scores of shape (5, 4)"]),
    "nothing to reduce": (
        "logits",
        {"target": {"select": "predicted", "reduce": "mean"}},
        ["target.reduce", "(n, 4)", "no positions"],
    ),
    "no such mask": (
        "tokens",
        {"target": {"index": 0, "reduce": {"mask": "msk"}}},
        ["target.reduce.mask: 'msk'", "predicted"],
    ),
    "no such axis": (
        "tokens",
        {"target": {"index": 0, "reduce": "sum", "axis": 3}},
        ["target.axis: 3", "(n, 5, 4)", "1 to 2"],
    ),
    "no such class": (
        "logits",
        {"dataset": {"class_names": NAMES}, "target": {"index": "cta"}},
        ["target.index: 'cta': no such class", "Did you mean 'cat'?"],
    ),
    "classes without names": ("logits", {"target": {"index": "cat"}}, ["'cat'", "set dataset.class_names"]),
    "no second": ("one_logit", {"target": "second", "dataset": {"labels": None}}, ["no second"]),
    "no such column": ("logits", {"target": {"column": "sceond"}}, ["sceond", "second"]),
    "a column out of range": (
        "logits",
        {"target": {"column": "far"}},
        ["target.column: 'far', sample 0", "out of range"],
    ),
    "multi-hot labels as a target": (
        "logits",
        {"dataset": {"labels": "hot"}, "target": "label"},
        ["several labels", "{index: [...]}"],
    ),
    "entropy of independent labels": (
        "sigmoids",
        {"score": "entropy"},
        ["independent labels", "sigmoid, raw or logit"],
    ),
    "softmax of multi-hot labels": (
        "logits",
        {"dataset": {"labels": "hot"}, "score": "probability", "target": {"index": 1}},
        ["multi-hot", "score: sigmoid"],
    ),
    "raw output of a binary classifier by name": (
        "one_logit",
        {"dataset": {"class_names": ["no", "yes"], "labels": None}, "score": "raw", "target": {"index": "no"}},
        ["'no'", "score: logit"],
    ),
    "margin against itself": (
        "logits",
        {"score": {"margin": {"against": 2}}, "target": {"index": 2}},
        ["score.margin.against: 2: is the target itself"],
    ),
    "complex numbers": ("complex_outputs", {}, ["returns complex numbers"]),
    "margin against nobody": (
        "logits",
        {"score": {"margin": {"against": 9}}},
        ["score.margin.against: 9", "0 to 3"],
    ),
    "a function that returns classes": (
        "logits",
        {"score": {"function": "helpers.any_networks:wrong"}},
        ["score.function", "int64 (", "floating tensor (n,)"],
    ),
    "no such function": (
        "logits",
        {"score": {"function": "helpers.any_networks:wrogn"}},
        ["wrogn", "Did you mean 'wrong'?"],
    ),
    "a constant that is missing": ("with_a_rate", {}, ["sr"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_way_out(name, tmp_path):
    factory, sections, texts = REFUSED[name]
    job = one_job(tmp_path, Case(factory, None, sections))
    with np.load(tmp_path / "data.npz") as data:
        np.savez(tmp_path / "data.npz", **data, far=np.full(ROWS, CLASSES))
    outcome = invoke("plan", job)
    assert outcome.exit_code == 2, outcome.stderr
    for text in texts:
        assert text in outcome.stderr, outcome.stderr
