import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code.extract import extract_code, names_in, open_block

CODE = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    "completion",
    [
        f"```python\n{CODE}```",
        f"Sure:\n```py\n{CODE}```\nIt returns one.",
        f"```\n{CODE}```",
        f"~~~python\n{CODE}~~~",
        f"```json\n{{}}\n```\n```python\n{CODE}```\n```text\noutput\n```",
        f"<think>```python\nx = 0\n```</think>```python\n{CODE}```",
        f"```python\nx = 0\n```\nNo, rather:\n```python\n{CODE}```",
        f"```python\n{CODE}",
        CODE,
    ],
)
def test_the_program_of_a_completion_is_its_last_block_of_python(completion):
    assert extract_code(completion) == CODE


@pytest.mark.parametrize(
    "completion",
    [
        f"```python\n{CODE}```\nFor example:\n```python\nprint(f())\n```",
        f"```python\n{CODE}```\n```python\nassert f() == 1\nf = 3\n```",
        f"```python\ndef f(): pass\n```\nBetter:\n```python\n{CODE}```\n```python\nf()\n```",
        f"```python\ndef g(): pass\n```\n```python\n{CODE}```",
        f"```python\n{CODE}```\n```python\nf(",
    ],
)
def test_a_use_of_the_program_that_follows_it_is_not_the_program(completion):
    assert extract_code(completion, names_in("assert f() == 1 and g")) == CODE


def test_a_block_that_defines_what_the_program_lacks_is_a_part_of_it():
    helper = "import math\ndef h(x):\n    return math.floor(x)\n"
    program = "def f(x):\n    return h(x) + 1\n"
    draft = "def f(x):\n    return x\n"
    text = "".join(f"So:\n```python\n{block}```\n" for block in (draft, helper, program))

    assert extract_code(text, frozenset({"f"})) == helper + program


@pytest.mark.parametrize("end", ["", "\nIt returns one.", "\n```python\nprint(f())\n```"])
def test_a_fence_may_close_on_the_last_line_of_the_code(end):
    text = f"```python\n{CODE.rstrip()}```{end}"

    assert extract_code(text, frozenset({"f"})) == CODE.rstrip()


@pytest.mark.parametrize(
    "completion",
    ["", "I cannot do that.", "```json\n{}\n```", "<think>```python\nx = 0\n```", "42"],
)
def test_prose_and_other_languages_are_no_program(completion):
    assert extract_code(completion) is None


def test_only_a_block_left_open_is_gone_on_with():
    assert open_block(f"Do it.\n```python\n{CODE}") == CODE
    assert open_block(f"```python\n{CODE}```\n") is None
    assert open_block("```json\n{") is None
    assert open_block("no block") is None


@given(st.text(alphabet="`~ \npython=def:x", max_size=200))
def test_any_text_is_read_and_a_program_is_made_of_its_lines(text):
    code = extract_code(text)

    assert code is None or all(line in text for line in code.splitlines())


@pytest.mark.parametrize("piece", ["```\n", "`", "~~~python\n", "x = \n", "\t", "@"])
def test_hostile_repetition_is_read_at_once(piece, ends):
    with ends():
        extract_code(piece * 100_000)


F, G = "def f(x):\n    return g(x) + 1\n", "def g(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"Here is the program:\n\n{F}\nIt adds one.", f"{F}\n"),
        (f"{F}\nThis works, since g doubles.", f"{F}\n"),
        (f"First a helper.\n{G}\nThen the function itself:\n{F}Done!", f"{G}{F}"),
        (f"Sure!\nimport math\n\n{F}", f"import math\n\n{F}"),
        (f"from the task we know:\n{F}", F),
        (f"x = 3 is given.\n@cache\n{F}", f"@cache\n{F}"),
        (f"{G}{F}print(f(2))", f"{G}{F}print(f(2))"),
        ("def f(x:\n    return", "def f(x:\n    return"),
    ],
)
def test_a_program_without_a_fence_stands_apart_from_prose(text, program):
    assert extract_code(text, frozenset({"f"})) == program


def test_a_long_text_that_begins_a_program_at_each_line_is_given_up():
    hostile = "def f(:\n" * 20_000
    assert extract_code(hostile) == hostile
