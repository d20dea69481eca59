"""Parts of an expert's card: what it was made from, and its worth on each of several tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict
from pydantic_core import PydanticCustomError

from rlpeft.experts.measures import Measure, PairedDifference
from rlpeft.recipe.adapter import Section

BASE = "base"
"""Name of the base model among experts."""

SHOWN = ("name", "path", "type")
"""Keys of a recipe's sections by which lists and pages call them."""


def _called(section: dict[str, Any]) -> dict[str, Any]:
    """Refuse a section that cannot be called by what it says."""
    for key in SHOWN:
        if not isinstance(section.get(key), str | None):
            raise PydanticCustomError(
                "called",
                "{key} must be text, got {value}",
                {"key": key, "value": f"{section[key]!r:.60}"},
            )
    return section


CardSection = Annotated[dict[str, Any], AfterValidator(_called)]
"""A section of a recipe, also of a later version, whose other keys are not read here."""


class Mixture(Section):
    """How an expert was mixed from others."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    parents: dict[str, str]
    """Name of each parent in the order of the coefficients -> digest of its tensors."""
    coefficients: tuple[float, ...] | tuple[tuple[float, ...], ...]
    """One for each parent, or for each parent and matrix."""
    matrices: tuple[str, ...]
    """Modules in the order of the coefficients' second axis."""
    normalise: bool
    """Whether coefficients were divided by their sum."""
    search: dict[str, Any] = {}
    """How they were found: configuration, shots and history; empty if they were given."""


class Transfer(Section):
    """From which base an expert was brought to this one."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    parent: str
    """Digest of the expert on its own base."""
    base_digest: str
    """Digest of that base."""
    shuffle_seed: int | None = None
    """Seed by which each vector was permuted, in the control."""
    source: str | None = None
    """`ORG/NAME@COMMIT`, if the expert on its own base is one of the Hub."""


class Parent(Section):
    """An expert that another was made from."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    name: str
    """On its card."""
    digest: str
    """Of its tensors."""
    source: str | None = None
    """`ORG/NAME@COMMIT`, if it is one of the Hub: a path here says nothing elsewhere."""


def whole_name(base: str, parents: Iterable[Parent], quantisation: str) -> str:
    """A base with all that was made of it.

    >>> whole_name("base", [Parent(name="sort", digest="d")], "int8")
    "base with 'sort' merged into it in int8"
    """
    names = " and ".join(repr(parent.name) for parent in parents)
    merged = f"{base} with {names} merged into it" if names else base
    return f"{merged} in {quantisation}" if quantisation else merged


def with_merged(base: str, parents: Iterable[Parent]) -> str:
    """What to call a base that experts were merged into.

    >>> with_merged("base", [Parent(name="sort", digest="d")]), with_merged("its base", [])
    ('base with sort merged', 'its base')
    """
    names = " and ".join(parent.name for parent in parents)
    return f"{base} with {names} merged" if names else base


class TaskCard(Section):
    """One task of several; figures are as on the expert's card, over this task's problems."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    section: CardSection
    """The recipe's `[[task]]`."""
    validation: Measure | None = None
    """Of the validation that chose the expert."""
    test: Measure | None = None
    """Of the expert on test problems."""
    base_test: Measure | None = None
    """Of the base model on the same."""
    against_base: PairedDifference | None = None
    """The expert less its base."""
    start_test: Measure | None = None
    """Of the expert that training went on from."""
    against_start: PairedDifference | None = None
    """The expert less that one."""
