"""Chemical formulae and ions, which are read as one word: H_2O, \\text{SO}_4^{2-}, Fe^{3+}."""

from __future__ import annotations

import re

from rewards.math.read.normalise import normalise

_ELEMENTS = (
    "H|He|Li|Be|B|C|N|O|F|Ne|Na|Mg|Al|Si|P|S|Cl|Ar|K|Ca|Sc|Ti|V|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se"
    "|Br|Kr|Rb|Sr|Y|Zr|Nb|Mo|Tc|Ru|Rh|Pd|Ag|Cd|In|Sn|Sb|Te|I|Xe|Cs|Ba|La|Ce|Nd|Sm|Eu|Gd|W|Re|Os|Ir"
    "|Pt|Au|Hg|Tl|Pb|Bi|Po|At|Rn|Fr|Ra|Th|U|Np|Pu"
)
_ELEMENT = re.compile("|".join(sorted(_ELEMENTS.split("|"), key=len, reverse=True)))
_WRAPPERS = re.compile(
    r"\\(?:text|mathrm|textrm|rm|mathsf|ce|mbox|left|right)(?![A-Za-z])|[\s{}$_]"
)
_CHARGE = re.compile(r"\^?([0-9]?)([+-])\Z")
_SHAPE = re.compile(rf"(?:\(?(?:{_ELEMENT.pattern})[0-9]{{0,3}}(?:\)[0-9]{{0,3}})?){{1,24}}\Z")
_MAX_CHARS = 120


def formula(text: str) -> str | None:
    """One spelling of a chemical formula, `None` for everything else.

    A formula shows by its charge, or by a number at one of at least two elements: C_1 is a
    constant and CO a product.

    >>> formula(r"\\text{SO}_4^{2-}"), formula("x_2")
    ('SO4^2-', None)
    """
    marked = "_" in text or "^" in text or "\\ce" in text or not text.isascii()
    if not marked or len(text) > _MAX_CHARS or text.islower():
        return None
    text = normalise(text)
    plain = _WRAPPERS.sub("", text)
    charge = _CHARGE.search(plain) if "^" in plain else None
    body = plain[: charge.start()] if charge else plain
    if not _SHAPE.match(body) or body.count("(") != body.count(")"):
        return None
    many = len(_ELEMENT.findall(body)) > 1
    if charge is None:
        return body if many and any(char.isdigit() for char in body) else None
    return f"{body}^{charge[1].replace('1', '')}{charge[2]}"
