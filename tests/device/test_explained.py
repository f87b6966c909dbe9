"""Several inputs, embeddings and layers: equal to captum, zero in padding, the same in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import LayerIntegratedGradients
from helpers import any_networks, layers
from helpers.cli import datasets, explained, invoke, relative, run, write_job
from helpers.layers import CLASSES, SIDE, WIDTH, WORDS, built

from xattr_cli.device.patching import HookPoint, watched
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.opening import open_session
from xattr_cli.store.results.reader import Results

NODES = 24
FIXED = {"rule": "gauss_legendre", "nodes": NODES}
MAP = "engines/integrated_gradients/attribution"
LENGTHS = np.array([4, 9, 2, 9, 1, 6, 3, 5])


def model(factory, **kwargs):
    return {"kind": "python", "factory": f"helpers.layers:{factory}", "kwargs": kwargs}


def engine(**options):
    return {"integrated_gradients": options}


@pytest.fixture
def images(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 2, SIDE, SIDE)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=x)
    return torch.from_numpy(x)


@pytest.fixture
def ids(tmp_path):
    """Padded ids (8, 9), as zeros after the lengths."""
    drawn = np.random.default_rng(1).integers(1, WORDS, (len(LENGTHS), LENGTHS.max()))
    drawn[np.arange(drawn.shape[1]) >= LENGTHS[:, None]] = 0
    np.savez(tmp_path / "data.npz", X=drawn, lengths=LENGTHS)
    return torch.from_numpy(drawn)


def masks():
    return torch.arange(int(LENGTHS.max())) < torch.from_numpy(LENGTHS)[:, None]


CONV_JOB = {"model": model("conv"), "dataset": {"labels": None}}
PADDED = {"kind": "sequences", "path": "data.npz", "packed": False, "hand_over": "mask", "labels": None}
WORD_JOB = {
    "model": model("words"),
    "dataset": PADDED,
    "explain": {"embedding": "auto"},
    "engines": engine(baseline={"kind": "token", "token": 0}, rtol=0.01),
}


# --- equality with captum -----------------------------------------------------------------------


def test_integrated_gradients_on_several_tensors(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in
               (("a", (7, 3)), ("b", (7, 2, 5)), ("c", (7, 1)))}  # fmt: skip
    np.savez(tmp_path / "data.npz", **tensors)
    found = explained(tmp_path, model=model("three_tensors"), dataset={"inputs": ["a", "b", "c"], "labels": None},
                      engines=engine(baseline={"kind": "constant", "value": 0.3}, **FIXED))  # fmt: skip
    network, given = built(layers.three_tensors), tuple(map(torch.from_numpy, tensors.values()))
    start = tuple(torch.full_like(tensor, 0.3) for tensor in given)
    peer = CaptumIntegratedGradients(network).attribute(
        given, start, target=network(*given).argmax(1), n_steps=NODES, method="gausslegendre"
    )
    whole = np.concatenate([tensor.flatten(1).numpy() for tensor in peer], axis=1)
    ours = np.concatenate([found[f"{MAP}/{name}"].reshape(7, -1) for name in tensors], axis=1)
    assert relative(ours, whole).max() < 1e-5
    assert list(found["explained"]) == ["a", "b", "c"]


def test_layer_integrated_gradients_on_an_embedding(tmp_path, ids):
    sections = {**WORD_JOB, "engines": engine(baseline={"kind": "token", "token": 5}, **FIXED)}
    found = explained(tmp_path, **sections)
    network = built(layers.words)
    start = torch.where(masks(), 5, 0)
    peer = LayerIntegratedGradients(network, network.embed).attribute(
        ids, start, additional_forward_args=(masks(),), target=network(ids, masks()).argmax(1), n_steps=NODES,
        method="gausslegendre",
    )  # fmt: skip
    assert found[MAP].shape == (len(ids), 9, WIDTH)
    assert relative(found[MAP], peer.numpy()).max() < 1e-5
    assert list(found["explained"]) == ["embed"]


@pytest.mark.parametrize(
    ("layer", "side", "module"),
    [
        ("first", "output", lambda network: network.first),
        ("block.second", "output", lambda network: network.block["second"]),
        ("second", "input", lambda network: network.block["second"]),
    ],
)
def test_layer_integrated_gradients_on_a_convolution(tmp_path, images, layer, side, module):
    baseline = {"kind": "propagated", "baseline": {"kind": "constant", "value": -0.5}}
    found = explained(tmp_path, **CONV_JOB, engines=engine(baseline=baseline, **FIXED),
                      explain={"layer": layer, "side": side})  # fmt: skip
    network = built(layers.conv)
    network.rectify = torch.nn.ReLU()  # captum cannot follow a layer that works in place; ours must
    peer = LayerIntegratedGradients(network, module(network)).attribute(
        images, torch.full_like(images, -0.5), target=network(images).argmax(1), n_steps=NODES,
        method="gausslegendre", attribute_to_layer_input=side == "input",
    )  # fmt: skip
    assert relative(found[MAP], peer.detach().numpy()).max() < 1e-5


def test_a_zero_baseline_is_zero_at_the_layer(tmp_path, images):
    found = explained(tmp_path, **CONV_JOB, explain={"layer": "head", "side": "input"},
                      engines=engine(baseline={"kind": "zero"}))  # fmt: skip
    network = built(layers.conv)
    with torch.no_grad():
        hidden = network.block["smooth"](network.block["second"](network.rectify(network.first(images)))).flatten(
            1
        )
        truth = hidden * network.head.weight[network(images).argmax(1)]
        scores = network(images).amax(1)
    assert relative(found[MAP], truth.numpy()).max() < 1e-5
    at = "engines/integrated_gradients"
    assert found[f"{at}/score_baseline"] == pytest.approx((scores - truth.sum(1)).numpy(), abs=1e-5)
    assert found[f"{at}/score_input"] == pytest.approx(scores.numpy(), abs=1e-5)


# --- which tensor -------------------------------------------------------------------------------


def test_one_of_the_tensors_that_a_layer_returns(tmp_path):
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).integers(0, WORDS, (5, 4)))
    sections = {"model": model("recurrent"), "dataset": {"labels": None}}
    refused = message(tmp_path, explain={"layer": "lstm"}, **sections)
    assert "'lstm' returns several values (tensors: 0, 1.0, 1.1); choose one" in refused and "part: 0" in refused
    found = explained(tmp_path, explain={"layer": "lstm", "part": 0}, **sections)
    network = built(layers.recurrent)
    given = torch.from_numpy(np.load(tmp_path / "data.npz")["X"])
    hidden = network.lstm(network.embed(given))[0]
    truth = torch.zeros_like(hidden)
    truth[:, -1] = hidden[:, -1] * network.head.weight[network(given).argmax(1)]
    assert relative(found[MAP], truth.detach().numpy()).max() < 1e-5


@pytest.mark.parametrize(("side", "names"), [("output", ["0", "1.high"]), ("input", ["0", "scale"])])
def test_all_tensors_of_a_layer_on_one_path(tmp_path, images, side, names):
    """Against captum, whose layer integrated gradients replace all tensors of a layer at once."""
    baseline = {"kind": "propagated", "baseline": {"kind": "constant", "value": -0.5}}
    found = explained(tmp_path, model=model("forked"), dataset=CONV_JOB["dataset"],
                      engines=engine(baseline=baseline, **FIXED),
                      explain={"layer": "fork", "side": side, "part": "all"})  # fmt: skip
    network, prefix = built(layers.forked), "fork" if side == "output" else "fork.input"
    start, target = torch.full_like(images, -0.5), network(images).argmax(1)
    points = {}
    for way, given in (("x", images), ("start", start)):
        into = {}
        with watched([HookPoint("fork", "fork", network.fork, "explain.layer", side)], into):
            network(given)
        points[way] = [into["fork"][name].detach() for name in names]

    def rest(*tensors):
        return network.join(*(tensors if side == "output" else network.fork.split(*tensors)))

    peer = CaptumIntegratedGradients(rest).attribute(
        tuple(points["x"]), tuple(points["start"]), target=target, n_steps=NODES, method="gausslegendre"
    )
    assert list(found["explained"]) == [f"{prefix}.{name}" for name in names]
    for name, theirs in zip(names, peer, strict=True):
        assert relative(found[f"{MAP}/{prefix}.{name}"], theirs.detach().numpy()).max() < 1e-5
    one = explained(tmp_path, model=model("forked"), dataset=CONV_JOB["dataset"],
                    engines=engine(baseline=baseline, **FIXED),
                    explain={"layer": "fork", "side": side, "part": names[1:]})  # fmt: skip
    assert list(one["explained"]) == [prefix]


def test_constants_of_the_call_reach_a_layer_that_is_explained(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=x)
    rate = {"kind": "python", "factory": "helpers.any_networks:with_a_rate", "call": {"sr": 8000}}
    found = explained(tmp_path, model=rate, dataset={"labels": None}, explain={"layer": "body"},
                      engines={"input_x_gradient": None}, target={"index": 1})  # fmt: skip
    network = any_networks.with_a_rate().eval()
    hidden = network.body(torch.from_numpy(x)).detach().requires_grad_()
    score = network.head(hidden, torch.from_numpy(x), sr=8000)[:, 1].sum()
    truth = hidden * torch.autograd.grad(score, hidden)[0]
    maps = found["engines/input_x_gradient/attribution"]
    np.testing.assert_allclose(maps, truth.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_layers_of_which_one_is_computed_from_the_other(tmp_path, images):
    """Both on one path, the first one's map would be zero without a word; captum gives that."""
    sections = {"model": model("conv"), "dataset": CONV_JOB["dataset"]}
    for order in (["first", "second"], ["second", "first"]):
        refused = message(tmp_path, **sections, explain={"layer": order})
        assert "explain.layer: 'block.second' is computed from 'first'" in refused
        assert "--set explain.layer=first" in refused
    refused = message(tmp_path, **sections, explain={"inputs": ["X"], "layer": "head"})
    assert "'head' is computed from 'X'" in refused


@pytest.fixture
def mixed(tmp_path):
    """A job of words, sorts and numbers, and the numbers."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(6, 4)).astype(np.float32)
    words, sorts = rng.integers(0, WORDS, (6, 4)), rng.integers(0, WORDS, (6, 2))
    np.savez(tmp_path / "data.npz", words=words, sorts=sorts, numbers=numbers, ids=words)
    return {"model": model("pair"), "dataset": {"inputs": ["words", "sorts", "numbers"], "labels": None}}, numbers


def test_embeddings_and_inputs_together(tmp_path, mixed):
    sections, numbers = mixed
    found = explained(tmp_path, explain={"inputs": ["numbers"], "embedding": ["ids", "kinds"]}, **sections,
                      engines=engine(baseline={"kind": "zero"}, rtol=0.001))  # fmt: skip
    assert list(found["explained"]) == ["numbers", "ids", "kinds"]
    weights = built(layers.pair).head.weight[found["rows/target"], WIDTH:].detach().numpy()
    assert found[f"{MAP}/numbers"] == pytest.approx(numbers**2 * weights, abs=1e-3)
    assert found[f"{MAP}/ids"].shape == (6, 4, WIDTH) and found[f"{MAP}/kinds"].shape == (6, 2, WIDTH)
    assert np.abs(found["engines/integrated_gradients/completeness_gap"]).max() < 1e-3


def test_an_embedding_with_the_name_of_an_input(tmp_path, mixed):
    sections, _ = mixed
    sections["dataset"]["inputs"] = ["ids", "sorts", "numbers"]
    text = message(tmp_path, explain={"embedding": "ids"}, **sections)
    assert "explain.embedding: 'ids' has the name of an input of the dataset" in text


def test_several_embeddings_are_listed(tmp_path, mixed):
    text = message(tmp_path, explain={"embedding": "auto"}, **mixed[0])
    assert "several embeddings: ids, kinds. Name one" in text


def test_a_layer_that_torch_would_skip(tmp_path):
    """Encoder layers of torch have a fast path in eval mode that calls none of their parts."""
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).normal(size=(5, 4, 8)).astype(np.float32))
    found = explained(tmp_path, model=model("encoder"), dataset={"labels": None}, explain={"layer": "linear1"})
    assert found[MAP].shape == (5, 4, 12)
    at = "engines/integrated_gradients"
    moved = np.abs(found[f"{at}/score_input"] - found[f"{at}/score_baseline"]).max()
    assert np.abs(found[f"{at}/completeness_gap"]).max() < 0.1 * moved


# --- padding and company ------------------------------------------------------------------------


def test_padding_gets_exactly_zero(tmp_path, ids):
    background = {"kind": "samples", "count": 4}
    found = explained(tmp_path, **{**WORD_JOB, "engines": {
        "integrated_gradients": {"baseline": {"kind": "zero"}},
        "saliency": None,
        "interior_gradients": {"baseline": {"kind": "mean"}, "layers": ["mix"]},
        "expected_gradients": {"baseline": background, "rtol": 0.5},
    }})  # fmt: skip
    padding = ~masks().numpy()
    for name in ("integrated_gradients", "saliency", "interior_gradients", "expected_gradients"):
        values = found[f"engines/{name}/attribution"]
        assert (values[padding] == 0).all() and (values[~padding] != 0).any(axis=-1).all(), name
    assert np.array_equal(found["inputs/embed/real"], ~padding)
    gap = np.abs(found["engines/integrated_gradients/completeness_gap"])
    assert gap.max() < 0.05


@pytest.mark.parametrize("factory", ["words", "whole_length"])
def test_a_padded_batch_gives_each_row_what_it_gets_alone(tmp_path, ids, factory):
    """Alone, a sequence is not padded at all; a network that minds its padding is always padded as far."""
    sections = {**WORD_JOB, "model": model(factory)}
    whole = explained(tmp_path, **sections)
    again = explained(tmp_path, **sections, output={"part_rows": 1}, compute={"batch_rows": 4})
    assert relative(again[MAP], whole[MAP]).max() < 1e-6
    if factory == "whole_length":
        return
    for row, length in enumerate(LENGTHS):
        np.savez(tmp_path / "data.npz", X=ids[row : row + 1, :length].numpy(), lengths=LENGTHS[row : row + 1])
        alone = explained(tmp_path, **sections)
        assert alone[MAP].shape == (1, length, WIDTH)
        assert relative(alone[MAP], whole[MAP][row : row + 1, :length]).max() < 1e-6


def test_calls_are_as_short_as_their_rows_where_the_network_bears_it(tmp_path, ids):
    for factory, bears in (("words", True), ("whole_length", False)):
        with open_session(load_job(str(write_job(tmp_path, **{**WORD_JOB, "model": model(factory)})))) as session:
            assert session.scorer.shortens is bears
            seen = []
            points = session.scorer.placed(session.samples.read(4, 5))
            handle = session.scorer.module.mix.register_forward_pre_hook(_keep_lengths(seen))
            session.scorer.scores(*points)
            handle.remove()
            assert seen == [1 if bears else 9]


def _keep_lengths(seen):
    return lambda _, given: seen.append(given[0].shape[1])


def test_lengths_are_handed_over_and_never_explained(tmp_path):
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(LENGTHS.sum(), 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=flat, lengths=LENGTHS)
    dataset = {"kind": "sequences", "hand_over": "lengths", "packed": True, "labels": None}
    found = explained(tmp_path, model=model("lengths"), dataset=dataset, engines=engine(rtol=0.01))
    starts = np.cumsum(LENGTHS) - LENGTHS
    assert list(found["explained"]) == ["X"]
    for row, (start, length) in enumerate(zip(starts, LENGTHS, strict=True)):
        assert np.array_equal(found["inputs/X/values"][row, :length], flat[start : start + length])
        assert (found["inputs/X/values"][row, length:] == 0).all() and (found[MAP][row, length:] == 0).all()
        np.savez(tmp_path / "data.npz", X=flat[start : start + length], lengths=LENGTHS[row : row + 1])
        alone = explained(tmp_path, model=model("lengths"), dataset=dataset, engines=engine(rtol=0.01))
        assert relative(alone[MAP], found[MAP][row : row + 1, :length]).max() < 1e-6


def test_a_background_of_other_sequences(tmp_path, ids):
    """Another dataset is seen through the same embedding: the map of a row is the mean over its samples."""
    np.savez(tmp_path / "other.npz", X=np.roll(ids.numpy(), 1, axis=1)[:2], lengths=LENGTHS[[1, 1]])
    other = {"kind": "sequences", "path": "other.npz", "packed": False, "hand_over": "mask"}
    background = {"kind": "samples", "count": 2, "dataset": other}
    engines = {"expected_gradients": {"baseline": background, "rtol": 0.02}}
    found = explained(tmp_path, **{**WORD_JOB, "engines": engines})
    network, mask = built(layers.words), masks()
    with torch.no_grad():
        scores = network(ids, mask).amax(1)
    at = "engines/expected_gradients"
    moved = scores.numpy() - found[f"{at}/score_baseline"]
    assert found[f"{at}/attribution"].sum((1, 2)) == pytest.approx(moved, abs=0.1 * np.abs(moved).max())
    assert (found[f"{at}/attribution"][~mask.numpy()] == 0).all()


# --- baselines ----------------------------------------------------------------------------------


def baselines(folder, baseline, explain=None, **sections):
    """Baselines of all samples in the space that is explained."""
    given = {
        **WORD_JOB,
        **sections,
        "engines": engine(baseline=baseline),
        "explain": explain or {"embedding": "auto"},
    }
    with open_session(load_job(str(write_job(folder, **given)))) as session:
        bound = session.baselines.bound(session.job.engines["integrated_gradients"].baseline)
        return bound.reference(session.samples.read(0, len(session.samples)))[session.layout.specs[0].name]


def test_baselines_of_embeddings(tmp_path, ids):
    network, mask = built(layers.words), masks()
    with torch.no_grad():
        vectors = network.embed(ids)
    assert (baselines(tmp_path, {"kind": "zero"}) == 0).all()
    per_step = baselines(tmp_path, {"kind": "mean"})
    truth = (vectors * mask[..., None]).sum(0) / mask.sum(0)[:, None]
    assert per_step == pytest.approx(truth.expand_as(vectors).numpy(), abs=1e-6)
    pooled = baselines(tmp_path, {"kind": "mean", "pool_steps": True})
    assert pooled == pytest.approx(vectors[mask].mean(0).expand_as(vectors).numpy(), abs=1e-6)
    kept = baselines(tmp_path, {"kind": "token", "token": 7, "keep": [int(ids[0, 0])]})
    replaced = mask & (ids != ids[0, 0])
    assert np.array_equal(kept, network.embed(torch.where(replaced, 7, ids)).detach().numpy())


def test_several_baselines_of_tokens_are_averaged_as_captum_would_be_by_hand(tmp_path, ids):
    """The mean map of padding, a mask and a third token; how far apart they are; and what each begins with."""
    tokens = [0, 5, 11]
    listed = [{"kind": "token", "token": token} for token in tokens]
    found = explained(tmp_path, **{**WORD_JOB, "engines": engine(baseline=listed, **FIXED)})
    network = built(layers.words)
    maps, scores = [], []
    for token in tokens:
        start = torch.where(masks(), token, 0)
        target = network(ids, masks()).argmax(1)
        maps.append(
            LayerIntegratedGradients(network, network.embed).attribute(
                ids,
                start,
                additional_forward_args=(masks(),),
                target=target,
                n_steps=NODES,
                method="gausslegendre",
            )
        )
        scores.append(network(start, masks()).gather(1, target[:, None])[:, 0])
    maps, scores, at = torch.stack(maps), torch.stack(scores, 1).detach(), "engines/integrated_gradients"
    assert relative(found[MAP], maps.mean(0).numpy()).max() < 1e-5
    assert relative(found[f"{at}/baseline_deviation"], maps.std(0).numpy()).max() < 1e-4
    np.testing.assert_allclose(found[f"{at}/baseline_scores"], scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(found[f"{at}/score_baseline"], scores.mean(1).numpy(), atol=1e-5)
    assert [name.decode() if isinstance(name, bytes) else name for name in found[f"{at}/baseline_names"]] == [
        "token (token: 0)", "token (token: 5)", "token (token: 11)"
    ]  # fmt: skip


def test_a_baseline_of_an_input_needs_something_inside(tmp_path, images):
    text = message(tmp_path, **CONV_JOB,
                   engines=engine(baseline={"kind": "propagated", "baseline": "zero"}))  # fmt: skip
    assert "propagated is for tensors inside the network, but the input 'X' itself is explained" in text


def test_a_pooled_mean_needs_steps(tmp_path, images):
    text = message(tmp_path, **CONV_JOB,
                   engines=engine(baseline={"kind": "mean", "pool_steps": True}))  # fmt: skip
    assert "engines.integrated_gradients.baseline.pool_steps" in text and "no sequence" in text


@pytest.mark.parametrize(
    ("baseline", "text"),
    [
        ({"kind": "token", "token": "mask"}, "baseline.token: 'mask': the dataset has no vocabulary"),
        ({"kind": "token", "token": 0, "text": "a film"}, "baseline.text: the dataset has no vocabulary"),
        (
            {"kind": "token", "token": 0, "input": "x"},
            "baseline.input: 'x': no input of ids has this name. Allowed: X",
        ),
    ],
)
def test_tokens_that_are_not_known(tmp_path, ids, baseline, text):
    assert text in message(tmp_path, **{**WORD_JOB, "engines": engine(baseline=baseline)})


# --- what is stored -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sum", "l2"])
def test_reductions_beside_the_map_and_instead_of_it(tmp_path, ids, way):
    engines = {
        "integrated_gradients": {"baseline": {"kind": "zero"}},
        "interior_gradients": {"alphas": [0.5, 1.0]},
    }
    sections = {**WORD_JOB, "engines": engines, "explain": {"embedding": "embed", "reduce": way}}
    both = explained(tmp_path, **sections)
    only = explained(tmp_path, **{**sections, "explain": {**sections["explain"], "store": "reduced"}})
    whole = both[MAP]
    truth = whole.sum(-1) if way == "sum" else np.linalg.norm(whole, axis=-1)
    assert both["engines/integrated_gradients/reduced"] == pytest.approx(truth, abs=1e-6)
    assert np.array_equal(only[MAP], both["engines/integrated_gradients/reduced"])
    assert "engines/integrated_gradients/reduced" not in only
    assert only["engines/interior_gradients/maps"].shape == both["engines/interior_gradients/maps"].shape[:-1]
    with Results.open(tmp_path / "out.h5") as results:
        found = results.engine("integrated_gradients")
        assert results.explained == ("embed",) and found.axes == {"embed": ("token",)}
        assert found.reduction == way and np.array_equal(found.reduced([1]), only[MAP][1:2])
        assert results.inputs["embed"].tokens(0) == ()
        assert results.inputs["embed"].real([0]).sum() == LENGTHS[0]
        results.verify()


def test_the_inputs_are_stored_where_a_layer_is_explained(tmp_path, images):
    found = explained(tmp_path, **CONV_JOB, explain={"layer": "first", "reduce": "sum"})
    assert np.array_equal(found["inputs/X/values"], images.numpy())
    assert found["engines/integrated_gradients/reduced"].shape == (6, SIDE, SIDE)
    assert "inputs/first/values" not in found


# --- honest errors ------------------------------------------------------------------------------


def message(folder, **sections):
    outcome = invoke("run", write_job(folder, **sections))
    assert outcome.exit_code == 2, outcome.output
    assert list(folder.glob("out.h5*")) == []
    return outcome.stderr


@pytest.mark.parametrize(
    ("explain", "text"),
    [
        ("inputs", "input 'X' holds int64, which has no gradient"),
        ("inputs", "explain: {embedding: auto}"),
        ({"layer": "mux"}, "explain.layer: 'mux': the model has no such layer. Allowed: embed, mix, unused,"),
        ({"layer": "mux"}, "Did you mean 'mix'?"),
        ({"embedding": "embedd"}, "explain.embedding: 'embedd': the model has no such layer."),
        ({"layer": "unused"}, "explain.layer: 'unused' is never called in a forward pass"),
        ({"layer": "embed", "side": "input"}, "'embed' takes int64 there, which has no gradient"),
        ({"layer": "mix", "part": 1}, "explain.layer: 'mix' returns one tensor: explain.part: 1 has no meaning"),
        ({"layer": "mix", "side": "input", "part": 3}, "explain.part: 3: 'mix' takes no such tensor. Allowed: 0."),
        ({"embedding": "auto", "side": "input"}, "side and part say which tensor of a layer is explained"),
        ({"layer": "mix", "store": "reduced"}, "store: reduced needs a reduction"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained(tmp_path, ids, explain, text):
    assert text in message(tmp_path, **{**WORD_JOB, "explain": explain})


def test_a_layer_that_is_called_twice(tmp_path, ids):
    text = message(tmp_path, **{**WORD_JOB, "model": model("one_embedding_twice")})
    assert "explain.embedding: 'embed' is called 2 times in a forward pass" in text


def test_a_network_without_an_embedding(tmp_path, images):
    text = message(tmp_path, **CONV_JOB, explain={"embedding": "auto"})
    assert "explain.embedding: 'auto': the model has no nn.Embedding" in text


def test_a_tensor_whose_second_axis_counts_the_samples(tmp_path):
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).integers(0, WORDS, (5, 4)))
    sections = {"dataset": {"labels": None}, "explain": {"layer": "lstm", "part": 0}}
    by_steps = explained(tmp_path, model=model("recurrent", batch_first=False), **sections)
    by_samples = explained(tmp_path, model=model("recurrent"), **sections)
    assert by_steps[MAP].shape == (5, 4, WIDTH) and relative(by_steps[MAP], by_samples[MAP]).max() < 1e-5


def test_the_network_is_handed_back_as_it_was(tmp_path, ids):
    run(write_job(tmp_path, **WORD_JOB), "--quiet")
    with open_session(load_job(str(write_job(tmp_path, **WORD_JOB, output={"path": "again.h5"})))) as session:
        assert not any(
            module._forward_hooks or module._forward_pre_hooks for module in session.scorer.module.modules()
        )
        assert session.layout.specs[0].axes == ("token", "embedding")
    assert datasets(tmp_path / "out.h5")[MAP].shape[-1] == WIDTH
    assert CLASSES == 3
