"""How deep the code is: frames of the package between the command and the gradient of the network."""

from __future__ import annotations

from helpers.cli import digits_job

from scripts.way import ways_of


def test_the_way_from_the_command_to_the_gradient_is_short(tmp_path):
    engines = {"integrated_gradients": {"rtol": 0.05, "rule": "gradient"}, "saliency": None}
    ways = ways_of([str(digits_job(tmp_path, 24, engines=engines))])
    main = max((way for way in ways if any("integrate.py" in frame for frame in way)), key=ways.__getitem__)
    assert len(main) <= 14, main
