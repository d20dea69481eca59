"""Of which runs a page may be."""

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.report.asked import MOST_RUNS, require_runs
from rlpeft.report.charts import PALETTE


def test_as_many_runs_are_compared_as_there_are_colours(tmp_path):
    assert len(set(PALETTE)) == MOST_RUNS
    with pytest.raises(ConfigError, match=rf"got {MOST_RUNS + 1}\. Name fewer"):
        require_runs([tmp_path / str(number) for number in range(MOST_RUNS + 1)])


def test_each_run_is_named_once_and_has_metrics(tmp_path):
    with pytest.raises(ConfigError, match="a comparison must name each run once"):
        require_runs([tmp_path, tmp_path / "." / "x" / ".."])
    with pytest.raises(DataError, match=r"a report needs a run folder with metrics\.jsonl"):
        require_runs([tmp_path])
