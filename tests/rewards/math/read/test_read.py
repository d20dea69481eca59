"""The parser's parts alone: each rule reads what it knows off the tokens and leaves the rest."""

import ast
from fractions import Fraction
from pathlib import Path

import pytest

import rewards.math.read.answer
from rewards.math.limits import OverLimit, Unreadable
from rewards.math.nodes import Apply, Group, Number, Relation, Symbol
from rewards.math.read.brackets import bracketed
from rewards.math.read.cursor import Cursor
from rewards.math.read.entries import entry
from rewards.math.read.expressions import total
from rewards.math.read.tokens import tokenize

PARTS = ("answer", "arithmetic", "brackets", "cursor", "entries", "expressions", "lookahead")
ONE, TWO = Number(Fraction(1)), Number(Fraction(2))


def cursor(text, rule=entry):
    return Cursor(tokenize(text), rule)


def test_an_expression_ends_where_a_relation_begins():
    at = cursor("1+x<2")
    assert total(at) == Apply("add", (ONE, Symbol("x")))
    assert at.take("rel", "<")
    assert (total(at), at.token.kind) == (TWO, "end of answer")


def test_an_entry_is_a_whole_chain_of_relations():
    assert entry(cursor("1<x<2")) == Relation((ONE, Symbol("x"), TWO), ("<", "<"))


def test_brackets_hold_what_the_rule_for_entries_reads():
    assert bracketed(cursor("(1,x=2)")) == Group("()", (ONE, Relation((Symbol("x"), TWO), ("=",))))
    with pytest.raises(Unreadable, match="never closed"):
        bracketed(cursor("(1,x=2)", rule=total))  # expressions alone end at the sign of equality


def test_a_rule_is_read_one_level_deeper_and_no_deeper_than_the_limit():
    def deeper(at):
        return at.nested(deeper)

    at = cursor("1")
    with pytest.raises(OverLimit, match="deeper than 48"):
        deeper(at)


def test_bars_close_what_they_opened():
    at = cursor("|x|y")
    assert total(at) == Apply("mul", (Apply("abs", (Symbol("x"),)), Symbol("y")))
    assert at.bars == 0


def test_no_part_of_the_parser_is_finished_by_inheritance():
    folder = Path(rewards.math.read.answer.__file__).parent
    for part in PARTS:
        tree = ast.parse((folder / f"{part}.py").read_text())
        assert not [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.bases], part
