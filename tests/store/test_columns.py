"""What an engine returns is checked before it is written."""

import numpy as np
import pytest
import torch

from xattr_cli.engines.base import Explanation
from xattr_cli.errors import RunError
from xattr_cli.pipeline.columns import engine_columns
from xattr_cli.pipeline.session import RowTable
from xattr_cli.samples import Batch, InputSpec, Layout, Status

LAYOUT = Layout((InputSpec("a", (2,), np.dtype("f4")), InputSpec("b", (1, 3), np.dtype("f4"))))


def table(rows):
    index = np.arange(rows)
    fields = dict.fromkeys(("id", "sample", "target", "label", "prediction", "position"), index)
    return RowTable(**fields, batch=Batch(index, {}), finite=np.ones(rows, dtype=bool))


def explanation(rows=4, **given):
    fields = {
        "attribution": torch.arange(rows * 5.0).view(rows, 5),
        "relative_error": torch.zeros(rows),
        "evaluations": torch.ones(rows),
        "score_input": torch.zeros(rows),
    }
    return Explanation(**{**fields, **given})


def test_maps_come_in_the_shapes_of_the_inputs_and_gaps_are_sums():
    given = explanation(score_input=torch.full((4,), 3.0), score_baseline=torch.ones(4))
    columns = engine_columns("x", given, LAYOUT, table(4))
    assert columns["engines/x/attribution/a"].values.tolist()[1] == [5.0, 6.0]
    assert columns["engines/x/attribution/b"].values.tolist()[1] == [[7.0, 8.0, 9.0]]
    assert columns["engines/x/completeness_gap"].values.tolist() == [10 - 2, 35 - 2, 60 - 2, 85 - 2]


def test_a_map_that_is_not_finite_is_quarantined_whatever_the_engine_says():
    attribution = torch.ones(4, 5)
    attribution[2, 1] = torch.inf
    given = explanation(attribution=attribution, status=torch.zeros(4, dtype=torch.int8))
    columns = engine_columns("x", given, LAYOUT, table(4))
    assert columns["engines/x/status"].values.tolist() == [0, 0, Status.QUARANTINED, 0]
    assert np.isnan(columns["engines/x/attribution/b"].values[2]).all()
    assert np.isnan(columns["engines/x/relative_error"].values).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attribution": torch.zeros(4, 6)}, r"'x' returned attribution of shape \(4, 6\), not \(4, 5\)"),
        ({"relative_error": torch.zeros(4, 1)}, r"returned relative_error of shape \(4, 1\), not \(4,\)"),
        ({"maps": {"spread": torch.zeros(4, 4)}}, r"returned spread of shape \(4, 4\), not \(4, ..., 5\)"),
        ({"curves": {"status": torch.zeros(4)}}, "'x' returned 'status' twice, or among its extra values"),
        ({"curves": {"k": torch.zeros(4)}, "constants": {"k": np.zeros(2)}}, "'x' returned 'k' twice"),
    ],
)
def test_wrong_shapes_and_names_are_refused(given, message):
    with pytest.raises(RunError, match=message):
        engine_columns("x", explanation(**given), LAYOUT, table(4))
