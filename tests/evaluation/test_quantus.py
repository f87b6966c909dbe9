"""Equality with Quantus, an independent implementation, on the same maps, noise, subsets and networks."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benchmarks.quantus_cases import CASES, Bed


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    return Bed(tmp_path_factory.mktemp("quantus"))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.ours != "completeness"], ids=lambda case: case.ours
)
def test_the_numbers_are_those_of_quantus(bed, case):
    ours, theirs = case.found(bed)
    assert len(np.ravel(ours)) >= 1 and np.isfinite(ours).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_their_completeness_is_equality_to_the_last_bit(bed):
    """Maps that are complete but for rounding pass here, and only by chance there."""
    (case,) = [case for case in CASES if case.ours == "completeness"]
    complete, theirs = case.found(bed)
    assert complete.all() and not theirs.all()
