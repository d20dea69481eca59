"""The laws, in the order in which they are told. To add one, write its function and put it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from rlpeft.laws import chat, data, ends, engines, text, weights
from rlpeft.laws.engines import Stage
from rlpeft.laws.finding import Finding
from rlpeft.laws.subject import Subject


class Needs(Enum):
    """What a law looks at, beside the tokenizer."""

    TOKENIZER = auto()
    TEMPLATE = auto()
    CONFIG = auto()
    WEIGHTS = auto()
    LEARNER = auto()


@dataclass(frozen=True, slots=True)
class Law:
    """A law of the model itself.

    Attributes:
        optional: models may refuse it, and runs that do without are none the worse.
    """

    name: str
    needs: Needs
    check: Callable[[Subject], Finding]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class EngineLaw:
    """A law of what an engine makes of the model's tokens."""

    name: str
    check: Callable[[Stage], Finding]


LAWS = (
    Law("text survives", Needs.TOKENIZER, text.round_trip),
    Law("turns", Needs.TEMPLATE, chat.turns),
    Law("prefix tokens", Needs.TOKENIZER, text.prefix),
    Law("ends", Needs.TOKENIZER, ends.ends),
    Law("padding", Needs.TOKENIZER, ends.padding),
    Law("data writes no control token", Needs.TOKENIZER, data.letters),
    Law("taught as sampled", Needs.TOKENIZER, ends.taught),
    Law("turns' text", Needs.TEMPLATE, chat.contents),
    Law("system turn", Needs.TEMPLATE, chat.system, optional=True),
    Law("asks for an answer", Needs.TEMPLATE, chat.asks),
    Law("prefill", Needs.TEMPLATE, chat.prefill),
    Law("end of a turn", Needs.TEMPLATE, ends.turn_ends),
    Law("date", Needs.TEMPLATE, chat.pinned_date),
    Law("windows, caps, scales", Needs.CONFIG, weights.mechanisms),
    Law("weights", Needs.WEIGHTS, weights.loads),
    Law("embeddings", Needs.CONFIG, weights.embeddings),
    Law("adapter targets", Needs.WEIGHTS, weights.targets),
    Law("tied head", Needs.WEIGHTS, weights.tied_head),
    Law("batch neighbours", Needs.WEIGHTS, weights.neighbours),
    Law("beginning of text", Needs.WEIGHTS, text.reads_best),
    Law("learner is the model", Needs.LEARNER, weights.learner_own),
)

ENGINE_LAWS = (
    EngineLaw("answers' text", engines.texts),
    EngineLaw("answers' end", engines.ends),
    EngineLaw("special stop strings", engines.special_stops),
    EngineLaw("plain stop strings", engines.plain_stops),
    EngineLaw("limits of a row", engines.limits),
    EngineLaw("learner is the engine", weights.learner_engine),
)
