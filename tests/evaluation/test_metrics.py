"""Every metric of `evaluate` on linear networks, where what it has to be is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.cli import write_job
from helpers.evaluation import command, evaluate, result, values
from scipy import stats
from scipy.spatial.distance import cdist

from xattr_cli.errors import JobError
from xattr_cli.evaluation import EvaluationOptions
from xattr_cli.metrics import Metric, Stream
from xattr_cli.numerics.faithfulness.imputation import imputed
from xattr_cli.randomness import Purpose, dataset_generator, sample_generator
from xattr_cli.registry import METRICS

W = np.array([[1.0, -2, 0.5, 3, 0], [0.3, 0.2, -4, 1, 1]])
NETWORKS = f'''
"""Networks of this folder."""
import torch
from torch import nn


def linear():
    layer = nn.Linear(5, 2)
    layer.weight.data = torch.tensor({W.tolist()})
    layer.bias.data[:] = 9.0
    return layer


def one_output():
    layer = nn.Linear(5, 1)
    layer.weight.data = torch.tensor({W[:1].tolist()})
    return layer


def picture():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 6, 3))


def tokens():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4 * 3, 2))
'''
ROWS = 10
X = np.random.default_rng(0).uniform(-1, 1, (ROWS, 5))
IG, SALIENCY, RANDOM = "integrated_gradients", "saliency", "(random)"
TARGETS = np.tile([0, 1], ROWS)
SAMPLES = np.arange(ROWS).repeat(2)
MAPS = (X[:, None] * W).reshape(-1, 5)
GRADIENTS = np.tile(np.abs(W), (ROWS, 1))
SCORES = MAPS.sum(axis=1) + 9


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Integrated gradients from zero, which are w ⊙ x, and saliency, |w|, of both outputs."""
    folder = tmp_path_factory.mktemp("linear")
    (folder / "networks.py").write_text(NETWORKS)
    np.savez(folder / "data.npz", X=X)
    return result(folder, "linear", {IG: None, SALIENCY: None})


def of(file, metric, **options):
    """Candidate → (rows,) of one metric with its options."""
    return values(evaluate(file, {"kind": metric, **options}))


def check(found, expected):
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=2e-6, atol=1e-9, err_msg=name)


def spearman(one, other):
    return np.array([stats.spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])


# --- complexity -----------------------------------------------------------------------------------


def test_sparseness_is_the_mean_difference_of_magnitudes(file):
    def gini(maps):
        sizes = np.abs(maps)
        return np.abs(sizes[:, :, None] - sizes[:, None]).mean(axis=(1, 2)) / (2 * sizes.mean(axis=1))

    check(of(file, "sparseness"), {IG: gini(MAPS), SALIENCY: gini(GRADIENTS)})


def test_complexity_is_the_entropy_of_the_shares(file):
    check(of(file, "complexity"), {IG: stats.entropy(np.abs(MAPS), axis=1), SALIENCY: stats.entropy(GRADIENTS.T)})


def test_effective_complexity_counts_what_is_not_zero(file):
    counts = np.where(TARGETS == 0, 4, 5)
    check(of(file, "effective_complexity"), {IG: counts, SALIENCY: counts})
    above = (np.abs(MAPS) > 0.5 * np.abs(MAPS).max(axis=1, keepdims=True)).sum(axis=1)
    check(of(file, "effective_complexity", threshold=0.5), {IG: above})


# --- axioms ---------------------------------------------------------------------------------------


def test_completeness_is_the_relative_gap(file):
    change = MAPS.sum(axis=1)
    gap = np.abs(GRADIENTS.sum(axis=1) - change) / np.abs(change)
    check(of(file, "completeness"), {SALIENCY: gap})
    assert of(file, "completeness")[IG].max() < 1e-6


def test_non_sensitivity_is_the_share_of_units_that_contradict_it(file):
    """Output 0 does not see the last feature, to which the random map gives something."""
    check(of(file, "non_sensitivity"), {IG: 0, SALIENCY: 0, RANDOM: np.where(TARGETS == 0, 0.2, 0.0)})


def test_units_of_non_sensitivity_may_be_a_sample(file):
    found = of(file, "non_sensitivity", most=2)[RANDOM]
    assert set(found[TARGETS == 0]) == {0.0, 0.5} and (found[TARGETS == 1] == 0).all()


def test_a_zero_baseline_is_not_invariant_and_a_gradient_is(file):
    away = np.linalg.norm(-2 * W[TARGETS], axis=1) / np.linalg.norm(MAPS, axis=1)
    check(of(file, "input_invariance", shift=-2), {IG: away, SALIENCY: 0})


# --- faithfulness ---------------------------------------------------------------------------------


def test_faithfulness_estimate_correlates_attributions_with_drops(file):
    expected = [stats.pearsonr(g, c).statistic for g, c in zip(GRADIENTS, MAPS, strict=True)]
    check(of(file, "faithfulness_estimate"), {IG: 1, SALIENCY: expected})


def test_units_are_replaced_in_groups_of_neighbouring_ranks(file):
    grouped = np.sort(MAPS)[:, ::-1]  # two, two and one
    expected = np.stack([grouped[:, :2].sum(axis=1), grouped[:, 2:4].sum(axis=1), grouped[:, 4]], axis=1)
    found = of(file, "faithfulness_estimate", steps=3)
    assert expected.std(axis=1).min() > 0
    check(found, {IG: 1})
    ranks = np.argsort(-GRADIENTS, axis=1)
    drops = np.take_along_axis(MAPS, ranks, axis=1)
    given = np.take_along_axis(GRADIENTS, ranks, axis=1)
    sums = [np.stack([each[:, :2].sum(1), each[:, 2:4].sum(1), each[:, 4]], axis=1) for each in (given, drops)]
    untied = TARGETS == 0  # two gradients of the other output are equal, and go in random order
    by_hand = np.array([stats.pearsonr(*pair).statistic for pair in zip(*sums, strict=True)])
    np.testing.assert_allclose(found[SALIENCY][untied], by_hand[untied], rtol=1e-6)


def all_pairs(maps):
    return np.stack([maps[:, i] + maps[:, j] for i in range(5) for j in range(i + 1, 5)], axis=1)


def test_faithfulness_correlation_is_that_over_subsets(file):
    pairs = zip(all_pairs(GRADIENTS), all_pairs(MAPS), strict=True)
    check(
        of(file, "faithfulness_correlation", n=2), {IG: 1, SALIENCY: [stats.pearsonr(*p).statistic for p in pairs]}
    )


def test_infidelity_is_the_mean_square_over_subsets(file):
    def gap(maps):
        return ((all_pairs(maps) - all_pairs(MAPS)) ** 2).mean(axis=1)

    check(of(file, "infidelity", n=2, scaled=False), {IG: 0, SALIENCY: gap(GRADIENTS)})
    times_x = GRADIENTS * X[SAMPLES]
    check(of(file, "infidelity", n=2, scaled=False, multiply=True), {SALIENCY: gap(times_x)})
    best = (all_pairs(GRADIENTS) * all_pairs(MAPS)).sum(1) / (all_pairs(GRADIENTS) ** 2).sum(1)
    check(of(file, "infidelity", n=2), {IG: 0, SALIENCY: gap(best[:, None] * GRADIENTS)})


def test_irof_is_the_area_over_what_is_left_of_the_score(file):
    left = SCORES[:, None] - np.cumsum(-np.sort(-MAPS, axis=1), axis=1)
    curve = np.concatenate([np.ones((len(SCORES), 1)), left / SCORES[:, None]], axis=1)
    assert (SCORES > 0).all()
    check(of(file, "irof"), {IG: 1 - (curve[:, 1:] + curve[:, :-1]).mean(axis=1) / 2})


def test_sufficiency_compares_rows_with_alike_maps(file):
    found = of(file, "sufficiency", threshold=0.4)
    classes = (X @ W.T).argmax(axis=1)[SAMPLES]
    distance = cdist(np.abs(MAPS), np.abs(MAPS), "seuclidean")
    near = (distance <= 0.4 * distance.max()) & ~np.eye(len(MAPS), dtype=bool)
    same = (near & (classes[:, None] == classes)).sum(axis=1)
    check(found, {IG: same / np.maximum(1, near.sum(axis=1))})
    assert 0 < near.mean() < 0.8


# --- robustness -----------------------------------------------------------------------------------


def noise(stream, draws, kind):
    """(rows, 5) for every draw, what each sample is given."""
    generators = [sample_generator(0, int(sample), Purpose.EVALUATION, stream) for sample in SAMPLES]
    for _ in range(draws):
        yield np.stack(
            [g.uniform(-0.3, 0.3, 5) if kind == "uniform" else 0.2 * g.standard_normal(5) for g in generators]
        )


def test_sensitivity_is_the_relative_change_of_the_map(file):
    moved = np.stack([W[TARGETS] * each for each in noise(Stream.UNIFORM_NOISE, 3, "uniform")], axis=2)
    changes = np.linalg.norm(moved, axis=1) / np.linalg.norm(MAPS, axis=1)[:, None]
    check(of(file, "max_sensitivity", radius=0.3, draws=3), {IG: changes.max(axis=1), SALIENCY: 0})
    check(of(file, "avg_sensitivity", radius=0.3, draws=3), {IG: changes.mean(axis=1), SALIENCY: 0})


def test_noise_of_another_radius_is_another_one(file):
    """Though it comes from the same numbers, and nothing else is explained between."""
    asked = [{"kind": "max_sensitivity", "radius": radius, "draws": 1} for radius in (0.1, 0.2)]
    found = evaluate(file, *asked)
    np.testing.assert_allclose(values(found, 1)[IG], 2 * values(found, 0)[IG], rtol=1e-6)
    alone = evaluate(file, asked[1])
    np.testing.assert_array_equal(values(alone)[IG], values(found, 1)[IG])
    both = evaluate(file, "max_sensitivity", "avg_sensitivity")
    assert both.evaluations < 1.1 * evaluate(file, "max_sensitivity").evaluations  # the same inputs serve both


def test_the_local_lipschitz_estimate_is_the_largest_quotient(file):
    drawn = list(noise(Stream.NORMAL_NOISE, 3, "normal"))
    raw = [np.linalg.norm(W[TARGETS] * e, axis=1) / np.linalg.norm(e, axis=1) for e in drawn]
    found = of(file, "local_lipschitz", deviation=0.2, draws=3, normalise=False)
    check(found, {IG: np.max(raw, axis=0), SALIENCY: 0})
    # it never exceeds the constant itself, which of w ⊙ x is max |w|
    assert (found[IG] <= np.abs(W).max(axis=1)[TARGETS]).all()

    def unit(maps):
        return maps / np.abs(maps).max(axis=1, keepdims=True)

    moved = [
        np.linalg.norm(unit(MAPS + W[TARGETS] * e) - unit(MAPS), axis=1) / np.linalg.norm(e, axis=1) for e in drawn
    ]
    check(of(file, "local_lipschitz", deviation=0.2, draws=3), {IG: np.max(moved, axis=0)})


def test_a_random_map_is_drawn_anew_for_every_input(file):
    found = of(file, "max_sensitivity")
    assert (found[RANDOM] > 0.3).all() and np.unique(found[RANDOM]).size == ROWS  # one per sample
    assert abs(of(file, "random_logit")[RANDOM].mean()) < 0.4


# --- randomisation --------------------------------------------------------------------------------


def shuffled():
    """The weights of the only layer, its entries in another order."""
    order = dataset_generator(0, Purpose.STABILITY, 1 << 32).permutation(10)
    return W.reshape(-1)[order].reshape(2, 5)


def test_mprt_is_the_rank_correlation_with_the_map_of_shuffled_weights(file):
    other = (X[:, None] * shuffled()).reshape(-1, 5)
    found = evaluate(file, {"kind": "mprt"}, {"kind": "mprt", "absolute": False, "order": "bottom_up"})
    check(values(found, 0), {IG: spearman(np.abs(MAPS), np.abs(other))})
    check(values(found, 1), {IG: spearman(MAPS, other)})
    measured = found.measurements[0]
    assert measured.steps.tolist() == [0, 1] and measured.along == "layers shuffled"
    used = measured.used
    assert measured.curves[0] == pytest.approx([1, values(found)[IG][used].mean()])


def test_emprt_is_the_relative_rise_of_the_entropy_of_the_histogram(file):
    def entropy(maps):
        return np.array([stats.entropy(np.histogram(row, bins=20)[0]) for row in maps])

    other = (X[:, None] * shuffled()).reshape(-1, 5)
    found = of(file, "emprt", bins=20)[IG]
    expected = (entropy(other) - entropy(MAPS)) / entropy(MAPS)
    # in float64 and float32 alike, unless a number lies on the edge of a bin
    assert np.isclose(found, expected).mean() > 0.9


def test_random_logit_compares_the_outputs(file):
    other = (X[:, None] * W[::-1]).reshape(-1, 5)  # of two outputs the other one is no choice
    check(of(file, "random_logit"), {IG: spearman(MAPS, other)})
    check(of(file, "random_logit", absolute=True), {IG: spearman(np.abs(MAPS), np.abs(other))})


# --- localisation ---------------------------------------------------------------------------------

MASKS = np.random.default_rng(1).random((ROWS, 5)) < 0.4
MASKS[3] = False
INSIDE = MASKS[SAMPLES]


@pytest.fixture(scope="module")
def masks(file):
    np.savez(file.parent / "masks.npz", masks=MASKS)
    return str(file.parent / "masks.npz")


def localised(file, masks, metric, **options):
    return values(evaluate(file, {"kind": metric, **options}, masks=masks))


def test_localisation_counts_what_lies_in_the_mask(file, masks):
    order = np.argsort(-MAPS, axis=1)
    ranked = np.take_along_axis(INSIDE, order, axis=1)
    known = INSIDE.any(axis=1)
    size = INSIDE.sum(axis=1)
    with np.errstate(invalid="ignore"):
        expected = {
            "pointing_game": ranked[:, 0],
            "top_k_intersection": ranked[:, :2].mean(axis=1),
            "relevance_rank_accuracy": [
                row[:n].mean() if n else np.nan for row, n in zip(ranked, size, strict=True)
            ],
            "relevance_mass_accuracy": (np.maximum(MAPS, 0) * INSIDE).sum(1) / np.maximum(MAPS, 0).sum(1),
            "attribution_localisation": (np.abs(MAPS) * INSIDE).sum(1) / np.abs(MAPS).sum(1),
        }
    for metric, numbers in expected.items():
        options = {"k": 2} if metric == "top_k_intersection" else {}
        found = localised(file, masks, metric, **options)[IG]
        np.testing.assert_allclose(found, np.where(known, numbers, np.nan), rtol=1e-6, err_msg=metric)
    assert known.sum() == 2 * (ROWS - 1)
    signed = localised(file, masks, "relevance_mass_accuracy", of="signed")[IG]
    np.testing.assert_allclose(signed[known], ((MAPS * INSIDE).sum(1) / MAPS.sum(1))[known], rtol=1e-5)


def test_masks_may_be_keyed_by_id_or_lie_among_the_columns(file, masks, tmp_path):
    whole = localised(file, masks, "attribution_localisation")[IG]
    np.savez(tmp_path / "each.npz", **{str(i): MASKS[i] for i in range(0, ROWS, 2)})
    np.savez(tmp_path / "ids.npz", masks=MASKS[::-1], id=np.arange(ROWS)[::-1])
    np.save(tmp_path / "plain.npy", MASKS)
    some = localised(file, str(tmp_path / "each.npz"), "attribution_localisation")[IG]
    np.testing.assert_array_equal(some, np.where(SAMPLES % 2 == 0, whole, np.nan))
    for name in ("ids.npz", "plain.npy"):
        found = localised(file, str(tmp_path / name), "attribution_localisation")[IG]
        np.testing.assert_array_equal(found, whole, err_msg=name)
    (tmp_path / "networks.py").write_text(NETWORKS)
    np.savez(tmp_path / "data.npz", X=X, where=MASKS)
    beside = result(tmp_path, "linear", {IG: None})
    np.testing.assert_allclose(localised(beside, "where", "attribution_localisation")[IG], whole, rtol=1e-6)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Maps of two channels and 5 × 6 pixels; a linear network."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "networks.py").write_text(NETWORKS)
    images = np.random.default_rng(2).uniform(-1, 1, (6, 2, 5, 6))
    boxes = np.array([[[1, 0, 4, 2], [0, 4, 1, 5]]] * 6, dtype=float)
    np.savez(folder / "data.npz", X=images, boxes=boxes)
    return result(folder, "picture", {IG: None}, target={"index": 1}), images


def test_boxes_are_of_pixels_with_all_their_channels(pictures, tmp_path):
    file, images = pictures
    mask = np.zeros((5, 6), dtype=bool)
    mask[0:2, 1:4] = mask[4, 0] = True
    (tmp_path / "boxes.csv").write_text(
        "id,left,top,right,bottom\n" + "".join(f"{i},1,0,4,2\n{i},0,4,1,5\n" for i in range(6))
    )
    np.savez(tmp_path / "masks.npz", masks=np.repeat(mask[None], 6, axis=0))
    by_mask, by_csv, by_column = (
        localised(file, str(each), "attribution_localisation")[IG]
        for each in (tmp_path / "masks.npz", tmp_path / "boxes.csv", "boxes")
    )
    namespace = {}
    exec(NETWORKS, namespace)
    weights = namespace["picture"]()[1].weight.data[1].double().numpy().reshape(2, 5, 6)
    pixels = np.abs((images * weights).sum(axis=1))
    np.testing.assert_allclose(by_mask, pixels[:, mask].sum(1) / pixels.sum((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(by_csv, by_mask)
    np.testing.assert_array_equal(by_column, by_mask)


def test_spans_are_of_steps(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    steps = np.random.default_rng(3).uniform(-1, 1, (4, 4, 3))
    np.savez(tmp_path / "data.npz", X=steps)
    file = result(tmp_path, "tokens", {IG: None}, dataset={"labels": None, "axes": ["step", "feature"]})
    (tmp_path / "spans.csv").write_text("id,start,stop\n0,1,3\n2,0,1\n")
    found = values(evaluate(file, "attribution_localisation", unit="step", masks=str(tmp_path / "spans.csv")))[IG]
    namespace = {}
    exec(NETWORKS, namespace)
    weights = namespace["tokens"]()[1].weight.data.double().numpy().reshape(2, 4, 3)
    maps = np.abs((steps[:, None] * weights).sum(axis=3)).reshape(-1, 4)
    shares = np.full(8, np.nan)
    shares[:2] = maps[:2, 1:3].sum(1) / maps[:2].sum(1)
    shares[4:6] = maps[4:6, 0] / maps[4:6].sum(1)
    np.testing.assert_allclose(found, shares, rtol=1e-5)


# --- images ---------------------------------------------------------------------------------------

NEIGHBOURS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (0, -1): 1 / 6, (-1, 0): 1 / 6,
              (1, 1): 1 / 12, (1, -1): 1 / 12, (-1, 1): 1 / 12, (-1, -1): 1 / 12}  # fmt: skip


def solved(image, missing):
    """(height, width) with the missing pixels imputed, by a dense system of equations."""
    places = [tuple(place) for place in np.argwhere(missing)]
    equations, known = np.zeros((len(places), len(places))), np.zeros(len(places))
    for number, (row, column) in enumerate(places):
        for (down, right), weight in NEIGHBOURS.items():
            there = row + down, column + right
            if not (0 <= there[0] < image.shape[0] and 0 <= there[1] < image.shape[1]):
                continue
            equations[number, number] += weight
            if there in places:
                equations[number, places.index(there)] -= weight
            else:
                known[number] += weight * image[there]
    found = image.copy()
    found[missing] = np.linalg.solve(equations, known)
    return found


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_missing_pixels_are_solved_for_together(share):
    generator = np.random.default_rng(4)
    images = generator.random((3, 2, 7, 9))
    missing = generator.random((3, 7, 9)) < share
    missing[:, 0, 0] = False
    found = imputed(torch.from_numpy(images), torch.from_numpy(missing)).numpy()
    for image, mask, each in zip(images, missing, found, strict=True):
        for channel, ours in zip(image, each, strict=True):
            np.testing.assert_allclose(ours, solved(channel, mask), atol=1e-7)


def test_road_imputes_the_pixels_of_the_highest_attribution(pictures):
    file, images = pictures
    options = {"percentages": [10, 50], "noise": 0.0}
    found = evaluate(file, {"kind": "road", "watch": "score", **options}, {"kind": "road", **options})
    namespace = {}
    exec(NETWORKS, namespace)
    network = namespace["picture"]().double()
    weights = network[1].weight.data[1].numpy().reshape(2, 5, 6)
    pixels = (images * weights).sum(axis=1)
    for row in range(6):
        ranks = np.argsort(np.argsort(-pixels[row].ravel())).reshape(5, 6)
        changed = [np.stack([solved(channel, ranks < count) for channel in images[row]]) for count in (3, 15)]
        scores = network(torch.from_numpy(np.stack(changed))).detach().numpy()
        assert values(found, 0)[IG][row] == pytest.approx(scores[:, 1].mean(), abs=1e-6)
        assert values(found, 1)[IG][row] == (scores.argmax(axis=1) == 1).mean()


def test_superpixels_go_in_the_order_of_their_mean_attribution(pictures):
    file, _ = pictures
    whole = evaluate(file, {"kind": "irof", "segments": 4})
    curve = whole.measurements[0].curves[0]
    assert whole.measurements[0].used.any()
    assert curve[0] == 1 and 2 <= len(curve) <= 5


# --- all together ---------------------------------------------------------------------------------

OPTIONS = {"road": {"percentages": [20], "watch": "score"}, "emprt": {"bins": 20}}


def test_a_row_never_depends_on_its_company(file, masks):
    """But for sufficiency, which compares rows by definition."""
    alike = [name for name in METRICS.names() if name not in ("sufficiency", "road")]
    asked = [{"kind": name, **OPTIONS.get(name, {})} for name in alike]
    whole = evaluate(file, *asked, masks=masks)
    some = evaluate(file, *asked[::-1], masks=masks, limit=7, overrides=["compute.batch_rows=3"])
    chosen = np.searchsorted(whole.rows, some.rows)
    assert len(chosen) == 7
    for number, name in enumerate(alike):
        for candidate, found in values(some, len(alike) - 1 - number).items():
            expected = values(whole, number)[candidate][chosen]
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=f"{name} {candidate}")


def test_options_are_told_in_titles_and_json(file):
    asked = ["--metric", "{kind: max_sensitivity, radius: 0.1, draws: 2}", "--metric", "sparseness", "--json"]
    sensitivity, sparseness = json.loads(command(file, *asked).stdout)["metrics"]
    assert sensitivity["options"] == {"radius": 0.1, "draws": 2} and "options" not in sparseness
    assert {engine["engine"] for engine in sensitivity["engines"]} == {IG, SALIENCY, RANDOM}
    table = command(file, *asked[:-1]).stdout
    assert "max_sensitivity draws=2 radius=0.1" in table and "replaced by" not in table


def test_an_index_for_all_rows_is_not_explained_again(file, tmp_path):
    np.save(tmp_path / "index.npy", np.arange(5.0))
    asked = ["--importance", f"mine={tmp_path / 'index.npy'}", "--json"]
    again, once = json.loads(command(file, "--metric", "random_logit", "--metric", "complexity", *asked).stdout)[
        "metrics"
    ]
    assert {each["engine"] for each in once["engines"]} - {each["engine"] for each in again["engines"]} == {"mine"}


def test_the_engine_of_the_file_is_asked_for_again(file):
    other = write_job(
        file.parent, "other.yaml", model={"factory": "networks:linear"}, target="all",
        dataset={"labels": None}, compute={"precision": "float64"}, engines={IG: {"rtol": 0.5}, SALIENCY: None},
    )  # fmt: skip
    text = command(file, "--metric", "max_sensitivity", "--job", other, code=2, trust=False).stderr
    assert (
        "'integrated_gradients' were not computed by this job's engine" in text
        and "rtol: was 0.05, now 0.5" in text
    )
    command(file, "--metric", "sparseness", "--job", other, trust=False)
    command(file, "--metric", "max_sensitivity", "--engine", SALIENCY, "--job", other, trust=False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("pointing_game", "pointing_game: needs to know where the objects are: give --masks FILE"),
        ("road", "road: imputes pixels by their neighbours, so it takes one image"),
        ("{kind: road, noize: 1}", "noize: 1: unknown key. Allowed: noise"),
        ("{kind: max_sensitivity, radius: 0}", "--metric 'max_sensitivity': radius: 0: "),
        ("{road: 1}", "--metric: the key 'kind' is missing"),
        ("{kind: top_k_intersection, k: 6}", "needs to know where"),
        ("{kind: ro", "is not valid YAML"),
    ],
)  # fmt: skip
def test_what_says_nothing_of_these_inputs_is_refused(file, asked, message):
    assert message in command(file, "--metric", asked, code=2).stderr


@pytest.mark.parametrize("metric", ["random_logit", "sufficiency"])
def test_classes_are_compared_where_there_are_some(metric, tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    np.savez(tmp_path / "data.npz", X=X)
    file = result(tmp_path, "one_output", {IG: None})
    assert (
        f"{metric}: compares classes, and the network has a single output"
        in command(file, "--metric", metric, code=2).stderr
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("boxes.csv", "id,left\n0,1\n", "has the columns id, left; id, start, stop are needed"),
        ("boxes.csv", "id,start,stop\n0,1,x\n", "line 2: could not convert string to float: 'x'"),
        ("none.npz", None, "none.npz"),
        ("nowhere", None, "nowhere: is no file of masks (.npz, .npy, .h5, .hdf5) or boxes (.csv), nor a column"),
        ("wrong.npy", np.ones((ROWS, 4)), "a mask has shape (4,); (5,) is needed"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_are_named(file, tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        np.save(path, content)
    given = name if name == "nowhere" else path
    assert message in command(file, "--metric", "pointing_game", "--masks", given, code=2).stderr


def test_a_metric_of_another_package_takes_few_lines(file, monkeypatch):
    class Largest(Metric):
        """Largest magnitude of a map."""

        family, higher_is_better = "mine", True

        def number(self, bench, name):
            return np.abs(bench.attributions[name]).max(axis=1)

    monkeypatch.setattr(METRICS, "_members", dict(METRICS._members))
    METRICS.register("largest")(Largest)
    check(of(file, "largest"), {IG: np.abs(MAPS).max(axis=1)})


def test_a_wrong_option_is_refused_when_it_is_asked_for():
    with pytest.raises(JobError, match=r"--metric 'mprt': steps: 0: "):
        EvaluationOptions(metrics=({"kind": "mprt", "steps": 0},))


# --- rows and networks that are not plain ----------------------------------------------------------


def test_quarantined_rows_have_no_number(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    spoilt = X.copy()
    spoilt[4, 2] = np.nan
    np.savez(tmp_path / "data.npz", X=spoilt, where=MASKS | True)
    file = result(tmp_path, "linear", {IG: None}, dataset={"labels": None, "bad_rows": "quarantine"})
    names = [name for name in METRICS.names() if name != "road"]
    for measured in evaluate(file, *names, masks="where").measurements:
        found = dict(zip(measured.candidates, measured.values, strict=True))[IG]
        assert np.isnan(found[SAMPLES == 4]).all(), measured.metric
        assert np.isfinite(found[SAMPLES != 4]).all(), measured.metric


SEQUENCES = '''
import torch
from torch import nn


class LastStep(nn.Module):
    """The sum over real steps of weighted features."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(2, 2)

    def forward(self, x, lengths):
        real = torch.arange(x.shape[1]) < lengths[:, None]
        return (self.weight(x) * real[:, :, None]).sum(1)


def network():
    torch.manual_seed(1)
    return LastStep()
'''


def test_padding_gets_no_noise(tmp_path):
    """‖ε‖ is that of the real steps: of a linear network the quotient is ‖w ⊙ ε‖ / ‖ε‖ over them."""
    (tmp_path / "networks.py").write_text(SEQUENCES)
    lengths = [2, 5, 3]
    steps = np.random.default_rng(5).uniform(-1, 1, (sum(lengths), 2))
    ragged = np.split(steps, np.cumsum(lengths)[:-1])
    padded = np.zeros((3, 5, 2))
    for row, each in zip(padded, ragged, strict=True):
        row[: len(each)] = each
    np.savez(tmp_path / "data.npz", X=padded, lengths=np.array(lengths))
    dataset = {"kind": "sequences", "labels": None, "inputs": "X", "lengths": "lengths", "hand_over": "lengths"}
    file = result(tmp_path, "network", {IG: None}, target={"index": 0}, dataset=dataset)
    found = of(file, "local_lipschitz", draws=1, normalise=False)[IG]
    namespace = {}
    exec(SEQUENCES, namespace)
    weights = namespace["network"]().weight.weight.data[0].double().numpy()
    for row, length in enumerate(lengths):
        generator = sample_generator(0, row, Purpose.EVALUATION, Stream.NORMAL_NOISE)
        noise = (0.1 * generator.standard_normal(10)).reshape(5, 2)[:length]
        assert found[row] == pytest.approx(np.linalg.norm(weights * noise) / np.linalg.norm(noise), rel=1e-5)


def test_the_weights_of_all_folds_are_shuffled(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    np.savez(tmp_path / "data.npz", X=X)
    for number in range(2):
        state = {"weight": torch.from_numpy(W * (1 + number)).float(), "bias": torch.zeros(2)}
        torch.save(state, tmp_path / f"fold{number}.pt")
    file = result(tmp_path, "linear", {IG: None}, model={"checkpoints": "fold*.pt"})
    other = (X[:, None] * shuffled()).reshape(-1, 5)  # in the same order in both, so times 1.5 in the mean
    check(of(file, "mprt", absolute=False), {IG: spearman(MAPS, other)})
