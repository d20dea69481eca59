"""Experts: their files, and what is done with them: compare, mix, transfer, export, push."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlpeft.experts.files import Expert, ExpertCard, load_expert, read_card, save_expert
    from rlpeft.experts.hub import resolve_expert
    from rlpeft.experts.hub_push import push_to_hub

PLACES = {
    **dict.fromkeys(("Expert", "ExpertCard", "load_expert", "read_card", "save_expert"), "files"),
    "resolve_expert": "hub",
    "push_to_hub": "hub_push",
}
"""Each name of this package by its module."""

__all__ = [
    "Expert",
    "ExpertCard",
    "load_expert",
    "push_to_hub",
    "read_card",
    "resolve_expert",
    "save_expert",
]


def __getattr__(name: str) -> Any:
    """Names of the package, looked up when they are asked for: their modules load torch."""
    if name in PLACES:
        return resolve_name(f"{__name__}.{PLACES[name]}:{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
