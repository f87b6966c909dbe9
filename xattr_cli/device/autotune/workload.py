"""How many gradients a job will take, judged by how those of its first rows bend along their paths."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["NODES", "Workload", "bend_of"]

NODES = 8
"""Of the midpoint rule that looks at the first rows."""

SIGNS = (1, -1, -1, 1, 1, -1, -1, 1)
FEWEST, MOST = 6, 100
PER_BEND = 5
"""Gradients that the adaptive rule takes for a bend as large as rtol.

Measured at rtol 5 %: bends of 0.06 and 0.07 (a digits CNN, an MLP on a table) go with 7 and 6 gradients a row,
0.56 (an ImageNet network from a black picture) with 55.
"""


@dataclass(frozen=True)
class Workload:
    """What a job asks of its network.

    Attributes:
        rows: of the job.
        known: gradients per row whose number is certain.
        rtol: of the adaptive integrals; None if there are none.
    """

    rows: int
    known: float
    rtol: float | None

    def gradients(self, bend: float) -> float:
        """Of the whole job, roughly.

        Arguments:
            bend: see `bend_of`.
        """
        adaptive = 0.0 if self.rtol is None else min(max(PER_BEND * bend / self.rtol, FEWEST), MOST)
        return self.rows * (self.known + adaptive)

    @property
    def most(self) -> float:
        """Gradients of the whole job if the paths bend as much as they may."""
        return self.gradients(float("inf"))


def bend_of(gradients: Tensor) -> float:
    """How much the mean of gradients along a path depends on which of its nodes it is taken over.

    The inner two of each half of the nodes against the outer two: nothing for what changes in proportion to the
    position on the path.

    Arguments:
        gradients: (NODES, n, D) at the nodes of a midpoint rule, times what they are multiplied with.

    Returns:
        Relative to the map; the mean over rows. Rows without a map count as straight.
    """
    signs = gradients.new_tensor(SIGNS)
    apart = (signs[:, None, None] * gradients).sum(dim=0).norm(dim=1)
    size = gradients.sum(dim=0).norm(dim=1)
    return float((apart / size).nan_to_num(0, 0, 0).mean())
