"""The time split of two passes; the figures are rows of Transformer²'s Table 3."""

import csv

import pytest

from rlpeft.report.two_pass_chart import write_split

SPLIT = {"MATH": (42.64, 321.19), "HumanEval": (2.76, 14.28), "ARC-Challenge": (13.40, 28.51)}


def test_shares_are_those_the_paper_prints(tmp_path):
    write_split(SPLIT, tmp_path)
    rows = list(csv.DictReader((tmp_path / "passes.csv").open()))
    assert [row["strategy"] for row in rows] == list(SPLIT)
    shares = [100 * float(row["first_share"]) for row in rows]
    assert shares == pytest.approx([13, 19, 47], abs=0.5)


def test_the_picture_has_a_bar_for_each(tmp_path):
    write_split(SPLIT, tmp_path)
    drawn = (tmp_path / "passes.svg").read_text()
    assert all(f"<!-- {text} -->" in drawn for text in (*SPLIT, "13 %", "19 %", "47 %"))
