"""Mutated files, a hundred and more: each is read as what it was, or refused in one line.

Mutations are drawn by a seed each, so a failure can be run again by its number alone.
"""

import json
import random
import shutil
import warnings

import pytest
import torch

from jobs.cluster.ending import in_one_line
from rlpeft.build import read_data
from rlpeft.experts.files import load_expert
from rlpeft.models.base import BaseModel
from rlpeft.program.run import run
from rlpeft.recipe.run import load_recipe
from rlpeft.recipe.scorer import build_scorer
from rlpeft.report.page import write_report
from rlpeft.runs.checkpoint import load_checkpoint, save_checkpoint
from rlpeft.tasks.catalogue import load_task

SEEDS = range(25)

RECIPE = """
name = "mutated"
[model]
name = "tiny"
dtype = "float32"
[task]
name = "jsonl"
path = "{data}"
num_validation = 4
num_test = 4
options = {{ template = "{{question}}=" }}
[adapter]
type = "svf"
[rollout]
max_tokens = 6
temperature = 0.7
[[reward]]
name = "exact"
weight = 1.0
[learner]
lr = 0.05
betas = [0.9, 0.99]
[train]
steps = 2
seed = 7
prompts_per_step = 2
group_size = 2
report_to = []
"""
ROWS = [{"question": f"{n}+{n}", "answer": str(2 * n)} for n in range(20)]

ODD_BYTES = (b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"[" * 5000, b'"', b"}", b"\n\n", b"nan", b"-")
ODD_VALUES = (
    None,
    True,
    [],
    {},
    "",
    "\x00",
    -1,
    10**400,
    float("nan"),
    float("inf"),
    "../../x",
    [[1]],
    {"a": {"b": 1}},
    "x" * 5000,
    "\ud800",
)


def mutated_bytes(content, draw):
    """One of five harms to a file's bytes."""
    at, end = sorted((draw.randrange(len(content) + 1), draw.randrange(len(content) + 1)))
    kind = draw.randrange(5)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + content[end:]
    if kind == 2:
        return content[:at] + draw.choice(ODD_BYTES) + content[at:]
    if kind == 3:
        return content[:at] + content[at:end] * 2 + content[end:]
    flipped = bytearray(content)
    for _ in range(draw.randrange(1, 9)):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def mutated_tree(tree, draw):
    """JSON of a tree in which one value is another, gone, or under another name."""
    tree = json.loads(json.dumps(tree))
    parents = [tree]
    for node in parents:  # grows while it is walked
        children = node.values() if isinstance(node, dict) else node
        parents += [child for child in children if isinstance(child, dict | list) and child]
    parent = draw.choice(parents)
    key = draw.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    kind = draw.randrange(4)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    else:
        parent[key] = draw.choice(ODD_VALUES)
    return json.dumps(tree).encode()


def mutate(path, draw):
    """Harm a file, or put a folder in its place, or take it away."""
    content, kind = path.read_bytes(), draw.randrange(10)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.unlink()
        path.mkdir()
    elif kind < 6 and path.suffix == ".json":
        path.write_bytes(mutated_tree(json.loads(content), draw))
    else:
        path.write_bytes(mutated_bytes(content, draw))


def refusal(read):
    """The line a reader refuses with, or what it read."""
    try:
        return None, read()
    except Exception as error:
        line = in_one_line(error)
        if line is None:  # a defect of ours: the test shall show where
            raise
        assert "\n" not in line
        return line, None


@pytest.fixture(scope="module")
def files(tmp_path_factory, make_expert):
    """A recipe with its data, an expert and a checkpoint."""
    root = tmp_path_factory.mktemp("whole")
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    make_expert("x", {"base_model.model.up_proj.svf_z": torch.arange(9.0)}, folder=root / "expert")
    tree = {"progress": {"step": 3, "cursor": 12}, "learner": {0: torch.arange(5.0), "lr": 0.1}}
    save_checkpoint(root / "run", 3, tree, keep=1)
    return root


@pytest.fixture
def copy(files, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(files, root)
    (root / "recipe.toml").write_text(RECIPE.format(data=root / "data.jsonl"))
    tree = load_recipe(root / "recipe.toml").model_dump(mode="json")
    (root / "recipe.json").write_text(json.dumps(tree))
    return root


def prepare(path):
    """All that a run reads before it loads a model."""
    recipe = load_recipe(path)
    data = read_data(recipe, BaseModel.open(recipe.model.name))
    scorer = build_scorer(recipe.rewards)
    try:
        data.check(scorer)
    finally:
        scorer.close()
    return recipe


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_recipe_is_valid_or_refused(copy, seed):
    draw = random.Random(f"recipe {seed}")
    path = copy / draw.choice(["recipe.toml", "recipe.json"])
    mutate(path, draw)
    line, recipe = refusal(lambda: prepare(path))
    if line is None:
        assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_data_file_is_read_whole_or_refused(copy, seed):
    draw = random.Random(f"data {seed}")
    mutate(copy / "data.jsonl", draw)
    line, recipe = refusal(lambda: prepare(copy / "recipe.toml"))
    if line is None:
        task = load_task(recipe.task)
        assert all(type(p.answer) is str and p.answer for p in task.split("train"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_expert_is_what_it_was_or_refused(files, copy, seed):
    draw = random.Random(f"expert {seed}")
    expected = load_expert(files / "expert")
    mutate(draw.choice(sorted((copy / "expert").iterdir())), draw)
    line, found = refusal(lambda: load_expert(copy / "expert", base_digest="b" * 64))
    if line is None:
        assert found.tensors.keys() == expected.tensors.keys()
        assert all(torch.equal(found.tensors[n], t) for n, t in expected.tensors.items())
    else:
        assert str(copy / "expert") in line


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_checkpoint_is_what_it_was_or_refused(files, copy, seed):
    draw = random.Random(f"checkpoint {seed}")
    expected = load_checkpoint(files / "run")
    folder = copy / "run" / "checkpoints" / "step_00000003"
    mutate(draw.choice(sorted(folder.iterdir())), draw)
    line, found = refusal(lambda: load_checkpoint(copy / "run"))
    if line is None:
        assert found["progress"] == expected["progress"]
        assert torch.equal(found["learner"][0], expected["learner"][0])
    else:
        assert str(folder) in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_quick):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(make_quick(train={"steps": 2}), folder)
    return folder


def digest(folder):
    return load_expert(folder / "expert").card.digest


READ = ("metrics.jsonl", "summary.json", "recipe.json", "fingerprint.json", "completions", "expert")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_run_is_reported_and_continued_or_refused(finished, make_quick, tmp_path, seed):
    draw = random.Random(f"run {seed}")
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    path = folder / draw.choice(READ)
    mutate(draw.choice(sorted(path.iterdir())) if path.is_dir() else path, draw)
    line, report = refusal(lambda: write_report(folder))
    assert line is not None or report.is_file()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # lost lines of metrics are a warning
        line, summary = refusal(lambda: run(make_quick(train={"steps": 2}), folder))
    if line is None:
        assert digest(folder) == summary["digest"] == digest(finished)
