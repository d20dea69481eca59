"""The rules of the layout, read from the source: imports go down, files and functions are small."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("rewards", "rlpeft", "jobs")

# A folder imports from lower floors and from itself. The longest name wins: what has no floor of
# its own stands on its package's.
FLOORS = {
    "rewards": 0,
    "rlpeft": 1,
    "rlpeft.recipe": 2,
    "rlpeft.tokens": 2,
    "rlpeft.models": 3,
    "rlpeft.tasks": 3,
    "rlpeft.adapters": 4,
    "rlpeft.runs": 4,
    "rlpeft.scoring": 4,
    "rlpeft.analysis": 5,
    "rlpeft.experts": 5,
    "rlpeft.rollout": 5,
    "rlpeft.evaluate": 6,
    "rlpeft.choose": 7,
    "rlpeft.search": 7,
    "rlpeft.serve": 7,
    "rlpeft.training": 7,
    "rlpeft.build": 8,
    "rlpeft.report": 8,
    "rlpeft.doctor": 9,
    "rlpeft.model_checks": 9,
    "rlpeft.program": 10,
    "jobs": 11,  # the parts that the rooms and roots below share
    "jobs.recipes": 11,
    "jobs.cluster": 12,
    "jobs.exams": 12,
    "jobs.evaluate": 13,
    "jobs.adapt": 14,
    "jobs.evaluation": 14,
    "jobs.generate": 14,
    "jobs.serve": 14,
    "jobs.sft": 14,
    "jobs.train": 14,
    "jobs.bench": 15,
    "jobs.cem": 15,
    "jobs.models": 15,
    "jobs.studies": 15,
    "jobs.cli": 16,
    "jobs.site": 17,
}

# The same within rewards, whose package is the door to all of them.
REWARDS = {
    "rewards": 12,
    "rewards.errors": 0,
    "rewards.verdict": 0,
    "rewards.blame": 0,
    "rewards.moved": 0,
    "rewards.registry": 0,
    "rewards.completion": 1,
    "rewards.workers": 1,
    "rewards.code": 2,
    "rewards.math.limits": 1,
    "rewards.math.nodes": 1,
    "rewards.math.policy": 1,
    "rewards.math.vocabulary": 1,
    "rewards.math.read": 2,
    "rewards.math.find": 3,
    "rewards.math.compare": 3,
    "rewards.math.evaluate": 3,
    "rewards.math": 4,
    "rewards.verify": 5,
    "rewards.golds": 5,
    "rewards.reading": 5,
    "rewards.text": 6,
    "rewards.several": 6,
    "rewards.votes": 6,
    "rewards.dialects": 6,
    "rewards.signatures": 7,
    "rewards.plugins": 8,
    "rewards.hosted": 9,
    "rewards.environments": 10,
    "rewards.scorer": 10,
}

# Libraries that are imported in these places alone.
PLACES = {
    "ray": ("jobs.cluster", "jobs.cem", "jobs.studies", "jobs.bench"),
    "vllm": ("rlpeft.rollout.vllm", "rlpeft.serve", "jobs.bench"),
    "typer": ("jobs.cli", "jobs.site"),
}

# The code sandbox runs programs and tests, in confined processes of their own.
SANDBOXED = ("rewards.code.program", "rewards.code.judge.process", "rewards.code.script")

Sources = Mapping[str, ast.Module]


def read_sources(root: Path) -> dict[str, ast.Module]:
    """Every module of our packages below `root`."""
    found = {}
    for path in sorted(path for name in OURS for path in (root / name).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


@cache
def sources() -> dict[str, ast.Module]:
    return read_sources(ROOT)


def is_within(module: str, place: str) -> bool:
    return f"{module}.".startswith(f"{place}.")


def room(module: str, floors: Mapping[str, int] = FLOORS) -> str:
    return max((place for place in floors if is_within(module, place)), key=len)


def is_door(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` is how a module is run, and no import of it."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def imports(tree: ast.Module, modules: Mapping[str, object]) -> Iterator[str]:
    """What a module imports, anywhere in it; `from X import Y` is X.Y where that is a module."""
    for node in (n for top in tree.body if not is_door(top) for n in ast.walk(top)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def climbs(found: Sources, floors: Mapping[str, int] = FLOORS) -> list[str]:
    """Imports that do not go down."""
    wrong = []
    for module, tree in found.items():
        own = room(module, floors)
        for name in sorted(set(imports(tree, found))):
            if name.split(".")[0] not in OURS:
                continue
            other = room(name, floors)
            if other != own and not floors[other] < floors[own]:
                wrong.append(f"{module} imports {name}")
    return wrong


def strays(found: Sources, places: Mapping[str, tuple[str, ...]] = PLACES) -> list[str]:
    """Imports of a library outside its places."""
    return [
        f"{module} imports {library}"
        for module, tree in found.items()
        for library in sorted({name.split(".")[0] for name in imports(tree, found)} & {*places})
        if not any(is_within(module, place) for place in places[library])
    ]


def test_imports_go_down_only():
    assert climbs(sources()) == []


def test_floors_are_whole_numbers_and_every_room_has_one():
    assert all(type(floor) is int for floor in FLOORS.values())
    rooms = {f"rlpeft.{path.parent.name}" for path in (ROOT / "rlpeft").glob("*/__init__.py")}
    rooms |= {f"jobs.{path.parent.name}" for path in (ROOT / "jobs").glob("*/__init__.py")}
    assert rooms <= {*FLOORS}


def test_libraries_stay_in_their_places():
    assert strays(sources()) == []


def test_rewards_import_nothing_of_ours():
    for module, tree in sources().items():
        if is_within(module, "rewards"):
            names = {name.split(".")[0] for name in imports(tree, sources())}
            assert not names & {"rlpeft", "jobs", "torch", "ray"}, module


def test_imports_within_rewards_go_down_only():
    found = {module: tree for module, tree in sources().items() if is_within(module, "rewards")}
    assert climbs(found, REWARDS) == []


SMALL = {"rewards": 0, "rlpeft": 1, "rlpeft.low": 2, "rlpeft.high": 3, "rlpeft.beside": 3}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("rlpeft/low/a.py", "import rlpeft.high.b", "rlpeft.low.a imports rlpeft.high.b"),
        ("rlpeft/low/a.py", "from rlpeft.high import b", "rlpeft.low.a imports rlpeft.high.b"),
        ("rlpeft/low/a.py", "from rlpeft.high.b import f", "rlpeft.low.a imports rlpeft.high.b"),
        ("rlpeft/low/a.py", "from rlpeft import high", "rlpeft.low.a imports rlpeft.high"),
        ("rlpeft/a.py", "from rlpeft.low import c", "rlpeft.a imports rlpeft.low.c"),
        ("rlpeft/high/a.py", "from rlpeft import beside", "rlpeft.high.a imports rlpeft.beside"),
        ("rewards/a.py", "import rlpeft", "rewards.a imports rlpeft"),
        (
            "rlpeft/low/a.py",
            "def f():\n    from rlpeft.high import b",
            "rlpeft.low.a imports rlpeft.high.b",
        ),
    ],
)
def test_an_import_that_climbs_is_found(tmp_path, file, text, said):
    assert climbs(small_tree(tmp_path, {file: text}), SMALL) == [said]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rlpeft/high/a.py", "from rlpeft.low import c"),
        ("rlpeft/high/a.py", "from rlpeft.high import b"),
        ("rlpeft/high/a.py", "import rewards"),
        ("rlpeft/low/a.py", "if __name__ == '__main__':\n    from rlpeft.high import b"),
    ],
)
def test_an_import_that_goes_down_is_not(tmp_path, file, text):
    assert climbs(small_tree(tmp_path, {file: text}), SMALL) == []


def test_a_library_out_of_its_place_is_found(tmp_path):
    found = small_tree(tmp_path, {"rlpeft/low/a.py": "from ray.util import x\nimport vllm.config"})
    places = {"ray": ("rlpeft.high",), "vllm": ("rlpeft.low",)}
    assert strays(found, places) == ["rlpeft.low.a imports ray"]


def small_tree(root: Path, files: Mapping[str, str]) -> dict[str, ast.Module]:
    empty = ("__init__", "low/__init__", "low/c", "high/__init__", "high/b", "beside/__init__")
    for name, text in {**{f"rlpeft/{name}.py": "" for name in empty}, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "rewards").mkdir(exist_ok=True)
    (root / "rewards" / "__init__.py").touch()
    return read_sources(root)


LIGHT = ("rlpeft", "rewards", "rlpeft.recipe.run", "rlpeft.recipe.scorer", "jobs", "jobs.cli")
LIGHT += (
    "rlpeft.models.base",
    "jobs.cluster.driver_exit",
    "jobs.cluster.reaper",
    "jobs.cluster.reward_actor",
)


@pytest.mark.parametrize("package", LIGHT)
def test_importing_a_package_loads_no_heavy_library(package):
    code = (
        f"import sys, {package}; "
        "print(sorted({'torch', 'ray', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def all_files() -> list[Path]:
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", all_files(), ids=named)
def test_files_and_functions_keep_their_ceilings(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, f"{path} has more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} in {path} has {length} lines"


def test_untrusted_text_is_never_evaluated():
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                # The code sandbox is what runs programs, in confined processes of their own.
                allowed = module in SANDBOXED or node.func.id not in ("eval", "exec")
                assert allowed, f"{module}:{node.lineno}"
            assert not (isinstance(node, ast.keyword) and node.arg == "shell"), module


def test_nothing_is_unpickled():
    for module, tree in sources().items():
        names = {name.split(".")[0] for name in imports(tree, sources())}
        assert not names & {"pickle", "marshal", "shelve", "dill"}, module


def test_every_config_field_is_read_somewhere():
    """No dead options: each field of a recipe is read outside the recipe's room."""
    fields, used = set(), set()
    for module, tree in sources().items():
        if not is_within(module, "rlpeft.recipe"):
            used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            continue
        methods = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        used |= {n.attr for m in methods for n in ast.walk(m) if isinstance(n, ast.Attribute)}
        classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
        fields |= {
            node.target.id
            for found in classes
            for node in found.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
    assert fields - used - {"type"} == set()
