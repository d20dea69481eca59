"""`rlpeft generate` on the tiny base model, as a person types it."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.experts.files import load_expert
from rlpeft.files import write_json
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import SvfAdapter


@pytest.fixture(scope="module")
def experts(tmp_path_factory, make_expert, tiny_start):
    """Two experts of the tiny base: one is the base itself, one ruins it."""
    root = tmp_path_factory.mktemp("experts")
    card = {
        "config": dict(tiny_start.config),
        "adapter": {"type": "svf"},
        "base_digest": model_digest(resolve_model("tiny")),
    }
    ruined = {name: torch.zeros_like(z) for name, z in tiny_start.tensors.items()}
    make_expert(
        "same", tiny_start.tensors, folder=root / "same", task={"name": "tiny/swap"}, **card
    )
    make_expert("ruin", ruined, folder=root / "ruin", task={"name": "tiny/sort"}, **card)
    return root


def cli(*arguments):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)])


def words(result):
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def answers(*arguments):
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["answers"]


def test_a_named_expert_answers_and_is_named(experts):
    same, base, ruin = (
        answers("3714@=", "--experts", experts, "--strategy", name, "--max-tokens", 8)[0]
        for name in ("same", "base", "ruin")
    )
    assert same["text"] == base["text"] != ruin["text"]
    assert (same["expert"], ruin["expert"]) == ("same", "ruin")
    result = cli("3714@=", "--experts", experts, "--strategy", "same", "--max-tokens", 8)
    assert f"[same: named]\n{same['text']}" in result.stdout


@pytest.mark.slow
def test_an_answer_ends_where_its_expert_was_trained_to_end_unless_told_otherwise(
    experts, tmp_path, make_expert
):
    trained = load_expert(experts / "same")
    for name, stop in (("first", ("3",)), ("second", ("1",)), ("whole", ())):
        card = trained.card.model_dump(include={"adapter", "base_digest", "task"}) | {"stop": stop}
        make_expert(name, trained.tensors, config=trained.config, folder=tmp_path / name, **card)
    ask = ("3714@=", "--experts", tmp_path, "--max-tokens", 8, "--strategy")
    whole, first, second = (answers(*ask, name)[0] for name in ("whole", "first", "second"))
    assert {"3", "1"} < set(whole["text"])
    assert first["text"] == whole["text"].partition("3")[0] + "3"
    assert second["text"] == whole["text"].partition("1")[0] + "1"
    assert answers(*ask, "first", "--stop", "1")[0]["text"] == second["text"]
    assert answers(*ask, "first", "--stop", "")[0]["text"] == whole["text"]


def test_answers_are_as_long_as_in_the_training_where_that_is_known(experts, tmp_path):
    unknown = cli("3714@=", "--experts", experts, "--strategy", "same")
    assert "at most 256 tokens, where no training says how many" in words(unknown)
    for name, length in (("same", 3), ("ruin", 9)):
        shutil.copytree(experts / name, tmp_path / name / "expert")
        write_json(tmp_path / name / "recipe.json", {"rollout": {"max_tokens": length}})
    for strategy, length in (("same", 3), ("prompt", 9)):
        known = cli("3714@=", "--experts", tmp_path, "--strategy", strategy)
        assert f"at most {length} tokens, as in the training" in words(known)


def test_a_file_of_prompts_becomes_a_file_of_answers(experts, tmp_path):
    # U+2028 within a text is a letter of it, and ends no line.
    rows = ['{"prompt": "37\u202814@="}', "", '{"prompt": [{"role": "user", "content": "1234:="}]}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8-sig")
    out = tmp_path / "out.jsonl"
    result = cli(
        "--file", tmp_path / "in.jsonl", "--out", out, "--experts", experts, "--strategy", "prompt"
    )
    assert result.exit_code == 0, result.output
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in written] == [
        "37\u202814@=",
        [{"role": "user", "content": "1234:="}],
    ]
    assert all({"expert", "why", "text", "finish_reason"} <= set(row) for row in written)


@pytest.mark.slow
def test_a_row_of_a_file_may_show_an_image(tiny_vision, make_expert, make_image, tmp_path):
    base = BaseModel.open(str(tiny_vision))
    state = adapter_state(attach_adapter(base.model(), SvfAdapter(), seed=0), 0)
    make_expert(
        "seeing",
        state.tensors,
        config=dict(state.config),
        folder=tmp_path / "seeing",
        adapter={"type": "svf"},
        base_digest=base.digest,
        base_model=str(tiny_vision),
    )
    for seed in range(2):
        make_image(seed, folder=tmp_path)
    shown = ("0.png", "1.png", ["0.png"], None)
    rows = [json.dumps({"prompt": "Which?", "image": image}) for image in shown]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    ask = ("--file", tmp_path / "in.jsonl", "--experts", tmp_path, "--strategy", "seeing")
    first, second, again, none = (row["text"] for row in answers(*ask, "--max-tokens", 12))
    assert first == again
    assert len({first, second, none}) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "in.jsonl' line 1 must be one JSON object"),
        ('{"question": "x"}', "must be a JSON object with a 'prompt'"),
        ('{"prompt": 3}', "non-empty text or a list of"),
        ("", "is empty"),
        ('{"prompt": "x", "image": "no.png"}', "in.jsonl:1 must name images that are there"),
    ],
)
def test_a_bad_line_is_named(experts, tmp_path, line, message):
    path = tmp_path / "in.jsonl"
    path.write_text(line)
    result = cli("--file", path, "--experts", experts)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either one PROMPT or --file"),
        (("",), "PROMPT must hold something to answer, got ''"),
        ((" \n",), "PROMPT must hold something to answer"),
        (("what", "is 1"), "got 2. Several are asked by --file FILE"),
        (("x", "--strategy", "copy"), "one of the experts"),
    ],
)
def test_a_mistake_is_one_line(experts, arguments, message):
    result = cli(*arguments, "--experts", experts)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_folder_without_experts_is_told(tmp_path):
    result = cli("x", "--experts", tmp_path)
    assert result.exit_code == 1
    assert "there is none at or below" in result.output
