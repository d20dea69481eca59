"""Checkpoints: whole or absent, bit-exact, and never another run's."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.errors import CheckpointError
from rlpeft.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from rlpeft.runs.fingerprint import check_fingerprint

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(tree=st.dictionaries(st.text(), plain, max_size=4))
def test_plain_values_come_back_equal(tmp_path_factory, tree):
    run = tmp_path_factory.mktemp("run")
    save_checkpoint(run, 1, tree, keep=1)
    assert load_checkpoint(run) == tree


def test_tensors_come_back_bit_for_bit(tmp_path):
    tree = {"a": torch.randn(3, 4), "deep": [{"b": torch.tensor(2.0, dtype=torch.bfloat16)}]}
    save_checkpoint(tmp_path, 1, tree, keep=1)
    loaded = load_checkpoint(tmp_path)
    assert torch.equal(loaded["a"], tree["a"])
    assert torch.equal(loaded["deep"][0]["b"], tree["deep"][0]["b"])
    assert loaded["deep"][0]["b"].dtype == torch.bfloat16


def test_an_optimizer_comes_back_with_its_integer_keys(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, 1, {"optimizer": optimizer.state_dict()}, keep=1)
    state = load_checkpoint(tmp_path)["optimizer"]
    assert torch.equal(state["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    torch.optim.AdamW([weight]).load_state_dict(state)


def test_the_newest_are_kept(tmp_path):
    for step in range(1, 6):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000004", "step_00000005"]
    assert load_checkpoint(tmp_path) == {"step": 5}


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert load_checkpoint(tmp_path) is None


def test_a_write_that_was_cut_off_leaves_the_older_one(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)
    (tmp_path / "checkpoints" / ".partial.x").mkdir()
    assert load_checkpoint(tmp_path) == {"step": 1}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.safetensors").write_bytes(b"no"),
        lambda folder: (folder / "state.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text('{"tree": {}}'),
    ],
)
def test_damage_is_named_and_the_file_left_alone(tmp_path, damage):
    folder = save_checkpoint(tmp_path, 3, {"a": torch.ones(2)}, keep=1)
    damage(folder)
    with pytest.raises(CheckpointError, match=r"step_00000003.*must be intact.*Delete"):
        load_checkpoint(tmp_path)
    assert folder.exists()


def test_a_changed_tensor_is_noticed(tmp_path):
    from safetensors.torch import save_file

    folder = save_checkpoint(tmp_path, 1, {"a": torch.ones(2)}, keep=1)
    save_file({"/a": torch.zeros(2)}, folder / "state.safetensors")
    with pytest.raises(CheckpointError, match="does not match its digest"):
        load_checkpoint(tmp_path)


def rewrite(folder, change):
    path = folder / "state.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["tree"]["progress"].update(cursor=9),
        lambda record: record["tree"]["progress"].pop("cursor"),
        lambda record: record["tree"]["learner"].update(num_steps=7),
        lambda record: record["tree"].pop("learner"),
        lambda record: record["tree"].update(more=1),
        lambda record: record.update(step=2),
        lambda record: record.pop("digest"),
        lambda record: record.pop("step"),
        lambda record: record.update(tree=[]),
    ],
)
def test_a_changed_number_or_key_is_noticed(tmp_path, change):
    tree = {"progress": {"cursor": 4}, "learner": {"num_steps": 1, "z": torch.ones(2)}}
    folder = save_checkpoint(tmp_path, 1, tree, keep=1)
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=r"step_00000001.*must be intact"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_under_another_steps_name_is_noticed(tmp_path):
    folder = save_checkpoint(tmp_path, 1, {"step": 1}, keep=1)
    folder.rename(folder.with_name("step_00000009"))
    with pytest.raises(CheckpointError, match="got the state of step 1"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["[]", "null", "3", "[" * 100_000, '{"step": ' + "9" * 5000 + "}"])
def test_a_state_that_is_none_is_named(tmp_path, text):
    folder = save_checkpoint(tmp_path, 1, {"step": 1}, keep=1)
    (folder / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"step_00000001.*must be intact"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_the_first_version_is_still_read(tmp_path):
    folder = save_checkpoint(tmp_path, 1, {"z": torch.ones(2), "cursor": 4}, keep=1)
    # Its digest was of the tensors alone: SHA-256 of "/z|torch.float32|(2,)|" and eight bytes.
    digest = "ae1849d7b34670974d78a2ff49a9fedd94f8ed41ee0c3ed54cbc2252d64f491c"
    rewrite(folder, lambda record: record.update(digest=digest))
    assert load_checkpoint(tmp_path)["cursor"] == 4


def test_a_changed_set_up_is_refused_with_every_difference(tmp_path):
    before = {"recipe": {"learner": {"lr": 0.1}, "train": {"seed": 0}}, "data": "a"}
    check_fingerprint(tmp_path, before)
    check_fingerprint(tmp_path, before)
    after = {"recipe": {"learner": {"lr": 0.2}, "train": {"seed": 0}}, "data": "b"}
    with pytest.raises(CheckpointError) as error:
        check_fingerprint(tmp_path, after)
    assert "recipe.learner.lr was 0.1, is 0.2" in str(error.value)
    assert "the problems have changed" in str(error.value)


def test_values_of_unknown_kinds_are_refused(tmp_path):
    with pytest.raises(TypeError, match="plain values and tensors"):
        save_checkpoint(tmp_path, 1, {"a": object()}, keep=1)


def test_changes_that_only_a_digest_shows_are_told_in_words(tmp_path):
    before = {"reward_code": {"mine:f": "a" * 64}, "data": "b" * 64, "seed": 1}
    check_fingerprint(tmp_path, before)
    now = {"reward_code": {"mine:f": "c" * 64}, "data": "d" * 64, "seed": 2}
    with pytest.raises(CheckpointError) as caught:
        check_fingerprint(tmp_path, now)
    said = str(caught.value)
    assert "the file with the code of reward 'mine:f' has changed" in said
    assert "the problems have changed: rows" in said
    assert "seed was 1, is 2" in said
    assert "aaaa" not in said


def test_of_another_reward_in_the_same_file_it_is_not_said_that_the_file_has_changed(tmp_path):
    check_fingerprint(tmp_path, {"reward_code": {"mine:f": "a" * 64}, "seed": 1})
    for now in ({"reward_code": {"mine:g": "a" * 64}}, {}):
        with pytest.raises(CheckpointError) as caught:
            check_fingerprint(tmp_path, now | {"seed": 1})
        said = str(caught.value)
        assert "the code of reward 'mine:f' was used when the run began, and is not now" in said
        assert ("reward 'mine:g' is used now, and was not when the run began" in said) == bool(now)
        assert "has changed" not in said
        assert "aaaa" not in said
        assert said.endswith("start anew in another --out.")


def test_changed_code_of_an_environment_is_called_one_and_its_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_world_code.py").write_text("")
    asked = {"recipe": {"environment": {"name": "own_world_code:Shop"}}}
    check_fingerprint(tmp_path, asked | {"reward_code": {"own_world_code:Shop": "a" * 64}})
    with pytest.raises(CheckpointError) as caught:
        check_fingerprint(tmp_path, asked | {"reward_code": {"own_world_code:Shop": "c" * 64}})
    said = "the file 'own_world_code.py' with the code of environment 'own_world_code:Shop' has"
    assert said in str(caught.value)
