"""What a list should name once: experts, runs, rewards."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from rlpeft.errors import ConfigError


def named_twice(names: Sequence[object], things: Sequence[Hashable] | None = None) -> str:
    """The first name that stands for what another stood for already, in words; "" if none does.

    >>> named_twice(["runs/a", "runs/b", "runs/a"])
    "'runs/a' twice"

    Args:
        names: as they were written.
        things: what each stands for, such as its folder; absent: the name itself.
    """
    first: dict[Hashable, str] = {}
    for name, thing in zip(map(str, names), things or tuple(map(str, names)), strict=True):
        if thing in first:
            same = first[thing] == name
            return f"{name!r} twice" if same else f"{first[thing]!r} and {name!r}, which are one"
        first[thing] = name
    return ""


def require_once(
    what: str, names: Sequence[object], things: Sequence[Hashable] | None = None
) -> None:
    """Refuse a list that names one thing twice; `names` and `things` are those of `named_twice`.

    Args:
        what: must be named once, as in "model.merge must name each expert".

    Raises:
        ConfigError: it names the first.
    """
    if twice := named_twice(names, things):
        raise ConfigError(f"{what} once, got {twice}. Leave one out.")
