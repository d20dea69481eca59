"""Ways a test ends that no test may catch: the verdict stands, whatever follows."""

from __future__ import annotations


class Unjudged(BaseException):
    """The tests ask what cannot be decided here; says nothing about the program."""


class Refuted(BaseException):
    """The program would pass by its own word alone."""
