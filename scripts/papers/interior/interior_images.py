"""Interior gradients of pictures: where scores, layers and gradients settle on the way from black to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib.axes import Axes

from scripts.benchmarks.benchlib import ROOT, Table
from scripts.benchmarks.photo_reference import BLACK, open_photos
from scripts.networks.both_sides import SIDES, leave_both_sides
from scripts.networks.googlenet_training import train_googlenet
from scripts.networks.image_networks import small_googlenet
from scripts.papers.interior.interior_paths import Paths, gradient_claim, paths_of, saturation_claim, sum_claim
from scripts.papers.paper_jobs import Claim, claim_table, trained_once
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.reports.drawing.style import PALETTE, chart, styled
from xattr_cli.reports.drawing.words import legend_name
from xattr_cli.reports.gallery import plot_all
from xattr_cli.reports.paths.saturation import half_way
from xattr_cli.store.results.reader import Results

__all__ = ["Network", "layer_claim", "layer_table", "tables"]

SCORES = ("probability", "logit")
LEAST_CHANGE = 0.1
AT = (0.1, 0.25, 0.5, 0.75)
PHOTO_LAYERS = ("_conv_stem", "_blocks.2", "_blocks.6", "_blocks.10", "_blocks.15", "_avg_pooling")
DIGIT_LAYERS = ("stem", "inception3a", "inception3b", "inception4a", "inception4b", "inception5", "mean")


@dataclass(frozen=True)
class Network:
    """What was seen of a network along its paths.

    Attributes:
        name: of the network, and what it explains.
        paths: score ("probability", "logit") -> curves of the rows.
        alpha: (alphas,) of `cosine`.
        cosine: layer -> (rows, alphas) of its activation with that at the input.
    """

    name: str
    paths: dict[str, Paths]
    alpha: np.ndarray
    cosine: dict[str, np.ndarray]


def tables(folder: Path, quick: bool) -> list[Table]:
    """Photographs through efficientnet-lite0, and digits through a GoogLeNet trained small."""
    networks = [photographs(folder / "photographs", quick), digits(folder / "digits", quick)]
    draw(networks, folder / "saturation.png")
    return [
        *(claim_table(network.name, claims_of(network)) for network in networks),
        *(layer_table(network) for network in networks),
    ]


def photographs(folder: Path, quick: bool) -> Network:
    """From black, in the units of the network."""
    count, rtol = (2, 0.5) if quick else (6, 0.1)
    network, images = open_photos(count)
    leave_both_sides(network, images, folder)
    engine = engine_of(PHOTO_LAYERS, rtol, 129, quick, {"kind": "constant", "value": BLACK})
    output = explained(folder, "photographs", engine, plots=not quick)
    return network_of(f"efficientnet-lite0, {count} photographs from black", output)


def digits(folder: Path, quick: bool) -> Network:
    """From black."""
    trained = trained_once(folder.parent, lambda: train_googlenet(made(folder), quick))
    network = small_googlenet()
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    with np.load(folder / "test.npz") as arrays:
        leave_both_sides(network.eval(), arrays["X"], folder)
    engine = engine_of(DIGIT_LAYERS, 0.05, 1024, quick, {"kind": "zero"})
    return network_of(f"GoogLeNet trained small, {trained}", explained(folder, "googlenet", engine, plots=True))


def explained(folder: Path, factory: str, engines: Mapping[str, object], *, plots: bool) -> Path:
    """One job for both sides of the softmax: each picture has a row for its logit and one for its probability."""
    job = {
        "model": {"kind": "python", "factory": f"scripts.networks.both_sides:{factory}", "checkpoint": "both.pt"},
        "dataset": {
            "kind": "arrays",
            "path": "both.npz",
            "inputs": ["pictures", "label"],
            "class_names": list(SIDES),
        },
        "explain": {"inputs": ["pictures"]},
        "target": "all",
        "score": "raw",
        "engines": engines,
        "compute": {"device": "cpu", "threads": 1},
        "output": {"path": "both.h5"},
    }
    run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True)
    if plots:
        with Results.open(folder / "both.h5") as results:
            plot_all(results, folder / "plots")
    return folder / "both.h5"


def engine_of(layers: Sequence[str], rtol: float, most: int, quick: bool, start: Mapping[str, object]) -> dict:
    """The section `engines` of a job."""
    options = {
        "baseline": dict(start), "rtol": rtol, "max_nodes": most,
        "layers": [f"network.{layer}" for layer in layers],
        "curve_intervals": 16 if quick else 32,
    }  # fmt: skip
    return {"interior_gradients": options}


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def network_of(name: str, path: Path) -> Network:
    """Read the rows of both sides; the layers are the same for either."""
    with Results.open(path) as results:
        engine, target = results.engine("interior_gradients"), results.rows.target
        rows = {side: np.flatnonzero(target == SIDES.index(side)) for side in SCORES}
        paths = {side: paths_of(engine, LEAST_CHANGE, own) for side, own in rows.items()}
        cosine = engine.curve("saturation", rows["logit"])
        layers = [layer.removeprefix("network.") for layer in engine.layers]
        return Network(name, paths, engine.alpha, {layer: cosine[:, place] for place, layer in enumerate(layers)})


def claims_of(network: Network) -> list[Claim]:
    """Sections 2.1 to 2.3 of arXiv 1611.02639 for both scores, and for the layers."""
    probability, logit = (network.paths[score] for score in SCORES)
    gradients = [
        replace(claim, text=f"{claim.text} (of the {score})")
        for score, claim in ((score, gradient_claim(network.paths[score])) for score in SCORES)
    ]
    saturation = [
        replace(saturation_claim(probability, "probability"), brief=_brief(network)),
        saturation_claim(logit, "logit before the softmax"),
    ]
    return [*saturation, layer_claim(network), *gradients, sum_claim(probability)]


def _brief(network: Network) -> str:
    halves = {
        side: float(np.nanmedian(half_way(paths.alpha, paths.score))) for side, paths in network.paths.items()
    }
    return (
        f"{network.name.partition(',')[0]}: half of the change is made by α = {halves['probability']:.2f} after "
        f"the softmax and by {halves['logit']:.2f} before it."
    )


def layer_claim(network: Network) -> Claim:
    """Intermediate layers settle, too."""
    half_way = {layer: at(network.alpha, values, 0.5) for layer, values in network.cosine.items()}
    settled = [layer for layer, value in half_way.items() if value >= 0.9]
    worst = min(half_way, key=lambda layer: half_way[layer])
    found = (
        f"half way the activations of {len(settled)} of {len(half_way)} layers have a cosine of 0.9 or more with "
        f"those at the input (median over rows); the least settled is {worst}, with {half_way[worst]:.2f}"
    )
    whole = len(settled) == len(half_way)
    return Claim("Layers inside saturate as well, not only the softmax", found,
                 "yes" if whole else "in part" if settled else "no")  # fmt: skip


def at(alpha: np.ndarray, values: np.ndarray, where: float) -> float:
    """Median over rows of curves (rows, alphas) at one α."""
    return float(np.interp(where, alpha, np.median(values, axis=0)))


def layer_table(network: Network) -> Table:
    """Layer by layer."""
    rows = [
        (layer, *(at(network.alpha, values, where) for where in AT)) for layer, values in network.cosine.items()
    ]
    columns = {"layer": "", **{f"α = {where:g}": ".3f" for where in AT}}
    note = "Cosine of a layer's activation at α with that at the input, median over the rows."
    return Table(f"Layers on the way: {network.name}", columns, rows, note)


@styled
def draw(networks: Sequence[Network], path: Path) -> None:
    """Scores, gradients and layers over α, a row per network."""
    figure = chart(11.5, 0.4 + 2.7 * len(networks))
    for line, network in zip(figure.subplots(len(networks), 4, squeeze=False), networks, strict=True):
        for axes, score in zip(line, SCORES, strict=False):
            paths = network.paths[score]
            draw_rows(axes, paths.alpha, paths.score)
            axes.set_title(f"{score} of the predicted class", loc="left")
        for score, colour in zip(SCORES, PALETTE, strict=False):
            paths = network.paths[score]
            shares = paths.norm / paths.norm.max(axis=1, keepdims=True)
            line[2].plot(paths.alpha, np.median(shares, axis=0), color=colour, label=score)
        line[2].set_title("gradient's length, share of its greatest", loc="left")
        line[2].legend()
        for place, (layer, values) in enumerate(network.cosine.items()):
            style = {"color": PALETTE[place % len(PALETTE)], "linestyle": "--" if place >= len(PALETTE) else "-"}
            line[3].plot(network.alpha, np.median(values, axis=0), label=legend_name(layer), **style)
        line[3].set_title("layers: cosine with the input", loc="left")
        line[3].legend(fontsize=7)
        line[0].set_ylabel(network.name.partition(",")[0])
        for axes in line:
            axes.set(xlim=(0, 1), xlabel="α: from the baseline (0) to the input (1)")
    figure.savefig(path, dpi=110)


def draw_rows(axes: Axes, alpha: np.ndarray, values: np.ndarray, most: int = 40) -> None:
    axes.plot(alpha, values[:most].T, color=PALETTE[0], linewidth=0.6, alpha=0.35)
    axes.plot(alpha, np.median(values, axis=0), color=PALETTE[1], label="median")
    axes.legend()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for one in tables(ROOT / "runs" / "reproduce-interior" / "images", quick=True):
        print(one.markdown())
