"""Supervised runs: the loss they are said to have, exact resume, every adapter, no silent NaN."""

import pytest
import torch

from jobs.sft import run
from rlpeft.build import build_learner, build_prompter
from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.experts.files import load_expert
from rlpeft.experts.steps import step_folder
from rlpeft.program.run import run as train_run
from rlpeft.recipe.run import LearnerConfig, StartConfig
from rlpeft.recipe.sft import sft_config
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.runs.records import read_metrics
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.decks import Deck, draw
from rlpeft.training.sft import teach, training_rows

# TRL and accelerate warn about their own options and about a machine without CUDA.
pytestmark = pytest.mark.filterwarnings("ignore")

EVERY_ADAPTER = [
    {"type": "svf"},
    {"type": "lora", "rank": 4},
    {"type": "dora", "rank": 4},
    {"type": "ia3"},
    {"type": "hyplora", "rank": 4},
    {"type": "moslora", "rank": 8},
]


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off_at(step):
    def on_step(progress, metrics):
        if progress.step == step:
            raise CutOff

    return on_step


def timeless(row):
    clocks = ("time", "perf", "seconds")
    return {name: value for name, value in row.items() if not any(part in name for part in clocks)}


@pytest.fixture
def supervised(quick):
    def make(adapter=None, **train):
        train = {"steps": 2, "prompts_per_step": 8, "eval_every": 9} | train
        sft = {"micro_batch": train.pop("micro_batch", 8)}
        return quick(
            adapter=adapter or {"type": "lora", "rank": 4},
            learner={"lr": 5e-3},
            train=train,
            sft=sft,
        )

    return make


def negative_log_likelihood(recipe, base, count):
    """Of the base model, mean over the completion tokens of the first rows; one row at a time."""
    task, prompter = load_task(recipe.task), build_prompter(base, recipe.chat, recipe.rollout)
    problems = draw([Deck(task)], 0, count, recipe.train.seed)
    policy, found = build_learner(recipe, base).policy, []
    for problem in problems:
        prompt = list(prompter.ids(problem))
        answer = prompter.tokenizer(problem.answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer + [prompter.tokenizer.eos_token_id]])
        with policy.disable_adapter(), torch.no_grad():
            log_pi = torch.log_softmax(policy(ids).logits[0, :-1], -1)
        found.append(-log_pi.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0])
    return torch.cat(found).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("adapter", EVERY_ADAPTER, ids=lambda adapter: adapter["type"])
def test_every_adapter_learns_by_supervision(supervised, tmp_path, adapter):
    recipe = supervised(adapter, steps=3)
    run(recipe, tmp_path)
    losses = [row["loss"] for row in read_metrics(tmp_path) if "loss" in row]
    assert losses[2] < losses[0]
    assert load_expert(tmp_path / "expert").card.test is not None


@pytest.mark.slow
def test_the_loss_is_the_mean_over_completion_tokens_alone(supervised, tiny, tmp_path):
    recipe = supervised(steps=1)
    run(recipe, tmp_path)
    (row,) = [row for row in read_metrics(tmp_path) if "loss" in row]
    assert row["loss"] == pytest.approx(negative_log_likelihood(recipe, tiny, 8), rel=1e-4)


@pytest.mark.slow
def test_micro_batches_make_the_step_of_one_large_batch(supervised, tmp_path):
    adapter = {"type": "hyplora", "rank": 4, "curvature_reg": 0.1}
    found = []
    for micro_batch in (2, 8):
        folder = tmp_path / str(micro_batch)
        run(supervised(adapter, steps=1, micro_batch=micro_batch), folder)
        (row,) = [row for row in read_metrics(folder) if "loss" in row]
        found.append((row["loss"], row["grad_norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_two_ranks_teach_what_one_does(supervised, tmp_path):
    told = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens", "eval_accuracy")
    found = []
    for learners in (1, 2):
        recipe = supervised({"type": "moslora", "rank": 8}, steps=2, micro_batch=2, eval_every=1)
        resources = recipe.resources.model_copy(update={"learners": learners})
        run(recipe.model_copy(update={"resources": resources}), tmp_path / str(learners))
        rows = [row for row in read_metrics(tmp_path / str(learners)) if "loss" in row]
        found.append([row[name] for row in rows for name in told])
    assert len(found[0]) == 2 * len(told)
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_ranks_have_equal_parts_of_a_supervised_step(supervised):
    recipe = supervised(micro_batch=4)
    resources = recipe.resources.model_copy(update={"learners": 3})
    with pytest.raises(ConfigError, match=r"train.prompts_per_step / resources.learners = 8 / 3"):
        sft_config(recipe.model_copy(update={"resources": resources}))


@pytest.mark.slow
def test_the_adapters_own_loss_is_added_once(supervised, tiny, tmp_path):
    """Routers start uniform, where the balance loss is its coefficient."""
    adapter = {"type": "moslora", "rank": 8, "balance_coef": 0.5}
    recipe = supervised(adapter, steps=1, micro_batch=4)
    run(recipe, tmp_path)
    (row,) = [row for row in read_metrics(tmp_path) if "loss" in row]
    expected = negative_log_likelihood(recipe, tiny, 8) + 0.5
    assert row["loss"] == pytest.approx(expected, rel=1e-4)
    assert row["router/share/spherical"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(supervised, tmp_path):
    recipe = supervised({"type": "moslora", "rank": 8}, steps=4, eval_every=2)
    run(recipe, tmp_path / "whole")
    for step in (0, 1):
        with pytest.raises(CutOff):
            run(recipe, tmp_path / "parts", on_step=cut_off_at(step))
    run(recipe, tmp_path / "parts")
    ends = [list_checkpoints(tmp_path / name)[-1] for name in ("whole", "parts")]
    assert len({(end / "state.safetensors").read_bytes() for end in ends}) == 1
    whole, parts = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    assert [row["step"] for row in whole] == [0, 1, 2, 3, 4]
    assert list(map(timeless, parts)) == list(map(timeless, whole))


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_stops_before_the_optimizer_moves(supervised, tmp_path):
    recipe = supervised({"type": "hyplora", "rank": 4}, steps=3)
    kept = []

    def spoil(progress, metrics):
        if progress.step == 1:
            policy = kept[0].policy
            with torch.no_grad():
                policy.get_base_model().model.layers[1].input_layernorm.weight[0] = float("nan")
            kept.append(kept[0].adapter_state().digest)

    def loop(this, on_step):
        kept.append(this.learner)
        teach(this, on_step)

    with pytest.raises(ModelError, match=r"layers\.1\.self_attn\.q_proj"):
        train_run(recipe, tmp_path, on_step=spoil, loop=loop)
    assert kept[0].adapter_state().digest == kept[1]


@pytest.mark.slow
def test_rl_goes_on_from_what_was_taught_and_teaching_from_what_rl_found(supervised, tmp_path):
    digests = []
    for number, method in enumerate((run, train_run, run)):
        recipe, out = supervised(steps=1, prompts_per_step=8), tmp_path / str(number)
        if digests:
            start = {"name": "tiny", "start": str(step_folder(tmp_path / str(number - 1), 1))}
            recipe = recipe.model_copy(update={"model": StartConfig(**start)})
        method(recipe, out)
        digests.append(load_expert(step_folder(out, 1)).card.digest)
        card = load_expert(out / "expert").card
        assert (card.start.digest if card.start else None) == (digests[-2] if number else None)
    assert len(set(digests)) == 3


def test_a_completion_column_that_is_missing_is_named(quick, tmp_path):
    with pytest.raises(
        DataError, match=r"problem 'swap/swap/.*column 'output', the row has answer"
    ):
        run(quick(sft={"completion": "{output}", "micro_batch": 4}), tmp_path)


def test_a_row_longer_than_the_context_is_named(supervised, tiny):
    recipe = supervised()
    problems = load_task(recipe.task).split("train")[:1]
    prompter = build_prompter(tiny, recipe.chat, recipe.rollout)
    with pytest.raises(DataError, match=r"context of 8 tokens, problem 'swap/swap/"):
        training_rows(recipe, problems, prompter, context=8)


@pytest.mark.parametrize(("sft", "got"), [({"micro_batch": 3}, 3), (None, 8)])
def test_a_micro_batch_that_does_not_divide_the_batch_is_named(quick, tmp_path, sft, got):
    with pytest.raises(ConfigError, match=rf"sft\.micro_batch must divide .* = 4, got {got}"):
        run(quick(sft=sft), tmp_path)


def test_the_learning_rate_of_curvatures_is_lower_here_too(quick, tiny):
    learner = build_learner(quick(adapter={"type": "hyplora"}, learner={"lr": 0.1}), tiny)
    rates = {group["name"]: group["lr"] for group in learner.optimizer.param_groups}
    assert rates == pytest.approx({"adapter": 0.1, "curvature": 0.01})
    assert isinstance(learner.config, LearnerConfig)
