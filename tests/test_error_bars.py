"""Reported errors cover the true ones, on trained networks with and without kinks."""

from functools import cache, partial

import pytest
from helpers import references
from helpers.blocks import KINKED, NETWORKS, digits, explain, trained
from helpers.references import rows_of

from xattr_cli.device import kinked_operations
from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients


def true_error(found, truth):
    """Relative L2 error of each row's map."""
    return ((found - truth).norm(dim=1) / truth.norm(dim=1)).double()


@cache
def reference(name, score):
    """2048 intervals for every row; where no kink is in the way, 256 nodes of Gauss agree with them to 1e-6."""
    if name in KINKED:
        return references.committed()[name]
    network, images, targets = rows_of(name)
    engine = IntegratedGradients(rule="gauss_legendre", nodes=256)
    return explain(engine, network, images, target=targets, score=score, rows=512).attribution


@pytest.mark.parametrize("name", sorted(KINKED))
def test_committed_maps_are_those_of_the_committed_networks(name):
    some = slice(0, 200, 67)
    assert true_error(references.integrated_gradients(name, some), references.committed()[name][some]).max() < 1e-5


@pytest.mark.parametrize("name", references.EXPECTED)
def test_committed_means_are_those_of_the_committed_networks(name):
    some = slice(0, 60, 31)
    means = references.committed()[f"expected {name}"]
    assert true_error(references.expected_gradients(name, some), means[some]).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("relu_cnn_maxpool", "logit"),
        ("gelu_mlp", "logit"),
        ("gelu_mlp", "probability"),
        ("relu_mlp", "logit"),
        ("gru", "logit"),
    ],
)
def test_nested_rule(name, score):
    """Of seven networks of each kind by other seeds, from 96.5 % of the rows on are covered, at 1.25 times.

    The promise is kept by 97 % of the rows of the committed networks or more, and by 95.5 % or more of the
    others, but for one CNN (92.5 % at 0.02). The median factor is at most 1.97 with kinks and 3.6 without.
    """
    network, images, targets = rows_of(name)
    truth = reference(name, score)
    for rtol in (0.05, 0.02):
        engine = IntegratedGradients(rtol=rtol)
        found = explain(engine, network, images, target=targets, score=score, rows=512)
        error, reported = true_error(found.attribution, truth), found.relative_error
        assert (error <= 1.25 * reported).double().mean() >= 0.95
        assert (reported / error).median() <= (2.5 if name in KINKED else 6)
        # and the promise itself: almost every row that says converged is as accurate as asked
        assert (error[found.status == 0] <= rtol).double().mean() >= 0.95


def test_kinks_are_recognised():
    images = digits()[2][:4]
    for name in NETWORKS:
        assert bool(kinked_operations(partial(trained(name), images))) == (name in KINKED)


@pytest.mark.parametrize("rule", ["midpoint", "gauss_legendre", "riemann_right"])
@pytest.mark.parametrize("name", ["relu_cnn_maxpool", "gelu_mlp"])
def test_fixed_rules_report_honestly_too(name, rule):
    network, images, targets = rows_of(name)
    truth = reference(name, "logit")
    for nodes in (11, 24, 25):
        engine = IntegratedGradients(rule=rule, nodes=nodes)
        found = explain(engine, network, images, target=targets, rows=512)
        error = true_error(found.attribution, truth)
        assert (error <= 1.25 * found.relative_error).double().mean() >= 0.95


@pytest.mark.parametrize("name", references.EXPECTED)
def test_expected_gradients(name):
    """Against the mean over all of the background of accurate path integrals."""
    truth = references.committed()[f"expected {name}"]
    network, images, targets = rows_of(name, slice(0, len(truth)))
    background = digits()[0][: references.BACKGROUND]
    engine = ExpectedGradients(rtol=0.1, replicate_size=16)
    found = explain(engine, network, images, target=targets, background=background, rows=512)
    error, reported = true_error(found.attribution, truth), found.relative_error
    assert (found.status == 0).all()
    assert (error <= 1.25 * reported).double().mean() >= 0.95
    assert (reported / error).median() <= 2.5


@cache
def maps_of_many_replicates():
    network, images, targets = rows_of("gelu_mlp", slice(0, 64))
    many = ExpectedGradients(rtol=0.999, replicate_size=8, replicates=1024, max_draws=2**13)
    background = digits()[0][:8]
    return explain(many, network, images, target=targets, background=background, rows=512, seed=1).attribution


@pytest.mark.parametrize("replicates", [4, 32])
def test_standard_error_of_expected_gradients_covers_the_error_of_each_feature(replicates):
    network, images, targets = rows_of("gelu_mlp", slice(0, 64))
    few = ExpectedGradients(rtol=0.999, replicate_size=8, replicates=replicates, max_draws=8 * replicates)
    background = digits()[0][:8]
    found = explain(few, network, images, target=targets, background=background, rows=512, seed=2)
    standard_error = found.maps["standard_error"]
    z = ((found.attribution - maps_of_many_replicates()) / standard_error)[standard_error > 0]
    assert 0.925 < (z.abs() < 1.96).double().mean() < 0.975
