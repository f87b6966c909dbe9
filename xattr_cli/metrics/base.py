"""What a metric is: options, what it asks of the bench, and a number per row for every candidate.

Nothing here or in the files of the metrics imports torch, so that listing and documenting them takes a fraction of
a second; the bench evaluates the network, in calls that rows and candidates share.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol

import numpy as np

from ..errors import JobError
from ..numerics.faithfulness.units import Units
from ..registry import Plugin
from ..samples import InputSpec

__all__ = ["CONTROL", "Again", "Bench", "Measured", "Metric", "Setting", "Stream"]

CONTROL = "(random)"
"""Name of the control: random numbers as a map. No engine can be called so."""


class Stream(IntEnum):
    """What the random numbers of a sample are for: they are the same for every candidate, and in any company.

    Those that may be many have the numbers after theirs, too: a size, or a draw.
    """

    CONTROL = 0
    REPLACEMENT = 1
    SUBSETS = 2
    UNIFORM_NOISE = 1 << 40
    NORMAL_NOISE = 1 << 41
    OTHER_OUTPUT = 1 << 42
    TRIED_UNITS = 1 << 43
    CONTROL_AGAIN = 1 << 44
    IMPUTATION = 1 << 45


class Again(Protocol):
    """The maps of engines once more, when something else is explained; all are (rows, units) float64.

    An index for all rows has no place here; the control draws its random numbers anew every time.
    """

    @property
    def names(self) -> Sequence[str]:
        """Candidates whose maps can be made again, the control last."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers with weights, the top one first."""

    def unchanged(self, name: str) -> np.ndarray:
        """(rows, units) of what the file explains: so that both sides of a comparison are made alike."""

    def near(self, name: str, noise: np.ndarray, draw: int) -> np.ndarray:
        """(rows, units) at inputs with noise (rows, D)."""

    def of_targets(self, name: str, targets: np.ndarray) -> np.ndarray:
        """(rows, units) of other outputs (rows,) int64."""

    def reweighted(self, name: str, layers: Sequence[str], draw: int) -> np.ndarray:
        """(rows, units) through a network with the weights of some layers shuffled, each tensor by itself."""

    def shifted(self, name: str, shift: float) -> np.ndarray:
        """(rows, units) at x + shift, through the network that takes the shift off again."""


class Bench(Protocol):
    """A block of rows, and all that a metric may ask about them.

    What takes the place of a replaced unit is settled by the evaluation; several draws of it take turns.
    """

    @property
    def units(self) -> Units:
        """What is ranked, and replaced as one."""

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """The explained inputs, as they lie in a row of D numbers."""

    @property
    def outputs(self) -> int:
        """Number of scores that the network has."""

    @property
    def samples(self) -> np.ndarray:
        """(rows,) int64, the sample of each row."""

    @property
    def targets(self) -> np.ndarray:
        """(rows,) int64, the output that each row explains."""

    @property
    def attributions(self) -> Mapping[str, np.ndarray]:
        """Candidate -> (rows, units) float64, the map; the control is the last."""

    @property
    def control(self) -> np.ndarray:
        """(rows, units) random numbers in [0, 1): the map of the control, and what orders ties."""

    @property
    def score_input(self) -> np.ndarray:
        """(rows,) f(x) of each row's own target."""

    @property
    def score_replaced(self) -> np.ndarray:
        """(rows, draws) f with every unit replaced."""

    @property
    def predicted(self) -> np.ndarray:
        """(rows,) int64, the output of the highest score."""

    @property
    def masks(self) -> np.ndarray:
        """(rows, units) bool, where the object is that the map should find.

        Raises:
            JobError: none were given.
        """

    @property
    def again(self) -> Again:
        """The maps of the engines, made once more."""

    @property
    def real(self) -> np.ndarray:
        """(rows, D) bool, False in the padding of sequences."""

    @property
    def epsilon(self) -> float:
        """Relative rounding error of a score."""

    def once(self, key: tuple[object, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """(*shape) what `make` makes, the first time that a metric asks for this key in the block."""

    def generators(self, stream: int) -> Iterator[np.random.Generator]:
        """Random numbers of each row's sample; they depend on neither candidates nor other rows."""

    def pieces(self, bytes_per_row: int) -> Iterator[slice]:
        """Rows of the block, so many at a time that an array of so many bytes per row fits."""

    def scores_below(self, ranks: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(rows, points, draws) f with units of rank < count replaced; ranks (rows, units), counts (points,)."""

    def scores_alone(self, groups: np.ndarray, count: int) -> np.ndarray:
        """(rows, count, draws) f with the units of one group replaced, group after group; groups (rows, units)."""

    def scores_masked(self, masks: np.ndarray, rows: slice) -> np.ndarray:
        """(k, subsets, draws) f with subsets replaced, masks (k, subsets, units), for some of the rows."""

    def imputed_scores(self, ranks: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
        """(rows, points) f with the pixels of rank < count imputed by their neighbours, plus noise."""

    def imputed_predictions(self, ranks: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
        """(rows, points) int64, the output of the highest score for the same."""

    def segments(self, count: int) -> np.ndarray:
        """(rows, units) int64, superpixels of images, numbered from 0; the units themselves of other inputs."""

    def differences(self) -> np.ndarray:
        """(rows, D) x − x̃, what replacing all numbers takes away; the mean over the draws."""

    def numbers(self, name: str) -> np.ndarray:
        """(rows, D) the map of a candidate before its numbers are added up to units; of an index, per unit."""

    def relative_change(self, changed: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(rows,) ‖changed − reference‖ / ‖reference‖ of maps (rows, units)."""

    def rank_correlation(self, maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(rows,) Spearman's correlation of maps (rows, units); NaN where one of them is constant."""


@dataclass(frozen=True)
class Setting:
    """What is known before anything is computed.

    Attributes:
        units: what is ranked.
        specs: the explained inputs.
        outputs: number of scores that the network has.
        masks: whether it is known where the objects are.
        explainable: engines whose maps can be made again.
    """

    units: Units
    specs: tuple[InputSpec, ...]
    outputs: int
    masks: bool
    explainable: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What a metric found in a block of rows.

    Attributes:
        candidates: names, the control last.
        values: (candidates, rows) float64; NaN where a row says nothing.
        steps: (points,) along which curves run, such as numbers of replaced units; None if there are none.
        curves: (candidates, rows, points).
        along: what the steps count.
        kept: name -> (candidates, rows, ...) or (rows, ...), for `conclude`.
    """

    candidates: tuple[str, ...]
    values: np.ndarray
    steps: np.ndarray | None = None
    curves: np.ndarray | None = None
    along: str = "replaced"
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)


class Metric(Plugin, ABC):
    """A number that says something of a map, for every row; the fields are its options.

    Class attributes say what it is and needs: `family`; `higher_is_better`; `explains_again`: maps are made once
    more; `replaces`: units are replaced; `needs_masks`: where the objects are; `needs_classes`: several outputs;
    `left_out`: why a row may have no number.
    """

    family: ClassVar[str]
    higher_is_better: ClassVar[bool]
    explains_again: ClassVar[bool] = False
    replaces: ClassVar[bool] = False
    left_out: ClassVar[str] = "a map was quarantined, a score is not finite, or the network does not react"
    needs_masks: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False

    @property
    def size(self) -> int | None:
        """Units per subset, where there are subsets of one size."""
        return None

    def fitted(self, setting: Setting) -> Metric:
        """The metric with what was left open settled for these inputs.

        Raises:
            JobError: it says nothing about them; names the option and what to do.
        """
        if self.needs_masks and not setting.masks:
            raise JobError(
                f"{self.where}: needs to know where the objects are: give --masks FILE, or --masks COLUMN of the "
                "dataset."
            )
        if self.needs_classes and setting.outputs < 2:
            raise JobError(f"{self.where}: compares classes, and the network has a single output.")
        if self.explains_again and not setting.explainable:
            raise JobError(
                f"{self.where}: makes maps again, and none of the engines evaluated explains rows by itself."
            )
        return self

    def made_again(self, layers: int) -> Mapping[str, int]:
        """How many maps every engine makes of a row, beside that of the row as it is.

        Arguments:
            layers: number of layers with weights.

        Returns:
            What is explained -> how often; metrics that name the same share the maps.
        """
        return {self.model_dump_json(): 1} if self.explains_again else {}

    @property
    def where(self) -> str:
        """What an error begins with."""
        return f"--metric {self.registered_name}"

    def measure(self, bench: Bench) -> Measured:
        """The numbers of all candidates for the rows of a block."""
        names = tuple(bench.again.names if self.explains_again else bench.attributions)
        return Measured(names, np.stack([self.number(bench, name) for name in names]))

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) the number of one candidate, where `measure` is left as it is."""
        raise TypeError(f"{type(self).__name__} defines neither number() nor measure()")

    def conclude(self, pieces: Sequence[Measured]) -> Measured:
        """All blocks together, but for their curves; a metric that compares rows with each other does it here."""
        first, values = pieces[0], np.concatenate([piece.values for piece in pieces], axis=1)
        return Measured(first.candidates, values, first.steps, along=first.along)
