"""The engine `sobol`, against closed forms and SALib."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import causal_networks
from helpers.ace import population_of
from helpers.causal_jobs import effects, job_of
from helpers.causal_problems import TABLE, contributions, multilinear
from helpers.cli import invoke, run
from SALib.analyze import sobol as salib_analyze
from SALib.sample import sobol as salib_sample
from SALib.util import scale_samples
from scipy import stats

from xattr_cli.engines.sensitivity.data import gather_columns, independent_inputs, input_groups
from xattr_cli.engines.sensitivity.sobol import SobolIndices
from xattr_cli.numerics.sensitivity.marginals import (
    IndependentInputs,
    NormalMarginal,
    RowsMarginal,
    UniformMarginal,
)
from xattr_cli.numerics.sensitivity.polynomial_chaos import Chaos

ISHIGAMI = TABLE["Ishigami"]
RANGE = {"uniform": [-math.pi, math.pi]}


def study(folder, network, x, *, features="abcdefgh", dataset=None, **options):
    run(
        job_of(folder, network, x, engine="sobol", features=features, dataset=dataset, options=options),
        "--overwrite",
    )
    return effects(folder, "sobol")


def uniform_data(rows=50, columns=3, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (rows, columns)).astype(np.float32)


def salib_ishigami(count, seed):
    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1]] * 3}
    points = salib_sample.sample(problem, count, seed=seed)
    outputs = ISHIGAMI.function(torch.from_numpy(points)).numpy()
    return salib_analyze.analyze(problem, outputs, num_resamples=10, seed=seed), len(outputs)


# --- Ishigami -----------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["polynomial", "none"])
def test_ishigami_as_salib_and_as_it_is(tmp_path, control):
    found = study(
        tmp_path,
        "ishigami",
        uniform_data(),
        marginals=RANGE,
        samples=8192,
        max_evaluations=65_536,
        control=control,
    )
    theirs, evaluations = salib_ishigami(8192, seed=1)
    assert found["evaluations"] == evaluations == 65_536
    for ours, name in (("first_order", "S1"), ("total", "ST")):
        np.testing.assert_allclose(found[ours][:, 0], theirs[name], atol=0.005)
        np.testing.assert_allclose(found[ours][:, 0], ISHIGAMI.exact[ours], atol=0.004)
    np.testing.assert_allclose(found["shapley"][:, 0], ISHIGAMI.exact["shapley"], atol=0.004)
    first = np.array(ISHIGAMI.exact["first_order"])
    interaction = found["second_order"][..., 0] - first - first[:, None]
    np.testing.assert_allclose(interaction[[0, 0, 1], [1, 2, 2]], (0, 0.243684, 0), atol=0.008)
    np.testing.assert_allclose(interaction[[0, 0, 1], [1, 2, 2]], theirs["S2"][[0, 0, 1], [1, 2, 2]], atol=0.03)
    np.testing.assert_allclose(found["variance"], 13.844588, rtol=0.01)


def test_the_error_is_smaller_than_salibs_at_the_same_cost():
    chaos = Chaos.largest(("legendre",) * 3)
    ours, theirs = [], []
    for seed in range(20):
        found = contributions(ISHIGAMI.function, ISHIGAMI.parents, draws=128, seed=seed, surrogate=chaos)
        other, evaluations = salib_ishigami(1024, seed)
        assert found.evaluations == evaluations == 8192
        for estimate, name in (("first_order", "S1"), ("total", "ST")):
            ours.append(found.shares[estimate].value[:, 0].numpy() - ISHIGAMI.exact[estimate])
            theirs.append(other[name] - ISHIGAMI.exact[estimate])
    assert np.square(ours).mean() ** 0.5 < 0.2 * np.square(theirs).mean() ** 0.5


def test_more_inputs_by_walks_agree_with_salib():
    problem = multilinear(8, seed=6, terms=12)
    found = contributions(problem.function, problem.parents, exact=False, draws=2**12, second_order=True)
    sample = {"num_vars": 8, "names": list("abcdefgh"), "bounds": [[0, 1]] * 8}
    points = salib_sample.sample(sample, 2**12, seed=0).clip(1e-9, 1 - 1e-9)
    theirs = salib_analyze.analyze(
        sample, problem.function(torch.from_numpy(points)).numpy(), num_resamples=10, seed=0
    )
    for estimate, name in (("first_order", "S1"), ("total", "ST")):
        values = found.shares[estimate].value[:, 0].numpy()
        np.testing.assert_allclose(values, theirs[name], atol=0.1)
        np.testing.assert_allclose(values, problem.exact[estimate], atol=0.02)
    np.testing.assert_allclose(
        found.shares["second_order"].value[..., 0], problem.exact["second_order"], atol=0.03
    )


# --- marginals ----------------------------------------------------------------------------------


def test_marginals_from_the_data_are_its_values(tmp_path):
    x = np.random.default_rng(1).integers(0, 3, (60, 2)).astype(np.float32)
    found = study(tmp_path, "product", x)
    a, b = x.astype(np.float64).T
    variance = np.mean(a**2) * np.mean(b**2) - (a.mean() * b.mean()) ** 2
    first = np.array([a.var() * b.mean() ** 2, b.var() * a.mean() ** 2]) / variance
    np.testing.assert_allclose(found["first_order"][:, 0], first, atol=0.002)
    np.testing.assert_allclose(found["total"][:, 0], 1 - first[::-1], atol=0.002)
    np.testing.assert_allclose(found["variance"], variance, rtol=0.01)
    assert found["estimator"] == ("exact",) and "topological" not in found and "causal" not in found


@pytest.mark.parametrize(
    ("options", "variances"),
    [
        ({"marginals": {"uniform": [0, 6]}}, (3, 3, 12)),
        ({"marginals": {"normal": [5, 2]}}, (4, 4, 16)),
        ({"marginals": {"values": [0, 0, 0, 4]}}, (3, 3, 12)),
        ({"marginals": {"normal": [0, 1]}, "given": {"b": {"normal": [0, 8**0.5]}, "c": {"normal": [9, 6**0.5]}}},
         (1, 8, 24)),
    ],
)  # fmt: skip
def test_given_marginals(tmp_path, options, variances):
    found = study(tmp_path, "weighted_sum", uniform_data(), **options)
    np.testing.assert_allclose(found["first_order"][:, 0], np.array(variances) / sum(variances), atol=0.002)
    np.testing.assert_allclose(found["variance"], sum(variances), rtol=0.01)


def test_marginals_named_after_the_data(tmp_path):
    x = np.random.default_rng(3).normal(size=(500, 3)).astype(np.float32) * (1, 2, 3)
    for kind, variances in (
        ("uniform", np.ptp(x, axis=0) ** 2 / 12 * (1, 1, 4)),
        ("normal", x.var(axis=0, ddof=1) * (1, 1, 4)),
    ):
        found = study(tmp_path, "weighted_sum", x.astype(np.float32), marginals=kind)
        np.testing.assert_allclose(found["total"][:, 0], variances / variances.sum(), atol=0.003)


SALIB = {
    "uniform": ("unif", [-1, 2], [-1, 2]),
    "normal": ("norm", [1, 0.5], [1, 0.5]),
    "lognormal": ("lognorm", [0.2, 0.4], [0.2, 0.4]),
    "loguniform": ("logunif", [0.5, 4], [0.5, 4]),
    "triangular": ("triang", [0, 3, 1 / 3], [0, 1, 3]),
    "truncated_normal": ("truncnorm", [-1, 1.5, 0.5, 2], [0.5, 2, -1, 1.5]),
}
"""Kind → the name that SALib has for it, its bounds there, and the numbers here."""


@pytest.mark.parametrize("kind", SALIB)
def test_a_distribution_is_that_of_salib(kind):
    name, bounds, numbers = SALIB[kind]
    problem = {"num_vars": 1, "names": ["a"], "bounds": [bounds], "dists": [name]}
    uniform = np.linspace(0.001, 0.999, 99)
    theirs = scale_samples(uniform[:, None], problem)
    options = SobolIndices(marginals={kind: numbers}, estimator="walk")
    inputs = independent_inputs(options, input_groups(options, ["a"]), ["a"], np.zeros((0, 1)))
    np.testing.assert_allclose(
        inputs.rows(torch.from_numpy(uniform)[:, None]).numpy(), theirs, rtol=1e-9, atol=1e-9
    )


def test_an_exponential_distribution_has_its_quantiles():
    options = SobolIndices(marginals={"exponential": [2.5]})
    inputs = independent_inputs(options, input_groups(options, ["a"]), ["a"], np.zeros((0, 1)))
    uniform = torch.tensor([[0.1], [0.5], [0.99]], dtype=torch.float64)
    np.testing.assert_allclose(inputs.rows(uniform)[:, 0], stats.expon(scale=2.5).ppf(uniform[:, 0]), rtol=1e-12)


@pytest.mark.parametrize("estimator", ["exact", "walk"])
def test_groups_of_given_distributions_as_salib_and_as_they_are(tmp_path, estimator):
    """f = a·b·c·d, a and b lognormal in one group, c triangular, d loguniform."""
    given = {"a": "lognormal", "b": "lognormal", "c": "triangular", "d": "loguniform"}
    names = list(given)
    found = study(
        tmp_path,
        "product",
        uniform_data(columns=4),
        given={name: {kind: SALIB[kind][2]} for name, kind in given.items()},
        groups={"both": ["a", "b"]},
        estimator=estimator,
        samples=2**15,
        max_evaluations=2**22,
        rtol=0.01,
    )
    problem = {
        "num_vars": 4,
        "names": names,
        "groups": ["both", "both", "c", "d"],
        "bounds": [SALIB[kind][1] for kind in given.values()],
        "dists": [SALIB[kind][0] for kind in given.values()],
    }
    points = salib_sample.sample(problem, 2**14, seed=0)
    theirs = salib_analyze.analyze(problem, points.prod(axis=1), num_resamples=10, seed=0)
    log = stats.lognorm(s=0.4, scale=np.exp(0.2))
    both = (log.mean() ** 2, log.moment(2) ** 2)
    triangle, spread = stats.triang(c=1 / 3, scale=3), stats.loguniform(0.5, 4)
    means = np.array([both[0], triangle.mean(), spread.mean()])
    squares = np.array([both[1], triangle.moment(2), spread.moment(2)])
    variance = squares.prod() - means.prod() ** 2
    first = (squares / means**2 - 1) * means.prod() ** 2 / variance
    assert found["nodes"] == ("both", "c", "d") and found["node_of_feature"].tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(found["variance"], variance, rtol=0.02)
    np.testing.assert_allclose(found["first_order"][:, 0], first, atol=0.01)
    np.testing.assert_allclose(found["first_order"][:, 0], theirs["S1"], atol=0.03)
    np.testing.assert_allclose(found["total"][:, 0], theirs["ST"], atol=0.03)


def test_of_a_group_what_is_given_is_drawn_alone_and_the_rest_together_from_the_data(tmp_path):
    x = np.repeat(np.array([[0, 0, 0, 0], [1, 1, 1, 0]], float), 30, axis=0)  # a, b and c always agree
    options = SobolIndices(groups={"g": ["a", "b", "c"]}, given={"b": {"uniform": [5, 6]}, "d": {"values": [7]}})
    inputs = independent_inputs(options, input_groups(options, list("abcd")), list("abcd"), x)
    rows = inputs.rows(torch.rand(200, len(inputs.members), dtype=torch.float64)).numpy()
    assert inputs.noise_owner.tolist() == [0, 0, 1] and inputs.owner.tolist() == [0, 0, 0, 1]
    assert (rows[:, 0] == rows[:, 2]).all() and set(rows[:, 0]) == {0, 1}
    assert (rows[:, 1] > 5).all() and (rows[:, 3] == 7).all()
    by_group = SobolIndices(groups={"g": ["a", "b"]}, given={"g": "data"}, marginals={"normal": [0, 1]})
    inputs = independent_inputs(by_group, input_groups(by_group, list("abcd")), list("abcd"), x)
    assert [type(each).__name__ for each in inputs.marginals] == [
        "RowsMarginal",
        "NormalMarginal",
        "NormalMarginal",
    ]


def test_a_one_hot_block_is_one_input(tmp_path):
    random = np.random.default_rng(4)
    colour = np.eye(3)[random.choice(3, 300, p=[0.5, 0.3, 0.2])]
    x = np.concatenate([colour, random.normal(size=(300, 1))], axis=1).astype(np.float32)
    found = study(tmp_path, "colour_and_size", x, groups={"colour": ["a", "b", 2]}, features="abcd")
    assert found["nodes"] == ("colour", "d")
    assert found["node_of_feature"].tolist() == [0, 0, 0, 1]
    block = (3 * x[:, 0] + x[:, 1]).astype(np.float64).var()
    size = 4 * x[:, 3].astype(np.float64).var()
    np.testing.assert_allclose(found["first_order"][:, 0], np.array([block, size]) / (block + size), atol=0.002)
    assert found["importance"][0] == found["importance"][1] == found["importance"][2] != found["importance"][3]


def test_inputs_are_drawn_as_they_say():
    data = torch.tensor([[3.0, 1.0], [1.0, 2.0], [1.0, 1.0], [2.0, 5.0]], dtype=torch.float64)
    inputs = IndependentInputs(
        [[0, 2], [3], [1]], [RowsMarginal.of(data), UniformMarginal(2, 4), NormalMarginal(1, 3)]
    )
    rows = inputs.rows(torch.tensor([[0.0, 0.25, 0.5], [0.3, 0.5, 0.5], [0.99, 0.75, 0.5]], dtype=torch.float64))
    assert rows.tolist() == [[1, 1, 1, 2.5], [1, 1, 2, 3.0], [3, 1, 1, 3.5]]
    assert inputs.owner.tolist() == [0, 2, 0, 1]
    assert inputs.families == ("legendre", "legendre", "hermite")


def test_as_many_rows_are_read_as_fit_into_memory():
    x = torch.arange(3000.0).reshape(1000, 3)
    x[20] = torch.nan
    for memory, rows in ((2**30, 999), (8 * 8 * 3 * 100, 99)):
        population = population_of(causal_networks.plain_sum(), x, memory=memory)
        columns = gather_columns(population)
        assert columns.shape == (rows, 3) and columns.dtype == np.float64
        assert np.isfinite(columns).all()
    assert columns[:3, 0].tolist() == [0, 30, 90]
    assert (
        population.warnings[0].startswith("every 10th sample was read, 99 of 1000") or len(population.warnings) > 1
    )


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"marginals": {"uniform": [1, 1]}}, "uniform must be [low, high] with low < high"),
        ({"marginals": {"normal": [0, 0]}}, "normal must be [mean, deviation] with deviation > 0"),
        ({"marginals": {"uniform": [0, 1], "normal": [0, 1]}}, "must be one of {uniform: [low, high]}"),
        ({"marginals": {"values": []}}, "values needs finite numbers"),
        ({"marginals": "normall"}, "engines.sobol.marginals"),
        ({"given": {"x": "normal"}}, "given: no feature 'x'"),
        ({"groups": {"g": []}}, "groups.g: is empty"),
        ({"groups": {"g": ["a", "z"]}}, "groups.g: no feature 'z'"),
        ({"groups": {"g": ["a"], "h": ["a", "b"]}}, "'a' is in the group 'g' already"),
        (
            {"marginals": {"triangular": [0, 5, 3]}},
            "triangular must be [low, mode, high] with low <= mode <= high",
        ),
        ({"marginals": {"lognormal": [0]}}, "lognormal must be [mean of the logarithm, its deviation]"),
        ({"given": {"a": {"loguniform": [0, 3]}}}, "loguniform must be [low, high] with 0 < low < high"),
        ({"groups": {"g": ["a", "b"]}, "given": {"h": "normal"}}, "given: no feature 'h'"),
        ({"max_evaluations": 10}, "max_evaluations: 10 are fewer than the 64 of the first round"),
    ],
)
def test_what_a_job_may_not_say(tmp_path, options, message):
    job = job_of(tmp_path, "weighted_sum", uniform_data(), engine="sobol", options=options)
    outcome = invoke("run", job)
    assert outcome.exit_code == 2
    assert message in outcome.stderr and "engines.sobol" in outcome.stderr


def test_marginals_from_too_few_rows_are_refused(tmp_path):
    job = job_of(tmp_path, "weighted_sum", uniform_data(rows=1), engine="sobol")
    outcome = invoke("run", job)
    assert outcome.exit_code == 2
    assert "'a' is to be drawn from the data, which have 1 finite rows; 2 are needed" in outcome.stderr
    study(tmp_path, "weighted_sum", uniform_data(rows=1), marginals=RANGE)


def test_a_plan_tells_the_evaluations_of_the_first_round(tmp_path):
    job = job_of(tmp_path, "narrow", uniform_data(columns=8), engine="sobol", options={"samples": 1024})
    outcome = invoke("plan", job)
    assert outcome.exit_code == 0, outcome.stderr
    assert f"{1024 * (16 + 18):,}" in outcome.stdout
