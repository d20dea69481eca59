"""What `rlpeft evaluate` takes from an expert's card."""

import pytest

from jobs.evaluate import evaluate_expert
from rlpeft.build import build_card, build_state


@pytest.mark.parametrize(
    ("rollout", "stop"), [({}, ["3"]), ({"stop": ["1", "4"]}, ["1", "4"]), ({"stop": []}, [])]
)
def test_an_expert_ends_where_it_was_trained_to_unless_the_recipe_says_where(
    quick, make_expert, rollout, stop
):
    trained, state = quick(rollout={"stop": ["3"]}), build_state(quick())
    card = build_card(trained)
    assert card.stop == ("3",)
    fields = card.model_dump(exclude={"name", "digest", "step"})
    folder = make_expert("e", state.tensors, config=dict(state.config), **fields)
    found = evaluate_expert(folder, quick(rollout=rollout), num=2)
    assert found["stop"] == stop
