"""A loop of one's own has the run's primitives, and each of its steps is proven."""

from types import SimpleNamespace

import pytest

import rlpeft
from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.experts.files import load_expert
from rlpeft.models.base import BaseModel
from rlpeft.program.trainee import ITS_OWN, SOURCE, Trainee
from rlpeft.recipe.run import parse_recipe
from rlpeft.training.packing import Sample

PROMPTS = ["3714@=", "2815@="]
SECTIONS = {"rollout": {"max_tokens": 6}, "learner": {"lr": 0.05}}


def opened(**sections):
    return rlpeft.open_trainee("tiny", **SECTIONS | sections)


def better_first(groups):
    """Samples that prefer the first completion of each prompt."""
    return [
        Sample(group.prompt_ids, done.token_ids, done.logprobs, advantage=1.0 - 2 * (at > 0))
        for group in groups
        for at, done in enumerate(group.completions)
    ]


def test_a_step_moves_what_is_sampled_and_saved(tmp_path):
    with opened() as trainee:
        before = trainee.sample(PROMPTS, n=2)
        trainee.forward_backward(better_first(before))
        assert trainee.optim_step()["grad_norm"] > 0
        after = trainee.sample(PROMPTS, n=2)
        folder = trainee.save(tmp_path / "mine")
    done = [group.completions[0] for group in (*before, *after)]
    assert [each.version for each in done] == [0, 0, 1, 1]
    expert = load_expert(folder)
    assert expert.card.digest == done[-1].digest != done[0].digest
    assert (expert.card.name, expert.card.step) == ("mine", 1)


@pytest.mark.slow
def test_gradients_add_up_until_the_optimizer_steps():
    def moved(parts):
        with opened() as trainee:
            samples = better_first(trainee.sample(PROMPTS, n=2))
            for _ in range(parts):
                trainee.forward_backward(samples)
            return trainee.optim_step()["grad_norm"]

    assert moved(2) == pytest.approx(2 * moved(1), rel=1e-4)


def test_the_engine_rests_before_gradients_are_taken():
    calls = []
    parts = SimpleNamespace(
        fleet=SimpleNamespace(rest=lambda: calls.append("rest")),
        learner=SimpleNamespace(forward_backward=calls.append),
    )
    tree = {"name": "loop", "model": {"name": "tiny"}, "adapter": {"type": "svf"}, **ITS_OWN}
    trainee = Trainee(parse_recipe(tree, source=SOURCE), BaseModel.open("tiny"), parts)
    trainee.forward_backward(["samples"])
    assert calls == ["rest", ["samples"]]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_completions_and_each_call_others():
    def sampled(seed):
        with opened(seed=seed) as trainee:
            return [
                [
                    completion.text
                    for group in trainee.sample(PROMPTS, n=4)
                    for completion in group.completions
                ]
                for _ in range(2)
            ]

    first = sampled(0)
    assert first == sampled(0)
    assert first[0] != first[1]
    assert first != sampled(1)


def test_greedy_completions_of_a_prompt_are_alike():
    with opened() as trainee:
        (group,) = trainee.sample(PROMPTS[:1], n=3, greedy=True)
    assert len({completion.text for completion in group.completions}) == 1


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"steps": 3}}, "reads chat, rollout, loss, learner, got train"),
        ({"rollout": {"max_token": 3}}, r"rlpeft\.open_trainee.*max_token"),
        ({"learner": {"schedule": "cosine"}}, r"learner\.schedule must be 'constant'"),
        ({"loss": {"reference": "start"}}, "needs an expert to start from"),
    ],
)
def test_what_a_loop_decides_itself_is_refused(sections, message):
    with pytest.raises(ConfigError, match=message), opened(**sections):
        pass


def test_prompts_that_prove_nothing_and_models_that_are_not_there_are_told():
    with opened() as trainee, pytest.raises(DataError, match="a canary needs prompts"):
        trainee.sample([])
    with pytest.raises(ModelError), rlpeft.open_trainee("no-such-model"):
        pass
