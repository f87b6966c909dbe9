"""Expected Hessians: closed forms, their standard errors, and integrated Hessians averaged over the background."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from helpers.blocks import block_of, explain
from helpers.interactions import Formula, random_quadratic, relative_distance
from torch import nn

from xattr_cli.engines.interactions.expected_hessians import ExpectedHessians
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.errors import JobError
from xattr_cli.models.zoo import mlp
from xattr_cli.numerics.interactions.expectation import sampled_positions

BACKGROUND = 24


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_mlp(inputs: int = 5, activation: str = "gelu") -> nn.Sequential:
    torch.manual_seed(0)
    return mlp(inputs, [16, 16], 1, activation).double()


def averaged(module, x, background, **options):
    """Integrated Hessians from every sample of the background, and their mean."""
    engine = IntegratedHessians(rtol=1e-9, **options)
    every = [explain(engine, module, x, baseline=one.expand_as(x)) for one in background]
    return torch.stack([found.curves["interaction"] for found in every]).mean(dim=0)


def test_positions_have_the_density_that_the_weights_assume():
    strata = (torch.arange(20_000, dtype=torch.float64).numpy() + 0.5) / 20_000
    t = sampled_positions(strata)
    assert ((t > 0) & (t <= 1)).all() and (t[1:] > t[:-1]).all()
    density = (1 - torch.from_numpy(t).log()) / 2
    for power in range(4):
        powers = torch.from_numpy(t**power)
        assert (powers / density).mean() == pytest.approx(1 / (power + 1), rel=1e-3)
        mean = (powers * -torch.from_numpy(t).log() / density).mean()
        assert mean == pytest.approx(1 / (power + 1) ** 2, rel=1e-3)


def test_the_mean_over_baselines_of_a_quadratic_lies_within_its_error_bars():
    module, x, background = random_quadratic(4), doubles(12, 4), doubles(BACKGROUND, 4, seed=1)
    truth = torch.stack([module.interactions(x, one.expand_as(x)) for one in background]).mean(dim=0)
    engine = ExpectedHessians(rtol=0.05, max_draws=8192, replicate_size=24)
    found = explain(engine, module, x, background=background)
    assert (found.status == 0).all()
    true = relative_distance(found.curves["interaction"], truth)
    assert (true <= 1.25 * found.relative_error).double().mean() >= 0.95
    z = (found.curves["interaction"] - truth) / found.curves["interaction_error"]
    # few replicates give t rather than normal deviates, with heavier tails
    assert 0.6 < z.square().median().sqrt() / 0.6745 < 1.6


@pytest.mark.parametrize("positions", [1, 3])
def test_draws_are_unbiased_however_many_positions_a_baseline_has(positions):
    module, x, background = smooth_mlp(), doubles(6, 5), doubles(BACKGROUND, 5, seed=1)
    engine = ExpectedHessians(rtol=1e-6, max_draws=3200 * positions, positions=positions, replicate_size=24)
    found = explain(engine, module, x, background=background)
    true = relative_distance(found.curves["interaction"], averaged(module, x, background))
    assert (true <= 1.25 * found.relative_error).all() and true.max() < 0.04


@pytest.mark.parametrize(
    "options", [{}, {"groups": {"a": [0, 3], "b": [1, 2, 4]}}, {"features": (2, 0)}, {"row": 1}]
)
def test_it_is_the_mean_of_integrated_hessians(options):
    module, x, background = smooth_mlp(), doubles(6, 5), doubles(BACKGROUND, 5, seed=1)
    truth = averaged(module, x, background, **options)
    for drawn in (None, 24):
        engine = ExpectedHessians(rtol=0.08, max_draws=4096, replicate_size=drawn, **options)
        found = explain(engine, module, x, background=background)
        true = relative_distance(found.curves["interaction"], truth)
        assert (true <= 1.5 * found.relative_error).all() and true.max() < 0.1


def test_the_map_is_that_of_expected_gradients_and_the_sums_close_in_the_mean():
    module, x, background = smooth_mlp(), doubles(6, 5), doubles(BACKGROUND, 5, seed=1)
    found = explain(ExpectedHessians(rtol=0.03, max_draws=8192), module, x, background=background)
    gradients = explain(ExpectedGradients(rtol=0.01, max_draws=16384), module, x, background=background)
    assert relative_distance(found.attribution, gradients.attribution).max() < 0.05
    assert torch.allclose(found.score_baseline, gradients.score_baseline, atol=1e-9)
    size = found.curves["interaction"].flatten(1).norm(dim=1)
    assert (found.curves["interaction_gap"].abs() < 0.1 * size).all()
    assert (found.curves["row_sum_gap"].norm(dim=1) < 0.1 * size).all()
    assert found.maps["standard_error"].shape == x.shape and (found.maps["standard_error"] >= 0).all()


@pytest.mark.parametrize("nodes", [5, 11])
def test_a_whole_background_is_averaged_exactly(nodes):
    """A quadratic is integrated exactly from every baseline, however far it lies from the others."""
    module, x = random_quadratic(4), doubles(6, 4)
    background = doubles(BACKGROUND, 4, seed=1) * torch.logspace(-1, 1, BACKGROUND, dtype=torch.float64)[:, None]
    truth = torch.stack([module.interactions(x, one.expand_as(x)) for one in background]).mean(dim=0)
    found = explain(ExpectedHessians(max_draws=nodes * BACKGROUND), module, x, background=background)
    assert relative_distance(found.curves["interaction"], truth).max() < 1e-12
    assert (found.curves["interaction_gap"].abs() < 1e-9 * truth.flatten(1).norm(dim=1)).all()
    assert torch.equal(found.evaluations, torch.full((6,), 5 * BACKGROUND * 5))


NETWORKS = {
    "tanh": lambda: smooth_mlp(activation="tanh"),
    "gelu": smooth_mlp,
    "steep softplus": lambda: nn.Sequential(
        *(nn.Softplus(beta=10) if isinstance(m, nn.ReLU) else m for m in smooth_mlp(activation="relu"))
    ),
}


@cache
def known(name):
    """A network, rows, a background, and expected interactions to six digits."""
    module, x, background = NETWORKS[name](), 2 * doubles(30, 5, seed=2), 2 * doubles(BACKGROUND, 5, seed=1)
    engine = IntegratedHessians(rtol=1e-6)
    every = [explain(engine, module, x, baseline=one.expand_as(x)).curves["interaction"] for one in background]
    return module, x, background, torch.stack(every).mean(dim=0)


@pytest.mark.parametrize("rtol", [0.3, 0.02])
@pytest.mark.parametrize("draws", ["all", "random"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_reported_error_covers_the_true_one_at_any_tolerance(name, draws, rtol):
    module, x, background, truth = known(name)
    size = None if draws == "all" else 24
    engine = ExpectedHessians(rtol=max(rtol, 0.1) if size else rtol, max_draws=8192, replicate_size=size)
    found = explain(engine, module, x, background=background)
    true = relative_distance(found.curves["interaction"], truth)
    assert (true <= 1.25 * found.relative_error).double().mean() >= 0.95
    assert ((true > engine.rtol) & (found.status == 0)).double().mean() <= 0.05


def test_a_background_of_a_hundred_is_affordable():
    """16-128-64-1, softplus: 278,528 evaluations a row left 15 % when path positions were drawn at random."""
    torch.manual_seed(0)
    layers = [nn.Linear(16, 128), nn.Softplus(), nn.Linear(128, 64), nn.Softplus(), nn.Linear(64, 1)]
    module, x, background = nn.Sequential(*layers).double(), doubles(4, 16), doubles(100, 16, seed=1)
    found = explain(ExpectedHessians(), module, x, background=background)
    assert (found.status == 0).all()
    assert (found.evaluations <= 11 * 100 * 17).all()


def test_additive_features_do_not_interact():
    module = Formula(lambda x: x[:, 0].sin() + x[:, 1].exp())
    found = explain(ExpectedHessians(), module, doubles(3, 2), background=doubles(16, 2, seed=1))
    matrix = found.curves["interaction"]
    assert not matrix[:, 0, 1].any() and not matrix[:, 1, 0].any() and matrix[:, 0, 0].all()


def test_a_row_depends_on_its_sample_alone():
    module, x, background = smooth_mlp(), doubles(5, 5), doubles(BACKGROUND, 5, seed=1)
    engine, sample = ExpectedHessians(replicate_size=24), torch.tensor([7, 3, 9, 1, 4])
    together = explain(engine, module, x, background=background, sample=sample).curves["interaction"]
    for row in range(5):
        here = slice(row, row + 1)
        alone = explain(engine, module, x[here], background=background, sample=sample[here], rows=16)
        assert torch.allclose(alone.curves["interaction"][0], together[row], atol=1e-12)
    other = explain(engine, module, x, background=background, sample=sample, seed=1).curves["interaction"]
    assert not torch.allclose(other, together, atol=1e-6)


def test_little_memory_takes_rows_one_after_the_other():
    module, x, background = smooth_mlp(), doubles(5, 5), doubles(BACKGROUND, 5, seed=1)
    for engine in (ExpectedHessians(), ExpectedHessians(replicate_size=24)):
        block = block_of(module, x, background=background)
        expected = engine.explain(block).curves["interaction"]
        block.memory_bytes = 2**12
        assert torch.allclose(engine.explain(block).curves["interaction"], expected, atol=1e-12)


def test_the_top_groups_are_screened_by_expected_gradients():
    module, x, background = smooth_mlp(), doubles(4, 5), doubles(BACKGROUND, 5, seed=1)
    found = explain(ExpectedHessians(top=2, max_draws=4096), module, x, background=background)
    largest = explain(ExpectedGradients(rtol=0.01), module, x, background=background).attribution.abs()
    assert found.curves["interaction"].shape == (4, 3, 3)
    # the screening is coarse: what it chooses is among the largest three
    assert (largest.gather(1, found.curves["top"]) >= largest.topk(3, dim=1).values[:, -1:]).all()


def test_a_network_with_kinks_is_smoothed_and_the_drift_recorded():
    module, x, background = smooth_mlp(activation="relu"), doubles(4, 5), doubles(BACKGROUND, 5, seed=1)
    found = explain(ExpectedHessians(rtol=0.3), module, x, background=background)
    smooth = nn.Sequential(*(nn.Softplus(beta=10) if isinstance(m, nn.ReLU) else m for m in module))
    assert torch.allclose(found.curves["smoothing_drift"], (smooth(x) - module(x))[:, 0], atol=1e-9)
    mean = (smooth(background) - module(background)).mean()
    assert torch.allclose(found.curves["smoothing_drift_baseline"], mean.expand(4), atol=1e-9)
    assert torch.allclose(found.score_input, smooth(x)[:, 0], atol=1e-9)


def test_what_does_not_converge_says_so_and_too_few_draws_are_refused():
    module, x, background = smooth_mlp(), doubles(3, 5), doubles(BACKGROUND, 5, seed=1)
    engine = ExpectedHessians(rtol=1e-4, max_draws=200, positions=1, replicate_size=24)
    found = explain(engine, module, x, background=background)
    assert (found.status == 1).all() and (found.relative_error > 1e-4).all()
    assert torch.equal(found.evaluations, torch.full((3,), 192 * 6))
    whole = explain(ExpectedHessians(rtol=1e-9, max_draws=300), module, x, background=background)
    assert (whole.status == 1).all()
    assert torch.equal(whole.evaluations, torch.full((3,), 11 * BACKGROUND * 6))
    with pytest.raises(JobError, match=r"max_draws: 50 is less than the 192 of the first round.*positions: 2"):
        ExpectedHessians(max_draws=50).check(block_of(module, x, background=background))
