"""The built-in kinds of figures, in the order in which they are drawn; importing this module registers them."""

from __future__ import annotations

from collections.abc import Callable

from ..registry import FIGURES
from .diagnostics import Diagnostics
from .drawing.figure import FigureKind
from .effects.ace import CausalEffects
from .effects.causal_graph import CausalGraph
from .effects.contributions import Contributions
from .effects.flow import FlowDiagnostics
from .features import Features
from .interactions.figures import Interactions
from .paths.animation import InteriorAnimation
from .paths.saturation import Saturation
from .rows.lines import Lines
from .rows.molecules import Molecules
from .rows.outputs import OutputPages
from .rows.overlays import Overlays
from .rows.samples import SamplePages
from .rows.tokens import TokenPages
from .values import Values

__all__ = ["BUILT_IN", "figure_kinds"]

BUILT_IN: tuple[type[FigureKind], ...] = (
    SamplePages,
    Lines,
    Overlays,
    TokenPages,
    OutputPages,
    Molecules,
    Features,
    Saturation,
    InteriorAnimation,
    Interactions,
    CausalEffects,
    Contributions,
    CausalGraph,
    FlowDiagnostics,
    Values,
    Diagnostics,
)


def figure_kinds(tell: Callable[[str], None]) -> dict[str, FigureKind]:
    """Every kind by name: the built-in ones in their order, then those of other packages by name.

    Arguments:
        tell: hears about each that cannot be loaded.
    """
    usable = FIGURES.usable(tell)
    order = [kind.registered_name for kind in BUILT_IN]
    return {name: usable[name]() for name in [*order, *(name for name in usable if name not in order)]}
