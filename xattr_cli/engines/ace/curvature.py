"""Second directional derivatives of a population's outputs, taken in the way that was settled first."""

from __future__ import annotations

import numpy as np

from ...device import Scorer
from ...device.curvature.directional import DirectionalField, Pairs, Scheme, choose_scheme
from ..population import Population

__all__ = ["directional_field"]


def directional_field(population: Population, probe: Pairs, scorer: Scorer | None = None) -> DirectionalField:
    """Second directional derivatives of the studied outputs.

    Arguments:
        population: dataset and network.
        probe: pairs on which the way to take them is tried; the first ones ever given decide.
        scorer: the network, if not as it is for this dataset.
    """
    network, targets = scorer or population.scorer, population.targets
    chosen = population.once("scheme", lambda: {"scheme": np.array(int(choose_scheme(network, probe, targets)))})
    return DirectionalField(network, targets, Scheme(int(chosen["scheme"])))
