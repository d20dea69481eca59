"""Reinforcement-learning fine-tuning of language models with tiny, mixable adapters."""

from rlpeft.moved import tell_new_names
from rlpeft.shadow import look_for_hidden

__version__ = "0.2.0"

look_for_hidden()
tell_new_names()
