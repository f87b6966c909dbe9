"""The report in a real browser: it opens without an error, sorts, filters, pages, and fits a telephone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.results import digits, integrated_gradients, make_rows, photographs, write_file
from test_html_report import EVIL, hostile_file

from xattr_cli.export.compare.difference import compare
from xattr_cli.reports.html.comparison import write_comparison
from xattr_cli.reports.html.report import write_report
from xattr_cli.store.results.reader import Results

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser():
    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    if installed is None:
        pytest.skip("no Chromium is installed (apt-get install chromium): the page is not opened in a browser")
    with playwright.sync_playwright() as started:
        # in a container, root cannot have Chromium's own sandbox
        opened = started.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def digits_page(folder):
    problem = digits()
    rows, black = make_rows(problem), np.zeros_like(digits().inputs[0])
    engine = integrated_gradients(problem, rows, 1e-3, black)
    other = integrated_gradients(problem, rows, 0.2, black)
    path = write_file(folder / "digits.h5", problem, rows, {"ig": engine, "coarse": other})
    return write_report([path], folder / "digits.html"), rows, engine


def opened(browser, path, width=1440):
    """A page, and a list of all that went wrong in it or that it asked for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("data:", "file:")) or wrong.append(request.url))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(path.as_uri())
    return page, wrong


def shown(page, column="row"):
    """The visible entries of a column of the table."""
    names = page.locator("table.rows thead th").evaluate_all("heads => heads.map(head => head.dataset.name)")
    place = names.index(column) + 1
    return page.locator(f"table.rows tbody tr:visible > :nth-child({place})").all_inner_texts()


def cards(page):
    return [
        card.removeprefix("row-")
        for card in page.locator("article:visible").evaluate_all("all => all.map(a => a.id)")
    ]


@pytest.fixture
def page(browser, digits_page):
    opened_page, wrong = opened(browser, digits_page[0])
    yield opened_page
    assert wrong == []
    opened_page.close()


def test_rows_are_paged(page):
    assert shown(page) == cards(page) == [str(row) for row in range(10)]
    page.get_by_role("button", name="Next").click()
    assert shown(page) == cards(page) == [str(row) for row in range(10, 20)]
    assert page.get_by_role("status").inner_text() == "11 to 20 of 40 rows"
    page.get_by_label("Rows a page").select_option("25")
    assert len(cards(page)) == 25
    page.get_by_role("button", name="Next").click()
    assert len(cards(page)) == 15 and page.get_by_role("button", name="Next").is_disabled()


def test_heads_sort_up_and_down_by_number(page, digits_page):
    _, rows, engine = digits_page
    for descending in (False, True):
        page.get_by_role("button", name="score").click()
        sign = -1 if descending else 1
        expected = np.argsort(sign * engine.score_input, kind="stable")[:10]
        assert shown(page) == cards(page) == [str(row) for row in expected]
    assert page.locator("th[data-name=score]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="target").click()
    assert shown(page, "target") == sorted(map(str, rows.target))[:10]


def test_rows_are_filtered_by_class_number_and_words(page, digits_page):
    _, rows, engine = digits_page
    page.locator("select[name=target]").select_option("=3")
    threes = np.flatnonzero(rows.target == 3)
    assert cards(page) == [str(row) for row in threes]
    least = float(np.median(engine.score_input[threes]))
    page.get_by_label("Score at least").fill(str(least))
    assert cards(page) == [str(row) for row in threes if engine.score_input[row] >= least]
    page.get_by_role("button", name="Reset").click()
    playwright.expect(page.locator("article:visible")).to_have_count(10)
    page.get_by_label("Error at least").fill("0.1")
    page.get_by_label("Rows a page").select_option("100")
    errors = page.locator("table.rows tbody tr:visible > :nth-child(7)").evaluate_all(
        "c => c.map(a => +a.dataset.key)"
    )
    assert len(errors) > 3 and min(errors) >= 1e-3
    last = page.locator("table.rows tbody tr:visible > :last-child")
    agreements = last.evaluate_all("cells => cells.map(cell => +cell.dataset.key)")
    most = float(np.median(agreements))
    page.get_by_label("Agreement at most").fill(str(most))
    expected = [one for one in agreements if one <= most]
    assert last.evaluate_all("cells => cells.map(cell => +cell.dataset.key)") == expected
    assert 0 < len(expected) < len(agreements) == len(errors)
    page.get_by_label("Search").fill("no such word")
    assert cards(page) == [] and "no row of 40 fits" in page.get_by_role("status").inner_text()


def test_the_keyboard_reaches_and_works_everything(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the rows"
    page.keyboard.press("Enter")
    head = page.get_by_role("button", name="error")
    head.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[data-name=error]").get_attribute("aria-sort") == "ascending"
    named = "a, button, input, select, summary, [tabindex='0']"
    names = page.locator(named).evaluate_all(
        "all => all.map(e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).map(t => t.trim())"
    )
    assert all(names)


def test_an_address_with_a_row_opens_its_page(browser, digits_page):
    found, wrong = opened(browser, digits_page[0])
    found.evaluate("location.hash = 'row-33'")
    playwright.expect(found.locator("#row-33")).to_be_visible()
    assert "33" in cards(found) and len(cards(found)) == 10 and wrong == []


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_window(browser, digits_page, width):
    found, wrong = opened(browser, digits_page[0], width)
    assert found.evaluate("document.documentElement.scrollWidth") == width
    sizes = found.locator("body *:visible").evaluate_all(
        "all => all.map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 11 and wrong == []


def test_without_a_script_and_on_paper_all_rows_are_there(browser, digits_page):
    context = browser.new_context(java_script_enabled=False)
    found = context.new_page()
    found.goto(digits_page[0].as_uri())
    assert found.locator("article:visible").count() == 40
    found.emulate_media(media="print")
    assert found.get_by_role("navigation").count() == 0
    assert found.pdf()[:5] == b"%PDF-"
    context.close()


def test_layers_of_pictures_can_be_hidden(browser, folder):
    problem = photographs()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.05, np.zeros_like(problem.inputs[0]))
    path = write_file(folder / "photos.h5", problem, rows, {"ig": engine})
    found, wrong = opened(browser, write_report([path], folder / "photos.html", rows="2"))
    for name, layer in {"input below": "source", "what raises": "raises", "outline of the top": "outline"}.items():
        assert found.locator(f"article .stack .{layer}").first.is_visible()
        found.get_by_label(name).uncheck()
        assert not found.locator(f"article .stack .{layer}").first.is_visible()
    assert found.locator("article .stack .lowers").first.is_visible()
    broken = found.locator("img").evaluate_all("all => all.filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0 and wrong == []


@pytest.mark.parametrize("width", [360, 1440])
def test_two_results_are_compared(browser, folder, digits_page, width):
    problem, rows, engine = digits(), digits_page[1], digits_page[2]
    half = replace(engine, attribution=engine.attribution * np.linspace(0.5, 1, 40)[:, None, None, None])
    path = write_file(folder / f"half-{width}.h5", problem, rows, {"ig": half})
    with Results.open(folder / "digits.h5") as one, Results.open(path) as two:
        written = write_comparison(compare(one, two), folder / f"diff-{width}.html", rows=30)
    found, wrong = opened(browser, written, width)
    assert found.evaluate("document.documentElement.scrollWidth") == width
    assert cards(found) == [str(row) for row in range(10)] and shown(found, "beyond errors")[0] == "yes"
    found.get_by_role("button", name="distance").click()
    distances = found.locator("table.rows tbody tr:visible td").filter(has_text="%").count()
    assert distances and cards(found)[0] == "29"
    found.get_by_label("Distance at least").fill("40")
    assert cards(found) == [str(row) for row in range(7, -1, -1)]
    assert wrong == []


def test_hostile_texts_do_nothing(browser, folder):
    path = hostile_file(folder / "<img src=x onerror=alert(2)>.h5")
    found, wrong = opened(browser, write_report([path], folder / "hostile.html"))
    assert found.title() == f"{path.name}: attributions"
    assert found.locator("article").first.locator(".text span").nth(1).inner_text() == EVIL
    assert found.locator("select[name=target]").count() == 0 and shown(found, "target") == [EVIL] * 3
    found.get_by_label("Search").fill("</script>")
    assert len(cards(found)) == 3
    assert wrong == []
