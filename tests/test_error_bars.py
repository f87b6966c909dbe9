"""Reported errors cover the true ones, on trained networks with and without kinks."""

from functools import cache, partial

import pytest
import torch
from helpers.blocks import KINKED, NETWORKS, digits, explain, trained

from xattr_cli.device import kinked_operations
from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

ROWS = 200


def true_error(found, truth):
    """Relative L2 error of each row's map."""
    return ((found - truth).norm(dim=1) / truth.norm(dim=1)).double()


def rows_of(name):
    images, targets = digits()[2][:ROWS], trained(name)(digits()[2][:ROWS]).argmax(1)
    return trained(name), images, targets


@cache
def reference(name, score):
    """2048 intervals for every row; where no kink is in the way, 256 nodes of Gauss agree with them to 1e-6."""
    network, images, targets = rows_of(name)
    smooth = IntegratedGradients(rule="gauss_legendre", nodes=256)
    engine = IntegratedGradients(rtol=1e-9, max_nodes=2049) if name in KINKED else smooth
    return explain(engine, network, images, target=targets, score=score, rows=512).attribution


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


@pytest.mark.parametrize("name", ["relu_cnn_maxpool", "gelu_mlp"])
def test_expected_gradients(name):
    """Against the mean over all of the background of accurate path integrals."""
    network, images, targets = rows_of(name)
    images, targets = images[:60], targets[:60]
    background = digits()[0][:16]
    truth = torch.stack(
        [
            explain(
                IntegratedGradients(rtol=0.002, max_nodes=257),
                network,
                images,
                target=targets,
                baseline=one.expand_as(images),
                rows=512,
            ).attribution
            for one in background
        ]
    ).mean(0)
    engine = ExpectedGradients(rtol=0.1, replicate_size=16)
    found = explain(engine, network, images, target=targets, background=background, rows=512)
    error, reported = true_error(found.attribution, truth), found.relative_error
    assert (found.status == 0).all()
    assert (error <= 1.25 * reported).double().mean() >= 0.95
    assert (reported / error).median() <= 2.5


@pytest.mark.parametrize("replicates", [4, 32])
def test_standard_error_of_expected_gradients_covers_the_error_of_each_feature(replicates):
    network, images, targets = rows_of("gelu_mlp")
    images, targets, background = images[:64], targets[:64], digits()[0][:8]
    many = ExpectedGradients(rtol=0.999, replicate_size=8, replicates=1024, max_draws=2**13)
    few = ExpectedGradients(rtol=0.999, replicate_size=8, replicates=replicates, max_draws=8 * replicates)
    truth = explain(many, network, images, target=targets, background=background, rows=512, seed=1)
    found = explain(few, network, images, target=targets, background=background, rows=512, seed=2)
    standard_error = found.maps["standard_error"]
    z = ((found.attribution - truth.attribution) / standard_error)[standard_error > 0]
    assert 0.925 < (z.abs() < 1.96).double().mean() < 0.975
