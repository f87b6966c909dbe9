"""What DoWhy's `intrinsic_causal_influence` says of the three models of scms.py, run in an environment of its own.

DoWhy asks for versions of its own, so: python -m venv ENV; ENV/bin/pip install dowhy==0.14; then, from this
folder, ENV/bin/python dowhy_values.py > dowhy_values.json. The numbers are committed, and the script is not
imported.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import networkx as nx
import numpy as np
from dowhy import gcm
from dowhy.gcm.ml.prediction_model import PredictionModel
from scipy import stats
from scms import MODELS, Model

SCORE = "f"
REPEATS = 8
NEXT_TO_NOTHING = 1e-6  # noise of the score itself, which DoWhy cannot do without


class Known(PredictionModel):
    """A mechanism that is known, not fitted."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def fit(self, X: np.ndarray, Y: np.ndarray) -> None:  # noqa: N803
        """Nothing to do."""

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """(n, 1) values of the mechanism, given its causes (n, causes)."""
        return np.asarray(self.function(list(X.T))).reshape(-1, 1)

    def clone(self) -> Known:
        """Itself: it has no state."""
        return Known(self.function)


def causal_model(model: Model) -> gcm.InvertibleStructuralCausalModel:
    """The same model in DoWhy's terms, its score as one more node."""
    graph = nx.DiGraph()
    graph.add_nodes_from(model.parents)
    for node, causes in model.parents.items():
        graph.add_edges_from((cause, node) for cause in causes)
    graph.add_edges_from((node, SCORE) for node in model.parents)
    found = gcm.InvertibleStructuralCausalModel(graph)
    for node in [*model.parents, SCORE]:
        # DoWhy hands the causes of a node over in the order of their names
        causes = sorted(graph.predecessors(node))
        scale = model.scales.get(node, NEXT_TO_NOTHING)
        noise = gcm.ScipyDistribution(stats.norm, loc=0, scale=scale)
        function = model.score if node == SCORE else model.mechanisms.get(node)
        found.set_causal_mechanism(node, gcm.AdditiveNoiseModel(Known(function), noise) if causes else noise)
    rng = np.random.default_rng(0)
    values = model.values(list(rng.standard_normal((len(model.parents), 1000))))
    table = dict(zip(model.parents, values, strict=True)) | {SCORE: model.score(values)}
    for node in nx.topological_sort(graph):
        if graph.in_degree(node):
            found.causal_mechanism(node).fit(
                np.stack([table[cause] for cause in sorted(graph.predecessors(node))], axis=1), table[node]
            )
        found.graph.nodes[node]["parents_during_fit"] = sorted(graph.predecessors(node))
    return found


def influence(model: Model) -> dict[str, list[float]]:
    """Node -> share of the variance of the score, once per repetition."""
    shares: dict[str, list[float]] = {node: [] for node in model.parents}
    for repeat in range(REPEATS):
        gcm.util.general.set_random_seed(repeat)
        found = gcm.intrinsic_causal_influence(
            causal_model(model), SCORE, prediction_model="exact", num_samples_randomization=1000,
            num_samples_baseline=1000,
        )  # fmt: skip
        total = sum(found.values())
        for node, own in shares.items():
            own.append(float(found[node]) / float(total))
    return shares


if __name__ == "__main__":
    gcm.config.disable_progress_bars()
    values = {name: influence(model) for name, model in MODELS.items()}
    print(json.dumps({"dowhy": version("dowhy"), "shares": values}, indent=1))
