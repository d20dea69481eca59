"""`jobs.train` is `rlpeft.train` with its parts in actors."""

import pytest

import jobs
import rlpeft

ROWS = [{"prompt": f"{n}@=", "answer": f"{n}"[2:] + f"{n}"[:2]} for n in range(2111, 2200, 2)]


def halves(completions, answer, **columns):
    return [text.strip() == gold for text, gold in zip(completions, answer, strict=True)]


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_gives_the_expert_of_one_process(cluster, tmp_path):
    sections = {
        "task": {"num_validation": 6, "num_test": 8},
        "rollout": {"max_tokens": 6},
        "train": {"steps": 1, "prompts_per_step": 4, "group_size": 4, "report_to": []},
    }
    address = cluster["head"]
    there = jobs.train("tiny", ROWS, halves, out=tmp_path / "ray", address=address, **sections)
    here = rlpeft.train("tiny", ROWS, halves, out=tmp_path / "here", **sections)
    assert there.summary["digest"] == here.summary["digest"]
    assert there.test == here.test
