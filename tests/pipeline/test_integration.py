"""By which rule a job's paths are integrated, and what the file says of it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from helpers.cli import digits_job, invoke

ROWS = 260  # so many that cells are judged by finer ones on some of them


def maps(folder, job):
    outcome = invoke("run", job, "--set", "compute.arithmetic=float32")
    assert outcome.exit_code == 0, outcome.stderr
    with h5py.File(folder / "out.h5") as file:
        engines = {
            label: (
                group.attrs["rule"],
                group["attribution"][:],
                group["evaluations"][:],
                group["relative_error"][:],
            )
            for label, group in file["engines"].items()
        }
        return engines, file.attrs["integration"]


def lengths(rows):
    return np.linalg.norm(rows.reshape(len(rows), -1).astype(float), axis=1)


def test_a_network_with_kinks_takes_secant_cells_and_says_so(tmp_path):
    engines = {
        "auto": {"engine": "integrated_gradients", "rtol": 0.002},
        "gradient": {"engine": "integrated_gradients", "rule": "gradient", "baseline": {"kind": "mean"}},
        "secant": {"engine": "integrated_gradients", "rule": "secant", "baseline": {"kind": "mean"}},
        "fixed": {"engine": "integrated_gradients", "rule": "midpoint", "nodes": 9},
        "saliency": {},
    }
    found, text = maps(tmp_path, digits_job(tmp_path, ROWS, engines=engines))
    assert {label: about[0] for label, about in found.items()} == {
        "auto": "secant", "gradient": "gradient", "secant": "secant", "fixed": "midpoint", "saliency": ""
    }  # fmt: skip
    assert "secant cells: " in text and "midpoint rule, 9 nodes" in text
    assert found["secant"][2].mean() < 1.5 * found["gradient"][2].mean()
    apart = lengths(found["secant"][1] - found["gradient"][1]) / lengths(found["gradient"][1])
    assert (apart <= 1.25 * (found["secant"][3] + found["gradient"][3])).mean() >= 0.95
    shown = invoke("inspect", tmp_path / "out.h5").stdout
    assert "paths    " in shown and "secant cells: " in shown


def test_an_engine_that_shows_gradients_on_the_way_has_its_sweep_made_of_them(tmp_path):
    engines = {"integrated_gradients": {}, "interior_gradients": {}}
    found, text = maps(tmp_path, digits_job(tmp_path, 12, engines=engines))
    assert {about[0] for about in found.values()} == {"gradient"}
    assert text == "gradients"


def test_a_network_without_secants_takes_gradients_or_is_refused(tmp_path):
    median = {"factory": "helpers.networks:weighs_by_the_median", "checkpoint": None}
    engines = {"integrated_gradients": {}}
    job = digits_job(tmp_path, 12, engines=engines, model=median)
    found, text = maps(tmp_path, job)
    assert found["integrated_gradients"][0] == "gradient" and "median" in text
    outcome = invoke("run", job, "--overwrite", "--set", "engines.integrated_gradients.rule=secant")
    assert outcome.exit_code == 2
    assert "rule: secant: " in outcome.stderr and "median" in outcome.stderr


@pytest.mark.parametrize("batch_rows", [16, 64])
def test_the_choice_and_the_maps_do_not_depend_on_the_rows_of_a_call(tmp_path, batch_rows):
    job = digits_job(
        tmp_path, ROWS, engines={"integrated_gradients": {"rule": "secant"}}, compute={"batch_rows": batch_rows}
    )
    (rule, attribution, *_), text = only(maps(tmp_path, job))
    (tmp_path / "out.h5").unlink()
    (_, expected, *_), other = only(
        maps(tmp_path, digits_job(tmp_path, ROWS, engines={"integrated_gradients": {"rule": "secant"}}))
    )
    assert rule == "secant" and text == other
    assert (lengths(attribution - expected) / lengths(expected)).max() < 1e-4


def only(found):
    engines, text = found
    return engines["integrated_gradients"], text


def test_the_name_that_a_rule_had_before_is_understood(tmp_path, caplog):
    engines = {"integrated_gradients": {"rule": "nested"}}
    outcome = invoke("run", digits_job(tmp_path, 6, engines=engines))
    assert outcome.exit_code == 0 and "rule: nested is called gradient now" in caplog.text
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["engines/integrated_gradients"].attrs["rule"] == "gradient"
