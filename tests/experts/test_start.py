"""What a run may go on from: an expert of its own `[adapter]` on its own base, and nothing else."""

import json

import pytest

from rlpeft.build import build_card, build_state
from rlpeft.errors import ExpertError
from rlpeft.experts.files import save_expert
from rlpeft.experts.start import read_start


@pytest.fixture
def fresh(tiny, quick, tmp_path):
    """A maker of untrained experts of the tiny base."""

    def make(adapter, **card):
        recipe = quick(adapter=adapter)
        state = build_state(recipe.engine, tiny)
        own = {"digest": state.digest} | card
        save_expert(tmp_path / "expert", state, build_card(recipe, tiny).model_copy(update=own))
        return tmp_path / "expert"

    return make


LORA = {"type": "lora", "rank": 4}


def test_an_expert_of_the_recipes_own_adapter_is_taken(fresh, quick, tiny):
    expert = read_start(fresh(LORA), quick(adapter=LORA), tiny)
    assert expert.card.name == "quick"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "svf"}, "adapter.type = 'lora', not 'svf'"),
        ({"rank": 8}, "adapter.rank = 4, not 8"),
        ({"rank": 8, "targets": ["q_proj"]}, "and adapter.rank = 4, not 8. Set adapter.targets = "),
    ],
)
def test_one_of_another_adapter_is_refused_and_says_what_to_set(fresh, quick, tiny, change, said):
    adapter = change if "type" in change else LORA | change
    with pytest.raises(ExpertError, match="Set adapter") as refused:
        read_start(fresh(LORA), quick(adapter=adapter), tiny)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_of_another_base_is_refused(fresh, quick, tiny):
    with pytest.raises(ExpertError, match="was trained on base model"):
        read_start(fresh(LORA, base_digest="0" * 64), quick(adapter=LORA), tiny)


def test_options_that_only_decide_how_an_adapter_is_trained_may_differ(fresh, quick, tiny):
    moslora = {"type": "moslora", "rank": 8}
    other = quick(adapter=moslora | {"curvature_reg": 0.5})
    assert read_start(fresh(moslora), other, tiny).card.adapter != json.loads(
        other.adapter.model_dump_json()
    )
