"""How firm maps are, on networks whose answer is known, and through the command."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cli import datasets, digits_job, explained, invoke, run, samples, write_data, write_job
from helpers.networks import linear
from torch import nn

from xattr_cli.device.perturbation import _changed, top_layers
from xattr_cli.randomness import Purpose, dataset_generator, sample_generator

AT = "engines/integrated_gradients/stability"
NOISE = 0.01


def job(folder, rows=12, **stability):
    """A linear network, whose maps are weight times input."""
    x, y = samples(rows)
    write_data(folder, x, y)
    return {
        "model": {"factory": "helpers.networks:linear"},
        "target": {"index": 1},
        "engines": {"integrated_gradients": {"baseline": {"kind": "zero"}}},
        "stability": {"draws": 4, "max_draws": 4, **stability},
    }, x


def relative(changed, reference):
    return np.linalg.norm(changed - reference, axis=-1) / np.linalg.norm(reference, axis=-1)


def test_noise_in_the_weights_of_a_linear_network_changes_its_map_as_computed_by_hand(tmp_path):
    sections, x = job(tmp_path, weights=NOISE)
    found = explained(tmp_path, **sections)
    weight = linear_weight()
    changes = []
    for draw in range(4):
        factor = dataset_generator(0, Purpose.STABILITY, draw).standard_normal(weight.shape, dtype=np.float32)
        changes.append(relative((weight * (1 + NOISE * factor))[1] * x, weight[1] * x))
    np.testing.assert_allclose(found[f"{AT}/weights"], np.mean(changes, axis=0), rtol=1e-3)
    np.testing.assert_allclose(found[f"{AT}/weights_highest"], np.max(changes, axis=0), rtol=1e-3)
    assert (found[f"{AT}/weights_draws"] == 4).all()


def test_noise_in_the_input_of_a_linear_network_changes_its_map_as_computed_by_hand(tmp_path):
    sections, x = job(tmp_path, weights=0, inputs=NOISE)
    found = explained(tmp_path, **sections)
    weight, changes = linear_weight(), []
    for draw in range(4):
        noise = [
            sample_generator(0, i, Purpose.STABILITY, draw).standard_normal(x.shape[1]) for i in range(len(x))
        ]
        changes.append(relative(weight[1] * (x + NOISE * np.stack(noise)), weight[1] * x))
    np.testing.assert_allclose(found[f"{AT}/inputs"], np.mean(changes, axis=0), rtol=1e-3)
    assert f"{AT}/weights" not in found


def test_with_many_draws_the_error_bar_covers_the_expectation(tmp_path):
    """Of n independent terms that are alike, the change is noise · E χ_n / √n."""
    write_data(tmp_path, np.ones((1, 4), np.float32), np.zeros(1, int))
    found = explained(
        tmp_path,
        model={"factory": "helpers.networks:linear_of_ones"},
        target={"index": 0},
        stability={"weights": NOISE, "draws": 8, "max_draws": 256, "rtol": 0.03},
    )
    expected = NOISE * np.sqrt(2) * 1.3293403881791370 / 2  # √2 Γ(5/2) / Γ(2), over √4
    assert abs(found[f"{AT}/weights"] - expected) < 2.5 * found[f"{AT}/weights_standard_error"]
    assert found[f"{AT}/weights_standard_error"] <= 0.03 * found[f"{AT}/weights"]
    assert 64 <= found[f"{AT}/weights_draws"] <= 256


def linear_weight():
    return linear().weight.detach().numpy()


def test_a_row_does_not_depend_on_its_company(tmp_path):
    engines = {"integrated_gradients": {"rtol": 0.05}}
    path = digits_job(tmp_path, 6, engines=engines, stability={"weights": 0.01, "inputs": 0.02, "max_draws": 8})
    run(path, "--quiet", "--set", "output.path=together.h5")
    run(path, "--quiet", "--set", "output.path=pairs.h5", "--set", "output.part_rows=2")
    together, pairs = (datasets_of(tmp_path / name) for name in ("together.h5", "pairs.h5"))
    assert len([name for name in together if name.startswith(AT)]) == 11
    for name in together:
        np.testing.assert_allclose(pairs[name], together[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("moved", ["weights", "inputs"])
def test_a_draw_costs_what_the_map_does(tmp_path, moved):
    """At equal tolerance: rows differ in what they need, and one that moves a little keeps its nodes."""
    stability = {"weights": 0, moved: 0.003, "draws": 4, "max_draws": 8}
    path = digits_job(tmp_path, 40, engines={"integrated_gradients": {"rtol": 0.01}}, stability=stability)
    run(path, "--quiet")
    found = datasets(tmp_path / "out.h5")
    spent = found["engines/integrated_gradients/evaluations"]
    assert len(np.unique(spent)) > 2
    np.testing.assert_array_equal(found[f"{AT}/evaluations"], spent * found[f"{AT}/{moved}_draws"])


def datasets_of(path):
    return {name: values for name, values in datasets(path).items() if name.startswith(AT)}


def test_a_network_shuffled_from_the_top_explains_something_else(tmp_path):
    engines = {"integrated_gradients": {"rtol": 0.05}}
    path = digits_job(tmp_path, 8, engines=engines, stability={"weights": 0, "randomise": 2, "draws": 6})
    run(path, "--quiet")
    found = datasets_of(tmp_path / "out.h5")
    assert found[f"{AT}/randomised"].shape == (8, 2)
    assert abs(found[f"{AT}/randomised"][:, -1]).mean() < 0.4
    assert len(found[f"{AT}/randomised_layers"]) == 2
    assert found[f"{AT}/evaluations"].min() >= 2 * 6 * 7


def test_weights_are_what_they_were_also_after_a_failure():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="on the way"), _changed(list(network.parameters()), torch.zeros_like):
        assert not network(torch.ones(1, 3)).any()
        raise RuntimeError("on the way")
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


def test_the_top_is_the_layer_that_was_registered_last():
    assert top_layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))) == ["2", "0"]


@pytest.mark.parametrize(
    ("stability", "message"),
    [
        (
            {"engines": ["integrated_gradient"]},
            "stability.engines: 'integrated_gradient' is no engine of this job",
        ),
        ({"weights": 0}, "asks for nothing"),
        ({"draws": 8, "max_draws": 4}, "max_draws: 4 is less than draws: 8"),
        ({"weigths": 0.1}, "Did you mean 'weights'?"),
    ],
)
def test_wrong_sections_are_refused_with_their_reason(tmp_path, stability, message):
    write_data(tmp_path, *samples(3))
    outcome = invoke("plan", write_job(tmp_path, stability=stability))
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_inspect_tells_the_medians(tmp_path):
    sections, _ = job(tmp_path, weights=NOISE)
    explained(tmp_path, **sections)
    assert "noise in the weights changes a map by" in invoke("inspect", tmp_path / "out.h5").stdout
