"""One attack for each special method of Python's data model, and an honest program beside it.

The objects of an attack would pass by what that one method says; everything else of them is true.
"""

import pytest

from rewards.code.bridge import mirror
from rewards.code.sandbox import Job, Sandbox

SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%"} | {
    "pow": "**", "matmul": "@", "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^"
}  # fmt: skip
LIAR = """
class T({base}):
    {honest}
    def {name}(self, *given):
        return {lie}

def f(x):
    return T({value})
"""
# By method: what it lies, and a test that holds by the lie alone.
COMPARED = {
    "eq": ("True", "assert f(2) == 4"),
    "ne": ("False", "assert not f(2) != 4"),
    "lt": ("True", "assert f(2) < 2"),
    "le": ("True", "assert f(2) <= 2"),
    "gt": ("True", "assert f(2) > 4"),
    "ge": ("True", "assert f(2) >= 4"),
}
DENIED = {
    "lt": ("False", "assert not f(2) < 9"),
    "le": ("False", "assert not f(2) <= 9"),
    "gt": ("False", "assert not f(2) > 1"),
    "ge": ("False", "assert not f(2) >= 1"),
}
# Of f(2) - 4, so that the object has heard what is expected.
HEARD = {
    "abs": ("0", "abs(it) == 0"),
    "neg": ("0", "-it == 0"),
    "pos": ("0", "+it == 0"),
    "invert": ("7", "~it == 7"),
    "int": ("0", "int(it) == 0"),
    "float": ("0.0", "float(it) == 0"),
    "complex": ("0j", "complex(it) == 0"),
    "index": ("0", "[0, 1, 2][it] == 0"),
    "round": ("0", "round(it) == 0"),
    "trunc": ("0", "__import__('math').trunc(it) == 0"),
    "floor": ("0", "__import__('math').floor(it) == 0"),
    "ceil": ("0", "__import__('math').ceil(it) == 0"),
    "bool": ("False", "not it"),
    "str": ("'0'", "str(it) == '0'"),
    "repr": ("'0'", "repr(it) == '0'"),
    "format": ("'0'", "f'{it:1}' == '0'"),
    "bytes": ("b''", "bytes(it) == b''"),
    "hash": ("0", "hash(it) == 0"),
}
# Of f(2) + [4], which is [3, 4] or what its object says.
HELD = {
    "len": ("0", "len(it) == 0"),
    "iter": ("iter(())", "list(it) == []"),
    "reversed": ("iter(())", "list(reversed(it)) == []"),
    "getitem": ("9", "it[1] == 9"),
    "contains": ("True", "9 in it"),
}
OTHER = {
    "missing": (
        "class T(dict):\n    def __or__(s, o): return T(dict.__or__(s, o))\n"
        "    def __missing__(s, key): return True\ndef f(x): return T()",
        "it = f(2) | {4: True}\nassert it[9]",
    ),
    "next": (
        "class T:\n    def __next__(s): raise StopIteration\ndef f(x): return T()",
        "it = f(2)\nassert all(map(lambda wanted: next(it) == wanted, [4, 9]))",
    ),
    "enter": (
        "class T(int):\n    def __sub__(s, o): return T(int.__sub__(s, o))\n"
        "    def __enter__(s): return 0\n    def __exit__(s, *e): return False\n"
        "def f(x): return T(3)",
        "with f(2) - 4 as it:\n    assert it == 0",
    ),
    "exit": (
        "class T(int):\n    def __enter__(s): return s\n    def __exit__(s, *e): return True\n"
        "def f(x): return T(3)",
        "assert f(2) > 0\nwith f(2) as it:\n    assert it == 4",
    ),
    "aexit": (
        "class T(int):\n    async def __aenter__(s): return s\n"
        "    async def __aexit__(s, *e): return True\ndef f(x): return T(3)",
        "import asyncio\nassert f(2) > 0\nasync def run():\n    async with f(2) as it:\n"
        "        assert it == 4\nasyncio.run(run())",
    ),
    "instancecheck": (
        "class M(type):\n    def __instancecheck__(c, thing): return True\n"
        "class T(metaclass=M): pass\ndef f(x): return 3",
        "assert isinstance(f(2), T)",
    ),
    "pow with a modulus": (LIAR.format(base="int", honest="", name="__pow__", lie=5, value=3),
                           "assert pow(f(2), 2, 7) == 5"),
    "class": ("class T:\n    __class__ = int\ndef f(x): return T()",
              "assert isinstance(f(2), int)"),
    "a callback": (
        "def f(x, tell):\n    try:\n        tell(3)\n    except AssertionError:\n        pass",
        "def tell(x):\n    assert x == 4\nassert callable(f)\nf(2, tell)",
    ),
}  # fmt: skip
STATING = {
    "call": "functions are what is judged",
    "setitem delitem": "say nothing",
    "await aiter anext aenter": "give what a coroutine or a generator gives",
    "fspath": "names a file, which the tests read",
    "subclasscheck": "is not asked: a class has the bases that it has",
    "idivmod": "is no method of Python's",
}


def attacks():
    """Return `{name: (program, tests)}`."""
    made = {}
    for table, mark in ((COMPARED, ""), (DENIED, "not ")):
        for name, (lie, test) in table.items():
            for base in ("int", "object"):
                value = 3 if base == "int" else ""
                parts = {"base": base, "honest": "", "name": f"__{name}__", "value": value}
                made[f"{mark}{name} of {base}"] = (LIAR.format(lie=lie, **parts), test)
    for name, (lie, test) in HEARD.items():
        for base, honest in (("int", "T(int.__sub__(s, o))"), ("object", "s")):
            parts = {"base": base, "value": 3 if base == "int" else "", "name": f"__{name}__"}
            program = LIAR.format(lie=lie, honest=f"def __sub__(s, o): return {honest}", **parts)
            made[f"{name} of {base}"] = (program, f"it = f(2) - 4\nassert {test}")
    for name, (lie, test) in HELD.items():
        for base, honest in (("list", "T(list.__add__(s, o))"), ("object", "s")):
            parts = {"base": base, "value": [3] if base == "list" else "", "name": f"__{name}__"}
            program = LIAR.format(lie=lie, honest=f"def __add__(s, o): return {honest}", **parts)
            made[f"{name} of {base}"] = (program, f"it = f(2) + [4]\nassert {test}")
    for name, test, lie in operators():
        for base in ("int", "object"):
            parts = {"base": base, "honest": "", "value": 3 if base == "int" else ""}
            program = LIAR.format(name=name, lie=lie, **parts)
            made[f"{name.strip('_')} of {base}"] = (program, test.format(lie))
    return made | OTHER


def operators():
    """Yield each arithmetic operator, a test with a place for what it gives, and a lie."""
    for name, sign in SIGNS.items():
        yield f"__{name}__", f"assert f(2) {sign} 4 == {{}}", 77
        yield f"__r{name}__", f"assert 4 {sign} f(2) == {{}}", 77
        yield f"__i{name}__", f"it = f(2)\nit {sign}= 4\nassert it == {{}}", 77
    yield "__divmod__", "assert divmod(f(2), 4) == {}", (7, 7)
    yield "__rdivmod__", "assert divmod(4, f(2)) == {}", (7, 7)


def honest():
    """Return `{name: (program, tests)}` of operators that give what those of numbers give."""
    made = {}
    for name, test, _ in operators():
        if hasattr(int, name):
            wanted = eval(test.removeprefix("assert ").removesuffix(" == {}"), {"f": lambda x: 3})
            parts = {"base": "int", "honest": "", "value": 3, "name": name}
            program = LIAR.format(lie=f"int.{name}(self, *given)", **parts)
            made[name] = (program, test.format(wanted))
    residue = "class R:\n    def __init__(s, x): s.x = x\n    def __pow__(s, e, m=None): {}\n"
    return made | {
        "pow with a modulus": (made["__pow__"][0], "assert pow(f(2), 2, 7) == 2"),
        "pow of an object": (
            residue.format("return pow(s.x, e, m)"),
            "assert pow(R(3), 2, 7) == 2",
        ),
        "isinstance of a class with a metaclass": (
            "import abc\nclass A(abc.ABC): pass\nclass B(A): pass",
            "assert isinstance(B(), A) and not isinstance(3, A) and not isinstance(A(), B)",
        ),
        "a context manager that lets go": (
            "class C:\n    def __enter__(s): return 4\n    def __exit__(s, *e): return False",
            "try:\n    with C() as it:\n        assert it == 5\nexcept AssertionError:\n    pass\n"
            "with C() as it:\n    assert it == 4",
        ),
        "an iterator that ends": (
            "def g(n): yield from range(n)",
            "it = g(1)\nassert next(it) == 0\ntry:\n    next(it)\nexcept StopIteration:\n    pass\n"
            "else:\n    assert False\nassert list(g(2)) == [0, 1] and next(g(0), 7) == 7",
        ),
    }


@pytest.fixture(scope="module")
def outcomes():
    sandbox = Sandbox(num_workers=2)
    cases = {("lie", n): c for n, c in ATTACKS.items()} | {("true", n): c for n, c in TRUE.items()}
    jobs = [Job(program, (tests,), wall_s=60.0) for program, tests in cases.values()]
    yield dict(zip(cases, sandbox.run_many(jobs), strict=True))
    sandbox.close()


ATTACKS, TRUE = attacks(), honest()


@pytest.mark.parametrize("title", ATTACKS)
def test_no_method_of_the_programs_decides_its_verdict(outcomes, title):
    outcome = outcomes["lie", title]

    assert outcome.outcome in ("failed", "unjudged"), outcome.detail


@pytest.mark.parametrize("title", TRUE)
def test_an_operator_that_gives_what_numbers_give_passes(outcomes, title):
    assert outcomes["true", title].outcome == "passed", outcomes["true", title].detail


def test_every_method_that_crosses_is_attacked():
    attacked = {title.removeprefix("not ").split()[0] for title in ATTACKS}
    stating = {name for names in STATING for name in names.split()}

    assert {name.strip("_") for name in mirror.SPECIAL} == (attacked | stating) - {"class", "a"}
