"""On a cluster an evaluation gives what it gives in one process."""

import pytest

from jobs.evaluation.run import evaluate_survey
from jobs.exams import Samples


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_gives_the_figures_of_one_process(cluster, asked, tmp_path):
    survey = asked(Samples())
    here = evaluate_survey(survey, tmp_path / "here")
    there = evaluate_survey(survey, tmp_path / "there", address=cluster["head"])
    assert there["tasks"] == here["tasks"]
