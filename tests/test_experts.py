"""Expert files: PEFT can read them, damage and foreign bases are refused."""

import json

import pytest
import torch
from peft import PeftModel

from rlpeft.adapter_state import tensors_digest
from rlpeft.config import SvfAdapter
from rlpeft.errors import ExpertError
from rlpeft.experts import ExpertCard, load_expert, save_expert
from rlpeft.policy import adapter_state, attach_adapter


@pytest.fixture
def expert(llama, tmp_path):
    policy = attach_adapter(llama(), SvfAdapter(), seed=0)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p.mul_(1.2)
    state = adapter_state(policy, 5)
    card = ExpertCard(
        name="a",
        base_model="tiny",
        base_digest="b" * 64,
        adapter={},
        task={},
        rewards=("math",),
        seed=0,
        step=5,
        digest=state.digest,
    )
    save_expert(tmp_path / "expert", state, card)
    return tmp_path / "expert", policy, card


def test_peft_loads_it_to_the_same_policy(expert, llama):
    folder, policy, _ = expert
    ids = torch.tensor([[1, 7, 9, 4]])
    loaded = PeftModel.from_pretrained(llama(), folder)
    assert torch.equal(loaded(ids).logits, policy(ids).logits)


def test_it_comes_back_with_its_card(expert):
    folder, policy, card = expert
    loaded = load_expert(folder, base_digest="b" * 64)
    assert loaded.card == card
    assert tensors_digest(loaded.tensors) == adapter_state(policy, 0).digest


def test_another_base_is_refused_with_both_digests(expert):
    with pytest.raises(ExpertError, match=r"sha256:bbbbbbbbbbbb.*sha256:cccccccccccc"):
        load_expert(expert[0], base_digest="c" * 64)


def test_changed_tensors_are_refused(expert):
    from safetensors.torch import load_file, save_file

    path = expert[0] / "adapter_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ExpertError, match="is damaged"):
        load_expert(expert[0])


def test_an_unreadable_file_is_refused(expert):
    (expert[0] / "adapter_model.safetensors").write_bytes(b"\x80\x04pickle?")
    with pytest.raises(ExpertError, match="must be readable"):
        load_expert(expert[0])


def test_a_folder_without_a_card_is_no_expert(tmp_path):
    with pytest.raises(ExpertError, match=r"a folder with card\.json"):
        load_expert(tmp_path)


def test_a_card_of_a_later_version_can_still_be_read(expert):
    path = expert[0] / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"invented_later": 1}))
    assert load_expert(expert[0]).card.name == "a"


def test_writing_again_replaces_the_whole_folder(expert):
    folder, policy, card = expert
    (folder / "stray").write_text("old")
    save_expert(folder, adapter_state(policy, 6), card)
    assert not (folder / "stray").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["expert"]


def test_no_file_of_an_expert_is_a_pickle(expert):
    for path in expert[0].iterdir():
        assert path.suffix in (".json", ".safetensors")


def test_an_expert_does_not_replace_a_folder_of_something_else(tmp_path, make_expert):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ExpertError, match="holds something else"):
        make_expert("x", {"base_model.model.a.svf_z": torch.ones(2)}, folder=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
