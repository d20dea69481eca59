"""What `rlpeft evaluate` takes from an expert's card."""

import pytest

from jobs.evaluate import evaluate_expert, recipe_for
from rlpeft.build import build_card
from rlpeft.errors import ConfigError


@pytest.mark.parametrize(
    ("rollout", "stop"), [({}, ["3"]), ({"stop": ["1", "4"]}, ["1", "4"]), ({"stop": []}, [])]
)
def test_an_expert_ends_where_it_was_trained_to_unless_the_recipe_says_where(
    quick, tiny, tiny_start, make_expert, rollout, stop
):
    trained, state = quick(rollout={"stop": ["3"]}), tiny_start
    card = build_card(trained, tiny)
    assert card.stop == ("3",)
    fields = card.model_dump(exclude={"name", "digest", "step"})
    folder = make_expert("e", state.tensors, config=dict(state.config), **fields)
    found = evaluate_expert(folder, quick(rollout=rollout), num=2)
    assert found["stop"] == stop


def test_several_engines_are_one_in_this_process_which_is_said(
    quick, tiny, tiny_start, make_expert, capsys
):
    state, card = tiny_start, build_card(quick(), tiny)
    fields = card.model_dump(exclude={"name", "digest", "step"})
    folder = make_expert("many", state.tensors, config=dict(state.config), **fields)
    evaluate_expert(folder, quick(rollout={"num_engines": 3}), num=1)
    assert "rollout.num_engines = 3 is for Ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override", ["rollout.temperature=0.7", "adapter.type=lora", "adapter={}", "loss.kl=0.1"]
)
def test_what_an_evaluation_never_reads_is_refused(make_expert, override):
    folder = make_expert("unread", {})
    with pytest.raises(ConfigError, match="must name what an evaluation reads"):
        recipe_for(folder, "quickstart", None, [override])
