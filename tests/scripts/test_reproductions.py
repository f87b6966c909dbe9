"""What the pages of the papers open with, and that all papers are run."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from scripts.benchmarks import benchlib
from scripts.papers import __main__ as papers
from scripts.papers import reproductions
from scripts.papers.paper_jobs import Claim, claim_table, mean_of

PAPERS = Path(__file__).parents[2] / "scripts" / "papers"


def test_a_page_opens_with_a_picture_and_five_lines():
    first = [Claim("a", "b", "yes", "First."), Claim("c", "d", "no", "Fifth, which is too many.")]
    others = [claim_table("more", [Claim("e", "f", "in part", f"{n}.")]) for n in ("Second", "Third", "Fourth")]
    opening = reproductions.opening_of([claim_table("one", first), *others], "figure.png")
    picture, _, *lines, _ = opening
    assert picture == "![The figure that says most](figure.png)"
    assert lines[0] == "1. Of 5 claims that were tried, 1 agree, 3 agree in part, 1 do not."
    assert lines[1:] == ["2. First.", "3. Second.", "4. Third.", "5. Fourth."]


def test_spread_is_over_the_seeds():
    assert mean_of([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert mean_of([0.5], ".1%") == "50.0%"


EXPERIMENT = """
from scripts.papers.paper_jobs import Claim, claim_table
def tables(folder, quick):
    (folder / "figure.png").write_bytes(PICTURE)
    return [claim_table(TITLE, [Claim("a", "b", HOLDS, TITLE + " says so.")])]
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder for pages, and two experiments, `first` and `second`, of a paper."""
    drawn = BytesIO()
    Image.new("RGB", (4, 3), "red").save(drawn, "png")
    for title, holds in (("first", "yes"), ("second", "no")):
        given = f"TITLE, HOLDS, PICTURE = {title!r}, {holds!r}, {drawn.getvalue()!r}"
        (tmp_path / f"of_{title}.py").write_text(given + EXPERIMENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(benchlib, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reproductions, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def reproduced(folder, *experiments):
    names = {"first": "of_first", "second": "of_second"}
    reproductions.reproduce(
        "page", "A page.", names, pictures=["first/figure.png", "second/figure.png"],
        arguments=["--folder", str(folder), "--experiments", *experiments],
    )  # fmt: skip


def test_one_experiment_is_made_again_and_the_others_stay_as_published(tmp_path, results):
    reproduced(tmp_path / "all", "first", "second")
    page = (results / "page.md").read_text()
    assert "1. Of 2 claims that were tried, 1 agree, 0 agree in part, 1 do not." in page
    (tmp_path / "of_second.py").write_text((tmp_path / "of_second.py").read_text().replace("'no'", "'yes'"))
    sys.modules.pop("of_second")
    reproduced(tmp_path / "elsewhere", "second")
    again = (results / "page.md").read_text()
    assert "1. Of 2 claims that were tried, 2 agree, 0 agree in part, 0 do not." in again
    assert again.splitlines()[0] == page.splitlines()[0] == "![The figure that says most](page.png)"
    for lines in ("## first", "2. first says so.", "3. second says so."):
        assert lines in again


def test_an_experiment_that_was_never_run_is_left_open(tmp_path, results):
    reproduced(tmp_path / "one", "second")
    page = (results / "page.md").read_text()
    assert "first –, second 0.0" in page
    assert "## first" not in page


def test_the_picture_of_another_experiment_does_not_take_the_place_of_the_first(tmp_path, results):
    reproduced(tmp_path / "all", "first", "second")
    Image.new("RGB", (9, 9), "blue").save(results / "page.png")
    reproduced(tmp_path / "elsewhere", "second")
    with Image.open(results / "page.png") as picture:
        assert picture.size == (9, 9)


@pytest.mark.parametrize("code", [0, 1])
def test_all_papers_are_run_though_one_fails(monkeypatch, capsys, code):
    ran = []
    monkeypatch.setattr(
        papers.subprocess, "run", lambda command, check: ran.append(command) or SimpleNamespace(returncode=code)
    )
    with pytest.raises(SystemExit) if code else nullcontext():
        papers.main()
    assert [command[2] for command in ran] == [f"scripts.papers.{name}" for name in papers.PAPERS]
    assert {path.stem for path in PAPERS.glob("reproduce_*.py")} == {*papers.PAPERS}
    assert capsys.readouterr().out.count(f"exit code {code}") == 5
