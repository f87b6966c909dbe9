"""The package in a notebook: networks in memory, views for pandas and xarray, and what a cell shows."""

from __future__ import annotations

import doctest
import gc
import subprocess
import sys
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.blocks import digits, trained
from helpers.cli import digits_job, run
from helpers.networks import CLASSES, FEATURES, plain
from torch import nn

import xattr_cli
import xattr_cli.notebook.explain
import xattr_cli.notebook.given
from xattr_cli.errors import DataError, JobError, ModelError, StoreError

RTOL = {"integrated_gradients": {"rtol": 0.001}}


class Quadratic(nn.Module):
    """(n, 3) → (n, 2): integrated gradients from zero are x · Ax by halves, exactly."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0, -1.0], [0.5, -3.0, 2.0]]))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout((x * x) @ self.weight.T)


def inputs(rows=5):
    return torch.linspace(-1, 2, rows * 3).reshape(rows, 3)


def test_the_maps_of_a_module_are_right():
    x = inputs()
    results = xattr_cli.explain(Quadratic(), x, engines=RTOL, target=1)
    engine = results.engine("integrated_gradients")
    expected = (x * x * torch.tensor([0.5, -3.0, 2.0])).numpy()
    np.testing.assert_allclose(engine.attribution(slice(None)), expected, atol=1e-3 * np.abs(expected).max())
    assert (engine.relative_error <= 0.001).all() and (engine.status == 0).all()
    assert set(results.rows.target) == {1}


def test_the_module_comes_back_as_it_was():
    module = Quadratic().train()
    module.weight.grad = torch.ones(2, 3)
    module.weight.requires_grad_(False)
    before = module.weight.clone()
    xattr_cli.explain(module, inputs())
    assert module.training and module.dropout.training and not module.weight.requires_grad
    assert torch.equal(module.weight, before) and torch.equal(module.weight.grad, torch.ones(2, 3))


@pytest.mark.parametrize("form", ["tensor", "array", "float64", "frame", "mapping"])
def test_inputs_in_every_form_give_the_same(form):
    x = inputs()
    names = ["height", "width", "depth"]
    given = {
        "tensor": x.clone().requires_grad_(),
        "array": x.numpy(),
        "float64": x.numpy().astype(np.float64),
        "frame": pd.DataFrame(x.numpy(), columns=names),
        "mapping": {"size": x},
    }[form]
    found = xattr_cli.explain(Quadratic(), given, engines=RTOL, target="all")
    maps = found.engine("integrated_gradients").attribution(slice(None))
    expected = xattr_cli.explain(Quadratic(), x, engines=RTOL, target="all")
    np.testing.assert_allclose(maps, expected.engine("integrated_gradients").attribution(slice(None)), rtol=1e-5)
    assert list(found.inputs) == ["size" if form == "mapping" else "X"]
    if form == "frame":
        assert found.frame().feature.tolist()[:3] == names


def test_several_engines_labels_and_sections():
    images, labels = digits()[2][:4], digits()[3][:4]
    names = [f"digit {i}" for i in range(10)]
    results = xattr_cli.explain(
        trained("relu_cnn_maxpool"), images, engines=["saliency", "input_x_gradient"], target="label",
        labels=labels, class_names=names, score="log_probability", compute={"device": "cpu"},
    )  # fmt: skip
    assert list(results.engines) == ["saliency", "input_x_gradient"]
    assert results.rows.target.tolist() == results.rows.label.tolist() == labels.tolist()
    assert results.classes == tuple(names)
    scores = torch.log_softmax(trained("relu_cnn_maxpool")(images), 1)[torch.arange(4), labels]
    np.testing.assert_allclose(results.engine("saliency").score_input, scores.detach(), rtol=1e-4, atol=1e-5)


FAMILY = ["cat", "dog", "fox", "owl"]


@pytest.mark.parametrize(
    "target, outputs",
    [
        (np.int64(2), [2, 2, 2]),
        (torch.tensor(3), [3, 3, 3]),
        ("fox", [2, 2, 2]),
        (torch.tensor([3, 0, 1]), [3, 0, 1]),
        (np.array([3, 0, 1]), [3, 0, 1]),
        ([3, 0, 1], [3, 0, 1]),
        (["dog", "owl", "cat"], [1, 3, 0]),
    ],
    ids=str,
)
def test_targets_as_people_give_them(target, outputs):
    network, x = plain(), inputs(3)
    results = xattr_cli.explain(network, x, engines="saliency", target=target, class_names=np.array(FAMILY))
    assert results.rows.target.tolist() == outputs
    scores = network(x)[torch.arange(3), torch.tensor(outputs)].detach()
    np.testing.assert_allclose(results.engine("saliency").score_input, scores, rtol=1e-5)


def test_each_sequence_may_have_its_target():
    class Sums(nn.Module):
        def forward(self, x):
            return x.pow(2).sum(1)

    results = xattr_cli.explain(Sums(), [torch.ones(2, 3), torch.ones(4, 3)], engines="saliency", target=[2, 0])
    assert results.rows.target.tolist() == [2, 0]


class Product(nn.Module):
    def forward(self, left, right):
        return left * right


def test_a_tuple_of_inputs_has_the_names_that_the_network_has_for_them():
    a, b = torch.rand(4, 3), torch.rand(4, 3)
    results = xattr_cli.explain(Product(), (a, b), engines=RTOL, target=1)
    engine = results.engine("integrated_gradients")
    assert list(engine.tensors) == ["left", "right"]
    half = (a * b / 2)[:, 1].numpy()  # of a product, each factor gets a half
    np.testing.assert_allclose(engine.attribution(tensor="left")[:, 1], half, atol=2e-3)
    np.testing.assert_allclose(engine.attribution(tensor="right")[:, 1], half, atol=2e-3)


def test_lengths_and_masks_go_along_with_what_is_explained():
    class Last(nn.Module):
        def forward(self, sequence, lengths):
            return sequence[torch.arange(len(sequence)), lengths - 1] ** 2

    steps = [torch.ones(2, 3), 2 * torch.ones(4, 3)]
    for sequence in (steps, nn.utils.rnn.pad_sequence(steps, batch_first=True)):
        given = {"sequence": sequence, "lengths": np.array([2, 4])}
        engine = xattr_cli.explain(Last(), given, engines=RTOL, target=1).engine("integrated_gradients")
        expected = np.zeros((2, 4, 3))
        expected[0, 1, 1], expected[1, 3, 1] = 1, 4
        np.testing.assert_allclose(engine.attribution(), expected, atol=5e-3)


class Reader(nn.Module):
    """Ids and a mask (n, L) → (n, 2): the sum of the squares of what the tokens are looked up as."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]]))

    def forward(self, ids, mask):
        return (self.table(ids) ** 2 * mask[..., None]).sum(1)


def test_words_of_texts_in_memory_stand_beside_their_attributions():
    ids = torch.tensor([[1, 2, 2], [2, 0, 0]])
    words = [["so", "<b>good</b>", "<b>good</b>"], ["good"]]
    results = xattr_cli.explain(
        Reader(), (ids, (ids > 0).long()), explain={"embedding": "auto", "reduce": "sum"}, target=0, tokens=words,
        engines={"integrated_gradients": {"rtol": 0.001, "baseline": 0}},
    )  # fmt: skip
    frame = results.frame()
    assert frame.token.tolist() == ["so", "<b>good</b>", "<b>good</b>", "good"]
    np.testing.assert_allclose(frame.attribution, [1, 9, 9, 9], atol=0.01)
    assert results.figures("tokens")


@pytest.mark.parametrize(
    "tokens, message",
    [
        ([["a"]], "1 lists of them; there are 2 samples"),
        ([["a"], list("abcd")], "sample 1 has 4; the input has 3"),
        ([["a"], []], "tokens"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, message):
    ids = torch.tensor([[1, 2, 2], [2, 0, 0]])
    with pytest.raises(DataError, match=message):
        xattr_cli.explain(Reader(), (ids, ids), explain={"embedding": "auto"}, tokens=tokens)


def test_a_dataset_of_torch_brings_its_labels():
    dataset = torch.utils.data.TensorDataset(inputs(3), torch.tensor([1, 0, 1]))
    results = xattr_cli.explain(Quadratic(), dataset, engines="saliency", target="label")
    assert results.rows.target.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "baseline, start",
    [
        (1, torch.ones(5, 3)),
        (torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 0.0, 2.0]).expand(5, 3)),
        (torch.full((1, 3), 0.5), torch.full((5, 3), 0.5)),
        (inputs().flip(0).numpy(), inputs().flip(0)),
        ({"X": torch.zeros(3)}, torch.zeros(5, 3)),
    ],
    ids=["number", "sample", "batch of one", "each its own", "by name"],
)
def test_baselines_in_memory(baseline, start):
    x = inputs()
    engines = {"integrated_gradients": {"rtol": 0.001, "baseline": baseline}}
    found = xattr_cli.explain(Quadratic(), x, engines=engines, target=1).engine("integrated_gradients")
    expected = ((x * x - start * start) * torch.tensor([0.5, -3.0, 2.0])).numpy()
    np.testing.assert_allclose(found.attribution(), expected, atol=1e-3 * np.abs(expected).max())


def test_a_background_in_memory():
    x, background = inputs(), torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 2.0]])
    engines = {"expected_gradients": {"rtol": 0.01, "baseline": background}}
    found = xattr_cli.explain(Quadratic(), x, engines=engines, target=1).engine("expected_gradients")
    expected = ((x * x - background.square().mean(0)) * torch.tensor([0.5, -3.0, 2.0])).numpy()
    np.testing.assert_allclose(found.attribution(), expected, atol=0.02 * np.abs(expected).max())


def test_a_kept_result_is_of_its_baselines_and_targets(tmp_path):
    def explain(baseline, target):
        engines = {"integrated_gradients": {"baseline": torch.full((3,), baseline)}}
        return xattr_cli.explain(
            Quadratic(), inputs(), engines=engines, target=target, output=tmp_path / "kept.h5"
        ).close()

    explain(0.0, [0, 1, 0, 1, 0])
    explain(0.0, [0, 1, 0, 1, 0])
    for baseline, target in ((0.5, [0, 1, 0, 1, 0]), (0.0, [1, 1, 0, 1, 0])):
        with pytest.raises(StoreError, match="another job"):
            explain(baseline, target)


def test_sequences_of_different_lengths():
    class Sums(nn.Module):
        def forward(self, x):
            return x.pow(2).sum(1)

    steps = [torch.ones(2, 3), 2 * torch.ones(4, 3)]
    results = xattr_cli.explain(Sums(), steps, engines=RTOL, target=0)
    frame = results.frame()
    assert frame.groupby("row").size().tolist() == [6, 12]


def test_the_result_may_stay_and_a_temporary_one_goes(tmp_path):
    kept = xattr_cli.explain(Quadratic(), inputs(), output=tmp_path / "kept.h5")
    kept.close()
    with xattr_cli.open_results(tmp_path / "kept.h5") as again:
        assert len(again.rows) == 5
    with pytest.raises(StoreError, match="result of another job"):
        xattr_cli.explain(Quadratic(), inputs(), engines="saliency", output=tmp_path / "kept.h5")
    xattr_cli.explain(Quadratic(), inputs(), engines="saliency", output=tmp_path / "kept.h5", overwrite=True)
    temporary = xattr_cli.explain(Quadratic(), inputs())
    path = temporary.path
    assert path.exists()
    del temporary
    gc.collect()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"module": "resnet"}, ModelError, "str is no torch.nn.Module"),
        ({"engines": ["integrated_gradient"]}, JobError, "Did you mean 'integrated_gradients'"),
        ({"target": "labels"}, JobError, "label"),
        ({"target": "label"}, JobError, "label"),
        ({"target": 7}, JobError, "7"),
        ({"rtol": 0.1}, JobError, "rtol"),
        ({"module": lambda x: x}, ModelError, "a function is no torch.nn.Module"),
        ({"inputs": torch.utils.data.DataLoader(inputs())}, DataError, r"loader\.dataset"),
        ({"target": [1, 0]}, DataError, "2 values; there are 5 samples"),
        ({"engines": "ig"}, JobError, "Did you mean 'integrated_gradients'"),
        ({"engines": {"integrated_gradients": {"n_steps": 50}}}, JobError, "A number of steps says nothing of"),
        ({"engines": {"integrated_gradients": {"baseline": torch.zeros(4)}}}, DataError, r"\(4,\); input 'X'"),
        ({"baselines": 0}, JobError, "baselines"),
    ],
)
def test_mistakes_are_named(change, error, message):
    given = {"module": Quadratic(), "inputs": inputs(), **change}
    with pytest.raises(error, match=message):
        xattr_cli.explain(given.pop("module"), given.pop("inputs"), **given)


def test_the_example_is_true():
    assert doctest.testmod(xattr_cli.notebook.explain).failed == 0
    assert doctest.testmod(xattr_cli.notebook.given).failed == 0


# --- views ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    engines = {"interior_gradients": {"layers": ["pool"]}, "saliency": None}
    run(digits_job(folder, 4, engines=engines, target={"top": 2}), "--quiet")
    with xattr_cli.open_results(folder / "out.h5") as opened:
        yield opened


def test_a_frame_has_a_line_per_feature(results):
    frame = results.frame(engines=["saliency"], top=3)
    maps = results.engine("saliency").attribution(slice(None)).reshape(8, 64)
    assert len(frame) == 24 and set(frame.engine) == {"saliency"}
    for row, lines in frame.groupby("row"):
        assert lines.attribution.tolist() == maps[row][np.argsort(-np.abs(maps[row]), kind="stable")[:3]].tolist()
    assert len(results.frame()) == 2 * 8 * 64


def test_a_frame_of_rows_has_a_line_per_row(results):
    frame = results.rows_frame()
    assert frame.index.tolist() == list(range(8))
    np.testing.assert_array_equal(
        frame["interior_gradients.relative_error"], results.engine("interior_gradients").relative_error
    )
    assert set(frame["saliency.status"]) == {"not_judged"}


def test_xarray_has_rows_with_their_samples_and_targets(results):
    with results.xarray("interior_gradients") as dataset:
        assert dataset.attribution.dims == ("row", "channel", "height", "width")
        of_sample = dataset.attribution.where(dataset.sample == 2, drop=True)
        places = results.find(sample=2)
        expected = results.engine("interior_gradients").attribution(places)
        np.testing.assert_array_equal(of_sample.values, expected)
        assert dataset.target.values.tolist() == results.rows.target.tolist()
    with pytest.raises(StoreError, match="Did you mean 'saliency'"):
        results.xarray("salience")


def test_what_is_said_of_the_whole_dataset_has_names_too():
    x = pd.DataFrame(inputs(8).numpy(), columns=["height", "width", "depth"])
    engines = {"ace": {"alphas": 8}, "sobol": {"rtol": 0.05}}
    results = xattr_cli.explain(plain(), x, engines=engines, class_names=["cat", "dog", "fox", "owl"])
    with results.xarray("sobol") as indices, results.xarray("ace", effects=True) as effects:
        assert indices.total.sel(node="width", target="fox") == results.effects["sobol"].values("total")[1, 2]
        assert effects.ace.dims == ("feature", "alpha_index", "target")
    with results.xarray("ace") as maps:
        assert maps.attribution.shape == (8, 3)
    with pytest.raises(StoreError, match="Did you mean 'sobol'"):
        results.xarray("sobel", effects=True)
    assert repr(results).endswith("8 rows, ace, sobol>")
    words = _Page(results._repr_html_()).words
    assert words.count("ace") == 2 and any("whole dataset: converged" in word for word in words)


def test_rows_are_found_by_sample_name_and_target(results, tmp_path):
    target = int(results.rows.target[5])
    assert 5 in results.find(target=target) and (results.rows.target[results.find(target=target)] == target).all()
    assert results.find(sample=int(results.rows.sample[5]), target=target).tolist() == [5]
    path = tmp_path / "named.h5"
    path.write_bytes(results.path.read_bytes())
    with h5py.File(path, "r+") as file:
        file.create_dataset("samples/key", data=list("abcd"), dtype=h5py.string_dtype())
    with xattr_cli.open_results(path) as named:
        assert named.rows.sample[named.find(key="c")].tolist() == [2, 2]
        assert named.rows_frame().key.tolist() == list("aabbccdd")


def test_figures_are_those_of_plot(results):
    (figure, *_) = results.figures("samples", rows=[1], engines=["saliency"])
    assert figure.axes
    shown = results.figures("samples", rows=[1], engines=["saliency"])._repr_html_()
    assert [tag for tag, _ in _Page(shown).tags] == ["p", "img"]
    with pytest.raises(JobError, match="Did you mean 'saturation'"):
        results.figures("saturations")


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def test_a_cell_shows_a_table_and_a_figure(results):
    page = _Page(results._repr_html_())
    assert {"saliency", "interior_gradients", "error: median"} <= {*page.words}
    (picture,) = [about for tag, about in page.tags if tag == "img"]
    assert picture["src"].startswith("data:image/png;base64,") and len(picture["src"]) < 400_000
    assert "8 rows, interior_gradients, saliency" in repr(results)


def test_names_in_a_cell_stay_text():
    results = xattr_cli.explain(
        plain(), np.ones((2, FEATURES), np.float32), class_names=["<script>alert(1)</script>"] * CLASSES
    )
    assert "script" not in [tag for tag, _ in _Page(results._repr_html_()).tags]


def test_opening_a_result_takes_no_torch():
    program = "import sys, xattr_cli; xattr_cli.open_results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
