from markdown import Markdown

from jobs.site.doctests import makeExtension


def html(text):
    return Markdown(extensions=[makeExtension(), "fenced_code"]).convert(text)


def test_an_example_is_code_up_to_the_next_blank_line():
    shown = html("It adds.\n\n>>> 1 + 1  # doctest: +SKIP\n2\n\nAnd more.")
    assert "&gt;&gt;&gt; 1 + 1\n2\n</code>" in shown
    assert shown.endswith("<p>And more.</p>")


def test_an_example_within_a_fence_stays_as_it_is():
    assert "pycon" not in html("```python\n>>> 1\n1\n```")
