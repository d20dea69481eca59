"""Supervised fine-tuning with `trl.SFTTrainer`, for comparison with RL under equal conditions.

TRL drives the loop and computes the loss (on completions alone); policy, optimizer, schedule and
state are the learner's, validation, records and checkpoints the loop's. So a supervised run
leaves what a run of RL leaves, and continues as exactly. All of that asks the learner for no more
than `rlpeft.training.protocol` gives; TRL's trainer itself steps a model and an optimizer that it
holds, which only a learner of this process has. Where the learner has several ranks, each has such
a trainer for its part of every step's micro-batches, and all go on to the next step together.

Rows are tokenised as rollouts are: the prompt as the engine is given it, then the completion and
the token that ends it. Their order is a function of `train.seed`, as in RL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from rlpeft.errors import DataError, ModelError
from rlpeft.models.load import context_length
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.sft import sft_config
from rlpeft.recipe.templates import Template
from rlpeft.runs.records import read_metrics
from rlpeft.tasks.decks import draw
from rlpeft.tokens.prompts import continuation_ids, turn_end
from rlpeft.tokens.requests import Prompter
from rlpeft.tokens.specials import require_meant
from rlpeft.training.lead import Lead, follow
from rlpeft.training.learner import LocalLearner
from rlpeft.training.loop import OnStep, Progress, Run, finished, resume, save, sync, validate
from rlpeft.training.ranks import Ranks, over_ranks
from rlpeft.types import Problem

IGNORED = -100
"""Label of a token that is not learned, as in transformers."""

TOKENS = "num_tokens"
SUMS = ("loss", TOKENS)
"""Metrics of TRL that count rows; all others are means."""

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
        rows: Sequence[TokenRow] = Remaining(run, progress, context_length(learner.policy.config))
        is_lead = isinstance(run.learner, Lead)
        if is_lead or all(deck.task.num_train is not None for deck in run.decks):
            rows = rows[:]  # other ranks are sent theirs; a row that is too long stops the run now
        lessons = Lessons(run.recipe, str(run.folder), run.prompter.tokenizer, rows, progress.step)
        if isinstance(run.learner, Lead):
            run.learner.tell(teach_along, lessons)
        _teach(learner, lessons, Recorded(run, learner, progress, on_step))


def teach_along(learner: LocalLearner, lessons: Lessons) -> None:
    """The same, of a rank that is not the first."""
    _teach(learner, lessons, Followed(learner))


def _teach(learner: LocalLearner, lessons: Lessons, each_step: EachStep) -> None:
    with torch.random.fork_rng():
        Teacher(learner, lessons, each_step).train()
    learner.policy.eval()


def own_learner(run: Run) -> LocalLearner:
    """The run's learner, of this process as TRL needs it."""
    learner = run.learner.learner if isinstance(run.learner, Lead) else run.learner
    assert isinstance(learner, LocalLearner), "supervised runs have no actors"
    return learner


def training_rows(
    recipe: Recipe, problems: Sequence[Problem], prompter: Prompter, *, context: int
) -> list[TokenRow]:
    """Prompts with their completions, as token ids.

    Args:
        context: tokens the model can attend to.

    Raises:
        ConfigError: `sft.completion` names a control token, and does not say what is meant.
        DataError: a column that `sft.completion` names is missing, a row is too long, or it shows
            an image.
    """
    rows, forms = [], {label: _form(own, prompter) for label, own in recipe.alone.items()}
    for problem in problems:
        if problem.images:
            raise DataError(
                f"supervision learns from text alone, problem {problem.id!r} shows an image. Drop "
                "task.options.image, or train by RL."
            )
        prompt_ids = list(prompter.ids(problem))
        completion_ids = _completion_ids(forms[problem.task], problem, prompter)
        if len(prompt_ids) + len(completion_ids) > context:
            raise DataError(
                f"a row must fit the model's context of {context} tokens, problem {problem.id!r} "
                f"has {len(prompt_ids)} + {len(completion_ids)}. Drop it; rows are never cut."
            )
        labels = [IGNORED] * len(prompt_ids) + completion_ids
        rows.append({"input_ids": prompt_ids + completion_ids, "labels": labels})
    return rows


def _form(recipe: Recipe, prompter: Prompter) -> Template:
    """What the completions of a task are made by."""
    text, option = sft_config(recipe).completion, "sft.completion"
    require_meant(prompter.tokenizer, text, option=option, options=task_of(recipe).options)
    return Template.parse(text, option)


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


@dataclass(frozen=True)
class Lessons:
    """What a supervised run teaches, all that is left of it.

    Attributes:
        folder: the run's.
        rows: of every step that is left, one step after the other.
        done: steps taken before.
    """

    recipe: Recipe
    folder: str
    tokenizer: Any
    rows: Sequence[TokenRow]
    done: int

    def part(self, ranks: Ranks) -> Sequence[TokenRow]:
        """The rows of one rank: in every step it takes micro-batches in turn with the others."""
        if ranks.size == 1:
            return self.rows
        size = sft_config(self.recipe).micro_batch
        batches = [self.rows[at : at + size] for at in range(0, len(self.rows), size)]
        return [row for batch in batches[ranks.world_rank :: ranks.size] for row in batch]


class Teacher(SFTTrainer):
    """`SFTTrainer` on a learner: rows in our order, and what the adapter's method adds."""

    def __init__(self, learner: LocalLearner, lessons: Lessons, each_step: EachStep) -> None:
        self.learner, rows = learner, lessons.part(learner.ranks)
        is_read = isinstance(rows, list)
        super().__init__(
            learner.policy,
            args=_arguments(lessons, is_on_cpu=learner.device.type == "cpu"),
            train_dataset=Dataset.from_list([*(rows if is_read else rows[:1])]),
            processing_class=lessons.tokenizer,
            optimizers=(learner.optimizer, learner.schedule),
            callbacks=[each_step],
        )
        if not is_read:
            self.train_dataset = rows  # TRL insists on a table of all, transformers does not
        self.remove_callback(PrinterCallback)  # standard output is the user's

    def get_batch_samples(self, *args: Any) -> Any:
        """TRL's, with the number of tokens that all ranks learn in this step."""
        samples, count = super().get_batch_samples(*args)
        return samples, sum(self.learner.ranks.together(lambda: count))

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's; the last one before the gradient is clipped adds up all ranks' gradients."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.learner.ranks.sum_gradients(self.learner.parameters.values())
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, plus the adapter's own, weighted by the micro-batch's share of the step."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        share = inputs["labels"][:, 1:].ne(IGNORED).sum() / num_items_in_batch
        added = self.learner.auxiliary_loss(share, inputs["attention_mask"])
        return loss + sum(added.values())


class EachStep(TrainerCallback):
    """What follows each optimizer step on every rank."""

    def __init__(self, learner: LocalLearner) -> None:
        self.learner = learner

    def after(self, metrics: dict[str, float]) -> bool:
        """What one rank does after a step; whether it was the last."""
        raise NotImplementedError

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuse a gradient that is not finite."""
        self.learner.check_gradients()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One step is done; TRL also logs a summary at the end, which has no loss."""
        if "loss" not in logs:
            return
        learner, own = self.learner, {name: float(value) for name, value in logs.items()}
        own |= learner.adapter_metrics()
        learner.has_moved()
        metrics = over_ranks(learner.ranks.together(lambda: own), sums=SUMS)
        control.should_training_stop = self.after(metrics)


class Recorded(EachStep):
    """The first rank's: records, validation, checkpoint."""

    def __init__(
        self, run: Run, learner: LocalLearner, progress: Progress, on_step: OnStep
    ) -> None:
        super().__init__(learner)
        self.run, self.progress, self.on_step = run, progress, on_step
        # TRL counts from 0 in each process; a run that goes on has learned some before.
        counted = [row[TOKENS] for row in read_metrics(run.folder) if TOKENS in row]
        self._tokens_before = counted[-1] if counted else 0

    def after(self, metrics: dict[str, float]) -> bool:
        """Keep what the step has brought."""
        run, train, step = self.run, self.run.recipe.train, self.learner.num_steps
        progress = replace(self.progress, step=step, cursor=step * train.prompts_per_step)
        metrics |= run.epochs(progress.cursor)
        metrics[TOKENS] += self._tokens_before
        if step % train.eval_every == 0 or step == train.steps:
            self.learner.policy.eval()
            progress, validation = validate(run, progress, sync(run))
            self.learner.policy.train()
            metrics |= validation
        run.recorder.metrics(step, metrics)
        save(run, progress)
        self.progress = progress
        self.on_step(progress, metrics)
        is_last = finished(run, progress)
        if isinstance(run.learner, Lead):
            run.learner.dismiss(is_last)
        return is_last


class Followed(EachStep):
    """Another rank's: what the first one needs of it meanwhile."""

    def after(self, metrics: dict[str, float]) -> bool:
        """As the first rank says in the end."""
        return bool(follow(self.learner))


def _arguments(lessons: Lessons, *, is_on_cpu: bool) -> SFTConfig:
    """Everything that TRL's defaults would decide otherwise."""
    recipe = lessons.recipe
    micro_batch, learners = sft_config(recipe).micro_batch, recipe.resources.learners
    found = SFTConfig(
        output_dir=lessons.folder,
        max_steps=recipe.train.steps - lessons.done,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=recipe.train.prompts_per_step // micro_batch // learners,
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
    if found.n_gpu > 1:  # TRL would spread the model over every GPU that it sees
        found._n_gpu = 1
    return found


class Remaining(Sequence[TokenRow]):
    """The rows of all steps after `progress`, each drawn when it is asked for."""

    def __init__(self, run: Run, progress: Progress, context: int) -> None:
        self.run, self.context, self.begin = run, context, progress.cursor
        train = run.recipe.train
        self._size = (train.steps - progress.step) * train.prompts_per_step

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> TokenRow: ...

    @overload
    def __getitem__(self, at: slice) -> list[TokenRow]: ...

    def __getitem__(self, at: int | slice) -> TokenRow | list[TokenRow]:
        asked = range(self._size)[at]
        places = asked if isinstance(asked, range) else range(asked, asked + 1)
        run, first = self.run, self.begin + places.start
        problems = draw(run.decks, first, len(places), run.recipe.train.seed)
        rows = training_rows(run.recipe, problems, run.prompter, context=self.context)
        return rows if isinstance(at, slice) else rows[0]
