"""Experts: their files, and what is done with them: compare, mix, transfer, export, push."""

from rlpeft.experts.files import Expert, ExpertCard, load_expert, read_card, save_expert
from rlpeft.experts.hub import resolve_expert
from rlpeft.experts.hub_push import push_to_hub

__all__ = [
    "Expert",
    "ExpertCard",
    "load_expert",
    "push_to_hub",
    "read_card",
    "resolve_expert",
    "save_expert",
]
