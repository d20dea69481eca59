"""Train several experts together: on one base model, with one learner and one set of engines.

Each is its lone run (`rlpeft.program.run`) on a thread of its own, in a folder of its own, and has
a seat at learner and engines: so it ends, bit for bit, as it would alone, and goes on from its own
checkpoint. One thread works at a time, step by step in turn. Where learner and engines are
processes of their own, another works while one waits for them: engines answer one expert while the
learner learns of the next, and neither waits for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from rlpeft.build import build_engine, build_learner, learner_of
from rlpeft.errors import ModelError
from rlpeft.models.base import BaseModel
from rlpeft.program.parts import Parts, Venue, beside, conversations_here, own_threads
from rlpeft.program.run import Summary, run
from rlpeft.program.seat import FleetSeat, LearnerSeat
from rlpeft.program.turns import Stopped, Turns
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.scorer import Scorers
from rlpeft.rollout.fleet import LocalFleet, PolicyFleet
from rlpeft.terminal import note, telling_of
from rlpeft.tokens.specials import controls
from rlpeft.training.loop import Progress
from rlpeft.training.protocol import Learner
from rlpeft.training.shared import SharedLearner, SharedPolicy

OnStepOf = Callable[[str, Progress, Mapping[str, float]], None]
"""Is told after each step whose it was, how far that run is, and what the step brought."""


@dataclass(frozen=True)
class Shared:
    """What experts that train together have in common.

    Attributes:
        are_elsewhere: whether learner and engines are processes of their own.
    """

    learner: SharedLearner
    fleet: PolicyFleet
    are_elsewhere: bool


OpenShared = Callable[[Mapping[str, Recipe], BaseModel], AbstractContextManager[Shared]]


@contextmanager
def shared_here(recipes: Mapping[str, Recipe], base: BaseModel) -> Iterator[Shared]:
    """Both in this process; see `rlpeft.program.parts.local_parts`."""
    roomy = with_room(recipes)
    with own_threads(roomy):
        learners = build_learners(recipes, base)
        on_gpu = learners.any.device.type == "cuda"
        spec = beside(roomy, learners.any) if on_gpu else roomy.engine
        with closing(LocalFleet(build_engine(spec, base))) as fleet:
            yield Shared(learners, fleet, are_elsewhere=False)


def build_learners(recipes: Mapping[str, Recipe], base: BaseModel) -> SharedPolicy:
    """Learners of one policy, each with the fresh adapter that its own `build_learner` gives it."""
    first, *others = recipes.values()
    learner = build_learner(first, base)
    begun = {first.train.seed: learner.values()}
    for recipe in others:
        if recipe.train.seed not in begun:
            learner = build_learner(recipe, base, learner.policy.unload())
            begun[recipe.train.seed] = learner.values()
    learners = {name: learner_of(recipe, learner.policy, base) for name, recipe in recipes.items()}
    return SharedPolicy(learners, {name: begun[own.train.seed] for name, own in recipes.items()})


def with_room(recipes: Mapping[str, Recipe]) -> Recipe:
    """What they share, as a recipe that has room for the longest prompt and answer of any."""
    first, *others = recipes.values()
    most = first.rollout
    for rollout in (recipe.rollout for recipe in others):
        room = {
            "max_prompt_tokens": max(most.max_prompt_tokens, rollout.max_prompt_tokens),
            "max_tokens": max(most.max_tokens, rollout.max_tokens),
        }
        most = most.model_copy(update=room)
    return first.model_copy(update={"rollout": most})


def run_together(
    recipes: Mapping[str, Recipe],
    out: Path,
    *,
    open_shared: OpenShared = shared_here,
    on_step: OnStepOf | None = None,
) -> dict[str, Summary]:
    """Train and test each expert; gives what `summary.json` of its folder, `out/NAME`, holds.

    One that fails says so, and the others go on.

    Args:
        recipes: of lone runs, by name; `rlpeft.recipe.together` says what they may differ in.
        open_shared: where learner and engines live.
        on_step: is told in the thread whose turn it is.

    Raises:
        RlpeftError, RewardError: an expert cannot be trained: before anything is loaded, if that
            can be told; else when the others have ended.
    """
    # A template that never ends is ended here alone: other threads get no signals.
    controls(BaseModel.open(next(iter(recipes.values())).model.name).tokenizer)
    turns = Turns()
    members = {name: Member(name, turns, on_step) for name in recipes}
    with ThreadPoolExecutor(len(members), "expert") as threads, ExitStack() as opened:
        runs = {
            name: threads.submit(member.run, recipes[name], out / name)
            for name, member in members.items()
        }
        end = partial(_end, turns, members, runs)
        opened.callback(end)
        base = _base_of(members)
        shared = opened.enter_context(open_shared(recipes, base))
        opened.callback(end)  # before what they share
        for member in members.values():
            member.given.set_result(shared)
        wait(runs.values())
    return {name: found.result() for name, found in runs.items()}


class Member:
    """The place of one expert among others.

    Attributes:
        arrived: its base model, once all is checked that can be without models.
        given: what it waits for then.
    """

    def __init__(self, name: str, turns: Turns, on_step: OnStepOf | None) -> None:
        self.name, self.turns, self.on_step = name, turns, on_step
        self.arrived: Future[BaseModel] = Future()
        self.given: Future[Shared] = Future()

    def run(self, recipe: Recipe, folder: Path) -> Summary:
        """The expert's lone run, in the thread that calls this."""
        venue = Venue(self.parts, has_reward_actors=False)
        try:
            with self.turns.taken(), telling_of(self.name):
                return run(recipe, folder, venue=venue, on_step=self.stepped)
        except BaseException as error:
            if not self.arrived.done():
                self.arrived.set_exception(error)
            elif not isinstance(error, Stopped):
                note(f"expert {self.name!r} ends here, the others go on: {error}")
            raise

    @contextmanager
    def parts(self, recipe: Recipe, base: BaseModel, scorer: Scorers | None) -> Iterator[Parts]:
        """What it has in the place of parts of its own; the rewards alone are its own."""
        assert scorer is not None, "rewards of this process are loaded before"
        self.arrived.set_result(base)
        with self.turns.passed():
            shared = self.given.result()
        aside = self.turns.passed if shared.are_elsewhere else nullcontext
        learner = LearnerSeat(shared.learner, self.name, aside)
        with conversations_here(recipe, base) as conversations:
            fleet = FleetSeat(shared.fleet, aside)
            yield Parts(cast(Learner, learner), fleet, scorer, conversations)

    def stepped(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        """Tell of a step, then it is another one's turn."""
        if self.on_step is not None:
            self.on_step(self.name, progress, metrics)
        self.turns.pass_on()


def _base_of(members: Mapping[str, Member]) -> BaseModel:
    """The base model on which all stand, once each has found nothing that would stop it."""
    bases = {name: member.arrived.result() for name, member in members.items()}
    (first, base), *others = bases.items()
    for name, other in others:
        if other.digest != base.digest:
            raise ModelError(
                f"experts that train together must stand on one base model: that of {name!r} "
                f"({other.digest[:12]}…) is another than that of {first!r} ({base.digest[:12]}…), "
                "with which its run was started. Train it alone, or start it anew."
            )
    return base


def _end(turns: Turns, members: Mapping[str, Member], runs: Mapping[str, Future[Summary]]) -> None:
    """Have every run that goes on end after its step, and wait for that."""
    turns.stop()
    for member in members.values():
        if not member.given.done():
            member.given.set_exception(Stopped())
    wait(runs.values())
