"""The rules of the layout, read from the source: imports go down, files and functions are small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for name in ("rlpeft", "rewards", "jobs") for p in (ROOT / name).rglob("*.py"))

# A module may import only from layers below its own. Longest prefix wins.
LAYERS = {
    "rlpeft.cli": 6,
    "jobs": 5,
    "rlpeft.build": 4.5,
    "rlpeft.doctor": 4.7,
    "rlpeft.checks": 4.6,
    "rlpeft.export": 4.5,
    "rlpeft.export_config": 4.4,
    "rlpeft.report": 4.5,
    "rlpeft.report_charts": 4.4,
    "rlpeft.report_answers": 4.3,
    "rlpeft.report_tokens": 4.2,
    "rlpeft.console": 4.5,
    "rlpeft.charts": 4.2,
    "rlpeft.supervised": 4.1,
    "rlpeft.adapt": 4,
    "rlpeft.trainer": 4,
    "rlpeft.collect": 3.5,
    "rlpeft.metrics": 3.45,
    "rlpeft.specimen": 3.4,
    "rlpeft.trackers": 3.4,
    "rlpeft.compare": 3.3,
    "rlpeft.mixing": 3.3,
    "rlpeft.transfer": 3.4,
    "rlpeft.steps": 3.3,
    "rlpeft.model_card": 3.3,
    "rlpeft.experts": 3.2,
    "rlpeft.evaluate": 3.1,
    "rlpeft.rollout": 3,
    "rlpeft.learner": 3,
    "rlpeft.checkpoint": 3,
    "rlpeft.forward": 2.8,
    "rlpeft.policy": 2.5,
    "rlpeft.analysis": 2.5,
    "rlpeft.adapters": 2,
    "rlpeft.tasks": 2,
    "rlpeft.fetch": 2,
    "rlpeft.gguf_text": 1.1,
    "rlpeft.loss": 2,
    "rlpeft.advantage": 2,
    "rlpeft.packing": 2,
    "rlpeft.cem": 2,
    "rlpeft.digests": 1.7,
    "rlpeft.tokenizer_digest": 1.7,
    "rlpeft.models": 1.5,
    "rlpeft.probe": 1.6,
    "rlpeft.weight_files": 1.3,
    "rlpeft.eos": 1.4,
    "rlpeft.prompts": 1.3,
    "rlpeft.chat": 1.2,
    "rlpeft.pieces": 1.2,
    "rlpeft.specials": 1.1,
    "rlpeft.factors": 1,
    "rlpeft.adapter_state": 1,
    "rlpeft.geometry": 1,
    "rlpeft.group_attention": 1,
    "rlpeft.measures": 1,
    "rlpeft.scorer": 1.1,
    "rlpeft.config": 1,
    "rlpeft.mechanisms": 0.9,
    "rlpeft.adapter_config": 0.5,
    "rlpeft.rollout_config": 0.6,
    "rlpeft.task_config": 0.6,
    "rlpeft.reward_config": 0.7,
    "rlpeft.reward_code": 0.7,
    "rlpeft.templates": 0.5,
    "rlpeft.files": 0.3,
    "rlpeft.layout": 0,
    "rlpeft.suggest": 0,
    "rlpeft.typed": 0,
    "rlpeft.shadow": -1,
    "rlpeft.types": 0,
    "rlpeft.errors": 0,
    "rlpeft": 0,
    "rewards": 0,
}

# The code sandbox runs programs and tests, in confined processes of their own.
SANDBOXED = ("rewards.code.program", "rewards.code.judge", "rewards.code.script")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> tuple[str, float]:
    prefix = max((p for p in LAYERS if f"{module}.".startswith(f"{p}.")), key=len)
    return prefix, LAYERS[prefix]


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down_only(path):
    own_prefix, own = layer(module_name(path))
    for name in imports(ast.parse(path.read_text())):
        if name.split(".")[0] not in ("rlpeft", "rewards", "jobs"):
            continue
        prefix, level = layer(name)
        assert prefix == own_prefix or level < own, f"{module_name(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_ray_and_vllm_stay_in_their_places(path):
    names = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    module = module_name(path)
    assert "ray" not in names or module.startswith("jobs")
    allowed = ("rlpeft.rollout.vllm_engine", "rlpeft.rollout.vllm_plugin", "jobs.bench")
    assert "vllm" not in names or module.startswith(allowed)


def test_rewards_import_nothing_of_ours():
    for path in (ROOT / "rewards").rglob("*.py"):
        names = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
        assert not names & {"rlpeft", "jobs", "torch", "ray"}, path


LIGHT = ("rlpeft", "rewards", "rlpeft.config", "rlpeft.cli", "rlpeft.scorer", "jobs")
LIGHT += ("jobs.attend", "jobs.watchdog", "jobs.reward_actor")


@pytest.mark.parametrize("package", LIGHT)
def test_importing_a_package_loads_no_heavy_library(package):
    code = (
        f"import sys, {package}; "
        "print(sorted({'torch', 'ray', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_keep_their_ceilings(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, f"{path} has more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} in {path} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_untrusted_text_is_never_evaluated(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            # The code sandbox is what runs programs, in confined processes of their own.
            confined = module_name(path) in SANDBOXED
            assert confined or node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            raise AssertionError(f"{path}:{node.value.lineno} starts a shell")
    names = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    # `reward check` pickles the user's own function, to say whether workers can take it.
    writes_only = module_name(path) == "jobs.reward" and "pickle.load" not in path.read_text()
    assert writes_only or not names & {"pickle", "marshal", "shelve", "dill"}, path


def test_every_config_field_is_read_somewhere():
    """No dead options: each field of a recipe is read outside config.py."""
    configs = [
        ROOT / "rlpeft" / name
        for name in (
            "config.py",
            "adapter_config.py",
            "reward_config.py",
            "rollout_config.py",
            "task_config.py",
            "adapt/config.py",
        )
    ]
    bodies = [ast.parse(path.read_text()).body for path in configs]
    classes = [n for body in bodies for n in body if isinstance(n, ast.ClassDef)]
    fields = {
        n.target.id
        for c in classes
        for n in c.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    used: set[str] = set()
    for path in SOURCES:
        if path not in configs:
            nodes = ast.walk(ast.parse(path.read_text()))
            used |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    assert fields - used - {"type"} == set()
