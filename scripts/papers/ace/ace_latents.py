"""Latents of a conditional β-VAE of digits: what setting one of them does to the pixels of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr

from scripts.benchmarks.benchlib import Table
from scripts.networks.ace_training import train_vae
from scripts.papers.ace.ace_job import SEEDS, run_effects
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.store.results.reader import Results

__all__ = ["Latents", "agreement", "tables"]

DIGITS = tuple(range(10))
USED, IDLE = 0.1, 0.02  # nats that a latent in use tells of an image at least, and an idle one at most
BETA = 4.0
SIDE = 28


@dataclass(frozen=True)
class Latents:
    """The effects of one decoder.

    Attributes:
        told: (latents,) nats that each tells of an image.
        ace: (digits, latents, alphas, pixels).
        alpha: (alphas,).
    """

    told: np.ndarray
    ace: np.ndarray
    alpha: np.ndarray

    @property
    def strength(self) -> np.ndarray:
        """(digits, latents) mean |ACE| over α and pixels."""
        return np.asarray(np.abs(self.ace).mean(axis=(2, 3)))

    @property
    def slope(self) -> np.ndarray:
        """(digits, latents, pixels) effect at the highest α minus that at the lowest."""
        return np.asarray(self.ace[:, :, -1] - self.ace[:, :, 0])


def tables(folder: Path, quick: bool) -> list[Table]:
    """Decoders of several seeds, ten digits each."""
    found = [_latents(folder / str(seed), seed, quick) for seed in range(1 if quick else SEEDS)]
    draw(folder / "latents.png", found[0])
    pixels = SIDE**2
    title = f"Latents of a conditional β-VAE (β = {BETA:g}) of digits, {len(DIGITS)} classes × {pixels} pixels"
    return [claim_table(title, _claims(found)), _latent_table(found[0]), _digit_table(found)]


def _latents(folder: Path, seed: int, quick: bool) -> Latents:
    folder.mkdir(parents=True, exist_ok=True)
    told = train_vae(folder, seed, epochs=2 if quick else 60, beta=BETA)
    engines = {"ace": {"alphas": 13, "range": [-3.0, 3.0], "attributions": False, "estimator": "empirical",
                       "samples": 200, "order": 4}}  # fmt: skip
    effects = []
    for digit in DIGITS[: 2 if quick else None]:
        data = {"kind": "arrays", "path": "latents.npz"}
        output = run_effects(folder, data, "pixels", engines, kwargs={"digit": digit}, name=f"digit-{digit}",
                             plots=False, score="raw", target="all")  # fmt: skip
        with Results.open(output) as results:
            effects.append(results.effects["ace"].values("ace"))
            alpha = results.effects["ace"].values("alpha")[0]
    return Latents(told, np.stack(effects), alpha)


def agreement(slope: np.ndarray) -> np.ndarray:
    """(latents,) mean cosine between the effects (digits, latents, pixels) of a latent on two digits."""
    unit = slope / np.maximum(np.linalg.norm(slope, axis=2, keepdims=True), 1e-12)
    cosines = np.einsum("alp,blp->lab", unit, unit)
    first, second = np.triu_indices(len(slope), 1)
    return np.asarray(cosines[:, first, second].mean(axis=1))


def _moments(slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(digits, latents) ink that is added, and how much of it slants: its sum along x · y from the middle."""
    at = np.linspace(-1, 1, SIDE)
    pictures = slope.reshape(*slope.shape[:2], SIDE, SIDE)
    return pictures.sum(axis=(2, 3)), (pictures * at[:, None] * at[None]).sum(axis=(2, 3))


def _claims(found: Sequence[Latents]) -> list[Claim]:
    used, unused = ([one.told >= USED for one in found], [one.told <= IDLE for one in found])
    idle = [float(x) for one, there in zip(found, unused, strict=True) for x in one.strength.mean(axis=0)[there]]
    busy = [float(x) for one, there in zip(found, used, strict=True) for x in one.strength.mean(axis=0)[there]]
    told = [float(spearmanr(one.told, one.strength.mean(axis=0)).statistic) for one in found]
    alike = [float(agreement(one.slope)[there].mean()) for one, there in zip(found, used, strict=True)]
    slanted = [
        _share_of_one_sign(_moments(one.slope)[1][:, there]) for one, there in zip(found, used, strict=True)
    ]
    inked = [_share_of_one_sign(_moments(one.slope)[0][:, there]) for one, there in zip(found, used, strict=True)]
    counts = ", ".join(str(int(there.sum())) for there in used)
    apart = bool(idle) and max(idle) < 0.2 * min(busy)
    return [
        Claim(
            "Latents that the decoder does not use have no effect, those that it uses have one",
            f"in use ({USED} nats or more) are {counts} of {len(used[0])} latents; mean |ACE| of a pixel over all "
            f"digits: in use {min(busy):.4f} to {max(busy):.4f}, idle (at most {IDLE} nats) "
            f"{max(idle, default=np.nan):.4f} at most; rank correlation with what a latent tells {mean_of(told)}",
            "yes" if apart else "in part" if np.mean(told) > 0.7 else "no",
            f"Latents of digits, all ten classes: mean |ACE| is {np.mean(busy):.3f} of those in use, "
            f"{np.mean(idle):.4f} of idle "
            f"ones; a latent slants the same way on {np.mean(slanted):.0%} of the digits.",
        ),
        Claim(
            "A latent does the same to digits of all classes, such as slanting or thickening them",
            "of two digits, the pictures of what a latent in use does have a cosine of "
            f"{mean_of(alike)}; it slants the same way on {mean_of(slanted)} of the digits, and adds ink "
            f"(or takes it) on {mean_of(inked)} of them (chance: about .62)",
            "yes"
            if np.mean(alike) > 0.5 and np.mean(slanted) > 0.8
            else "in part"
            if np.mean(slanted) > 0.7
            else "no",
        ),
    ]  # fmt: skip


def _share_of_one_sign(values: np.ndarray) -> float:
    """Of the digits (digits, latents) that have the sign of most, mean over the latents."""
    positive = (values > 0).mean(axis=0)
    return float(np.maximum(positive, 1 - positive).mean())


def _latent_table(one: Latents) -> Table:
    ink, slant = _moments(one.slope)
    rows = [
        [int(i), float(one.told[i]), float(one.strength[:, i].mean()), float(np.ptp(one.ace[:, i], axis=1).max()),
         float(ink[:, i].mean()), float(slant[:, i].mean()), float(agreement(one.slope)[i])]
        for i in np.argsort(-one.strength.mean(axis=0))
    ]  # fmt: skip
    columns = {
        "latent": "", "nats that it tells": ".2f", "mean |ACE|": ".4f", "largest range of one pixel": ".3f",
        "ink added": "+.1f", "slant added": "+.2f", "cosine between digits": "+.2f",
    }  # fmt: skip
    note = "One decoder, mean over the digits; added: with the latent at 3 instead of −3, in pixels of ink."
    return Table("Latents of digits, one by one", columns, rows, note)


def _digit_table(found: Sequence[Latents]) -> Table:
    rows = []
    for digit in range(len(found[0].ace)):
        strengths = [float(one.strength[digit].sum()) for one in found]
        leading = [float(one.strength[digit].max() / one.strength[digit].sum()) for one in found]
        rows.append([digit, mean_of(strengths, ".3f"), mean_of(leading)])
    columns = {"digit": "", "mean |ACE|, all latents": "", "share of the strongest latent": ""}
    return Table("Latents of digits, class by class", columns, rows, "Mean ± standard deviation over decoders.")


def draw(path: Path, one: Latents) -> None:
    """Digit by digit, what the strongest latents do to it."""
    shown = np.argsort(-one.strength.mean(axis=0))[:5]
    limit = float(np.abs(one.slope[:, shown]).max())
    across = len(one.ace)
    figure, axes = plt.subplots(
        len(shown), across, figsize=(0.9 * across + 1, 5.2), squeeze=False, layout="constrained"
    )
    for line, latent in zip(axes, shown, strict=True):
        for digit, axis in enumerate(line):
            picture = axis.imshow(
                one.slope[digit, latent].reshape(SIDE, SIDE), cmap="RdBu_r", vmin=-limit, vmax=limit
            )
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"latent {latent}", fontsize=9)
    for digit, axis in enumerate(axes[0]):
        axis.set_title(str(digit), fontsize=9)
    figure.colorbar(picture, ax=axes, shrink=0.6, label="effect of 3 instead of −3 on the pixel")
    figure.savefig(path, dpi=110)
    plt.close(figure)
