"""By which rule a job's paths are integrated, and what the file says of it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from helpers.cli import digits_job, invoke

from xattr_cli.device import Execution, Measured
from xattr_cli.numerics.cells.calibration import Calibration
from xattr_cli.pipeline.settling.execution import as_cells_run
from xattr_cli.pipeline.settling.plan import pays
from xattr_cli.pipeline.settling.rules import Choice

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


def test_where_the_job_file_asks_for_fewer_bits_there_are_no_cells_and_the_reason_is_that(tmp_path):
    fewer = ["--set", "compute.arithmetic=bfloat16"]
    job = digits_job(tmp_path, ROWS, engines={"integrated_gradients": {}})
    assert invoke("run", job, *fewer).exit_code == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["engines/integrated_gradients"].attrs["rule"] == "gradient"
        assert file.attrs["integration"] == (
            "gradients: cells add up in float32 alone, and compute.arithmetic is bfloat16"
        )
    outcome = invoke("run", job, *fewer, "--overwrite", "--set", "engines.integrated_gradients.rule=secant")
    assert outcome.exit_code == 2
    assert "rule: secant: cells add up in float32 alone, and compute.arithmetic is bfloat16" in outcome.stderr


def test_weights_of_half_precision_are_the_reason_where_they_are_used_as_they_are(tmp_path):
    half = {"factory": "helpers.networks:half", "checkpoint": None}
    job = digits_job(
        tmp_path, 12, engines={"integrated_gradients": {"rule": "secant"}}, model=half,
        compute={"precision": "as_stored"},
    )  # fmt: skip
    outcome = invoke("run", job)
    assert outcome.exit_code == 2
    assert "weights are used as they are stored, and bfloat16 rounds by as much" in outcome.stderr
    as_float32 = invoke("run", job, "--set", "compute.precision=auto")
    assert as_float32.exit_code == 0, as_float32.stderr


def timed_as(monkeypatch, *seconds):
    """What this processor is not fast at: bfloat16, measured to take so many seconds, and float32 after it."""
    measured = [
        Measured(Execution(arithmetic="bfloat16"), seconds[0], 1e-3, "chosen"),
        Measured(Execution(), seconds[1], 0.0, "slower"),
    ]
    monkeypatch.setattr("xattr_cli.pipeline.settling.plan.measured_executions", lambda session: measured)


def test_faster_arithmetic_of_fewer_bits_is_weighed_against_cells_in_float32(tmp_path, monkeypatch):
    job = digits_job(tmp_path, ROWS, engines={"integrated_gradients": {"rtol": 0.002}})
    timed_as(monkeypatch, 1e-5, 1.1e-5)
    assert invoke("run", job).exit_code == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["engines/integrated_gradients"].attrs["rule"] == "secant"
        assert file.attrs["execution"] == "float32 (drift 0.0e+00); bfloat16: without secant cells"
    timed_as(monkeypatch, 1e-5, 1e-3)  # a cell is worth 90 gradients
    assert invoke("run", job, "--overwrite").exit_code == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["engines/integrated_gradients"].attrs["rule"] == "gradient"
        assert file.attrs["execution"] == "bfloat16 (drift 1.0e-03); float32: slower"
    outcome = invoke("run", job, "--overwrite", "--set", "engines.integrated_gradients.rule=secant")
    assert outcome.exit_code == 0, outcome.stderr
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["execution"].startswith("float32")


def test_calls_of_cells_are_so_large_that_few_nodes_are_computed_twice(tmp_path):
    model = {"factory": "helpers.networks:large_activations", "checkpoint": None}
    taken = {}
    for rule, compute in [("secant", {}), ("gradient", {}), ("secant", {"batch_rows": 4})]:
        engines = {"integrated_gradients": {"rule": rule, "rtol": 0.3}}
        job = digits_job(tmp_path, 6, engines=engines, model=model, compute=compute)
        found, _ = only(maps(tmp_path, job))
        with h5py.File(tmp_path / "out.h5") as file:
            taken[(rule, *compute)] = int(file.attrs["batch_rows"])
        (tmp_path / "out.h5").unlink()
        assert found[0] == rule
    assert taken == {("secant",): 16, ("gradient",): 4, ("secant", "batch_rows"): 4}


def ways(*how_and_verdicts):
    return [Measured(how, seconds, 0.0, verdict) for seconds, (how, verdict) in enumerate(how_and_verdicts, 1)]


ADAPTIVE = Choice(Calibration(cost=20.0), "secant cells", gradients=60.0, worth=30.0)


@pytest.mark.parametrize(
    ("choices", "slower", "known", "wanted", "pay"),
    [
        ([ADAPTIVE], 1.5, 0, False, True),  # 30 in place of 60: what they cost in the slower way is in their worth
        ([ADAPTIVE], 1.05, 100, False, True),  # 135 in place of 160
        ([ADAPTIVE], 1.3, 100, False, False),  # 160 in place of 160
        ([ADAPTIVE, Choice.of_gradients("gradients", 100)], 1.3, 0, False, False),
        (
            [ADAPTIVE, Choice.of_gradients("midpoint rule", 0)],
            1.05,
            100,
            False,
            True,
        ),  # its nodes are known already
        ([ADAPTIVE], 9.0, 1000, True, True),  # asked for
        ([Choice.of_gradients("gradients", 60)], 1.0, 0, True, False),  # nobody takes cells
    ],
)
def test_cells_pay_if_the_whole_job_is_done_sooner(choices, slower, known, wanted, pay):
    assert pays(choices, slower, known, wanted=wanted) == pay


def test_cells_are_computed_in_the_fastest_way_that_rounds_and_compiles_nothing():
    plain, last, low = Execution(), Execution(channels_last=True), Execution(arithmetic="tf32")
    compiled, folded = Execution(compiled=True), Execution(folded=True)
    found = as_cells_run(ways((low, "chosen"), (folded, "drifts"), (last, "slower"), (plain, "slower")))
    assert [one.how for one in found] == [last, low, folded, plain]
    assert [one.verdict for one in found] == ["chosen", "without secant cells", "drifts", "slower"]
    found = as_cells_run(ways((compiled, "chosen"), (plain, "slower")))
    assert [one.how for one in found] == [plain, compiled]
    kept = ways((last, "chosen"), (plain, "slower"))
    assert as_cells_run(kept) == kept
    near = [Measured(one, seconds, 0.0, "slower") for one, seconds in ((plain, 1.0), (last, 0.97))]
    found = as_cells_run([Measured(low, 0.5, 0.0, "chosen"), *near])
    assert found[0].how == plain  # a coin flip is not worth another layout
    pinned = ways((compiled, "chosen"))
    assert as_cells_run(pinned) == pinned
    assert as_cells_run(ways((low, "chosen"))) == []


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
