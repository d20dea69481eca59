"""What ends the answers of a server: the model's ends of sequence, and each expert's strings.

vLLM's server knows but some of the ids that end a sequence, and looks for stop strings in text
that shows no special token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams

from rlpeft.errors import EngineError
from rlpeft.rollout.ends import read_stops, special_tokens
from rlpeft.serve.gate import BASE


@dataclass(frozen=True)
class Ends:
    """Ends of requests.

    Attributes:
        stops: strings for each model, where a request gives none.
    """

    stops: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, expert: str | None, params: SamplingParams) -> SamplingParams:
        """The parameters of a request, with the strings of the model that answers it."""
        stops = self.stops.get(expert or BASE, ())
        if params.stop or not stops:
            return params
        params = params.clone()
        params.stop = list(stops)
        return params


def ended(params: SamplingParams, tokenizer: Any, eos_ids: Collection[int]) -> SamplingParams:
    """The parameters of a request as vLLM must have them to end it where we would.

    Raises:
        VLLMValidationError: a stop string holds a special token among others.
    """
    stops, params = read_stops(tokenizer, list(params.stop or ())), params.clone()
    if params.skip_special_tokens:
        try:
            refuse_hidden(tokenizer, stops.strings)
        except EngineError as error:
            raise VLLMValidationError(str(error), parameter="stop") from error
    params.stop = list(stops.strings)
    ids = {*(params.stop_token_ids or ()), *stops.token_ids}
    params.stop_token_ids = sorted(ids if params.ignore_eos else {*ids, *eos_ids})
    # What `min_tokens` keeps from being sampled meanwhile.
    params._all_stop_token_ids.update({*ids, *eos_ids})
    return params


def refuse_hidden(tokenizer: Any, strings: Sequence[str]) -> None:
    """Refuse stop strings that no text without special tokens can hold.

    Raises:
        EngineError: names the first.
    """
    for text in strings:
        for token in special_tokens(tokenizer):
            if token in text:
                raise EngineError(
                    f"a stop string must be a special token or hold none, got {text!r}, which "
                    f"holds {token!r}: answers do not show it. Give {token!r} alone."
                )
