"""Our metrics and those of Quantus on the same maps, noise, subsets and networks: are the numbers the same?

Quantus draws its random numbers from a global generator; it is handed ours, so that the metric is compared.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from sklearn.datasets import load_digits
from torch import nn

import xattr_cli
from xattr_cli.device.perturbation import shuffled_layers, top_layers
from xattr_cli.engines.interactions.superpixels import superpixels
from xattr_cli.evaluation import EvaluationOptions, Measurement, evaluate_file
from xattr_cli.job.config import Job, load_job
from xattr_cli.metrics import Stream
from xattr_cli.numerics.faithfulness.metrics import subset_masks
from xattr_cli.pipeline.opening import open_session
from xattr_cli.randomness import Purpose, sample_generator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus
    from quantus.helpers.model.pytorch_model import PyTorchModel

__all__ = ["CASES", "Bed", "Case", "network"]

ROWS, SIZE, UNITS = 12, 8, 64
DRAWS, SUBSETS = 4, 20
EPSILON = 1e-6
MAP = "saliency"
QUIET: Mapping[str, Any] = {"disable_warnings": True, "return_aggregate": False}


def network() -> nn.Sequential:
    """Smooth, without padding, so that Quantus can shift its first layer; weights at random."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, 24), nn.Tanh(), nn.Linear(24, 10)
    )


@dataclass
class Bed:
    """A result of gradient × input and of signed gradients, and what Quantus is given of it.

    Attributes:
        folder: where it lies.
        rows: images.
    """

    folder: Path
    rows: int = ROWS

    def __post_init__(self) -> None:
        images = load_digits().images[: self.rows, None].astype(np.float32) / 16
        # no pixel is black, so that no two attributions are tied: how ties are broken is everybody's own
        self.images = images + np.random.default_rng(0).uniform(0.01, 0.2, images.shape).astype(np.float32)
        self.masks = np.random.default_rng(1).random((self.rows, 1, SIZE, SIZE)) < 0.3
        np.savez(self.folder / "data.npz", X=self.images, where=self.masks[:, 0])
        (self.folder / "job.yaml").write_text(
            yaml.safe_dump(
                {
                    "model": {"kind": "python", "factory": "scripts.benchmarks.quantus_cases:network"},
                    "dataset": {"kind": "arrays", "path": "data.npz"},
                    "score": "logit",
                    "engines": {"saliency": {"signed": True}, "input_x_gradient": {}},
                    "compute": {"device": "cpu"},
                    "output": {"path": "out.h5"},
                }
            )
        )
        xattr_cli.run(self.folder / "job.yaml")
        with xattr_cli.open_results(self.folder / "out.h5") as results:
            self.maps = results.engine(MAP).attribution(slice(None))
            self.targets = results.rows.target
        self.module = network().eval()

    def job(self, *overrides: str) -> Job:
        """The job of the result."""
        return load_job(str(self.folder / "job.yaml"), overrides)

    def ours(
        self, metric: str | Mapping[str, Any], *overrides: str, label: str = MAP, limit: int | None = None
    ) -> Measurement:
        """What we measure; the first candidate is the map."""
        inquiry = EvaluationOptions(
            metrics=(metric,), engines=(label,), masks="where", limit=limit, folder=self.folder
        )
        (found,) = evaluate_file(self.folder / "out.h5", inquiry, self.job(*overrides)).measurements
        return found

    def theirs(self, metric: Any, rows: slice = slice(None), **more: Any) -> Any:
        """What Quantus measures of the maps of some rows."""
        given = {
            "model": self.module,
            "x_batch": self.images[rows],
            "y_batch": self.targets[rows],
            "a_batch": self.maps[rows],
            "channel_first": True,
            "softmax": False,
            "device": "cpu",
            **more,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return metric(**given)

    def row_by_row(self, make: Callable[[int], Any], **more: Any) -> np.ndarray:
        """(rows,) of Quantus where it scales by the largest number of its batch: a batch for every row."""
        return np.array([float(np.ravel(self.theirs(make(i), slice(i, i + 1), **more))[0]) for i in range(ROWS)])

    def noise(self, stream: int) -> np.ndarray:
        """(draws, rows, 64), ours: uniform or normal."""
        draws, uniform = [], stream == Stream.UNIFORM_NOISE
        generators = [sample_generator(0, i, Purpose.EVALUATION, stream) for i in range(ROWS)]
        for _ in range(DRAWS):
            draws.append(
                [g.uniform(-0.2, 0.2, UNITS) if uniform else 0.1 * g.standard_normal(UNITS) for g in generators]
            )
        return np.array(draws)

    @cached_property
    def subsets(self) -> np.ndarray:
        """(rows, subsets, 64) bool, ours of 16 pixels each."""
        generators = [sample_generator(0, i, Purpose.EVALUATION, Stream.SUBSETS + 16) for i in range(ROWS)]
        return np.stack([subset_masks(UNITS, 16, SUBSETS, each) for each in generators])

    def gradients(self, model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        """The signed gradient, as Quantus asks for it."""
        points = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
        scores = model(points).gather(1, torch.as_tensor(np.asarray(targets))[:, None])
        (found,) = torch.autograd.grad(scores.sum(), points)
        return found.numpy()

    @contextmanager
    def our_networks(self) -> Iterator[None]:
        """Quantus gets the networks whose weights we have shuffled."""
        with ExitStack() as stack:
            scorer = stack.enter_context(open_session(self.job())).scorer
            layers, networks = top_layers(scorer.module), []
            for depth in range(1, len(layers) + 1):
                with shuffled_layers(scorer, layers[:depth], 0, 0):
                    networks.append((layers[depth - 1], copy.deepcopy(scorer.module)))
            stack.enter_context(
                patch.object(PyTorchModel, "get_random_layer_generator", lambda *_, **__: networks)
            )
            yield


@dataclass(frozen=True)
class Case:
    """One metric of both.

    Attributes:
        ours, theirs: names.
        found: the bed -> our numbers and theirs, that ought to be equal.
        agrees: whether the definitions are the same once options are.
    """

    ours: str
    theirs: str
    found: Callable[[Bed], tuple[np.ndarray, np.ndarray]]
    agrees: bool = True

    @property
    def note(self) -> str:
        """How the two were made comparable, and what differs else."""
        blocks = (block.replace("\n", " ").partition(": ") for block in NOTES.strip().split("\n\n"))
        return next((text for name, _, text in blocks if name == self.ours), "")


def _values(found: Measurement) -> np.ndarray:
    return found.values[0]


def _correlation(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    ours = bed.ours({"kind": "faithfulness_correlation", "n": 16, "subsets": SUBSETS})
    order = [np.flatnonzero(bed.subsets[row, run]) for run in range(SUBSETS) for row in range(ROWS)]
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=SUBSETS, subset_size=16, perturb_baseline=0.0, normalise=False, **QUIET
    )
    with patch("numpy.random.choice", side_effect=order):
        return _values(ours), np.array(bed.theirs(metric))


def _estimate(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    metric = quantus.FaithfulnessEstimate(features_in_step=1, perturb_baseline=0.0, normalise=False, **QUIET)
    return _values(bed.ours("faithfulness_estimate")), np.array(bed.theirs(metric))


def _infidelity(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    asked = {"kind": "infidelity", "n": 16, "subsets": SUBSETS, "scaled": False, "multiply": True}
    turn = iter(range(SUBSETS))

    def replaced(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        return np.where(bed.subsets[:, next(turn)], 0.0, arr)

    metric = quantus.Infidelity(
        perturb_func=replaced, perturb_patch_sizes=[SIZE], n_perturb_samples=SUBSETS, normalise=False, **QUIET
    )
    return _values(bed.ours(asked)), np.array(bed.theirs(metric))


def _sufficiency(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    return _values(bed.ours("sufficiency")), np.array(bed.theirs(quantus.Sufficiency(**QUIET)))


def _road(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    percentages = [10.0, 40.0, 70.0, 90.0]
    ours = bed.ours({"kind": "road", "percentages": percentages, "noise": 0.0})
    metric = quantus.ROAD(percentages=percentages, noise=0.0, normalise=False, **QUIET)
    assert ours.curves is not None
    return ours.curves[0], np.array(list(bed.theirs(metric).values()))


def _irof(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    def segments(img: np.ndarray, **_: Any) -> np.ndarray:
        return superpixels(np.moveaxis(img, -1, 0)[None].astype(np.float32), 10)[0]

    ours = bed.ours({"kind": "irof", "segments": 10}, "score=probability", limit=1)
    metric = quantus.IROF(perturb_baseline=0.0, normalise=False, **QUIET)  # type: ignore[arg-type]
    with (
        patch("quantus.helpers.utils.get_superpixel_segments", segments),
        patch("numpy.trapz", np.trapezoid, create=True),
    ):
        theirs = bed.theirs(metric, slice(0, 1), softmax=True)
    # theirs leaves the first trapezium out, from the untouched image, and does not divide by their number
    curve = ours.curves[0] if ours.curves is not None else np.empty(0)
    segment_count = len(curve) - 1
    converted = segment_count * _values(ours) - (1 - (1 + curve[1]) / 2) + 1
    return converted, np.ravel(theirs)


def _sensitivity(ours: str, metric: Any) -> Callable[[Bed], tuple[np.ndarray, np.ndarray]]:
    def found(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
        turn = iter(bed.noise(Stream.UNIFORM_NOISE))
        peer = metric(
            nr_samples=DRAWS, perturb_func=lambda arr, **_: (arr + next(turn)).astype(np.float32), **QUIET
        )
        theirs = bed.theirs(peer, explain_func=bed.gradients)
        return _values(bed.ours({"kind": ours, "draws": DRAWS})), np.array(theirs)

    return found


def _lipschitz(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    noise = bed.noise(Stream.NORMAL_NOISE)

    def made(row: int) -> Any:
        turn = iter(noise[:, row : row + 1])
        return quantus.LocalLipschitzEstimate(
            nr_samples=DRAWS, perturb_func=lambda arr, **_: (arr + next(turn)).astype(np.float32), **QUIET
        )

    ours = bed.ours({"kind": "local_lipschitz", "draws": DRAWS})
    return _values(ours), bed.row_by_row(made, explain_func=bed.gradients)


def _of_map(
    ours: str | Mapping[str, Any], metric: Any, **options: Any
) -> Callable[[Bed], tuple[np.ndarray, np.ndarray]]:
    """A metric that looks at nothing but the map, and the mask."""

    def found(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
        theirs = [
            bed.theirs(metric(**options, **QUIET), slice(i, i + 1), s_batch=bed.masks[i : i + 1])
            for i in range(ROWS)
        ]
        return _values(bed.ours(ours)), np.array([float(np.ravel(each)[0]) for each in theirs])

    return found


def _mprt(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    ours = bed.ours({"kind": "mprt"})
    with bed.our_networks():
        scores = bed.theirs(quantus.MPRT(normalise=False, **QUIET), explain_func=bed.gradients)
    layers = [numbers for name, numbers in scores.items() if name != "original"]
    return _values(ours), np.mean(layers, axis=0)


def _emprt(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    with bed.our_networks():
        theirs = bed.theirs(quantus.EfficientMPRT(**QUIET), explain_func=bed.gradients, softmax=True)
    return _values(bed.ours("emprt")), np.array(theirs)


def _random_logit(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    drawn = [sample_generator(0, i, Purpose.EVALUATION, Stream.OTHER_OUTPUT).integers(9) for i in range(ROWS)]
    metric = quantus.RandomLogit(
        similarity_func=quantus.similarity_func.correlation_spearman, num_classes=10, **QUIET
    )
    with patch("numpy.random.randint", return_value=np.array(drawn)):
        theirs = bed.theirs(metric, explain_func=bed.gradients)
    return _values(bed.ours("random_logit")), np.array(theirs)


def _completeness(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    metric = quantus.Completeness(perturb_baseline=0.0, normalise=False, **QUIET)
    theirs = bed.theirs(metric, a_batch=_completed(bed))
    return np.full(ROWS, 1.0), np.array(theirs, dtype=float)


def _completed(bed: Bed) -> np.ndarray:
    """Maps that add up to f(x) − f(0), but for rounding."""
    with torch.no_grad():
        change = bed.module(torch.from_numpy(bed.images)) - bed.module(torch.zeros(ROWS, 1, SIZE, SIZE))
    wanted = change[torch.arange(ROWS), torch.from_numpy(bed.targets)].numpy()
    gap = wanted - bed.maps.sum(axis=(1, 2, 3))
    return bed.maps + (gap / UNITS)[:, None, None, None]


def _non_sensitivity(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    index = np.random.default_rng(2).random(UNITS) * (np.arange(UNITS) % 5 > 0)
    inquiry = EvaluationOptions(
        metrics=({"kind": "non_sensitivity", "threshold": EPSILON},),
        engines=(MAP,),
        importances={"index": index},
    )
    (found,) = evaluate_file(bed.folder / "out.h5", inquiry, bed.job()).measurements
    metric = quantus.NonSensitivity(eps=EPSILON, perturb_baseline=0.0, **QUIET)
    theirs = bed.theirs(metric, a_batch=np.broadcast_to(index.reshape(1, 1, SIZE, SIZE), bed.images.shape).copy())
    return UNITS * found.values[found.candidates.index("index")], np.array(theirs)


def _invariance(bed: Bed) -> tuple[np.ndarray, np.ndarray]:
    def shifted(arr: np.ndarray, input_shift: float, **_: Any) -> np.ndarray:
        return arr + np.float32(input_shift)

    metric = quantus.InputInvariance(perturb_func=shifted, **QUIET)
    theirs = np.ravel(bed.theirs(metric, explain_func=bed.gradients))
    return (_values(bed.ours("input_invariance")) < 1e-4).astype(float), theirs.astype(float)


NOTES = """
faithfulness_correlation: The same subsets. Their `black` is the smallest number of an input: theirs was given 0,
here and below.

faithfulness_estimate: One unit at a time.

infidelity: {scaled: false, multiply: true}, the same subsets. Their own patches are painted over each other and
never taken back, and all samples of a row are alike. Our default takes the best multiple of each map, as the
authors' code.

sufficiency: All rows in one batch of theirs; ours compares all rows anyway.

road: Without noise; shares of rows for each percentage. Theirs takes maps of one channel only.

irof: The same superpixels, converted: theirs begins at the first replaced segment and adds up over segments,
ours begins at the image and divides by their number. Theirs does not run beside numpy 2.4 (`np.trapz`); its
`mean` is that of the batch.

max_sensitivity: The same noise.

avg_sensitivity: The same noise.

local_lipschitz: The same noise. Both divide maps by the largest magnitude: ours of the row, theirs of the batch,
which was one row at a time.

sparseness: Theirs adds 1e-7 to every number.

complexity: Theirs adds 1e-12 inside the logarithm.

effective_complexity: Share of the largest magnitude: ours of the row, theirs of the batch, which was one row.

pointing_game: Ties count for the map in both.

relevance_mass_accuracy: {of: signed}. Our default takes what is above zero, as the authors do: sums of both
signs may vanish.

mprt: The same shuffled networks, mean over the layers. Theirs initialises weights anew, and its average counts
the map's correlation with itself as a layer (it looks for `orig`; the key is `original`).

emprt: The same shuffled networks.

random_logit: The same outputs, by rank correlation. Theirs by default by structural similarity of flattened
maps.

non_sensitivity: An index with a fifth of zeros; ours times the number of units. Theirs takes a threshold of the
score in units of the score, ours a share of the row's largest change.

input_invariance: Theirs says whether all numbers are within 1e-4, ours by how much the map moves. Theirs asks
for a first layer without padding, and shifts all numbers but the first, so that nothing is invariant: it was
given our shift.

completeness: Theirs asks whether two floating-point numbers are equal to the last bit, which maps that are
complete but for rounding seldom are; ours gives the gap.
"""
"""How the two were made comparable, and what differs else."""


def _sensitivities() -> Iterator[Case]:
    for name, peer in (("max_sensitivity", quantus.MaxSensitivity), ("avg_sensitivity", quantus.AvgSensitivity)):
        yield Case(name, peer.__name__, _sensitivity(name, peer))


def _of_maps() -> Iterator[Case]:
    for peer, asked, options in (
        (quantus.Sparseness, {"kind": "sparseness"}, {}),
        (quantus.Complexity, {"kind": "complexity"}, {}),
        (quantus.EffectiveComplexity, {"kind": "effective_complexity"}, {}),
        (quantus.PointingGame, {"kind": "pointing_game"}, {}),
        (quantus.AttributionLocalisation, {"kind": "attribution_localisation"}, {}),
        (quantus.TopKIntersection, {"kind": "top_k_intersection", "k": 9}, {"k": 9}),
        (quantus.RelevanceRankAccuracy, {"kind": "relevance_rank_accuracy"}, {}),
        (quantus.RelevanceMassAccuracy, {"kind": "relevance_mass_accuracy", "of": "signed"}, {}),
    ):
        yield Case(str(asked["kind"]), peer.__name__, _of_map(asked, peer, **options))


CASES: Sequence[Case] = (
    Case("faithfulness_correlation", "FaithfulnessCorrelation", _correlation),
    Case("faithfulness_estimate", "FaithfulnessEstimate", _estimate),
    Case("infidelity", "Infidelity", _infidelity),
    Case("sufficiency", "Sufficiency", _sufficiency),
    Case("road", "ROAD", _road),
    Case("irof", "IROF", _irof, agrees=False),
    *_sensitivities(),
    Case("local_lipschitz", "LocalLipschitzEstimate", _lipschitz),
    *_of_maps(),
    Case("mprt", "MPRT", _mprt),
    Case("emprt", "EfficientMPRT", _emprt),
    Case("random_logit", "RandomLogit", _random_logit),
    Case("non_sensitivity", "NonSensitivity", _non_sensitivity),
    Case("input_invariance", "InputInvariance", _invariance, agrees=False),
    Case("completeness", "Completeness", _completeness, agrees=False),
)
