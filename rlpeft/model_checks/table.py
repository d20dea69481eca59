"""The laws, in the order in which they are told. To add one, write its function and put it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from rlpeft.model_checks import chat, data, ends, engines, text, weights
from rlpeft.model_checks.engines import Stage
from rlpeft.model_checks.finding import Finding
from rlpeft.model_checks.subject import Subject


class LawNeeds(Enum):
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
    needs: LawNeeds
    check: Callable[[Subject], Finding]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class EngineLaw:
    """A law of what an engine makes of the model's tokens."""

    name: str
    check: Callable[[Stage], Finding]


LAWS = (
    Law("text survives", LawNeeds.TOKENIZER, text.round_trip),
    Law("turns", LawNeeds.TEMPLATE, chat.turns),
    Law("prefix tokens", LawNeeds.TOKENIZER, text.prefix),
    Law("ends", LawNeeds.TOKENIZER, ends.ends),
    Law("padding", LawNeeds.TOKENIZER, ends.padding),
    Law("data writes no control token", LawNeeds.TOKENIZER, data.letters),
    Law("taught as sampled", LawNeeds.TOKENIZER, ends.taught),
    Law("turns' text", LawNeeds.TEMPLATE, chat.contents),
    Law("system turn", LawNeeds.TEMPLATE, chat.system, optional=True),
    Law("asks for an answer", LawNeeds.TEMPLATE, chat.asks),
    Law("prefill", LawNeeds.TEMPLATE, chat.prefill),
    Law("end of a turn", LawNeeds.TEMPLATE, ends.turn_ends),
    Law("date", LawNeeds.TEMPLATE, chat.pinned_date),
    Law("windows, caps, scales", LawNeeds.CONFIG, weights.mechanisms),
    Law("weights", LawNeeds.WEIGHTS, weights.loads),
    Law("embeddings", LawNeeds.CONFIG, weights.embeddings),
    Law("adapter targets", LawNeeds.WEIGHTS, weights.targets),
    Law("tied head", LawNeeds.WEIGHTS, weights.tied_head),
    Law("batch neighbours", LawNeeds.WEIGHTS, weights.neighbours),
    Law("beginning of text", LawNeeds.WEIGHTS, text.reads_best),
    Law("learner is the model", LawNeeds.LEARNER, weights.learner_own),
)

ENGINE_LAWS = (
    EngineLaw("answers' text", engines.texts),
    EngineLaw("answers' end", engines.ends),
    EngineLaw("special stop strings", engines.special_stops),
    EngineLaw("plain stop strings", engines.plain_stops),
    EngineLaw("limits of a row", engines.limits),
    EngineLaw("learner is the engine", weights.learner_engine),
)
