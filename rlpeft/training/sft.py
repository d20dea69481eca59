"""Supervised fine-tuning with `trl.SFTTrainer`, for comparison with RL under equal conditions.

TRL drives the loop and computes the loss (on completions alone); policy, optimizer, schedule and
state are the learner's, validation, records and checkpoints the loop's. So a supervised run
leaves what a run of RL leaves, and continues as exactly. All of that asks the learner for no more
than `rlpeft.training.protocol` gives; TRL's trainer itself steps a model and an optimizer that it
holds, which only a learner of this process has.

Rows are tokenised as rollouts are: the prompt as the engine is given it, then the completion and
the token that ends it. Their order is a function of `train.seed`, as in RL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.models.load import context_length
from rlpeft.recipe.run import Recipe, SftConfig
from rlpeft.recipe.templates import Template
from rlpeft.tokens.prompts import continuation_ids, turn_end
from rlpeft.tokens.requests import Prompter
from rlpeft.tokens.specials import require_meant
from rlpeft.training.collect import draw
from rlpeft.training.learner import LocalLearner
from rlpeft.training.loop import OnStep, Progress, Run, finished, resume, save, sync, validate
from rlpeft.types import Problem

IGNORED = -100
"""Label of a token that is not learned, as in transformers."""

TokenRow = dict[str, list[int]]
"""`input_ids`, and `labels`: the same, with -100 at the prompt."""


def teach(run: Run, on_step: OnStep) -> None:
    """Train to the end, from the newest checkpoint if there is one.

    Raises:
        ModelError: a loss, an activation or a gradient is not finite; the adapter has not moved.
    """
    progress = resume(run)
    if progress.step == 0 and progress.best_step < 0:
        run.recorder.rewind(-1)
        progress, metrics = validate(run, progress, sync(run))
        run.recorder.metrics(0, metrics)
        on_step(progress, metrics)
    if not finished(run, progress):
        learner = own_learner(run)
        with torch.random.fork_rng():
            Teacher(run, learner, progress, on_step).train()
        learner.policy.eval()


def own_learner(run: Run) -> LocalLearner:
    """The run's learner, of this process as TRL needs it."""
    assert isinstance(run.learner, LocalLearner), "supervised runs have no actors"
    return run.learner


def training_rows(
    recipe: Recipe, problems: Sequence[Problem], prompter: Prompter, *, context: int
) -> list[TokenRow]:
    """Prompts with their completions, as token ids.

    Args:
        context: tokens the model can attend to.

    Raises:
        ConfigError: `sft.completion` names a control token, and does not say what is meant.
        DataError: a column that `sft.completion` names is missing, or a row is too long.
    """
    require_meant(
        prompter.tokenizer,
        sft_config(recipe).completion,
        option="sft.completion",
        options=recipe.task.options,
    )
    rows, form = [], Template.parse(sft_config(recipe).completion, "sft.completion")
    for problem in problems:
        prompt_ids = list(prompter.ids(problem))
        completion_ids = _completion_ids(form, problem, prompter)
        if len(prompt_ids) + len(completion_ids) > context:
            raise DataError(
                f"a row must fit the model's context of {context} tokens, problem {problem.id!r} "
                f"has {len(prompt_ids)} + {len(completion_ids)}. Drop it; rows are never cut."
            )
        labels = [IGNORED] * len(prompt_ids) + completion_ids
        rows.append({"input_ids": prompt_ids + completion_ids, "labels": labels})
    return rows


def _completion_ids(form: Template, problem: Problem, prompter: Prompter) -> list[int]:
    columns = {**problem.columns, "answer": problem.answer}
    try:
        text = form.fill(columns, "sft.completion")
    except DataError as error:
        raise DataError(f"problem {problem.id!r}: {error}.") from error
    if not isinstance(problem.prompt, str):
        text = prompter.talk.bridge(problem.prompt) + text
    ids = continuation_ids(
        prompter.tokenizer,
        problem.prompt,
        prompter.written(problem),
        text,
        special_tokens=problem.special_tokens,
    )
    return [*ids, _end(problem, prompter)]


def _end(problem: Problem, prompter: Prompter) -> int:
    """The token that ends an answer: the template's after chat turns, else the tokenizer's EOS."""
    end = None
    if not isinstance(problem.prompt, str):
        end = turn_end(prompter.tokenizer, problem.prompt, prompter.talk)
    if end is None:
        end = prompter.tokenizer.eos_token_id
    if end is None:
        raise ModelError(
            "the model's tokenizer must name an end-of-sequence token (eos_token), it names none: "
            "sft could not teach answers to end. Add it to tokenizer_config.json."
        )
    return int(end)


def sft_config(recipe: Recipe) -> SftConfig:
    """The recipe's `[sft]`, or its defaults.

    Raises:
        ConfigError: its micro-batches do not make up a batch.
    """
    found, batch = recipe.sft or SftConfig(), recipe.train.prompts_per_step
    if batch % found.micro_batch:
        raise ConfigError(
            f"sft.micro_batch must divide train.prompts_per_step = {batch}, got "
            f"{found.micro_batch}."
        )
    return found


class Teacher(SFTTrainer):
    """`SFTTrainer` on a run's learner: rows in our order, and what the adapter's method adds."""

    def __init__(
        self, run: Run, learner: LocalLearner, progress: Progress, on_step: OnStep
    ) -> None:
        self.learner = learner
        super().__init__(
            learner.policy,
            args=_arguments(run, progress.step, is_on_cpu=learner.device.type == "cpu"),
            train_dataset=Dataset.from_list(
                _remaining_rows(run, progress, context_length(learner.policy.config))
            ),
            processing_class=run.prompter.tokenizer,
            optimizers=(learner.optimizer, learner.schedule),
            callbacks=[EachStep(run, learner, progress, on_step)],
        )
        self.remove_callback(PrinterCallback)  # standard output is the user's

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, plus the adapter's own, weighted by the micro-batch's share of the step."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        share = inputs["labels"][:, 1:].ne(IGNORED).sum() / num_items_in_batch
        added = self.learner.auxiliary_loss(share, inputs["attention_mask"])
        return loss + sum(added.values())


class EachStep(TrainerCallback):
    """What follows each optimizer step: records, validation, checkpoint."""

    def __init__(
        self, run: Run, learner: LocalLearner, progress: Progress, on_step: OnStep
    ) -> None:
        self.run, self.learner, self.progress, self.on_step = run, learner, progress, on_step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuse a gradient that is not finite."""
        self.learner.check_gradients()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One step is done; TRL also logs a summary at the end, which has no loss."""
        if "loss" not in logs:
            return
        run, train = self.run, self.run.recipe.train
        self.learner.num_steps += 1
        step = self.learner.num_steps
        progress = replace(self.progress, step=step, cursor=step * train.prompts_per_step)
        metrics = {name: float(value) for name, value in logs.items()}
        metrics["epoch"] = progress.cursor / len(run.task.split("train"))
        metrics |= self.learner.adapter_metrics()
        if step % train.eval_every == 0 or step == train.steps:
            self.learner.policy.eval()
            progress, validation = validate(run, progress, sync(run))
            self.learner.policy.train()
            metrics |= validation
        run.recorder.metrics(step, metrics)
        save(run, progress)
        self.progress = progress
        self.on_step(progress, metrics)
        control.should_training_stop = finished(run, progress)


def _arguments(run: Run, done: int, *, is_on_cpu: bool) -> SFTConfig:
    """Everything that TRL's defaults would decide otherwise."""
    recipe = run.recipe
    micro_batch = sft_config(recipe).micro_batch
    return SFTConfig(
        output_dir=str(run.folder),
        max_steps=recipe.train.steps - done,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=recipe.train.prompts_per_step // micro_batch,
        max_grad_norm=recipe.learner.max_grad_norm,
        gradient_checkpointing=recipe.learner.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        train_sampling_strategy="sequential",  # rows come in our order, and go on in it
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=recipe.train.seed,
        use_cpu=is_on_cpu,
        bf16=False,  # TRL would turn autocast on, and train another loss
        logging_steps=1,
        logging_nan_inf_filter=False,  # else an average stands where there was NaN
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _remaining_rows(run: Run, progress: Progress, context: int) -> list[TokenRow]:
    recipe = run.recipe
    count = (recipe.train.steps - progress.step) * recipe.train.prompts_per_step
    problems = draw(run.task.split("train"), progress.cursor, count, recipe.train.seed)
    return training_rows(recipe, problems, run.prompter, context=context)
