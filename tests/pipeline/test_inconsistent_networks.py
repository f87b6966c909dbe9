"""Networks whose autograd is not their derivative are refused or marked; saturated and constant pieces run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import detached
from helpers.cli import explained, invoke, run, write_data, write_job

from xattr_cli.samples import Status
from xattr_cli.store.results.reader import Results

ROWS = 12


@pytest.fixture
def folder(tmp_path):
    """A folder with inputs that some of them share a step with, and some do not."""
    rng = np.random.default_rng(3)
    write_data(tmp_path, rng.uniform(-1, 2, (ROWS, detached.FEATURES)).astype(np.float32), None)
    return tmp_path


def sections(factory, engines=("integrated_gradients",), **others):
    return {
        "model": {"factory": f"helpers.detached:{factory}"},
        "dataset": {"labels": None},
        "target": {"index": 0},
        "engines": list(engines) if isinstance(engines, tuple) else engines,
        **others,
    }


# --- before the start ---------------------------------------------------------------------------


@pytest.mark.parametrize("factory", detached.INCONSISTENT)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_network_whose_autograd_is_not_its_derivative_is_refused(folder, factory, command):
    outcome = invoke(command, write_job(folder, **sections(factory)))
    assert outcome.exit_code == 2 and outcome.stdout == ""
    for text in ("autograd is not the derivative", detached.INCONSISTENT[factory], "allow_inconsistent: true"):
        assert text in outcome.stderr
    assert not list(folder.glob("out.h5*"))


@pytest.mark.parametrize("engine", ["expected_gradients", "saliency", "interior_gradients"])
def test_every_engine_that_asks_for_gradients_is_stopped(folder, engine):
    outcome = invoke("run", write_job(folder, **sections("detaches", (engine,))))
    assert outcome.exit_code == 2 and "autograd is not the derivative" in outcome.stderr


@pytest.mark.parametrize(
    "factory", ["piecewise_linear", "steep", "unscaled", "quantises_a_branch", "steps", "masks"]
)
def test_kinks_steps_and_steep_places_are_not_taken_for_it(folder, factory):
    assert invoke("plan", write_job(folder, **sections(factory))).exit_code == 0


# --- with allow_inconsistent --------------------------------------------------------------------


@pytest.mark.parametrize("factory", detached.INCONSISTENT)
def test_allowed_it_is_on_record_and_no_row_converges(folder, factory):
    job = sections(factory, ("integrated_gradients", "expected_gradients", "saliency"), allow_inconsistent=True)
    run(write_job(folder, **job), "--quiet")
    with Results.open(folder / "out.h5") as results:
        for engine in results.engines.values():
            assert (engine.status == Status.INCONSISTENT).all()
        assert "Allowed by allow_inconsistent" in results.attributes["model_notes"]
    text = invoke("inspect", folder / "out.h5").stdout
    assert "autograd is not the derivative" in text and "inconsist." in text


def test_allowed_the_map_is_the_integral_of_what_autograd_returns(folder):
    """BPNet's score: its users mean the gradient with the weights held still."""
    engines = {"integrated_gradients": {"rtol": 0.01}}
    found = explained(folder, **sections("profile_score", engines, allow_inconsistent=True))
    network = detached.profile_score()
    x = torch.from_numpy(np.load(folder / "data.npz")["X"]).double()
    network.double()
    nodes = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    points = (nodes[:, None, None] * x).flatten(0, 1).requires_grad_()
    (gradients,) = torch.autograd.grad(network(points).sum(), points)
    expected = (x * gradients.view(2000, *x.shape).mean(dim=0)).numpy()
    at = "engines/integrated_gradients"
    apart = np.linalg.norm(found[f"{at}/attribution"] - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert (apart < 0.01).all() and (found[f"{at}/relative_error"] < 0.01).all()
    # the gap is no evidence here, and no row goes on until its cap because of it
    assert (found[f"{at}/evaluations"] < 500).all()
    assert (np.abs(found[f"{at}/completeness_gap"]) > 0.05).any()


def test_allowed_but_consistent_is_as_without(folder):
    engines = {"integrated_gradients": {"rtol": 0.05}}
    plain = explained(folder, **sections("piecewise_linear", engines))
    allowed = explained(folder, **sections("piecewise_linear", engines, allow_inconsistent=True))
    assert plain["engines/integrated_gradients/status"].max() <= Status.NOT_CONVERGED
    for name in ("attribution", "status", "evaluations"):
        key = f"engines/integrated_gradients/{name}"
        np.testing.assert_array_equal(plain[key], allowed[key])


# --- row by row ---------------------------------------------------------------------------------


def test_a_row_that_crosses_a_step_is_marked_and_the_others_are_not(folder):
    """The score jumps by 5 where the features sum to .9, which no gradient tells."""
    engines = {"integrated_gradients": {"rtol": 0.01}}
    found = explained(folder, **sections("steps", engines))
    crosses = np.load(folder / "data.npz")["X"].sum(axis=1) > 0.9
    assert 0 < crosses.sum() < ROWS
    status = found["engines/integrated_gradients/status"]
    np.testing.assert_array_equal(status == Status.INCONSISTENT, crosses)
    assert (status[~crosses] == Status.CONVERGED).all()


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_mark_does_not_depend_on_the_company_of_a_row(folder, order):
    engines = {"integrated_gradients": {"rtol": 0.01}}
    x = np.load(folder / "data.npz")["X"]
    together = explained(folder, **sections("steps", engines))["engines/integrated_gradients/status"]
    write_data(folder, x[order][:3], None)
    alone = explained(folder, **sections("steps", engines))["engines/integrated_gradients/status"]
    np.testing.assert_array_equal(alone, together[order][:3])


def test_strict_counts_inconsistent_rows(folder):
    job = write_job(folder, **sections("steps", {"integrated_gradients": {"rtol": 0.01}}))
    outcome = run(job, "--strict", code=3)
    assert "inconsistent, the gradients do not add up to the score: rows" in outcome.stdout
    summary = json.loads(invoke("inspect", folder / "out.h5", "--json").stdout)
    engine = summary["engines"]["integrated_gradients"]
    assert engine["inconsistent"] == len(engine["first_inconsistent_rows"]) > 0
    assert engine["converged"] + engine["inconsistent"] == ROWS


def test_a_fixed_rule_and_saliency_are_not_judged(folder):
    engines = {"integrated_gradients": {"rule": "midpoint", "nodes": 8}, "saliency": None}
    found = explained(folder, **sections("piecewise_linear", engines))
    for label in engines:
        assert (found[f"engines/{label}/status"] == Status.NOT_JUDGED).all()
    assert "not judged" in invoke("inspect", folder / "out.h5").stdout
    run(write_job(folder, **sections("piecewise_linear", engines)), "--strict", "--overwrite")


# --- saturated networks, and engines that need no gradient --------------------------------------


def test_the_saturated_example_of_the_paper(folder):
    """1 − relu(1 − x) at 2 and 5: the gradient is 0 there, the attribution 1 (Sundararajan et al. 2017)."""
    write_data(folder, np.array([[2.0], [5.0]], np.float32), None)
    found = explained(folder, **sections("saturates", {"integrated_gradients": {"rtol": 0.01}}))
    np.testing.assert_allclose(found["engines/integrated_gradients/attribution"], 1, atol=0.01)
    assert (found["engines/integrated_gradients/status"] == Status.CONVERGED).all()


def test_the_saturated_example_with_two_inputs(folder):
    """1 − relu(1 − a + relu(b)) from 0 to (7, 3) and (9, 4): open until t = 1 / (a − b)."""
    write_data(folder, None, None, a=np.array([[7.0], [9.0]], np.float32), b=np.array([[3.0], [4.0]], np.float32))
    job = sections("saturates_in_two", {"integrated_gradients": {"rtol": 0.01}})
    found = explained(folder, **{**job, "dataset": {"labels": None, "inputs": ["a", "b"]}})
    at = "engines/integrated_gradients/attribution"
    np.testing.assert_allclose(found[f"{at}/a"], [[1.75], [1.8]], atol=0.02)
    np.testing.assert_allclose(found[f"{at}/b"], [[-0.75], [-0.8]], atol=0.02)


def test_engines_without_gradients_take_a_piecewise_constant_network(folder):
    """(x₀ ≥ 0): all of the variance is that of x₀; its effect is 0 below and 1 from 0 on, less the mean."""
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    write_data(folder, x, None)
    engines = {"sobol": None, "icc": None, "ace": {"estimator": "empirical", "alphas": 21}}
    found = explained(folder, **sections("is_a_step", engines))
    for index in ("sobol/first_order", "sobol/total", "sobol/shapley", "icc/topological", "icc/shapley"):
        np.testing.assert_allclose(found[f"effects/{index}"][:, 0], [1, 0], atol=1e-6)
    alpha, curve = found["effects/ace/alpha"], found["effects/ace/interventional"][..., 0]
    np.testing.assert_allclose(curve[0], alpha[0] >= 0, atol=1e-6)
    np.testing.assert_allclose(curve[1], np.mean(x[:, 0] >= 0), atol=1e-6)


def test_a_piecewise_constant_network_has_no_gradient_to_integrate(folder):
    outcome = invoke("run", write_job(folder, **sections("is_a_step", {"sobol": None, "saliency": None})))
    assert outcome.exit_code == 2 and "the model ignores input 'X'" in outcome.stderr
