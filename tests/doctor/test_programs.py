"""The doctor tells of rows whose programs or tests import what the sandbox lacks."""

import pytest

from rewards.code.imports import foreign_imports
from rlpeft.doctor.programs import check_programs
from rlpeft.types import Problem


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import numpy as np\nassert f(np.ones(2)) == 2", {"numpy"}),
        ("def f():\n    from sklearn.svm import SVC", {"sklearn"}),
        ("import math, os.path\nfrom collections import Counter", set()),
        ("import pytest\nfrom solution import f\nfrom . import g", set()),
        ("numpy is imported by import numpy", set()),
    ],
)
def test_imports_beside_the_standard_library_are_found(code, modules):
    assert foreign_imports(code) == modules


def test_rows_whose_tests_or_solutions_import_them_are_counted():
    problems = [
        Problem("t/train/0", "p", "assert f(1) == 1", {"solution": "def f(x): return x"}),
        Problem("t/train/1", "p", "assert f(1)", {"solutions": ["import numpy\nf = numpy.abs"]}),
        Problem("t/train/2", "p", "", {"answer": {"test": "import numpy\nimport pandas"}}),
    ]
    (check,) = check_programs(problems)
    assert check.status == "warn"
    assert "numpy in 2 of 3 rows (first t/train/1), pandas in 1 of 3 rows" in check.found


def test_rows_of_the_standard_library_are_fine():
    (check,) = check_programs([Problem("a", "p", "import math\nassert f(math.pi)", {})])
    assert check.status == "ok"
