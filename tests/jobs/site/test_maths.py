from markdown import Markdown

from jobs.site.maths import block, makeExtension


def html(text):
    return Markdown(extensions=[makeExtension(), "tables"]).convert(text)


def test_a_formula_in_a_line_becomes_mathml():
    shown = html("with $x_1$ tokens")
    assert shown.startswith("<p>with <math")
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in shown


def test_a_price_and_code_are_no_formulae():
    text = "5$ and 7$, `$HOME/$USER`, from $5 to"
    assert "<math" not in html(text)


def test_a_fence_becomes_a_displayed_formula():
    shown = block("\\frac{a}{b}\n", "math", "formula", {}, None)
    assert 'display="block"' in shown
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in shown
