"""The engine `icc`, from the job file to the result, with structural models that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import causal_networks
from helpers.ace import Kept, population_of
from helpers.causal_jobs import CHAIN, PAIR, data_of, effects, job_of, study
from helpers.cli import invoke, run, write_job

from xattr_cli.engines.sensitivity.icc import IntrinsicCausalContributions

HEAVY = (1 - math.exp(-0.25)) / 2


# --- the exact table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "scm", "graph", "shapley", "topological"),
    [
        ("weighted_sum", "chain", CHAIN, (1 / 9, 4 / 9, 4 / 9), (1 / 9, 4 / 9, 4 / 9)),
        ("exclusive_or", "bits", PAIR, (0.5, 0.5), (0, 1)),
        ("both", "bits", PAIR, (0.5, 0.5), (1 / 3, 2 / 3)),
        ("product", "same", PAIR, (0.5, 0.5), (0, 1)),
        ("last_column", "heavy_tail", PAIR, (HEAVY, 1 - HEAVY), (0, 1)),
    ],
)
def test_exact_cases_along_a_known_model(tmp_path, network, scm, graph, shapley, topological):
    found = study(tmp_path, network, scm, graph, discrete=scm == "bits")
    np.testing.assert_allclose(found["shapley"][:, 0], shapley, atol=0.002)
    np.testing.assert_allclose(found["topological"][:, 0], topological, atol=0.002)
    for name in ("shapley", "topological"):
        assert abs(found[name].sum() - 1) < 1e-12
        low, high = np.moveaxis(found[f"{name}_interval"], -1, 0)
        np.testing.assert_allclose((low + high) / 2, found[name], atol=1e-12)
        assert (high - low).max() <= 2 * 0.002 + 1e-12
    assert found["converged"] and found["causal"] and found["estimator"] == ("exact",)


@pytest.mark.parametrize(
    ("network", "scm", "graph", "topological"),
    [("product", "same", PAIR, (0, 1)), ("last_column", "heavy_tail", PAIR, (0, 1)),
     ("weighted_sum", "chain", CHAIN, (1 / 9, 4 / 9, 4 / 9))],
)  # fmt: skip
def test_a_polynomial_as_control_needs_few_draws(tmp_path, network, scm, graph, topological):
    found = study(tmp_path, network, scm, graph, samples=2048, control="polynomial")
    assert found["draws"] == 2048
    np.testing.assert_allclose(found["topological"][:, 0], topological, atol=1e-4)


def test_a_graph_the_wrong_way_round_gives_the_other_answer(tmp_path):
    found = study(tmp_path, "product", "same", {"a": ["b"], "b": []})
    np.testing.assert_allclose(found["topological"][:, 0], (1, 0), atol=0.002)
    assert found["edges"].tolist() == [[1, 0]]


@pytest.mark.parametrize("scm", ["chain_reparametrised", "chain"])
def test_the_noise_may_be_written_in_other_units(tmp_path, scm):
    found = study(tmp_path, "weighted_sum", scm, CHAIN)
    np.testing.assert_allclose(found["topological"][:, 0], (1 / 9, 4 / 9, 4 / 9), atol=0.002)


def test_walks_for_more_nodes(tmp_path):
    graph = {"a": [], **{child: [parent] for parent, child in zip("abcdefg", "bcdefgh", strict=True)}}
    found = study(tmp_path, "plain_sum", "running_sum", graph)
    assert found["estimator"] == ("walk",) and found["converged"]
    squares = np.arange(8, 0, -1.0) ** 2
    for name in ("shapley", "topological", "first_order", "total"):
        np.testing.assert_allclose(found[name][:, 0], squares / squares.sum(), atol=0.003)
    assert found["evaluations"] == 32 * found["draws"]
    capped = study(tmp_path, "plain_sum", "running_sum", graph, estimator="exact", max_evaluations=2**19)
    np.testing.assert_allclose(capped["topological"][:, 0], squares / squares.sum(), atol=0.02)
    assert capped["evaluations"] == 2**19 and capped["estimator"] == ("exact",)


# --- what stands in the file --------------------------------------------------------------------


def test_names_shapes_and_axes(tmp_path):
    found = study(tmp_path, "three_outputs", "chain", CHAIN, rtol=0.01)
    assert found["nodes"] == ("a", "b", "c")
    assert found["node_of_feature"].tolist() == [0, 1, 2]
    assert found["edges"].tolist() == [[0, 1], [0, 2], [1, 2]]
    axes = found["axes"]
    for name in ("shapley", "topological", "first_order", "total"):
        assert found[name].shape == found[f"{name}_standard_error"].shape == (3, 3)
        assert axes[name] == axes[f"{name}_standard_error"] == ("node", "target")
        assert axes[f"{name}_interval"] == ("node", "target", "end")
        assert found[f"weighted/{name}"].shape == (3,) and axes[f"weighted/{name}"] == ("node",)
    assert axes["importance"] == ("feature", "target") and axes["variance"] == ("target",)
    assert "second_order" not in found


def test_every_output_and_all_of_them_weighted_by_their_variances(tmp_path):
    found = study(tmp_path, "three_outputs", "chain", CHAIN, rtol=0.005)
    np.testing.assert_allclose(found["topological"][:, 0], (1, 0, 0), atol=0.003)
    np.testing.assert_allclose(found["topological"][:, 1], (0.8, 0.2, 0), atol=0.005)
    assert np.isnan(found["topological"][:, 2]).all()
    np.testing.assert_allclose(found["variance"], (1, 20, 0), rtol=0.02)
    np.testing.assert_allclose(found["mean"], (0, 0, 7), atol=0.05)
    np.testing.assert_allclose(found["weighted/topological"], np.array([17, 4, 0]) / 21, atol=0.005)
    assert found["warnings"] == ("constant, so without contributions: outputs 2",)
    assert (found["importance"] >= 0).all() and (found["importance"][:, 2] == 0).all()
    assert found["importance"][:, 1].argsort().tolist() == [2, 1, 0]


def test_one_target_alone(tmp_path):
    x = data_of("chain", 3)
    run(job_of(tmp_path, "three_outputs", x, target={"index": 1},
               options={"graph": CHAIN, "scm": "helpers.causal_networks:chain", "rtol": 0.01}))  # fmt: skip
    found = effects(tmp_path)
    assert found["topological"].shape == (3, 1) and found["converged"]
    np.testing.assert_allclose(found["topological"][:, 0], (0.8, 0.2, 0), atol=0.01)


def test_without_a_graph_the_inputs_are_independent_and_the_result_says_so(tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32) * np.sqrt([1, 8, 6], dtype=np.float32)
    run(job_of(tmp_path, "weighted_sum", x))
    found = effects(tmp_path)
    assert not found["causal"] and found["edges"].shape == (0, 2)
    variances = x.astype(np.float64).var(axis=0) * (1, 1, 4)
    np.testing.assert_allclose(found["shapley"][:, 0], variances / variances.sum(), atol=0.002)
    np.testing.assert_array_equal(found["shapley"], found["topological"])
    np.testing.assert_allclose(found["shapley"][:, 0], np.array([1, 8, 24]) / 33, atol=0.03)


def test_a_seed_gives_the_same_numbers_and_another_seed_others(tmp_path):
    options = {"graph": PAIR, "scm": "helpers.causal_networks:same", "rtol": 0.05}
    x = data_of("same", 2)
    seen = []
    for seed, rows, memory in ((0, 64, "64MiB"), (0, 512, "1MiB"), (1, 64, "64MiB")):
        compute = {"seed": seed, "batch_rows": rows, "memory": memory}
        run(job_of(tmp_path, "product", x, options=options, compute=compute), "--overwrite")
        seen.append(effects(tmp_path)["shapley"])
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-6)
    assert np.abs(seen[0] - seen[2]).max() > 1e-6


def test_a_one_hot_block_is_one_node(tmp_path):
    x = data_of("colour_then_size", 2, rows=3000)
    graph = {"nodes": {"colour": ["a", "b", "c"], "d": None}, "edges": [["colour", "d"]]}
    options = {"graph": graph, "scm": "helpers.causal_networks:colour_then_size"}
    run(job_of(tmp_path, "colour_and_size", x, options=options))
    found = effects(tmp_path)
    assert found["nodes"] == ("colour", "d") and found["node_of_feature"].tolist() == [0, 0, 0, 1]
    shares = np.array([0.5, 0.341345, 0.158655])
    reached = np.array([3, 1 + 2 * 2, 2 * -1])  # by the colour, its effect on the size included
    colour = shares @ reached**2 - (shares @ reached) ** 2
    np.testing.assert_allclose(found["topological"][:, 0], np.array([colour, 4]) / (colour + 4), atol=0.002)
    assert found["importance"].shape == (4, 1)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": PAIR, "order": ["a", "b"]}, "graph and order are both given"),
        ({"rtol": 0}, "engines.icc.rtol"),
        ({"estimator": "exakt"}, "engines.icc.estimator"),
        ({"sample": 8}, "Did you mean 'samples'?"),
        ({"max_evaluations": 31}, "max_evaluations: 31 are fewer than the 32 of the first round"),
        ({"samples": 4096, "max_evaluations": 10_000}, "8 replicates of 512 draws, 4 evaluations each"),
        ({"graph": {"a": [], "x": ["a"]}}, "x"),
    ],
)
def test_what_a_job_may_not_say(tmp_path, options, message):
    outcome = invoke("run", job_of(tmp_path, "product", data_of("same", 2), options=options))
    assert outcome.exit_code == 2, outcome.stderr
    assert message in outcome.stderr and "icc" in outcome.stderr
    assert not (tmp_path / "out.h5").exists()


def test_all_subsets_of_many_nodes_are_refused(tmp_path):
    x = np.zeros((20, 20), np.float32)
    outcome = invoke("run", job_of(tmp_path, "plain_sum", x, features="", options={"estimator": "exact"}))
    assert outcome.exit_code == 2
    assert "all 2^d subsets of d = 20 nodes; it is for 16 at most. Use walk, or auto." in outcome.stderr


def test_a_constant_output_has_no_variance_to_share(tmp_path):
    outcome = invoke("run", job_of(tmp_path, "plain_sum", np.full((50, 2), 1.5, np.float32)))
    assert outcome.exit_code == 1
    assert "the output is constant: all 1 outputs studied stay the same (such as 3) over 2,048" in outcome.stderr


def test_inputs_that_are_not_explained_are_refused(tmp_path):
    x = data_of("same", 2)
    np.savez(tmp_path / "data.npz", X=x, Z=x)
    job = write_job(
        tmp_path,
        model={"factory": "helpers.causal_networks:plain_sum"},
        dataset={"labels": None, "inputs": ["X", "Z"]},
        explain={"inputs": ["X"]},
        engines={"icc": None},
    )
    outcome = invoke("run", job)
    assert outcome.exit_code == 2
    assert "engines.icc.explain: the network takes inputs that are not explained" in outcome.stderr


def test_a_cap_that_is_reached_first_is_told(tmp_path):
    options = {"graph": PAIR, "scm": "helpers.causal_networks:same", "max_evaluations": 10_000}
    job = job_of(tmp_path, "product", data_of("same", 2), options=options)
    run(job, "--strict", code=3)
    found = effects(tmp_path)
    assert found["warnings"][0].startswith("not converged: the widest 95 % interval of a share is ± 0.0")
    assert not found["converged"] and found["evaluations"] == 8192
    assert found["half_width"][0] > 0.002


# --- through a fitted flow ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A job whose noise model is fitted, and its effects."""
    folder = tmp_path_factory.mktemp("fitted")
    x = data_of("chain", 3, rows=4000)
    job = job_of(folder, "weighted_sum", x, options={"graph": CHAIN, "rtol": 0.005})
    run(job)
    return job, x, effects(folder)


def test_a_fitted_flow_finds_the_linear_chain(fitted):
    _, x, found = fitted
    second = np.polyfit(x[:, 0], x[:, 1], 1)[0]
    noise2 = x[:, 1] - second * x[:, 0]
    third, _, _, _ = np.linalg.lstsq(np.c_[x[:, :2], np.ones(len(x))], x[:, 2], rcond=None)
    noise3 = x[:, 2] - np.c_[x[:, :2], np.ones(len(x))] @ third
    weights = np.array([1 + 2 * third[0] + second * (2 * third[1] - 1), 2 * third[1] - 1, 2])
    parts = weights**2 * [x[:, 0].var(), noise2.var(), noise3.var()]
    np.testing.assert_allclose(found["topological"][:, 0], parts / parts.sum(), atol=0.01)
    np.testing.assert_allclose(found["topological"][:, 0], (1 / 9, 4 / 9, 4 / 9), atol=0.02)
    assert found["causal"]


def test_what_is_known_about_the_flow_stands_in_the_file(fitted):
    _, _, found = fitted
    assert found["flow/noise_names"] == ("a", "b", "c")
    assert found["flow/normality"].shape == found["flow/wasserstein"].shape == (3,)
    assert found["flow/dependence"].shape == (3, 3)
    assert found["flow/noise"].shape[1] == 3 and found["flow/curve"].shape[1] == 2
    assert found["axes"]["flow/dependence"] == ("noise", "noise")
    assert found["flow/wasserstein"].max() < 0.1


def test_a_fitted_flow_can_be_used_again_and_keeps_its_order(fitted, tmp_path):
    job, x, found = fitted
    flow = job.parent / "out.icc.flow.safetensors"
    assert flow.exists()
    run(job_of(tmp_path, "weighted_sum", x, options={"flow": str(flow), "rtol": 0.005}))
    again = effects(tmp_path)
    np.testing.assert_allclose(again["topological"], found["topological"], atol=1e-9)
    assert again["edges"].tolist() == found["edges"].tolist() and again["causal"]


def test_a_killed_run_keeps_its_flow_and_its_draws(fitted, tmp_path):
    _, x, found = fitted
    memo = Kept()
    network = causal_networks.weighted_sum()
    options = IntrinsicCausalContributions.model_validate({"graph": CHAIN, "rtol": 0.005})

    def again():
        population = population_of(network, torch.from_numpy(x), names="abc", memo=memo)
        population.output = tmp_path / "out.h5"
        return options.study(population)

    first = again()
    # a fit of many seconds, on a busy machine, keeps its own state before
    computed = [name for name in memo.computed if name != "fit"]
    assert computed[0] == "flow" and len(computed) > 8
    (tmp_path / "out.ace.flow.safetensors").unlink()
    del memo.arrays["ace", computed[3]]
    memo.computed.clear()
    second = again()
    assert [name for name in memo.computed if name != "fit"] == [computed[3]]
    assert (tmp_path / "out.ace.flow.safetensors").exists()
    for name in ("topological", "shapley_standard_error", "flow/curve"):
        np.testing.assert_array_equal(first.values[name], second.values[name])
    np.testing.assert_allclose(first.values["topological"], found["topological"], atol=0.02)


def test_an_order_alone_allows_every_arrow_it_can(tmp_path):
    x = data_of("chain", 3, rows=1500)
    options = {"order": ["a", "b", "c"], "rtol": 0.02, "flow": {"epochs": 20}}
    run(job_of(tmp_path, "weighted_sum", x, options=options))
    found = effects(tmp_path)
    assert found["edges"].tolist() == [[0, 1], [0, 2], [1, 2]]
    # of five seeds 0.016 to 0.018, which 1500 rows are off by
    np.testing.assert_allclose(found["topological"][:, 0], (1 / 9, 4 / 9, 4 / 9), atol=0.06)


# --- entropy ------------------------------------------------------------------------------------

CLASSES = {"labels": None, "class_names": ["no", "yes"]}


@pytest.mark.parametrize(
    ("network", "shapley", "topological", "entropy"),
    [("exclusive_or", (0.5, 0.5), (0, 1), np.log(2)), ("conjunction", (0.5, 0.5), (0.38369, 0.61631), 0.562335)],
)
def test_contributions_to_the_entropy_of_the_predicted_class(tmp_path, network, shapley, topological, entropy):
    """Of two fair bits, in nats: H(xor) = ln 2; H(and) = −¼ ln ¼ − ¾ ln ¾, less ½ ln 2 once the first is known."""
    options = {"graph": PAIR, "scm": "helpers.causal_networks:bits", "discrete": True, "measure": "entropy"}
    job = job_of(tmp_path, network, data_of("bits", 2), dataset=CLASSES, options={**options, "rtol": 0.02})
    run(job)
    found = effects(tmp_path)
    np.testing.assert_allclose(found["weighted/shapley"], shapley, atol=0.02)
    np.testing.assert_allclose(found["weighted/topological"], topological, atol=0.02)
    np.testing.assert_allclose(found["entropy"], [entropy] * 2, rtol=0.02)  # of whether it is no, and yes
    assert "variance" not in found and found["shapley"].shape == (2, 2)
    assert found["converged"]
    outcome = invoke("plot", tmp_path / "out.h5", "--kind", "contributions")
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"dataset": {"labels": None}}, "measure: entropy is that of a predicted class"),
        ({"dataset": CLASSES, "score": "sigmoid"}, "labels that do not exclude each other"),
        (
            {"dataset": CLASSES, "options": {"control": "polynomial"}},
            "control: polynomial goes with measure: variance",
        ),
        (
            {"dataset": CLASSES, "options": {"max_evaluations": 100}},
            "max_evaluations: 100 are fewer than the 4,096",
        ),
    ],
)
def test_an_entropy_is_that_of_one_predicted_class(tmp_path, sections, message):
    options = {"graph": PAIR, "scm": "helpers.causal_networks:bits", "discrete": True, "measure": "entropy"}
    options |= sections.pop("options", {})
    outcome = invoke("run", job_of(tmp_path, "exclusive_or", data_of("bits", 2), options=options, **sections))
    assert outcome.exit_code == 2 and message in outcome.stderr, outcome.stderr
