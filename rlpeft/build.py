"""From a recipe to the parts of a run, none of which knows where the others live.

Each function stands alone, so that a learner and its engines can be built in one process or in
many, from the same recipe and with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from rewards.environments.process import Environments
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.experts.card_parts import TaskCard
from rlpeft.experts.files import Expert, ExpertCard
from rlpeft.experts.start import parent_of
from rlpeft.models.base import BaseModel
from rlpeft.models.device import own_device
from rlpeft.models.load import require_embedded
from rlpeft.models.parallel import require_divisible
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.engines import ENGINES
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.recipe.reward import correct_from
from rlpeft.recipe.run import ChatConfig, EngineSpec, Recipe, RolloutConfig, TaskConfig
from rlpeft.recipe.scorer import Functions
from rlpeft.recipe.set_up import code_names, environment_of, set_up
from rlpeft.recipe.task import problem_called
from rlpeft.runs.fingerprint import REWARD_CODE, TOKENIZER
from rlpeft.runs.records import read_kept_recipe
from rlpeft.runs.reward_code import reward_code
from rlpeft.runs.versions import library_versions
from rlpeft.scoring import LoadedScores, Needs
from rlpeft.tasks.base import SPLITS, Split, Task, counts
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.contradictions import said_of_contradictions
from rlpeft.tasks.decks import Deck, decks_of, fingerprints, require_apart, require_drawn
from rlpeft.tasks.golds import require_judgeable, row_of
from rlpeft.tasks.stream import Stream
from rlpeft.tokens.chat import ChatForm, require_read
from rlpeft.tokens.requests import Prompter
from rlpeft.tokens.specials import require_meant
from rlpeft.types import Problem

if TYPE_CHECKING:
    from peft import PeftModel

    from rlpeft.rollout.conversation import Conversations
    from rlpeft.training.learner import LocalLearner

CANARY_SEQUENCES, CANARY_TOKENS = 4, 32
"""Size of the proof of delivery: enough to pass through every layer, small enough to be free."""


def build_learner(recipe: Recipe, base: BaseModel, model: Any = None) -> LocalLearner:
    """The learner with a fresh adapter, on this process's own device.

    Args:
        model: the base model's modules, if they are loaded there already.
    """
    from rlpeft.adapters.policy import adapted_modules, attach_adapter, linear_names
    from rlpeft.adapters.targets import unmatched
    from rlpeft.models.mechanisms import read_mechanisms

    read_mechanisms(base.config)  # refused before any weight is read
    device = own_device()
    if model is None:
        model = base.model(recipe.model.dtype).to(device)  # where what it takes is computed
    linears = linear_names(model)
    policy = attach_adapter(model, recipe.adapter, seed=recipe.train.seed)
    if lost := unmatched(recipe.adapter.targets, adapted_modules(policy)):
        raise ModelError(
            f"every name in adapter.targets must be that of a module, {', '.join(lost)} is not. "
            f"Linear layers here are named {', '.join(linears)}."
        )
    return learner_of(recipe, policy.to(device), base)


def learner_of(recipe: Recipe, policy: PeftModel, base: BaseModel) -> LocalLearner:
    """What moves a policy as the recipe says."""
    from rlpeft.training.learner import LocalLearner

    return LocalLearner(
        policy,
        recipe.learner,
        recipe.loss,
        total_steps=recipe.train.steps,
        temperature=recipe.rollout.temperature,
        processor=base.processor,
    )


def build_state(spec: EngineSpec, base: BaseModel) -> AdapterState:
    """The adapter at its start, which is the base model, as engines take it."""
    from rlpeft.adapters.policy import adapter_state, attach_adapter

    return adapter_state(
        attach_adapter(base.model(spec.model.dtype), spec.adapter, seed=spec.seed), 0
    )


def build_engine(spec: EngineSpec, base: BaseModel) -> Any:
    """A rollout engine around its own copy of the base model; fulfils `RolloutEngine`."""
    return resolve_name(ENGINES[spec.rollout.engine].build)(spec, base)


def build_prompter(base: BaseModel, chat: ChatConfig, rollout: RolloutConfig) -> Prompter:
    """The tokenizer's side of a run.

    Raises:
        ConfigError: `chat.arguments` that the model's chat template does not read.
    """
    form, most = chat_form(chat), rollout.max_prompt_tokens
    require_read(base.tokenizer, form)
    sight = base.processor if ENGINES[rollout.engine].sees_images else None
    return Prompter(base.tokenizer, max_tokens=most, form=form, sight=sight)


def build_conversations(
    recipe: Recipe, config: EnvironmentConfig, base: BaseModel
) -> Conversations:
    """How problems are answered in several turns; raises what `Environments` does."""
    from rlpeft.rollout.conversation import Conversations

    prompter = build_prompter(base, recipe.chat, recipe.rollout)
    environments = Environments(config.spec)
    return Conversations(environments, prompter, config, context=base.context_length)


def chat_form(config: ChatConfig) -> ChatForm:
    """The recipe's `[chat]`, as prompts are made by it."""
    return ChatForm(config.arguments, config.fold_system, config.date)


def pinned(recipe: Recipe, base: BaseModel, stored: Path) -> Recipe:
    """The recipe with what a run keeps from its start, where it does not say otherwise.

    That is the date, if its model's chat template writes one, and options of the adapter that
    mean another thing in runs from before there was a choice.

    Args:
        stored: where the recipe lies of a run that is continued; no file at a run's start.
    """
    from rlpeft.adapters.methods import named

    known = read_kept_recipe(stored)
    if known:
        former = named(recipe.adapter.type).former
        kept = {k: known.get("adapter", {}).get(k, v) for k, v in former.items()}
        fields = type(recipe.adapter).model_fields
        unsaid = {k: v for k, v in kept.items() if getattr(recipe.adapter, k) == fields[k].default}
        recipe = recipe.model_copy(update={"adapter": recipe.adapter.model_copy(update=unsaid)})
    template = str(base.tokenizer.chat_template)
    if recipe.chat.date is not None or "strftime_now" not in template:
        return recipe
    said = known.get("chat", {}).get("date")
    today = date.today() if said is None else date.fromisoformat(said)
    return recipe.model_copy(update={"chat": recipe.chat.model_copy(update={"date": today})})


@dataclass(frozen=True)
class Data:
    """The problems of a recipe, and what makes prompts of them.

    Attributes:
        splits: those that will be asked for.
        source: names the problems in errors.
        path: where rows lie, if the task is of rows.
    """

    base: BaseModel
    task: Task
    prompter: Prompter
    splits: Sequence[Split]
    source: str
    path: str | None

    def check(self, rewards: Needs) -> None:
        """Find what would stop a run later, before a model is loaded; in a stream as rows come.

        Raises:
            ConfigError: prompts hold the column of a gold answer.
            ModelError: a prompt has tokens that the model has no embedding for.
            DataError: a prompt is too long, for the recipe or for the model's context, a column
                that a reward needs is missing, or a gold answer is blank, or has a type that it
                does not take.
        """
        rules, columns = rewards.gold_rules, rewards.required_columns
        require_judgeable(self.task, self.splits, rules, columns)
        for split in self.splits:
            for problem in self.task.split(split):
                self._require_fits(problem, split)
        if isinstance(stream := self.task, Stream):
            stream.watch(lambda _, p: replace(self, task=stream.with_train(p)).check(rewards))

    def notes(self, rewards: Needs) -> list[str]:
        """What is to be told of problems that can be asked, once nothing refuses the run."""
        rules, columns = rewards.gold_rules, rewards.required_columns
        said = said_of_contradictions(self.task, self.splits, rules, columns)
        return [f"of {self.source!r} {said}: no answer is right for both."] if said else []

    def _require_fits(self, problem: Problem, split: Split) -> None:
        try:
            ids = self.prompter.ids(problem)
        except DataError as error:
            raise DataError(f"{self.source!r}, {row_of(problem)} ({split}): {error}") from error
        called = problem_called(problem.id, self.source)
        require_embedded(ids, self.base.num_embeddings, where=f"{split} problem {called!r}")
        if (length := len(ids)) >= (context := self.base.context_length):
            raise DataError(
                f"prompts must be shorter than the model's context of {context} tokens, "
                f"{split} problem {called!r} has {length}. Drop it or take another model."
            )


def read_data(
    recipe: Recipe | AdaptRecipe,
    base: BaseModel,
    *,
    splits: Sequence[Split] = SPLITS,
    only: Split | None = None,
) -> Data:
    """Read the problems that a recipe names, and the base model's tokenizer.

    Args:
        splits: those that will be asked for.
        only: the one split that is needed; see `rlpeft.tasks.catalogue.load_task`.

    Raises:
        ConfigError: an option that the task or the model's chat template does not take, images
            for an environment, a template that names a control token and does not say what is
            meant, or more workers of an engine than can share the model.
        DataError: an unknown task, or data that cannot fill its splits.
    """
    require_divisible(base.config, recipe.rollout.tensor_parallel)
    prompter, section = build_prompter(base, recipe.chat, recipe.rollout), recipe.task
    assert isinstance(section, TaskConfig), "a recipe of several tasks is read by read_decks"
    if isinstance(recipe, Recipe) and recipe.environment and section.options.get("image"):
        raise ConfigError(
            "task.options.image is for problems that are answered in one turn, there is an "
            "[environment]. Remove one of them."
        )
    if isinstance(template := section.options.get("template"), str):
        option = "task.options.template"
        require_meant(prompter.tokenizer, template, option=option, options=section.options)
    task, source = load_task(section, only=only), section.source
    return Data(base, task, prompter, splits, source, section.path)


@dataclass(frozen=True)
class RunData:
    """The problems of a run, of its one task or of several.

    Attributes:
        by_label: those of each task, by its label, as in `Recipe.alone`.
        decks: what they are drawn from, in that order.
    """

    by_label: Mapping[str, Data]
    decks: Sequence[Deck]

    @property
    def first(self) -> Data:
        """The first task's: all make prompts by one tokenizer and one chat template."""
        return next(iter(self.by_label.values()))

    @property
    def counts(self) -> dict[str, int]:
        """How many problems there are; see `rlpeft.tasks.base.counts`."""
        return counts([data.task for data in self.by_label.values()])

    def check(self, scores: LoadedScores) -> None:
        """See `Data.check`; each task by its own rewards."""
        for label, data in self.by_label.items():
            data.check(scores.of(label))

    def notes(self, scores: LoadedScores) -> list[str]:
        """See `Data.notes`."""
        return [
            line for label, data in self.by_label.items() for line in data.notes(scores.of(label))
        ]


def read_decks(recipe: Recipe, base: BaseModel) -> RunData:
    """Read the problems of all tasks of a recipe.

    Raises:
        ConfigError, DataError: see `read_data`, and in `rlpeft.tasks.decks` `require_apart` and
            `require_drawn`.
    """
    found = {label: read_data(own, base) for label, own in recipe.alone.items()}
    tasks = {label: data.task for label, data in found.items()}
    decks = decks_of(tasks, recipe.weights, recipe.limits)
    require_apart(decks)
    require_drawn(decks, recipe.train.num_drawn, recipe.train.seed)
    return RunData(found, decks)


def build_canary(task: Task, prompter: Prompter, split: Split = "validation") -> list[list[int]]:
    """Fixed token sequences on which engine and trainer must agree after every sync."""
    return canary_of(task.split(split), prompter, split)


def canary_of(problems: Sequence[Problem], prompter: Prompter, called: str) -> list[list[int]]:
    """The same of any problems; `called` names them in the error where none will do."""
    rows = [list(prompter.ids(p))[-CANARY_TOKENS:] for p in problems[:CANARY_SEQUENCES]]
    usable = [row for row in rows if len(row) > 1]
    if not usable:
        raise DataError(f"a canary needs prompts of at least two tokens, {called} has none.")
    return usable


def build_card(
    recipe: Recipe,
    base: BaseModel,
    start: Expert | None = None,
    merged: Sequence[Expert] = (),
    problems: Mapping[str, int] | None = None,
) -> ExpertCard:
    """The card of an expert that has not been trained yet.

    Args:
        start: what `model.start` of the recipe names, a folder or a commit.
        merged: what `model.merge` lists, in its order.
        problems: how many there are; see `rlpeft.tasks.base.counts`.
    """
    from rlpeft.adapters.policy import peft_config
    from rlpeft.adapters.targets import adapted, kind_counts, left_out

    tasks = _tasks_of(recipe)
    names = adapted(base.skeleton, peft_config(recipe.adapter, base.skeleton))
    return ExpertCard(
        name=recipe.name,
        base_model=recipe.model.name,
        base_digest=base.digest,
        quantisation=base.quantisation or "",
        tokenizer=base.tokenizer_parts,
        adapter=recipe.adapter.model_dump(),
        modules=kind_counts(names),
        left_out=left_out(base.skeleton, names),
        **tasks,
        problems=dict(problems or {}),
        chat=recipe.chat.model_dump(mode="json", exclude_defaults=True),
        rewards=tuple(reward.name for reward in recipe.rewards),
        correct_at=correct_from(recipe.rewards),
        environment=environment_of(recipe),
        seed=recipe.train.seed,
        step=0,
        digest="",
        stop=recipe.rollout.stop_strings,
        versions=library_versions(),
        merged=tuple(map(parent_of, merged, recipe.model.merge)),
        start=parent_of(start, str(recipe.model.start)) if start else None,
    )


def _tasks_of(recipe: Recipe) -> dict[str, Any]:
    """What a card says of the tasks."""
    if isinstance(recipe.task, TaskConfig):
        return {"task": recipe.task.model_dump()}
    parts = {task.label: TaskCard(section=task.model_dump()) for task in recipe.task}
    return {"task": {"name": " + ".join(parts)}, "tasks": parts}


def fingerprint(
    recipe: Recipe,
    base: BaseModel,
    decks: Sequence[Deck],
    start: Expert | None = None,
    *,
    functions: Functions | None = None,
) -> dict[str, Any]:
    """What must not change under a checkpoint: recipe, data, base, tokenizer, code of rewards.

    Of the recipe see `rlpeft.recipe.set_up`. Of the expert that it began with the numbers count,
    and not where they lie.

    Args:
        functions: rewards that are no files' but this process's.
    """
    from rlpeft.adapters.methods import named

    tree = set_up(recipe)
    for option, value in named(recipe.adapter.type).former.items():
        if tree["adapter"][option] == value:  # as in runs from before there was a choice
            del tree["adapter"][option]
    code = reward_code(code_names(recipe), functions)
    return {
        "recipe": tree,
        "data": fingerprints(decks),
        "base_model": base.digest,
        TOKENIZER: base.tokenizer_parts,
        **({REWARD_CODE: code} if code else {}),
        **({"start": start.card.digest} if start else {}),
    }
