"""Coloured tokens: words as readers know them, numbers as the file has them, pages that need nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
import yaml
from helpers.cli import invoke
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from xattr_cli.registry import FIGURES
from xattr_cli.reports.drawing.selection import Document, Drawing, Nothing, select
from xattr_cli.reports.drawing.style import WARNING, chart, diverging_map, ink, styled, symmetric_limit
from xattr_cli.reports.drawing.words import number
from xattr_cli.reports.gallery import plot_all
from xattr_cli.reports.paths.maps import draw_score
from xattr_cli.reports.rows.token_rows import TokenReader, has_tokens, is_text
from xattr_cli.reports.rows.token_words import pieces_of, spelling_of
from xattr_cli.reports.rows.tokens import wrapped
from xattr_cli.store.results.reader import Results

TEXTS = [
    ["[CLS]", "the", "em", "##bed", "##ding", "is", "good", ".", "[SEP]"],
    ["[CLS]", "<b>bold</b>", "&", '"quoted"', "[SEP]"],
    ["[CLS]", "bad", "[SEP]"],
    ["[CLS]", "cut", "##ting", "[SEP]"],
]
EXTRA = 3  # steps of padding behind the longest text
ALPHAS = np.array([0.25, 0.5, 1.0])


def text_file(path, texts=TEXTS, *, width=0, status=None, engines=("ig",), maps=False, names=True):
    """A result file of texts; `width` of the embedding, 0 for maps with one number per token."""
    rows, steps = len(texts), max(map(len, texts)) + EXTRA
    real = np.array([[step < len(text) for step in range(steps)] for text in texts])
    shape = (rows, steps, width) if width else (rows, steps)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        labels = {label: {} for label in engines}
        job = {"engines": labels, "score": "probability", "explain": {"embedding": ["e"]}}
        file.attrs.update({"format": "xattr-cli/1", "job": yaml.safe_dump(job)})
        numbers = {"id": np.arange(rows), "sample": np.arange(rows), "target": np.zeros(rows, int)}
        for name, values in {**numbers, "label": np.full(rows, -1), "prediction": np.zeros(rows, int)}.items():
            file[f"rows/{name}"] = values
        file["samples/index"] = np.arange(rows)
        text = h5py.string_dtype()
        file.create_dataset("explained", data=["e"], dtype=text)
        if names:
            file["inputs/e/real"] = real
            padded = [[*words, *[""] * (steps - len(words))] for words in texts]
            file.create_dataset("inputs/e/tokens", data=np.array(padded, dtype=object), dtype=text)
        for label in engines:
            group = file.create_group(f"engines/{label}")
            found = rng.normal(size=shape)
            found[~real] = 99.0  # must never be seen
            group["attribution"] = found
            for name in ("score_input", "score_baseline", "completeness_gap", "relative_error"):
                group[name] = np.full(rows, 0.03)
            group["evaluations"], group["status"] = np.full(rows, 17), np.zeros(rows, np.int8) + (status or 0)
            if maps:
                group["alpha"], group["map_alpha"] = np.linspace(0, 1, 9), ALPHAS
                group["curve/score"] = np.linspace(0, 1, 9)[None] ** 2 + np.zeros((rows, 1))
                group["maps"] = rng.normal(size=(rows, 3, *shape[1:]))
                group["running"] = rng.normal(size=(rows, 3, *shape[1:]))
    return path


@styled
def drawn(results, kind="tokens", rows=None, engines=None):
    return list(FIGURES.get(kind)().draw(select(results, engines, 8, rows)))


def page(results, **choice):
    """The HTML document of the chosen rows."""
    return next(item.html for item in drawn(results, **choice) if isinstance(item, Document))


class Reader(HTMLParser):
    """Spans of texts with their colours and titles, and everything that a page could fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags, self.fetched = [], [], []
        self._inside = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "p" and found.get("class") == "text":
            self.texts.append([])
        if tag == "span" and "title" in found:
            self._inside = found
            self.texts[-1].append(["", found["style"], found["title"]])

    def handle_data(self, data):
        if self._inside is not None:
            self.texts[-1][-1][0] += data

    def handle_endtag(self, tag):
        if tag == "span":
            self._inside = None


# --- words --------------------------------------------------------------------------------------


def read(tokens, spelling=None):
    """Tokens as a line of text, pieces of words separated by |."""
    found = pieces_of(tokens, spelling or spelling_of(tokens))
    return "".join(("|" if piece.is_glued else " ") + piece.text for piece in found).strip(" |")


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["[CLS]", "em", "##bed", "##ding", "(", "ok", ")", ".", "[SEP]"], "[CLS] em|bed|ding (|ok|)|. [SEP]"),
        (["▁The", "▁em", "bed", "ding", ".", "</s>"], "The em|bed|ding|. </s>"),
        (["<s>", "The", " em", "bed", "ding", ".", "\n", " end"], "<s> The em|bed|ding|. ⏎ end"),
        (["c", "a", "t", " ", "s", "a", "t"], "c|a|t ␣ s|a|t"),
        (["the", "cat", ",", "which", "sat"], "the cat|, which sat"),
        (["##", "a", "##b"], "## a|b"),
        (["a\tb", "x\x00y", "▁"], "a⇥b|x�y ␣"),
    ],
)
def test_tokens_are_read_as_words(tokens, text):
    assert read(tokens) == text


def test_the_spelling_is_that_of_the_tokenizer_not_of_one_text():
    assert spelling_of(["cat", "sat"]) == "words" and spelling_of([]) == "words"
    assert spelling_of(["cat", "sat", "##s"]) == "continued"
    assert read(["Hello", "world"], "spaced") == "Hello|world"
    assert spelling_of(["[CLS]", "##", "[SEP]"]) == "words"  # the token that is called ##


def test_lines_keep_words_whole_as_far_as_they_fit():
    pieces = pieces_of(["one", "long", "##er", "##word", "x"], "continued")
    lines = wrapped(pieces, [3, 4, 2, 4, 1], room=10)
    assert [[place for place, _ in line] for line in lines] == [[0], [1, 2, 3], [4]]
    assert [start for _, start in lines[1]] == [0, 4, 6]
    narrow = wrapped(pieces, [3, 4, 2, 4, 1], room=5)
    assert [[place for place, _ in line] for line in narrow] == [[0], [1], [2], [3], [4]]
    assert wrapped([], [], 5) == [[]]


def test_every_colour_can_be_written_on():
    for share in np.linspace(0, 1, 101):
        background = diverging_map()(share)[:3]
        assert contrast(to_rgb(ink(background)), background) >= 4.5


def contrast(one, two):
    """Of WCAG 2.2, from relative luminances."""
    lights = []
    for colour in (one, two):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0, 5], ids=["reduced", "full"])
def test_tokens_have_the_colours_of_their_sums_and_padding_none(tmp_path, width):
    with Results.open(text_file(tmp_path / "a.h5", width=width)) as results:
        figure = drawn(results, rows=[0])[0].figure
        boxes = [patch for patch in figure.findobj(Rectangle) if patch.get_linewidth() == 0.4]
        values = results.engine("ig").attribution([0])[0][: len(TEXTS[0])]
        values = values.sum(axis=-1) if width else values
        assert len(boxes) == len(TEXTS[0])
        limit = symmetric_limit(values)
        for box, value in zip(boxes, values, strict=True):
            assert box.get_facecolor() == pytest.approx(diverging_map()(0.5 + 0.5 * np.clip(value / limit, -1, 1)))
        words = [text.get_text() for text in figure.findobj(Text)]
        assert "bed" in words and "##bed" not in words
        assert f"ig: ±3.0 %, 17 evaluations; colours end at ±{number(limit)}" in words
        top = int(np.abs(values).argmax())
        shown = next(word for word in words if word.startswith("strongest"))
        assert shown.split(": ")[1].split(", ")[0].endswith(number(values[top]))


def test_engines_in_one_unit_share_a_scale(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5", engines=("ig", "other"))) as results:
        reader = TokenReader(results, "e", tuple(results.engines.values()))
        first, second = reader.maps(0)
        assert first.limit == second.limit == symmetric_limit(first.values, second.values)
        assert len(first.values) == len(TEXTS[0]) and np.abs(first.values).max() < 10


def test_rows_that_are_not_to_be_trusted_say_so(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5", status=[0, 1, 2, 0])) as results:
        figure = drawn(results)[0].figure
        found = {t.get_text(): t.get_color() for t in figure.findobj(Text) if t.get_text().startswith("ig:")}
        late = next(text for text in found if "not converged" in text)
        bad = "ig: quarantined: score or gradient is not finite"
        assert found[late] == found[bad] == WARNING
        html = page(results)
        assert html.count('class="warning"') == 2 and "quarantined" in html and len(Reader(html).texts) == 3


def test_long_texts_are_cut_in_pictures_alone(tmp_path):
    words = [f"w{place}" for place in range(1203)]
    with Results.open(text_file(tmp_path / "a.h5", [words, words[:3]])) as results:
        figures = [item.figure for item in drawn(results) if isinstance(item, Drawing)]
        shown = "\n".join(text.get_text() for figure in figures for text in figure.findobj(Text))
        assert "203 more tokens, which the HTML file shows" in shown
        assert "w999" in shown.split() and "w1000" not in shown.split("\n")
        assert [len(text) for text in Reader(page(results)).texts] == [1203, 3]


def test_many_texts_fill_several_pages(tmp_path):
    texts = [["word"] * 200] * 8
    with Results.open(text_file(tmp_path / "a.h5", texts)) as results:
        items = drawn(results)
        assert [item.stem for item in items] == ["tokens-1", "tokens-2", "tokens-3", "tokens"]
        assert all(item.figure.get_size_inches()[1] < 15 for item in items[:3])


def test_characters_without_a_glyph_are_said_once(tmp_path, caplog):
    with Results.open(text_file(tmp_path / "a.h5", [["\U00012000", "\U00012001", "x"]] * 2)) as results:
        plot_all(results, tmp_path, kinds=["tokens"])  # warnings are errors in tests
    (record,) = caplog.records
    assert record.getMessage().startswith("2 characters are boxes in the figures: no installed font has")


# --- pages --------------------------------------------------------------------------------------


def test_a_page_has_every_token_with_its_number(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5")) as results:
        html = page(results)
        found = Reader(html)
        values = results.engine("ig").attribution(slice(None))
        for row, (text, words) in enumerate(zip(found.texts, TEXTS, strict=True)):
            assert [title for _, _, title in text] == [number(v) for v in values[row, : len(words)]]
        assert [piece for piece, _, _ in found.texts[1]] == ["[CLS]", "<b>bold</b>", "&", '"quoted"', "[SEP]"]
        assert html.count('<td class="value">') == sum(map(len, TEXTS))
        assert ">em</span><span" in html and ">the</span> <span" in html and ">good</span><span" in html


def test_a_page_fetches_and_runs_nothing(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5")) as results:
        html = page(results)
        found = Reader(html)
        assert found.fetched == [] and not {"script", "b", "img", "link", "iframe", "object"} & set(found.tags)
        assert "default-src 'none'" in html and "url(" not in html and "@import" not in html
        assert not re.search(r"https?://", html)
        for text in found.texts:
            for _, style, _ in text:
                background, colour = re.fullmatch(r"background:(#\w{6});color:(black|white)", style).groups()
                assert contrast(to_rgb(background), to_rgb(colour)) >= 4.5


def test_the_command_leaves_both_and_says_so(tmp_path):
    path = text_file(tmp_path / "a.h5")
    outcome = invoke("plot", path, "--kind", "tokens", "--format", "svg")
    assert outcome.exit_code == 0, outcome.stderr
    names = [tmp_path / "a-plots" / name for name in ("tokens.svg", "tokens.html")]
    assert outcome.stdout.split("\n")[:2] == [str(name) for name in names]
    first = names[1].read_bytes()
    invoke("plot", path, "--kind", "tokens", "--format", "svg")
    assert first.startswith(b"<!DOCTYPE html>") and names[1].read_bytes() == first


# --- other kinds --------------------------------------------------------------------------------


def test_tokens_are_no_features_and_no_picture(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5", width=5, maps=True)) as results:
        assert has_tokens(results, "e") and is_text(results, "e")
        (reason,) = drawn(results, "samples")
        assert isinstance(reason, Nothing) and "kinds 'tokens' and 'molecules' show them" in reason.reason
        (reason,) = drawn(results, "features")
        assert "other ones in every sample" in reason.reason
    with Results.open(text_file(tmp_path / "b.h5", names=False)) as results:
        assert not has_tokens(results, "e") and isinstance(drawn(results)[0], Nothing)


def test_tokens_along_the_path(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5", width=5, maps=True)) as results:
        curves, strip = drawn(results, "saturation", rows=[3])
        assert [curves.stem, strip.stem] == ["saturation-ig", "saturation-tokens-ig"]
        first, second = (i for i in strip.figure.findobj(AxesImage) if i.get_cmap().name == diverging_map().name)
        maps, running = results.engine("ig").path_maps([3])
        np.testing.assert_allclose(first.get_array(), maps[0].sum(axis=-1)[:, :4])
        np.testing.assert_allclose(second.get_array(), running[0].sum(axis=-1)[:, :4])
        words = [text.get_text() for text in strip.figure.findobj(Text)]
        assert {"cut", "ting", "0.25", "probability over α"} <= set(words)


def test_the_score_is_marked_where_there_are_maps(tmp_path):
    with Results.open(text_file(tmp_path / "a.h5", maps=True)) as results:
        axes = chart(2, 2).subplots()
        draw_score(axes, results, results.engine("ig"), 0)
        line, marks = axes.lines
        np.testing.assert_allclose(line.get_ydata(), np.linspace(0, 1, 9) ** 2)
        np.testing.assert_allclose(marks.get_xdata(), ALPHAS)
        np.testing.assert_allclose(marks.get_ydata(), ALPHAS**2)


def test_a_job_of_texts_is_drawn_from_its_file_alone(tmp_path):
    language = pytest.importorskip("helpers.language", reason="transformers is not installed")
    language.save_bert(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(language.SENTENCES))
    job = {
        "model": {"kind": "transformers", "path": "model"},
        "dataset": {"kind": "text", "path": "texts.txt"},
        "explain": {"embedding": "auto", "reduce": "sum", "store": "reduced"},
        "engines": {
            "integrated_gradients": {"baseline": {"kind": "token"}},
            "interior_gradients": {"baseline": {"kind": "token"}},
        },
        "output": {"path": "out.h5"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    assert invoke("run", tmp_path / "job.yaml", "--quiet").exit_code == 0
    (tmp_path / "texts.txt").unlink()
    (tmp_path / "model" / "model.safetensors").unlink()
    with Results.open(tmp_path / "out.h5") as results:
        names = [path.name for path in plot_all(results, tmp_path / "plots")]
        html = (tmp_path / "plots" / "tokens.html").read_text(encoding="utf-8")
        values = results.engine("integrated_gradients").attribution(slice(None))
    assert names[:2] == ["tokens.png", "tokens.html"] and "saturation-tokens-interior_gradients.png" in names
    texts = Reader(html).texts[::2]  # the first of two engines
    assert [piece for piece, _, _ in texts[2]] == ["[CLS]", "bark", "ed", "[SEP]"]
    assert [title for _, _, title in texts[0]] == [number(float(v)) for v in values[0, : len(texts[0])]]
