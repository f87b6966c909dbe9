"""What the pages of the papers open with, and that all papers are run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

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


@pytest.mark.parametrize("code", [0, 1])
def test_all_papers_are_run_though_one_fails(monkeypatch, capsys, code):
    ran = []
    monkeypatch.setattr(
        papers.subprocess, "run", lambda command, check: ran.append(command) or SimpleNamespace(returncode=code)
    )
    papers.main()
    assert [command[2] for command in ran] == [f"scripts.papers.{name}" for name in papers.PAPERS]
    assert {path.stem for path in PAPERS.glob("reproduce_*.py")} == {*papers.PAPERS}
    assert capsys.readouterr().out.count(f"exit code {code}") == 5
