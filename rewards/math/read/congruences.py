"""Values up to a modulus: x ≡ 3 (mod 7) is read as x = residue(3, 7)."""

from __future__ import annotations

from rewards.math.nodes import Apply, Node, Relation, Symbol

_SIGNS = frozenset(("=", "≡", "~", "≅"))


def in_residues(terms: list[Node], signs: list[str], modulus: Node) -> tuple[list[Node], list[str]]:
    """Each term but a name in front as a residue, and the sign of equality between them."""
    named = bool(signs) and isinstance(terms[0], Symbol)
    residues = [
        term if named and not place else Apply("residue", (term, modulus))
        for place, term in enumerate(terms)
    ]
    return residues, ["=" if sign in _SIGNS else sign for sign in signs]


def shared_modulus(entries: list[Node]) -> list[Node]:
    """ "x ≡ 1, 5 (mod 8)": the modulus behind the last value is that of all."""
    modulus = _modulus(entries[-1])
    if modulus is None or any(_modulus(entry) for entry in entries[:-1]):
        return entries
    return [_with(entry, modulus) for entry in entries[:-1]] + [entries[-1]]


def _modulus(entry: Node) -> Node | None:
    match entry:
        case Apply("residue", (_, modulus)) | Relation((*_, Apply("residue", (_, modulus))), _):
            return modulus
    return None


def _with(entry: Node, modulus: Node) -> Node:
    if isinstance(entry, Relation):
        terms, signs = in_residues(list(entry.terms), list(entry.signs), modulus)
        return Relation(tuple(terms), tuple(signs))
    return Apply("residue", (entry, modulus))
