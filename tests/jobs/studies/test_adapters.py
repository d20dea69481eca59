"""The comparison: every adapter, every seed; alpha chosen on validation; intervals that hold."""

import pytest

from jobs.studies.adapters import compare, table
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import parse_recipe

TINY = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def recipe(**adapter):
    adapter = {"type": "lora", "rank": 8, "alpha": 20.0, "targets": ["q_proj"], **adapter}
    return parse_recipe({**TINY, "adapter": adapter}, source="a")


class Script:
    """Stands for training: DoRA validates best at alpha 16; MoSLoRA tests best."""

    def __init__(self):
        self.folders = []

    def __call__(self, recipe, folder):
        adapter = recipe.adapter
        self.folders.append(folder.name)
        assert (adapter.rank, adapter.targets) == (8, ("q_proj",))
        value = 0.5 + 0.01 * recipe.train.seed + 0.2 * (adapter.type == "moslora")
        good = adapter.type == "dora" and adapter.alpha == 16.0
        return {
            "test": {"value": value},
            "validation": 0.9 if good else 0.1,
            "trainable_parameters": 10,
        }


def test_each_alpha_is_tuned_on_the_first_seed_and_then_run_with_all(tmp_path):
    script = Script()
    scores = compare(recipe(), tmp_path, train=script, seeds=[3, 4], ratios=[2.0, 1.0])
    tuning = ["dora-alpha8-seed3", "dora-alpha16-seed3"]
    assert script.folders[4:8] == [*tuning, "dora-alpha16-seed3", "dora-alpha16-seed4"]
    assert [score.alpha for score in scores] == [8.0, 16.0, 8.0, 8.0]
    by_name = {score.name: score for score in scores}
    assert by_name["dora"].against_lora == (0.0, 0.0)
    assert by_name["moslora"].against_lora == pytest.approx((0.2, 0.2))
    assert "| moslora | 8 | 10 | 73.5 | 73.0, 74.0 | +20.0 | +20.0 to +20.0 |" in table(scores)


def test_an_adapter_without_a_rank_is_refused(tmp_path):
    svf = parse_recipe(TINY, source="a")
    with pytest.raises(ConfigError, match=r"one of lora, dora.* got 'svf'"):
        compare(svf, tmp_path, train=Script(), seeds=[0])
