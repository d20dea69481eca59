"""Experts as a server takes them in, at its start and while it runs: of any method, of one base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from jobs.library import Shelf, chat_form_of, keep_of_base, stop_of
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.methods import labels, method_of, peft_type_of
from rlpeft.errors import ExpertError
from rlpeft.experts.below import copy_below, refuse_costly
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import Expert, find_experts, load_expert
from rlpeft.experts.hub import fetched_from, from_the_hub, split_id
from rlpeft.experts.mixture import ExpertSet, read_factors
from rlpeft.experts.names import require_own_names
from rlpeft.models.base import BaseModel
from rlpeft.program.origin import said_of_use
from rlpeft.recipe.engines import ENGINES
from rlpeft.serve.loaded import ServedExpert
from rlpeft.terminal import note_each

RESERVED = (BASE, "auto")
"""Models that every server has."""


@dataclass(frozen=True)
class Intake:
    """What experts must be to go together in one server.

    Attributes:
        engine: that answers.
        chat: what `jobs.library.chat_form_of` says of every expert's card.
        stop: see `jobs.library.stop_of`.
        shared: any expert of the method whose experts share their products, `None` without one.
        factors: of the modules that such experts move; see `AdapterState.factors`.
    """

    base: BaseModel
    engine: str
    chat: str
    stop: Sequence[str] | None
    shared: Expert | None
    factors: Mapping[str, str]

    @classmethod
    def begin(
        cls, shelf: Shelf, stop: Sequence[str] | None
    ) -> tuple[Self, dict[str, ServedExpert]]:
        """The experts at or below a shelf's folder, by their names, and what others must be.

        Args:
            stop: see `jobs.library.stop_of`.

        Raises:
            ExpertError: two have one name, or see `read`.
        """
        folders = keep_of_base(find_experts(shelf.root), shelf.base.digest)
        require_own_names(folders)
        read = {folder: load_expert(folder, base_digest=shelf.base.digest) for folder in folders}
        rows = [at for at, e in read.items() if (m := method_of(e.config)) and m.runs_rows]
        intake = cls(
            shelf.base,
            shelf.spec.rollout.engine,
            chat_form_of(next(iter(read.values())).card),
            stop,
            read[rows[0]] if rows else None,
            read_factors(rows[0], shelf.base, shelf.spec.model.dtype) if rows else {},
        )
        return intake, {
            expert.card.name: intake.take(expert.card.name, expert, str(folder))
            for folder, expert in read.items()
        }

    @property
    def start(self) -> AdapterState | None:
        """The base model, as an adapter of the method whose experts share their products."""
        return None if self.shared is None else self._shared_set({}).state(BASE)

    def fetch(self, name: str, path: str, roots: Sequence[Path], *, from_hub: bool) -> ServedExpert:
        """An expert that a request names, of a folder below one of the roots or of the Hub.

        Raises:
            ExpertError, HubError: it may not be read, or not be served here.
        """
        with TemporaryDirectory(prefix="rlpeft-load-") as copy:
            if from_hub and split_id(path) is not None:
                folder, notes = from_the_hub(path)
                note_each(notes)
            else:
                folder = Path(copy)
                copy_below(roots, path, folder)
            try:
                expert = load_expert(folder, base_digest=self.base.digest)
            except ExpertError as error:  # of the copy, which nobody knows
                raise ExpertError(str(error).replace(str(folder), path)) from error
        refuse_costly(name, expert)
        return self.take(name, expert, fetched_from(folder) or path)

    def take(self, name: str, expert: Expert, origin: str) -> ServedExpert:
        """An expert under a name.

        Raises:
            ExpertError: it cannot be served here; says why, and what to do.
        """
        if name in RESERVED:
            raise ExpertError(
                f"{name!r} is a model that every server has; give that expert another name."
            )
        self._check_method(name, expert)
        if chat_form_of(expert.card) != self.chat:
            raise ExpertError(
                f"experts of one server must have one [chat] section, that of {name!r} differs. "
                "Serve it by itself."
            )
        note_each(said_of_use({name: expert.card}, self.base))
        state = expert.state()
        if (method := method_of(expert.config)) and method.runs_rows:
            state = self._shared_set({name: expert}).state(name)
        return ServedExpert(state, expert.card, stop_of(expert.card, self.stop), origin)

    def _check_method(self, name: str, expert: Expert) -> None:
        method, engine = method_of(expert.config), ENGINES[self.engine]
        said = method.label if method else peft_type_of(expert.config)
        if method is None or not method.is_served:
            raise ExpertError(
                f"experts that share a batch must be {labels(lambda m: m.is_served)}, {name!r} is "
                f"{said}, whose change reaches what enters a product, or its bias. Serve it as a "
                "model of its own: rlpeft export --format merged"
            )
        if not engine.is_served and not method.runs_rows:
            raise ExpertError(
                f"--engine {self.engine} serves {labels(lambda m: m.runs_rows)} experts alone, "
                f"{name!r} is {said}. Serve it with --engine vllm."
            )
        if method.runs_rows and self.shared is None:
            raise ExpertError(
                f"{name!r} is {said}, of which this server began with none and has no factors. "
                f"Start it with one {said} expert among --experts."
            )

    def _shared_set(self, others: Mapping[str, Expert]) -> ExpertSet:
        """Experts together with the one that the engine was made for.

        Raises:
            ExpertError: they differ in modules or factors.
        """
        assert self.shared is not None
        first = self.shared.card.name
        if first in others:  # another version of it
            first = f"{first}, as the server began"
        return ExpertSet.of({first: self.shared, **others}, self.factors)
