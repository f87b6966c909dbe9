"""The report: what the page says must be what the files hold, and no text of a file may become anything else."""

from __future__ import annotations

import dataclasses
import re
import time
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from itertools import combinations

import h5py
import numpy as np
import pytest
from helpers.cli import invoke
from helpers.results import (
    cancer,
    digits,
    integrated_gradients,
    interior_gradients,
    make_rows,
    photographs,
    saliency,
    scanned_digits,
    write_file,
)
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.stats import spearmanr
from scipy.stats import t as student
from test_token_reports import text_file

from xattr_cli.errors import ExitCode, JobError
from xattr_cli.reports.drawing.style import diverging_map
from xattr_cli.reports.html.choice import choose
from xattr_cli.reports.html.class_means import class_means
from xattr_cli.reports.html.facts import RowFacts, agreement
from xattr_cli.reports.html.images import layer_uris, shrunk
from xattr_cli.reports.html.phrases import Phrase, phrases
from xattr_cli.reports.html.report import write_report
from xattr_cli.store.results.reader import Results

BROKEN = 5
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    problem = dataclasses.replace(digits(), inputs=digits().inputs.copy())
    problem.inputs[BROKEN, 0, 3, 3] = np.nan
    rows, black = make_rows(problem), np.zeros_like(problem.inputs[0])
    engines = {
        "ig": integrated_gradients(problem, rows, 1e-3, black),
        "saliency": saliency(problem, rows),
        "interior": interior_gradients(problem, rows, black),
    }
    return write_file(tmp_path_factory.mktemp("report") / "digits.h5", problem, rows, engines)


@pytest.fixture(scope="module")
def facts(digits_file):
    with Results.open(digits_file) as results:
        yield RowFacts(results, tuple(results.engines.values()))


class Page(HTMLParser):
    """Elements of a page by name, with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.html, self.elements, self.text = html, [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page(tmp_path, *files, **options):
    return Page(write_report(files, tmp_path / "page.html", **options).read_text())


def pixels(uri):
    return np.asarray(Image.open(BytesIO(b64decode(uri.partition(",")[2]))).convert("RGBA"), float) / 255


# --- which rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition, expected",
    [
        ("error > 0.1%", lambda f: f.error > 1e-3),
        ("error.ig>=0.001 AND score < 9", lambda f: (f.engines[0].relative_error >= 1e-3) & (f.score < 9)),
        ("label != predicted", lambda f: f.results.rows.label != f.results.rows.prediction),
        ("correct = no", lambda f: f.results.rows.label != f.results.rows.prediction),
        ("status = quarantined", lambda f: np.arange(40) == BROKEN),
        ("target = '3'", lambda f: f.results.rows.target == 3),
        ("row = 17", lambda f: np.arange(40) == 17),
        ("status ~ CONVERGED and status != converged", lambda f: f.status == 1),
    ],
)
def test_conditions_choose_the_rows_that_fulfil_them(facts, condition, expected):
    assert choose(facts, "all", [condition]).rows.tolist() == np.flatnonzero(expected(facts)).tolist()


def test_the_worst_rows_are_the_failed_ones_and_then_those_of_the_largest_error(facts):
    chosen = choose(facts, "worst:6", [])
    order = np.argsort(-np.where(np.isnan(facts.error), -1, facts.error), kind="stable")
    assert chosen.rows.tolist() == [BROKEN, *[row for row in order.tolist() if row != BROKEN][:5]]
    assert chosen.total == 40 and "largest reported error" in chosen.words
    highest = choose(facts, "highest:3", ["label = predicted"]).rows
    right = np.flatnonzero(facts.results.rows.label == facts.results.rows.prediction)
    assert facts.score[highest].tolist() == sorted(facts.score[right], reverse=True)[:3]


def test_rows_that_are_not_known_to_fit_come_last(facts):
    assert choose(facts, "lowest:40", []).rows[-1] == BROKEN
    assert choose(facts, "disagree:40", []).rows[-1] == BROKEN


@pytest.mark.parametrize(
    "rows, where, told",
    [
        ("wurst:3", [], "Did you mean 'worst'"),
        ("worst:0", [], "--rows 'worst:0': give all, a number N, or one of spread:N"),
        ("-3", [], "give all"),
        ("all", ["eror > 1"], "no column 'eror' of rows.*Did you mean 'error'"),
        ("all", ["error > much"], "error is a number, and 'much' is none"),
        ("all", ["target > 3"], "target is a word; words compare by =, != and ~"),
        ("all", ["target = 11"], "no row has it. Allowed: 0, 1, 2"),
        ("all", ["error"], "not understood at 'error'"),
        ("all", [" "], "is empty"),
    ],
)
def test_wrong_choices_are_explained(facts, rows, where, told):
    with pytest.raises(JobError, match=told):
        choose(facts, rows, where)


def test_classes_may_be_given_by_name_or_number(tmp_path):
    problem = cancer()
    rows = make_rows(problem)
    path = write_file(tmp_path / "a.h5", problem, rows, {"saliency": saliency(problem, rows)})
    with Results.open(path) as results:
        found = RowFacts(results, tuple(results.engines.values()))
        by_name, by_number = (choose(found, "all", [f"target = {word}"]).rows for word in ("Benign", "1"))
        assert by_name.tolist() == by_number.tolist() == np.flatnonzero(rows.target == 1).tolist()


def test_agreement_is_the_lowest_rank_correlation_of_all_pairs(facts):
    rows = np.array([3, 11, BROKEN, -1])
    found = agreement([(engine, rows) for engine in facts.engines])
    for place, row in enumerate(rows[:2]):
        maps = [np.abs(engine.attribution([row])[0]).ravel() for engine in facts.engines]
        expected = min(spearmanr(one, other).statistic for one, other in combinations(maps, 2))
        assert found[place] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[2:]).all()


# --- what is shown ------------------------------------------------------------------------------


def test_layers_on_white_have_the_colours_of_the_figures():
    shares = np.linspace(-1, 1, 49)[None]
    raises, lowers = (pixels(uri) for uri in layer_uris(shares))
    shown = np.ones((1, 49, 3))
    for layer in (raises, lowers):
        shown = layer[..., 3:] * layer[..., :3] + (1 - layer[..., 3:]) * shown
    expected = diverging_map()(0.5 + 0.5 * shares)[..., :3]
    assert np.abs(shown - expected).max() < 0.012
    assert (raises[0, :24, 3] == 0).all() and (lowers[0, 25:, 3] == 0).all()
    assert shown[0, 24].tolist() == list(to_rgb("white"))


def test_large_pictures_are_averaged_and_nothing_is_lost_at_the_edge():
    values = np.arange(600 * 515, dtype=float).reshape(600, 515)
    small = shrunk(values)
    assert small.shape == (200, 172) and small[0, 0] == values[:3, :3].mean()
    assert small[0, -1] == values[:3, [513, 514, 514]].mean()
    assert shrunk(values[:200, :200]) is not values and shrunk(values[:200, :200]).shape == (200, 200)


def test_a_row_says_what_the_file_holds(tmp_path, digits_file):
    found = page(tmp_path, digits_file, rows="3", where=["row = 17"])
    with Results.open(digits_file) as results:
        engine, row = results.engine("ig"), 17
        assert f"±{engine.relative_error[row] * 100:.2g}" in found.text
        assert f"{int(engine.evaluations[row])} evaluations" in found.text
        assert f"{engine.score_input[row]:.3g}" in found.text
    assert "Shown: 1 of 40 rows, where row = 17." in found.text
    assert len(found.all("article")) == 1
    assert len([one for one in found.all("img") if one.get("class") == "raises"]) == 3 + 3 * 10  # class means


def test_a_quarantined_row_is_there_and_says_so(tmp_path, digits_file):
    found = page(tmp_path, digits_file, where=["status = quarantined"])
    assert found.text.count("quarantined: score or gradient is not finite") >= 3
    assert f"quarantined, score or gradient is not finite: row {BROKEN} (all engines)" in found.text


def test_class_means_are_the_means_of_the_rows(facts):
    engine, target = facts.engines[0], facts.results.rows.target
    good = np.arange(40) != BROKEN
    for mean in class_means(facts.results, engine, "X", [0, 3, 7]):
        chosen = np.flatnonzero(good & (target == mean.target))
        assert mean.rows == len(chosen)
        np.testing.assert_allclose(mean.mean, engine.attribution(chosen).mean(0), atol=1e-6)


def test_sequences_are_lines_over_their_steps(tmp_path):
    problem = scanned_digits()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.05, np.zeros_like(problem.inputs[0]))
    found = page(tmp_path, write_file(tmp_path / "lines.h5", problem, rows, {"ig": engine}), where=["row = 2"])
    traces = [one for one in found.all("polyline") if one["class"] == "line"]
    order = np.argsort(-np.abs(engine.attribution[2]).sum(0))[:6]
    assert len(traces) == 6 + 6 * len(np.unique(rows.target))  # the row, and the class means
    assert re.findall(r"feature \d", found.text)[:6] == [f"feature {k}" for k in order]
    values = problem.inputs[2][:, order[0]]
    heights = [float(point.split(",")[1]) for point in traces[0]["points"].split()]
    scaled = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(heights, 42 - 38 * scaled, atol=0.06)


def wave_file(path, shape):
    """Maps of a wave with one peak of attribution, at value 300."""
    problem = dataclasses.replace(
        digits(), inputs=np.sin(np.arange(512) / 9).reshape(1, *shape).astype(np.float32), labels=None, axes=()
    )
    rows = make_rows(dataclasses.replace(digits(), inputs=digits().inputs[:1]))
    engine = saliency(dataclasses.replace(digits(), inputs=digits().inputs[:1]), rows)
    engine.attribution = np.zeros((1, *shape), np.float32)
    engine.attribution.reshape(-1)[300] = 1.0
    return write_file(path, problem, rows, {"saliency": engine})


@pytest.mark.parametrize("shape", [(512,), (1, 512), (512, 1)])
def test_a_wave_is_one_line_and_no_bars(tmp_path, shape):
    found = page(tmp_path, wave_file(tmp_path / "wave.h5", shape))
    (trace, *_) = [one for one in found.all("polyline") if one["class"] == "line"]
    assert len(trace["points"].split()) == 512
    stops = [(float(one["offset"]), one["stop-color"]) for one in found.all("stop")]
    coloured = [at for at, colour in stops[:120] if colour != "#e4e4e4"]
    assert len(coloured) == 1 and coloured[0] == pytest.approx(300 / 512, abs=1 / 120)
    assert "others" not in found.text


def test_tables_are_bars_with_values_and_errors(tmp_path):
    problem = cancer()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.1, np.zeros(30, np.float32))
    found = page(tmp_path, write_file(tmp_path / "cancer.h5", problem, rows, {"ig": engine}), where=["row = 4"])
    first = int(np.argmax(np.abs(engine.attribution[4])))
    value = problem.inputs[4, first] * problem.scale[first] + problem.offset[first]
    assert re.search(rf"{problem.features[first]}\s+= {value:#.3g}\s", found.text)
    assert "sum of 22 others" in found.text


# --- texts --------------------------------------------------------------------------------------

WORDS = [
    ["good", "film", "."],
    ["a", "good", "film"],
    ["good", "film", "bad"],
    ["bad"],
    ["so", "bad", "good", "film"],
]


def corpus(tmp_path):
    path = text_file(tmp_path / "texts.h5", WORDS)
    values = {"good": 0.5, "film": 0.3, "bad": -0.8, "a": 0.0, "so": 0.0, ".": 0.1}
    noise = iter(np.random.default_rng(1).normal(scale=0.05, size=99))
    with h5py.File(path, "r+") as file:
        maps = file["engines/ig/attribution"]
        maps[...] = [
            [values.get(w, 9.0) + next(noise) for w in [*text, *[""] * 7][: maps.shape[1]]] for text in WORDS
        ]
        return path, maps[...]


def test_phrases_are_counted_and_averaged_over_texts(tmp_path):
    path, maps = corpus(tmp_path)
    with Results.open(path) as results:
        (found,) = phrases(results, results.engine("ig"), "e", [0], 5)
    sums = [maps[0, :2].sum(), maps[1, 1:3].sum(), maps[2, :2].sum(), maps[4, 2:4].sum()]
    (best,) = found.raise_
    assert (best.text, best.texts) == ("good film", 4)  # "good" and "film" stand nowhere else
    assert best.mean == pytest.approx(np.mean(sums))
    assert best.error == pytest.approx(np.std(sums, ddof=1) / 2)
    assert [phrase.text for phrase in found.lower] == ["bad"]
    assert found.texts == 5


@pytest.mark.parametrize("texts", [3, 5, 30])
def test_phrases_are_as_sure_as_the_interval_of_students_t(texts):
    expected = 1 - student.ppf(0.975, texts - 1) * 0.1
    assert Phrase("a", texts, 1.0, 0.1).surely == pytest.approx(expected, abs=0.02)
    assert Phrase("a", texts, -1.0, 0.1).surely == pytest.approx(-expected, abs=0.02)
    assert Phrase("a", texts, 0.1, 0.1).surely == 0


# --- several files ------------------------------------------------------------------------------


def test_rows_of_the_same_sample_stand_beside_each_other(tmp_path, digits_file):
    problem = dataclasses.replace(digits(), inputs=-digits().inputs)  # another network, so to say
    rows = make_rows(problem)
    other = write_file(tmp_path / "other.h5", problem, rows, {"saliency": saliency(problem, rows)})
    found = page(tmp_path, digits_file, other, where=["row = 7 and error.ig < 1"], engines=["ig", "saliency"])
    assert len(found.all("article")) == 1
    shown = found.text[found.text.index("1 of 40") :]
    assert "digits.h5: ig" in shown and "other.h5: saliency" in shown
    assert f"target {rows.target[7]}, logit" in shown


def test_files_of_other_data_stand_apart(tmp_path, digits_file):
    problem = cancer()
    rows = make_rows(problem)
    other = write_file(tmp_path / "cancer.h5", problem, rows, {"saliency": saliency(problem, rows)})
    with h5py.File(other, "r+") as file:
        file.attrs["dataset_hash"] = "12" * 32
    found = page(tmp_path, digits_file, other, rows="4")
    assert len(found.all("article")) == 8
    anchors = [one["id"] for one in found.all("article")]
    assert len(set(anchors)) == 8
    assert "digits.h5: 4 of 40 rows, evenly spread; cancer.h5: 4 of 200 rows" in found.text


# --- safety and size ----------------------------------------------------------------------------


def hostile_file(path):
    """A file in which every text tries to become an element."""
    text_file(path, [["[CLS]", EVIL, "good", "[SEP]"], [EVIL, "x"], [EVIL, "y"]], engines=("ig",))
    with h5py.File(path, "r+") as file:
        text = h5py.string_dtype()
        file.create_dataset("classes", data=[EVIL], dtype=text)
        file.create_dataset("samples/key", data=[f"{EVIL}.jpg"] * 3, dtype=text)
        file["rows/label"][...] = 0
        file.attrs["model_notes"] = EVIL
        file.attrs["device"] = EVIL
    return path


def test_texts_of_a_file_stay_texts(tmp_path):
    path = hostile_file(tmp_path / "<script>alert(1)<.h5")
    found = page(tmp_path, path)
    assert len(found.all("script")) == 1
    assert [name for _, attributes in found.elements for name in attributes if name.startswith("on")] == []
    assert found.text.count(EVIL) >= 8  # token, its number, class, key, note, device, and the filter
    assert "<script>alert(1)<.h5" in found.text


def test_the_page_may_use_nothing_but_its_own_style_and_script(tmp_path, digits_file):
    found = page(tmp_path, digits_file, rows="2")
    policy = next(one["content"] for one in found.all("meta") if one.get("http-equiv"))
    for kind in ("style", "script"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", found.html, re.DOTALL)
        assert f"{kind}-src 'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    addresses = [a[key] for _, a in found.elements for key in ("src", "href", "srcset", "action") if key in a]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert [a for _, a in found.elements if "style" in a] == []
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in addresses if address.startswith("#")} <= set(ids)
    assert all("alt" in attributes for attributes in found.all("img"))


def test_fifty_photographs_take_less_than_25_megabytes(tmp_path):
    problem = photographs()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.05, np.zeros_like(problem.inputs[0]))
    file = write_file(tmp_path / "photos.h5", problem, rows, {"ig": engine, "again": engine})
    sizes = [write_report([file], tmp_path / f"{n}.html", rows=f"first:{n}").stat().st_size for n in (1, 4)]
    per_row = (sizes[1] - sizes[0]) / 3
    assert 10_000 < per_row < 200_000
    assert sizes[0] + 49 * per_row < 12e6  # with two engines
    outline = [one for one in page(tmp_path, file, rows="1").all("svg") if one.get("class") == "outline"]
    assert outline


@pytest.mark.slow
def test_a_thousand_photographs_are_a_page_of_less_than_25_megabytes(tmp_path):
    problem = photographs()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.05, np.zeros_like(problem.inputs[0]))
    few = write_file(tmp_path / "few.h5", problem, rows, {"ig": engine, "again": engine})
    with h5py.File(few) as source, h5py.File(tmp_path / "many.h5", "w") as file:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                file.require_group(name).attrs.update(item.attrs)
            elif len(item) != 4:
                file[name] = item[()]
            else:  # values of the four samples, every time moved by some pixels
                data = file.create_dataset(name, (1000, *item.shape[1:]), item.dtype)
                for k in range(0, 1000, 4):
                    data[k : k + 4] = np.roll(item[()], 3 * k, axis=-1) if item.ndim == 4 else item[()]
                for own, axis in zip(data.dims, item.dims, strict=True):
                    own.label = axis.label

        file.attrs.update(source.attrs)
        source.visititems(copy)
        for name in ("rows/id", "rows/sample", "samples/index"):
            file[name][...] = np.arange(1000)
    started = time.perf_counter()
    found = page(tmp_path, tmp_path / "many.h5", rows="50")
    assert time.perf_counter() - started < 60
    assert len(found.all("article")) == 50 and "50 of 1,000 rows, evenly spread" in found.text
    assert 1e6 < len(found.html) < 25e6


def test_a_page_never_replaces_a_result(digits_file):
    before = digits_file.read_bytes()
    outcome = invoke("report", digits_file, "-o", digits_file)
    assert (
        outcome.exit_code == ExitCode.USAGE and "is a result file, which the page would replace" in outcome.stderr
    )
    assert digits_file.read_bytes() == before


def test_the_command_writes_beside_the_file_and_says_where(digits_file):
    outcome = invoke("report", digits_file, "--rows", "worst:2", "--engine", "ig")
    assert outcome.exit_code == ExitCode.DONE
    assert outcome.stdout == f"{digits_file.with_suffix('.html')}\n"
    assert "saliency" not in digits_file.with_suffix(".html").read_text().split("<main>")[1].split("Rows")[1]


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["nowhere.h5"], ExitCode.FAILED, "no such file"),
        (["--engine", "igg"], ExitCode.USAGE, "Did you mean 'ig'"),
        (["--where", "error > 9000%"], ExitCode.USAGE, "no row fulfils --where error > 9000%"),
    ],
)
def test_mistakes_are_named(digits_file, arguments, code, told):
    files = [] if arguments[0].endswith(".h5") else [digits_file]
    outcome = invoke("report", *files, *arguments)
    assert outcome.exit_code == code and told in outcome.stderr
