"""Integrated Hessians: identities in closed form, brute force, another library; groups, blocks, and wrong use."""

from __future__ import annotations

import importlib.util
from importlib.metadata import distribution

import numpy as np
import pytest
import torch
from helpers.blocks import block_of, explain
from helpers.interactions import Formula, brute_force, random_quadratic, relative_distance
from torch import nn

from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.errors import JobError, ModelError
from xattr_cli.models.zoo import mlp, sequence_classifier
from xattr_cli.numerics.interactions.log_rules import NODE_COUNTS, nested_log_rules
from xattr_cli.samples import Status

TIGHT = 1e-10


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_mlp(inputs: int = 6, outputs: int = 1, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return mlp(inputs, [16, 16], outputs, "gelu").double()


def interactions(module, x, **options):
    given = {name: options.pop(name) for name in ("baseline", "target", "score", "rows") if name in options}
    found = explain(IntegratedHessians(**{"rtol": TIGHT, **options}), module, x, **given)
    return found, found.curves["interaction"]


# --- the rules ------------------------------------------------------------------------------------


def test_rules_are_exact_for_polynomials_of_a_degree_below_their_nodes():
    rules = nested_log_rules()
    assert tuple(len(rule) for rule in rules.levels) == NODE_COUNTS
    for rule in rules.levels:
        t = rules.nodes[: len(rule), None]
        degree = np.arange(len(rule))
        powers = t**degree
        assert rule.plain @ powers == pytest.approx(1 / (degree + 1), rel=1e-12)
        assert rule.log @ powers == pytest.approx(1 / (degree + 1.0) ** 2, rel=1e-12)
        assert rule.ramp @ powers == pytest.approx(1 / (degree + 2.0) ** 2, rel=1e-12)
        slopes = degree * t ** np.maximum(degree - 1, 0)
        assert rule.parts[0] @ powers + rule.parts[1] @ slopes == pytest.approx(0 * degree, abs=1e-13)


def test_nodes_lie_inside_and_each_level_holds_the_one_before():
    most = nested_log_rules().nodes
    assert most.min() > 0 and most.max() < 1 and len(np.unique(most)) == len(most)
    for count in NODE_COUNTS:
        assert np.array_equal(nested_log_rules(count).nodes, most[:count])
    with pytest.raises(ValueError, match="5 nodes"):
        nested_log_rules(4)


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_quadratic_from_any_baseline(seed):
    module = random_quadratic(5, seed)
    x, baseline = doubles(4, 5, seed=seed), doubles(4, 5, seed=seed + 10)
    found, matrix = interactions(module, x, baseline=baseline)
    assert torch.allclose(matrix, module.interactions(x, baseline), rtol=1e-10, atol=1e-10)
    assert found.relative_error.max() < 1e-10
    assert (found.curves["nodes"] == NODE_COUNTS[0]).all()


def test_a_product_of_two_is_shared_by_four_entries():
    x = torch.tensor([[3.0, 5.0, 7.0]], dtype=torch.float64)
    _, matrix = interactions(Formula(lambda x: x[:, 0] * x[:, 1]), x)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[:2, :2] = 15 / 4
    assert torch.allclose(matrix[0], expected, atol=1e-12)


def test_a_product_of_three_is_shared_by_nine_entries():
    x = torch.tensor([[2.0, 3.0, 4.0]], dtype=torch.float64)
    _, matrix = interactions(Formula(lambda x: x.prod(dim=1)), x)
    assert torch.allclose(matrix, torch.full((1, 3, 3), 24 / 9, dtype=torch.float64), atol=1e-12)


def test_additive_features_do_not_interact_and_the_diagonal_is_the_attribution():
    module = Formula(lambda x: x[:, 0].sin() + x[:, 1].exp() + x[:, 2] ** 3 + 2 * x[:, 3])
    x = doubles(5, 4)
    found, matrix = interactions(module, x)
    off_diagonal = matrix - torch.diag_embed(matrix.diagonal(dim1=1, dim2=2))
    assert torch.equal(off_diagonal, torch.zeros_like(matrix))
    terms = torch.stack([x[:, 0].sin(), x[:, 1].exp() - 1, x[:, 2] ** 3, 2 * x[:, 3]], dim=1)
    assert torch.allclose(matrix.diagonal(dim1=1, dim2=2), terms, atol=1e-9)
    assert torch.allclose(found.attribution, terms, atol=1e-9)


def test_a_feature_that_is_not_used_has_zeros_exactly():
    torch.manual_seed(0)
    inner = smooth_mlp(3)
    _, matrix = interactions(Formula(lambda x: inner(x[:, :3])[:, 0]), doubles(3, 5))
    assert not matrix[:, 3:].any() and not matrix[:, :, 3:].any() and matrix[:, :3, :3].any()


def test_a_linear_network_has_a_diagonal_matrix_and_no_error():
    module = nn.Linear(4, 1).double()
    x = doubles(3, 4)
    found, matrix = interactions(module, x)
    assert torch.allclose(matrix, torch.diag_embed(x * module.weight[0]), atol=1e-12)
    assert found.relative_error.max() < 1e-13
    assert (found.status == Status.CONVERGED).all()


def test_a_constant_network_has_no_interactions_and_no_error():
    found, matrix = interactions(Formula(lambda x: x[:, 0] * 0 + 3), doubles(3, 4))
    assert not matrix.any() and not found.relative_error.any()
    assert (found.status == Status.CONVERGED).all()


# --- identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_rows_sum_to_integrated_gradients_and_all_of_it_to_the_change_of_the_score(score):
    module, x, baseline = smooth_mlp(6, 3), doubles(5, 6), doubles(5, 6, seed=1)
    given = {"baseline": baseline, "target": torch.tensor([0, 1, 2, 0, 1]), "score": score}
    found, matrix = interactions(module, x, **given)
    gradients = IntegratedGradients(rule="gauss_legendre", nodes=64)
    truth = explain(gradients, module, x, **given)
    assert torch.allclose(matrix.sum(dim=2), truth.attribution, atol=1e-8)
    assert torch.allclose(found.attribution, truth.attribution, atol=1e-8)
    assert torch.allclose(matrix.sum(dim=(1, 2)), truth.score_input - truth.score_baseline, atol=1e-8)
    assert torch.allclose(matrix, matrix.transpose(1, 2), atol=1e-12)
    assert found.curves["row_sum_gap"].abs().max() < 1e-8
    assert found.curves["interaction_gap"].abs().max() < 1e-8


def test_the_gaps_are_what_they_say():
    found, matrix = interactions(smooth_mlp(), doubles(4, 6), rtol=0.5)
    difference = found.score_input - found.score_baseline
    assert torch.allclose(found.curves["row_sum_gap"], matrix.sum(dim=2) - found.attribution, atol=1e-12)
    assert torch.allclose(found.curves["interaction_gap"], matrix.sum(dim=(1, 2)) - difference, atol=1e-12)
    assert found.curves["row_sum_gap"].abs().max() > 1e-9


# --- other ways to the same numbers ---------------------------------------------------------------


@pytest.mark.parametrize("activation", ["softplus", "tanh", "gelu"])
def test_the_double_integral_of_the_paper(activation):
    torch.manual_seed(1)
    module = mlp(4, [8, 8], 2, activation).double()
    x, baseline = doubles(2, 4), doubles(2, 4, seed=3)
    _, matrix = interactions(module, x, baseline=baseline, target=1)
    for row in range(2):
        truth = brute_force(lambda at: module(at[None])[0, 1], x[row], baseline[row])
        assert torch.allclose(matrix[row], truth, atol=1e-8)


def path_explain():
    files = {str(file): file for file in distribution("path-explain").files or ()}
    place = files["path_explain/explainers/path_explainer_torch.py"].locate()
    spec = importlib.util.spec_from_file_location("path_explainer_torch", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PathExplainerTorch


@pytest.mark.skipif(
    importlib.util.find_spec("path_explain") is None, reason="`make reproduce-interactions` installs it"
)
def test_the_package_of_the_paper_comes_closer_the_more_nodes_it_takes():
    torch.manual_seed(0)
    module = mlp(4, [8], 1, "softplus").requires_grad_(False)
    x = torch.randn(3, 4)
    _, matrix = interactions(module, x, rtol=1e-4)
    errors = []
    for nodes in (100, 900):
        theirs = path_explain()(module).interactions(
            x.clone().requires_grad_(), torch.zeros(1, 4), num_samples=nodes, use_expectation=False,
            output_indices=torch.zeros(3, dtype=torch.int64), verbose=False,
        )  # fmt: skip
        # its rows and columns are exchanged, and its diagonal is like ours
        errors.append(float(relative_distance(theirs.detach(), matrix).max()))
    assert errors[1] < 0.06 and errors[1] < errors[0] / 2


# --- groups ---------------------------------------------------------------------------------------


def summed(matrix: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    member = nn.functional.one_hot(index).to(matrix)
    return member.T @ matrix @ member


def test_groups_of_a_vector_sum_the_entries_of_their_members():
    module, x = smooth_mlp(), doubles(4, 6)
    _, single = interactions(module, x)
    found, matrix = interactions(module, x, groups={"a": [4, 0], "b": [1], "c": ["X[2]", "X[3]", 5]})
    assert torch.allclose(matrix, summed(single, torch.tensor([0, 1, 2, 2, 0, 2])), atol=1e-9)
    assert found.constants["groups"] == ("a", "b", "c")
    assert found.curves["row_sum_gap"].abs().max() < 1e-9


def image_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 1)
    ).double()  # fmt: skip


def test_patches_and_channels_of_an_image():
    module, x = image_network(), doubles(2, 2, 4, 6)
    _, single = interactions(module, x)
    place = torch.arange(48).view(2, 4, 6)
    patches = ((place // 6 % 4) // 2 * 3 + place % 6 // 2).flatten()
    found, matrix = interactions(module, x, groups={"patches": 2})
    assert torch.allclose(matrix, summed(single, patches), atol=1e-9)
    assert found.constants["groups"][:4] == ("patch 0,0", "patch 0,1", "patch 0,2", "patch 1,0")
    _, channels = interactions(module, x, groups="channels")
    assert torch.allclose(channels, summed(single, torch.arange(2).repeat_interleave(24)), atol=1e-9)


def test_steps_of_a_sequence():
    torch.manual_seed(0)
    module, x = sequence_classifier(3, 5, 2).double(), doubles(2, 4, 3)
    _, single = interactions(module, x, target=1)
    for groups in ("time", "tokens"):
        found, matrix = interactions(module, x, target=1, groups=groups)
        assert torch.allclose(matrix, summed(single, torch.arange(4).repeat_interleave(3)), atol=1e-9)
        assert found.constants["groups"] == ("step 0", "step 1", "step 2", "step 3")


def test_superpixels_belong_to_the_sample():
    module, x = image_network(), doubles(3, 2, 8, 12)
    module[4] = nn.Linear(3 * 4 * 6, 1).double()
    found, matrix = interactions(module, x, groups={"segments": 6})
    segments = found.curves["segments"]
    assert segments.shape == (3, 8, 12) and matrix.shape == (3, 6, 6) and len(segments.unique()) > 2
    _, single = interactions(module, x)
    for row in range(3):
        member = nn.functional.one_hot(segments[row].flatten().repeat(2), 6).to(matrix)
        assert torch.allclose(matrix[row], member.T @ single[row] @ member, atol=1e-9)
    alone, _ = interactions(module, x[2:], groups={"segments": 6})
    assert torch.equal(alone.curves["segments"][0], segments[2])


def test_some_features_and_the_rest_close_the_sums():
    module, x = smooth_mlp(), doubles(4, 6)
    _, single = interactions(module, x)
    found, matrix = interactions(module, x, features=["X[3]", 1])
    assert torch.allclose(matrix, summed(single, torch.tensor([2, 1, 2, 0, 2, 2])), atol=1e-9)
    assert found.constants["groups"] == ("X[3]", "X[1]", "rest")
    assert found.curves["interaction_gap"].abs().max() < 1e-9
    _, dropped = interactions(module, x, features=[3, 1], rest="drop")
    assert torch.allclose(dropped, matrix[:, :2, :2], atol=1e-9)


def test_one_row_costs_one_product_a_node():
    module, x = smooth_mlp(), doubles(4, 6)
    _, single = interactions(module, x)
    found, matrix = interactions(module, x, row="X[4]")
    assert torch.allclose(matrix, single[:, 4:5], atol=1e-9)
    assert torch.equal(found.evaluations, 2 * found.curves["nodes"] + 2)
    assert found.constants["row_groups"] == ("X[4]",)
    assert found.curves["row_sum_gap"].abs().max() < 1e-9
    assert "interaction_gap" not in found.curves


def test_the_top_groups_are_those_with_the_largest_attributions_of_each_row():
    module, x = smooth_mlp(), doubles(5, 6)
    found, matrix = interactions(module, x, top=2)
    full, single = interactions(module, x)
    largest = full.attribution.abs().topk(2, dim=1).indices
    assert torch.equal(found.curves["top"], largest)
    for row in range(5):
        pair = single[row][largest[row]][:, largest[row]]
        assert torch.allclose(matrix[row, :2, :2], pair, atol=1e-9)
    assert torch.allclose(matrix.sum(dim=(1, 2)), found.score_input - found.score_baseline, atol=1e-9)


# --- a row depends on nothing but itself ----------------------------------------------------------


def test_rows_are_the_same_in_any_company_and_in_little_memory():
    module, x = smooth_mlp().float(), doubles(7, 6).float()
    engine = IntegratedHessians(rtol=1e-3)
    together = explain(engine, module, x).curves["interaction"]
    for rows in (8, 64):
        assert torch.allclose(explain(engine, module, x, rows=rows).curves["interaction"], together, atol=1e-6)
    alone = torch.cat([explain(engine, module, x[i : i + 1]).curves["interaction"] for i in range(7)])
    assert torch.allclose(alone, together, atol=1e-6)
    block = block_of(module, x)
    block.memory_bytes = 2**13
    assert torch.allclose(engine.explain(block).curves["interaction"], together, atol=1e-6)


def test_a_row_that_is_not_finite_is_quarantined_alone():
    module = Formula(lambda x: (x[:, 0] - 0.5).sqrt() * x[:, 1])
    x = torch.tensor([[2.0, 1.0], [0.2, 1.0], [3.0, 2.0]], dtype=torch.float64)
    baseline = torch.full((3, 2), 1.0, dtype=torch.float64)
    found, matrix = interactions(module, x, baseline=baseline, rtol=0.01)
    assert found.status.tolist() == [Status.CONVERGED, Status.QUARANTINED, Status.CONVERGED]
    assert matrix[1].isnan().all() and matrix[[0, 2]].isfinite().all()


def test_an_infinite_derivative_at_the_baseline_is_harmless():
    found, matrix = interactions(
        Formula(lambda x: x[:, 0].sqrt() * x[:, 1]), torch.tensor([[4.0, 3.0]], dtype=torch.float64), rtol=0.05
    )
    # of √x₀ x₁ = t^{3/2} √x₀ x₁: Γ₀₁ = f/2 ∫ −t ln t · t^{-1/2} dt
    assert found.status[0] == Status.CONVERGED
    assert matrix[0, 0, 1] == pytest.approx(6 / 2 * 4 / 9, rel=0.05)


def test_a_feature_that_does_not_change_may_have_an_infinite_derivative():
    module = Formula(lambda x: x[:, 0].sqrt() + x[:, 1] * x[:, 2])
    x = torch.tensor([[0.0, 2.0, 3.0]], dtype=torch.float64)
    found, matrix = interactions(module, x)
    assert found.status[0] == Status.CONVERGED
    assert matrix[0, 1, 2] == pytest.approx(6 / 4) and not matrix[0, 0].any()


def test_what_does_not_converge_says_so():
    module = Formula(lambda x: torch.tanh(400 * (x[:, 0] * x[:, 1] - 0.3)))
    x = torch.ones(2, 2, dtype=torch.float64)
    found, _ = interactions(module, x, rtol=1e-6, max_nodes=23)
    assert (found.status == Status.NOT_CONVERGED).all() and (found.curves["nodes"] == 23).all()
    assert (found.relative_error > 0.01).all()


def test_a_function_whose_row_sums_cancel_still_has_an_honest_error():
    # homogeneous of degree 1: H x = 0, so that every row sum of the integrand is zero whatever the matrix is
    module = Formula(lambda x: (x.square().sum(dim=1) + 1e-4).sqrt())
    x = doubles(20, 3)
    found, matrix = interactions(module, x, rtol=0.05)
    _, truth = interactions(module, x, rtol=1e-9)
    true = relative_distance(matrix, truth)
    assert (true <= 1.25 * found.relative_error).float().mean() >= 0.95


# --- kinks ----------------------------------------------------------------------------------------


def kinked() -> nn.Sequential:
    torch.manual_seed(0)
    return mlp(5, [16, 16], 1, "relu").double()


def test_a_network_with_kinks_is_smoothed_for_the_explanation_only():
    module, x = kinked(), doubles(6, 5)
    before = module(x)
    found, matrix = interactions(module, x, rtol=1e-3, smoothing={"beta": 20})
    smooth = nn.Sequential(*(nn.Softplus(beta=20) if isinstance(m, nn.ReLU) else m for m in module)).double()
    expected, truth = interactions(smooth, x, rtol=1e-3)
    assert torch.allclose(matrix, truth, atol=1e-9)
    assert found.constants["replaced"] == ("relu -> softplus(β=20) ×2",)
    drift = found.curves["smoothing_drift"]
    assert torch.allclose(drift, expected.score_input - before[:, 0], atol=1e-12) and drift.any()
    origin = smooth(torch.zeros(1, 5).double()) - module(torch.zeros(1, 5).double())
    assert torch.allclose(found.curves["smoothing_drift_baseline"], origin[:, 0].expand(6), atol=1e-12)
    assert torch.equal(module(x), before)


def test_kinks_are_left_or_refused_if_one_asks_for_it():
    module, x = kinked(), doubles(3, 5)
    found, matrix = interactions(module, x, smoothing="none", rtol=0.3)
    assert not (matrix - torch.diag_embed(matrix.diagonal(dim1=1, dim2=2))).any()
    assert "smoothing_drift" not in found.curves
    with pytest.raises(ModelError, match=r"kinks.*relu in layer '1'"):
        IntegratedHessians(smoothing="refuse").check(block_of(module, x))


def test_a_smooth_network_is_not_smoothed():
    found, _ = interactions(smooth_mlp(), doubles(2, 6))
    assert "replaced" not in found.constants and "smoothing_drift" not in found.curves


# --- how products are computed --------------------------------------------------------------------


def test_running_out_of_memory_halves_the_calls_and_loses_nothing():
    most = []

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = smooth_mlp()

        def forward(self, x):
            most.append(len(x))
            if len(x) > 6:
                raise RuntimeError("CUDA out of memory")
            return self.inner(x)

    x = doubles(9, 6)
    engine = IntegratedHessians(rtol=1e-6)
    expected = explain(engine, smooth_mlp(), x).curves["interaction"]
    found = explain(engine, Small(), x, rows=64).curves["interaction"]
    assert torch.allclose(found, expected, atol=1e-12) and max(most) > 6


def test_a_network_without_second_derivatives_is_an_error():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0].cos()

    module = Formula(lambda x: Once.apply(x).prod(dim=1))
    with pytest.raises(ModelError, match="kinks that cannot be smoothed"):
        IntegratedHessians().check(block_of(module, doubles(3, 2)))
    with pytest.raises(ModelError, match=r"no second derivative.*only once"):
        IntegratedHessians(smoothing="none").check(block_of(module, doubles(3, 2)))


# --- wrong use ------------------------------------------------------------------------------------


def refusal(x=None, memory=2**30, **options) -> str:
    block = block_of(smooth_mlp(), doubles(4, 6) if x is None else x)
    block.memory_bytes = memory
    with pytest.raises(JobError) as error:
        IntegratedHessians(**options).check(block)
    return str(error.value)


def test_a_matrix_that_does_not_fit_into_memory_is_refused_with_the_way_out():
    text = refusal(memory=2**10)
    assert "6 × 6" in text and "compute.memory" in text and "top" in text


def test_features_left_out_are_refused_unless_it_is_said_what_becomes_of_them():
    text = refusal(groups={"a": [0, 1], "b": [5]})
    assert "3 of 6 features are in no group (X[2], X[3], X[4])" in text and "rest: group" in text


def test_a_baseline_that_equals_the_input_is_refused():
    assert "equals the input" in refusal(x=torch.zeros(4, 6, dtype=torch.float64))
