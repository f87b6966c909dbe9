"""Average causal effects through the command."""

from __future__ import annotations

from helpers.cli import invoke, run, samples, write_data, write_job


def test_rows_outside_of_what_ace_has_studied_are_told_so_not_as_an_integral_that_did_not_converge(tmp_path):
    x, y = samples(40)
    write_data(tmp_path, x, y)
    engines = {"ace": {"range": [-0.5, 0.5]}}
    run(write_job(tmp_path, engines=engines, target={"index": 0}), "--quiet")
    told = invoke("inspect", tmp_path / "out.h5").stdout
    assert "outside of the range that was studied: effects there are those of its nearest end: rows " in told
    assert "not converged within the cap" not in told
