"""What each command, word and sign of an answer means to the parser: its token (kind, text)."""

from __future__ import annotations

import unicodedata

from rewards.math.vocabulary.words import word_set

FUNCTIONS = word_set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp")
ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "cosec": "csc"}
GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda "
    "mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma "
    "Phi Psi Omega ell hbar"
)
GREEK_SIGNS = {
    unicodedata.lookup(f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): name
    for name in GREEK - {"ell", "hbar"}
    if not name.startswith("var")
    for size in ("CAPITAL" if name[0].isupper() else "SMALL",)
}
TEXT_COMMANDS = word_set("text textbf textit textrm textsf texttt textnormal mbox hbox emph textup")
FONT_COMMANDS = word_set(
    "mathbf mathit mathrm mathsf mathcal mathtt boldsymbol bm underline boxed fbox bold "
    "rm ensuremath displaystyle"
)
DROPPED = word_set(
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr "
    "therefore because textstyle scriptstyle limits nolimits quad qquad thinspace enspace "
    "hfill rm bf it mathstrut tiny small large Large LARGE huge Huge normalsize"
)
WITH_ARGUMENT = word_set("hspace vspace phantom hphantom vphantom tag label")
COMMANDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), ("rel", "<=")),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), ("rel", ">=")),
    **dict.fromkeys(("ne", "neq"), ("rel", "!=")),
    **dict.fromkeys(("approx", "sim", "simeq", "doteq", "thickapprox"), ("rel", "~")),
    "cong": ("rel", "≅"),
    "equiv": ("rel", "≡"),
    "parallel": ("rel", "∥"),
    "perp": ("rel", "⊥"),
    **dict.fromkeys(("pmod", "mod", "bmod"), ("mod", "mod")),
    **dict.fromkeys(("angle", "measuredangle"), ("figure", "angle")),
    "triangle": ("figure", "triangle"),
    **{name: ("word", name) for name in ("gcd", "lcm", "max", "min", "deg", "dim", "Pr", "arg")},
    **dict.fromkeys(("times", "cdot", "ast", "star", "bullet"), ("op", "*")),
    **dict.fromkeys(("ldots", "dots", "cdots", "dotsc", "dotsb"), ("ellipsis", "...")),
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac", "sfrac", "nicefrac"), ("frac", "frac")),
    **dict.fromkeys(("binom", "dbinom", "tbinom"), ("binom", "binom")),
    **dict.fromkeys(("emptyset", "varnothing"), ("const", "empty")),
    **dict.fromkeys(("mid", "vert", "lvert", "rvert"), ("op", "|")),
    **dict.fromkeys(("setminus", "backslash", "smallsetminus"), ("set", "minus")),
    **dict.fromkeys(("lor", "vee"), ("join", "or")),
    **dict.fromkeys(("land", "wedge"), ("join", "and")),
    "pounds": ("currency", "£"),
    "euro": ("currency", "€"),
    "yen": ("currency", "¥"),
    "lt": ("rel", "<"),
    "gt": ("rel", ">"),
    "in": ("rel", "in"),
    "div": ("op", "/"),
    "pm": ("op", "±"),
    "mp": ("op", "∓"),
    "infty": ("const", "inf"),
    "pi": ("const", "pi"),
    "cup": ("set", "union"),
    "cap": ("set", "intersect"),
    "sqrt": ("sqrt", "sqrt"),
    "surd": ("sqrt", "surd"),
    "circ": ("degree", "°"),
    "degree": ("degree", "°"),
    "prime": ("op", "'"),
    "colon": ("op", ":"),
    "lbrace": ("open", "\\{"),
    "rbrace": ("close", "\\}"),
    "langle": ("open", "<"),
    "rangle": ("close", ">"),
    "lfloor": ("open", "floor"),
    "rfloor": ("close", "floor"),
    "lceil": ("open", "ceil"),
    "rceil": ("close", "ceil"),
    "lparen": ("open", "("),
    "rparen": ("close", ")"),
    "lbrack": ("open", "["),
    "rbrack": ("close", "]"),
    "choose": ("infix", "choose"),
    "over": ("infix", "over"),
    "cr": ("row", "\\\\"),
    **dict.fromkeys(("overline", "bar"), ("accent", "overline")),
    **dict.fromkeys(("vec", "overrightarrow"), ("accent", "vec")),
    **dict.fromkeys(("hat", "widehat"), ("accent", "hat")),
    **dict.fromkeys(("tilde", "widetilde"), ("accent", "tilde")),
    "dot": ("accent", "dot"),
    **{name: ("func", name) for name in FUNCTIONS},
    **{name: ("func", plain) for name, plain in ALIASES.items()},
    **{name: ("symbol", name) for name in GREEK},
}
# Names that mean the same written as a plain word.
PLAIN_WORDS: dict[str, tuple[str, str]] = {
    **{name: COMMANDS[name] for name in (*FUNCTIONS, *ALIASES, *GREEK, "pi") if name != "ell"},
    **dict.fromkeys(("infinity", "inf", "oo", "infty"), ("const", "inf")),
    **dict.fromkeys(("percent", "pct", "percentage"), ("op", "%")),
    **dict.fromkeys(("degrees", "degree", "deg", "degs"), ("degree", "°")),
    **dict.fromkeys(("or", "或", "或者", "または", "또는", "oder"), ("join", "or")),
    **dict.fromkeys(("and", "和", "以及", "と", "및", "그리고", "und"), ("join", "and")),
    "sqrt": ("sqrt", "surd"),
    "union": ("set", "union"),
    **dict.fromkeys(("mod", "modulo"), ("mod", "mod")),
}
OF_SEVERAL = {"hcf": "gcd", "gcf": "gcd"} | {name: name for name in ("gcd", "lcm", "max", "min")}
"""Functions of two arguments or more, by each of their names."""
SHORT_WORDS = OF_SEVERAL.keys() | word_set(
    "yes no odd even all one two six ten red sum per sq not is the of a to"
)
SYMBOLS = {
    "{": ("open", "{"), "}": ("close", "}"), "(": ("open", "("), ")": ("close", ")"),
    "[": ("open", "["), "]": ("close", "]"), "\\{": ("open", "\\{"), "\\}": ("close", "\\}"),
    ",": ("sep", ","), ";": ("sep", ";"), "&": ("cell", "&"), "\\&": ("join", "and"),
    "=": ("rel", "="), "==": ("rel", "="), ":=": ("rel", "="), "<": ("rel", "<"),
    ">": ("rel", ">"), "<=": ("rel", "<="), ">=": ("rel", ">="), "~=": ("rel", "~"),
    "\\%": ("op", "%"), "**": ("op", "^"), "...": ("ellipsis", "..."), "\\\\": ("row", "\\\\"),
    "\\|": ("op", "‖"), "\\-": ("op", "-"),
    **{sign: ("op", sign) for sign in "+-*/^_!%|':."},
}  # fmt: skip
