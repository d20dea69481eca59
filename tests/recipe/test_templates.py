"""Templates: columns, literal braces, and everything else refused."""

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import SftConfig
from rlpeft.recipe.templates import Template


def fill(text, **row):
    return Template.parse(text, "t").fill(row, "t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{q}", "1+1"),
        ("{q} {q}\n{r}", "1+1 1+1\n{r!s}"),
        (r"{q} in \boxed{}", r"1+1 in \boxed{}"),
        (r"{q} in \boxed{{}}", r"1+1 in \boxed{}"),
        (r"{q} in \boxed{{answer}}", r"1+1 in \boxed{answer}"),
        (r"\boxed{{{q}}}", r"\boxed{1+1}"),
        (r"\frac{{1}}{{2}} {q}", r"\frac{1}{2} 1+1"),
        ('{{"a": {{"b": "{q}"}}}}', '{"a": {"b": "1+1"}}'),
        ("{the question}", "2+2"),
    ],
)
def test_columns_are_filled_in_and_doubled_braces_are_braces(text, expected):
    # What a row holds is data: braces in it are never read.
    assert fill(text, q="1+1", r="{r!s}", **{"the question": "2+2"}) == expected


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (7, "7"),
        (0.5, "0.5"),
        (True, "true"),
        (["a", "it's", None], '["a", "it\'s", null]'),
        ({"b": False, "é": 1.0}, '{"b": false, "é": 1.0}'),
    ],
)
def test_a_value_that_is_no_text_is_written_as_json_does(value, written):
    assert fill("{n}", n=value) == written


def test_one_of_several_columns_may_be_empty_but_not_all():
    assert fill("{q}\n{more}", q="1+1", more="") == "1+1\n"
    with pytest.raises(DataError, match="must find text in 'q' or 'more', which is empty there"):
        fill("{q}\n{more}", q=" ", more="")


@pytest.mark.parametrize(
    "text",
    ["{q.}", "{q[0]}", "{q!r}", "{q:>9}", "{q} {", "{q} }", '{"a": "{q}"}', "{0} {q}"],
)
def test_anything_else_in_braces_is_refused_with_the_way_to_write_it(text):
    with pytest.raises(ConfigError, match=r"^t must hold nothing but names.*\{\{ and \}\}"):
        Template.parse(text, "t")


@pytest.mark.parametrize("text", ["", "no column", "{{q}}", "{}"])
def test_a_text_that_is_the_same_for_every_row_is_refused(text):
    with pytest.raises(ConfigError, match="must name a column of the data"):
        Template.parse(text, "t")


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(DataError, match=r"t names the column 'x', the row has a, b\. .*\{\{"):
        fill("{x}", b=1, a=2)


def test_a_completion_to_learn_is_read_with_the_recipe():
    with pytest.raises(ValueError, match=r"sft\.completion must hold nothing but names"):
        SftConfig(completion="{answer!r}")


def test_a_null_in_a_row_is_told_from_a_column_that_is_not_there():
    with pytest.raises(DataError, match="t names the column 'x', which is null there"):
        Template.parse("{x}", "t").fill({"x": None}, "t")


def test_a_number_that_is_none_is_refused():
    template = Template.parse("{q}", "t")
    with pytest.raises(DataError, match="names the column 'q', which is nan there"):
        template.fill({"q": float("nan")}, "t")
