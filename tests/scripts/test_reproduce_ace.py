"""The experiments of the paper on average causal effects: what their numbers mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.networks.ace_networks import pixels
from scripts.papers.ace.ace_iris import crossing, taylor_error
from scripts.papers.ace.ace_latents import Latents, agreement
from scripts.papers.ace.ace_sequences import shares


def test_the_expansion_is_exact_for_a_quadratic_with_divisor_n_alone():
    samples = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()

    def quadratic(x):
        return 2 * x[..., 0] ** 2 + x[..., 1] * x[..., 2] + x[..., 3]

    assert taylor_error(quadratic, samples, 0) < 1e-13
    spread = samples[:, 0].var(unbiased=False) * 2 + np.cov(samples[:, 1:3].T.numpy(), ddof=0)[0, 1]
    mean = max(
        abs(float(quadratic(torch.cat([samples[:, :3], torch.full((20, 1), a)], 1)).mean())) for a in (0, 1)
    )
    assert taylor_error(quadratic, samples, 1) == pytest.approx(abs(float(spread)) / 19 / mean, rel=1e-9)


def test_a_threshold_is_where_the_curve_changes_its_sign():
    alpha = np.linspace(0, 1, 201)
    assert crossing(alpha, np.tanh(20 * (alpha - 0.302))) == pytest.approx(0.3, abs=0.005)
    assert np.isnan(crossing(alpha, alpha + 1))


def test_shares_of_sequences_are_means_of_shares():
    maps = np.array([[1.0, -1.0, 2.0], [0.0, 10.0, 0.0]])
    assert shares(maps) == pytest.approx([0.125, 0.625, 0.25])


def test_latents_that_do_the_same_to_all_digits_agree():
    same, opposite = np.tile([[1.0, 2.0]], (3, 1)), np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert agreement(np.stack([same, opposite], axis=1)) == pytest.approx([1.0, -1 / 3])


def test_effects_of_latents_are_strengths_and_slopes():
    ace = np.zeros((2, 1, 3, 4))
    ace[0, 0, :, 1] = (-0.5, 0.0, 0.5)
    found = Latents(np.array([1.0]), ace, np.array([-3.0, 0.0, 3.0]))
    assert found.strength == pytest.approx(np.array([[1 / 12], [0.0]]))
    assert found.slope[0, 0] == pytest.approx([0, 1, 0, 0])


def test_the_decoder_draws_the_digit_that_it_is_told():
    torch.manual_seed(0)
    one, two = pixels(1), pixels(2)
    two.load_state_dict(one.state_dict())
    latents = torch.randn(3, 10)
    assert one(latents).shape == (3, 784)
    assert not torch.allclose(one(latents), two(latents))
