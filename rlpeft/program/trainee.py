"""The primitives of a run for a loop of one's own: sample, forward_backward, optim_step, save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from peft import PeftConfig

from rlpeft.build import build_card, build_prompter, canary_of
from rlpeft.errors import ConfigError
from rlpeft.experts.files import save_expert
from rlpeft.experts.merged import open_base
from rlpeft.models.base import BaseModel
from rlpeft.program.given import adapter_given
from rlpeft.program.parts import Parts, local_parts
from rlpeft.recipe.run import Recipe, parse_recipe
from rlpeft.rollout.groups import roll_out, rollout_seed
from rlpeft.terminal import quiet_libraries
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample
from rlpeft.types import Group, Problem, Prompt

SOURCE = "rlpeft.open_trainee"
"""Where its recipe comes from, for errors."""

READ = ("chat", "rollout", "loss", "learner")
"""Sections of a recipe that a loop of one's own leaves to it."""

ITS_OWN: dict[str, Any] = {"task": {"path": "prompts of a loop"}, "reward": [{"name": "exact"}]}
"""What a recipe must have and such a loop decides itself: never read."""


class Trainee:
    """A base model, an adapter that is trained, and an engine that runs it; see `open_trainee`.

    Gradients add up until `optim_step`; the next `sample` is by the adapter that came of it.
    """

    def __init__(self, recipe: Recipe, base: BaseModel, parts: Parts) -> None:
        self._recipe, self._base, self._fleet = recipe, base, parts.fleet
        self._learner = cast(LocalLearner, parts.learner)
        self._prompter = build_prompter(base, recipe.chat, recipe.rollout)
        self._canary: list[list[int]] = []
        self._synced = -1
        self._calls = 0

    def sample(self, prompts: Sequence[Prompt], *, n: int = 1, greedy: bool = False) -> list[Group]:
        """The adapter's completions of each prompt, in order: text, ids, and their log-probs.

        If the adapter has moved it is sent to the engine first, with proof. Completions are a
        function of the seed, of how often this was called, and of the place of a prompt.

        Args:
            prompts: texts or chat turns.
            n: completions of each.
            greedy: at temperature 0, which gives all completions of a prompt alike.

        Raises:
            DataError: a prompt is too long, or the first ones have no two tokens.
            EngineError: the engine cannot prove that it runs the adapter.
        """
        prompter, seed = self._prompter.afresh(), self._recipe.train.seed
        asked = [Problem(f"{self._calls}/{at}", prompt) for at, prompt in enumerate(prompts)]
        self._calls += 1
        self._canary = self._canary or canary_of(asked, prompter, "the first prompts")
        if self._synced != self._learner.num_steps:
            bound = self._recipe.rollout.canary_bound
            self._fleet.sync(self._learner.proof(self._canary, bound))
            self._synced = self._learner.num_steps
        sampling = self._recipe.rollout.sampling
        requests = [
            prompter.request(problem, [rollout_seed(seed, problem.id, at) for at in range(n)])
            for problem in asked
        ]
        return roll_out(asked, requests, self._fleet, sampling.greedy if greedy else sampling)

    def forward_backward(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Add the gradient of -A log π + λ KL on these samples; see `LocalLearner`.

        The engine rests meanwhile, and until the next `sample`.
        """
        self._fleet.rest()
        return self._learner.forward_backward(samples)

    def optim_step(self) -> dict[str, float]:
        """Clip the gradient and move the adapter; see `LocalLearner`."""
        return self._learner.optim_step()

    def save(self, folder: str | Path) -> Path:
        """Write the adapter as an expert, called by its folder, which every command takes.

        Raises:
            ExpertError: something else than an expert is there.
        """
        folder, state = Path(folder), self._learner.adapter_state()
        name = folder.absolute().name
        card = build_card(self._recipe, self._base).model_copy(
            update={
                "name": name,
                "task": {"name": name},
                "rewards": (),
                "step": self._learner.num_steps,
                "digest": state.digest,
            }
        )
        save_expert(folder, state, card)
        return folder


@contextmanager
def open_trainee(
    model: str | Path,
    *,
    adapter: str | Mapping[str, Any] | PeftConfig = "svf",
    seed: int = 0,
    **sections: Any,
) -> Iterator[Trainee]:
    """A trainee in this process, while the context lasts.

    Args:
        model: a folder or a Hub id.
        adapter: a method's name, a PEFT config, or an `[adapter]` section.
        seed: of the adapter's start and of all sampling.
        sections: `chat`, `rollout`, `loss`, `learner` of a recipe, as mappings. Advantages are the
            loop's, and so is how long it goes on: `learner.schedule` must be constant.

    Raises:
        ConfigError: another section, or what a recipe would refuse.
        ModelError: no such model, or one that cannot be trained.
    """
    if other := [name for name in sections if name not in READ]:
        raise ConfigError(
            f"{SOURCE} reads {', '.join(READ)}, got {', '.join(other)}: the rest is the loop's."
        )
    tree = {"name": "loop", "model": {"name": str(model)}, "adapter": adapter_given(adapter)}
    recipe = parse_recipe({**tree, **ITS_OWN, "train": {"seed": seed}, **sections}, source=SOURCE)
    if recipe.learner.schedule != "constant":
        raise ConfigError(
            f"learner.schedule must be 'constant' in {SOURCE}, which does not know how long the "
            f"loop goes on, got {recipe.learner.schedule!r}."
        )
    quiet_libraries()
    base = open_base(recipe.model)
    with local_parts(recipe, base) as parts:
        yield Trainee(recipe, base, parts)
