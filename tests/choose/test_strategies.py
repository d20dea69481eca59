"""The first pass: what is asked, how answers are read, and what stands for "none of these"."""

import pytest
import torch

from rlpeft.choose.strategies import (
    Classify,
    Fixed,
    Question,
    kinds_of,
    make_question,
    make_strategy,
)
from rlpeft.choose.two_pass import two_pass
from rlpeft.errors import ExpertError
from rlpeft.experts.measures import Accuracy
from rlpeft.experts.mixture import ExpertSet
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.tasks.kinds import ask_kind
from rlpeft.tokens.requests import Prompter
from rlpeft.types import FinishReason, Problem, Sampling

Z = {"base_model.model.q.svf_z": torch.tensor([1.0, 2.0])}
MIXTURE = {
    "parents": {"base": "b", "swap": "s"},
    "coefficients": (0.5, 0.5),
    "matrices": ("q",),
    "normalise": True,
}


@pytest.fixture
def experts(make_expert):
    def make(**tasks):
        cards = {name: {"task": {"name": task}} for name, task in tasks.items()}
        if "mixed" in cards:
            cards["mixed"]["mixture"] = MIXTURE
        return ExpertSet.read([make_expert(name, Z, **card) for name, card in cards.items()])

    return make


def test_experts_of_two_files_are_told_that_no_kind_tells_them_apart(make_expert):
    paths = {"a": "one.jsonl", "b": "two.jsonl"}
    cards = {name: {"task": {"name": "jsonl", "path": path}} for name, path in paths.items()}
    experts = ExpertSet.read([make_expert(name, Z, **card) for name, card in cards.items()])
    with pytest.raises(ExpertError, match=r"'b' on 'two.jsonl'\. Rows of your own have no kind"):
        kinds_of(experts.named_cards)


def test_an_expert_of_several_tasks_answers_for_each_by_its_worth_there(make_expert):
    def found(correct, name=None):
        validation = {"validation": Accuracy.of(correct, 10)}
        return validation if name is None else {"section": {"name": name}, **validation}

    parts = {"swap": found(9, "tiny/swap"), "ends": found(1, "tiny/ends")}
    cards = {
        "one": {"task": {"name": "tiny/swap"}, **found(7)},
        "two": {"task": {"name": "swap + ends"}, "tasks": parts, **found(5)},
    }
    experts = ExpertSet.read([make_expert(name, Z, **card) for name, card in cards.items()])
    assert kinds_of(experts.named_cards) == {"swap": ["two", "one"], "ends": ["two"]}


@pytest.fixture
def prompter():
    return Prompter(load_tokenizer(resolve_model("tiny")), max_tokens=500)


def fleet_of(answers, experts):
    """An engine that answers request k of a batch with `answers[k]`, and says who answered."""
    queue = list(answers)

    def script(request, seed):
        text = queue.pop(0) if queue else f"by {request.expert}"
        return (7,), (-0.5,), text, FinishReason.STOP

    fleet = LocalFleet(FakeEngine(script))
    fleet.load_experts({name: experts.state(name) for name in experts.names[1:]})
    return fleet


@pytest.mark.parametrize(
    ("answer", "expert"),
    [
        ("\\boxed{swap}", "swap"),
        ("It is \\boxed{SORT}.", "sort"),
        ("\\boxed{\\text{swap}}", "swap"),
        ("Label: sort", "sort"),
        ("\\boxed{others}", "base"),
        ("\\boxed{poetry}", "base"),
        ("swap or sort", "base"),
        ("", "base"),
    ],
)
def test_others_and_anything_without_one_known_kind_mean_the_base(
    experts, prompter, answer, expert
):
    found = experts(swap="tiny/swap", sort="tiny/sort")
    strategy = make_strategy("prompt", found, fleet_of([answer], found), prompter)
    (choice,) = strategy.choose(["3714@="])
    assert choice.expert == expert
    assert "the base model" in choice.why


def test_the_base_is_asked_in_words_that_name_no_task(experts, prompter):
    found = experts(swap="tiny/swap", sort="tiny/sort")
    fleet = fleet_of(["\\boxed{swap}"], found)
    make_strategy("prompt", found, fleet, prompter).choose(["3714@="])
    (request,) = fleet.engine.requests[0]
    assert request.expert is None
    (sampling,) = fleet.engine.samplings
    assert sampling.temperature == 0
    system, user = ask_kind("3714@=", ["swap", "sort", "others"])
    assert "\\boxed{swap}, \\boxed{sort}, \\boxed{others}" in system["content"]
    assert user["content"].endswith("3714@=")


def test_a_classifier_is_asked_as_it_was_trained(experts, prompter):
    found = experts(swap="tiny/swap", teller="tiny/kind")
    fleet = fleet_of(["\\boxed{swap}", "\\boxed{others}"], found)
    choices = make_strategy("classifier", found, fleet, prompter).choose(["3714@=", "3714:="])
    assert [choice.expert for choice in choices] == ["swap", "base"]
    assert {request.expert for request in fleet.engine.requests[0]} == {"teller"}
    asked = fleet.engine.requests[0][0].prompt_ids
    assert asked == prompter.ids(Problem("x", "?3714@="))


def test_few_shot_is_the_mixture_that_was_found(experts, prompter):
    found = experts(swap="tiny/swap", mixed="tiny/mix")
    strategy = make_strategy("few-shot", found, fleet_of([], found), prompter)
    assert isinstance(strategy, Fixed)
    assert strategy.expert == "mixed"


@pytest.mark.parametrize(
    ("name", "tasks", "message"),
    [
        ("few-shot", {"swap": "tiny/swap"}, "exactly one mixture .*, got none"),
        ("classifier", {"swap": "tiny/swap"}, "exactly one classifier .*, got none"),
        (
            "prompt",
            {"a": "tiny/swap", "b": "mine/swap"},
            "stands for several: 'a' on 'tiny/swap', 'b' on 'mine/swap'",
        ),
        ("prompt", {"teller": "tiny/kind"}, "an expert trained on a task"),
        ("copy", {"swap": "tiny/swap"}, "one of the experts base, swap, got 'copy'"),
    ],
)
def test_what_a_strategy_lacks_is_said_before_anything_is_asked(
    experts, prompter, name, tasks, message
):
    found = experts(**tasks)
    with pytest.raises(ExpertError, match=message):
        make_strategy(name, found, fleet_of([], found), prompter)


def test_mixtures_and_classifiers_have_no_kind_of_their_own(experts):
    found = experts(one="tiny/swap", mixed="tiny/mix", teller="tiny/kind")
    assert kinds_of(found.named_cards) == {"swap": ["one"]}


def test_each_prompt_is_answered_by_its_own_expert_in_one_batch(experts, prompter):
    found = experts(swap="tiny/swap", sort="tiny/sort")
    fleet = fleet_of(["\\boxed{sort}", "\\boxed{others}", "\\boxed{swap}"], found)
    strategy = Classify(make_question("prompt", found.named_cards), fleet, prompter)
    problems = [Problem(str(k), f"{k}{k}@=") for k in range(1, 4)]
    result = two_pass(problems, strategy, fleet, prompter=prompter, sampling=Sampling(max_tokens=4))
    assert [c.text for c in result.completions] == ["by sort", "by None", "by swap"]
    assert len(fleet.engine.requests) == 2
    assert result.completions[1].digest == ""  # the engine's own policy: the base, no expert


def test_a_second_call_asks_about_its_own_prompts(experts, prompter):
    known = experts(swap="tiny/swap", sort="tiny/sort")
    fleet = fleet_of(["\\boxed{swap}"] * 2, known)
    chosen = Classify(Question({"swap": "swap", "sort": "sort"}), fleet, prompter)
    chosen.choose(["1234@="])
    chosen.choose(["5678#="])
    first, second = (batch[0].prompt_ids for batch in fleet.engine.requests)
    assert first != second


def test_of_two_experts_of_one_task_the_better_validated_answers_and_it_is_said(make_expert):
    from rlpeft.experts.measures import Accuracy

    validated = {"early": 50, "late": 90, "later": 90, "untold": None}
    folders = [
        make_expert(
            name,
            Z,
            task={"name": "tiny/swap"},
            validation=None if right is None else Accuracy.of(right, 100).model_dump(),
        )
        for name, right in validated.items()
    ]
    question = make_question("prompt", ExpertSet.read(folders).named_cards)
    choice = question.read("\\boxed{swap}")
    assert choice.expert == "late"
    assert choice.why == ("the base model says 'swap'; late is preferred to later, early, untold")
