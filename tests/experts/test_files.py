"""Expert files: PEFT can read them, damage and foreign bases are refused."""

import json

import pytest
import torch
from peft import PeftModel

from rlpeft.adapter_state import tensors_digest
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import ExpertError
from rlpeft.experts.files import ExpertCard, load_expert, read_card, save_expert
from rlpeft.recipe.run import SvfAdapter


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


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64, torch.uint8]
)
def test_tensors_that_are_no_floats_are_refused(make_expert, dtype):
    """They would load: int64 as z cut to 0 or 1, complex without its imaginary part."""
    folder = make_expert("odd", {"base_model.model.a.svf_z": torch.ones(3).to(dtype)})
    with pytest.raises(ExpertError, match=r"must hold float16.*'base_model.model.a.svf_z' is"):
        load_expert(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_usual_float_are_read(make_expert, dtype):
    folder = make_expert("odd", {"base_model.model.a.svf_z": torch.ones(3).to(dtype)})
    assert load_expert(folder).tensors["base_model.model.a.svf_z"].dtype == dtype


SVF = {"type": "svf", "parametrisation": "direct", "layers": None}
LORA = {"type": "lora", "rank": 2, "alpha": 4.0}
MOSLORA = {"type": "moslora", "rank": 4, "spaces": ["euclidean", "hyperbolic"]}


@pytest.mark.parametrize(
    ("adapter", "config", "option"),
    [
        (SVF, {"peft_type": "SVF", "parametrisation": "sigmoid_renorm"}, "parametrisation"),
        ({**SVF, "parametrisation": "sigmoid_renorm"}, {"peft_type": "SVF"}, "parametrisation"),
        (SVF, {"peft_type": "SVF", "layers_to_transform": [0]}, "layers_to_transform"),
        (SVF, {"peft_type": "LORA"}, "peft_type"),
        (LORA, {"peft_type": "LORA", "r": 2, "lora_alpha": 5.0}, "lora_alpha"),
        (LORA, {"peft_type": "LORA", "r": 3}, "r "),
        (LORA, {"peft_type": "LORA", "r": 2, "use_dora": True}, "use_dora"),
        ({**LORA, "type": "dora"}, {"peft_type": "LORA", "r": 2}, "use_dora"),
        (
            MOSLORA,
            {"peft_type": "MOSLORA", "r": 4, "spaces": ["hyperbolic", "euclidean"]},
            "spaces",
        ),
    ],
)
def test_a_card_and_a_config_that_mean_other_updates_are_refused(
    make_expert, adapter, config, option
):
    """Exports would follow the card, mixtures and vLLM the config: two models of one name."""
    tensors = {"base_model.model.a.svf_z": torch.ones(3)}
    folder = make_expert("torn", tensors, config=config, adapter=adapter)
    with pytest.raises(ExpertError, match=f"must be of {option}.*as its card says"):
        load_expert(folder)


@pytest.mark.parametrize(
    ("adapter", "config"),
    [
        (SVF, {"peft_type": "SVF"}),
        ({**SVF, "layers": [1, 0]}, {"peft_type": "PeftType.SVF", "layers_to_transform": [0, 1]}),
        (LORA, {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": False}),
        (
            {"type": "ia3", "feedforward": ["b", "a"]},
            {"peft_type": "IA3", "feedforward_modules": ["a", "b"]},
        ),
    ],
)
def test_a_card_and_a_config_that_say_the_same_in_other_words_are_read(
    make_expert, adapter, config
):
    tensors = {"base_model.model.a.svf_z": torch.ones(3)}
    assert load_expert(make_expert("whole", tensors, config=config, adapter=adapter)).tensors


def test_the_folder_of_a_run_is_answered_with_the_expert_in_it(tmp_path, make_expert):
    make_expert("mine", {"z": torch.ones(2)}, folder=tmp_path / "expert")
    with pytest.raises(ExpertError, match=f"Did you mean '{tmp_path / 'expert'}'"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"name": "a\r\nSet-Cookie: b=1"}, "name must be printable"),
        ({"name": "\x1b[31mred"}, "name must be printable"),
        ({"name": "../../a"}, "hold no slash"),
        ({"name": "a" * 1000}, "name must have at most"),
        ({"stop": ["a" * 1025]}, "stop.0"),
        ({"stop": [str(n) for n in range(33)]}, "stop: Tuple should have at most 32 items"),
        ({"step": -5}, "step: Input should be greater than or equal to 0"),
        ({"seed": 10**400}, "seed: Input should be less than 1844"),
        ({"modules": {"q_proj": -1}}, "modules.q_proj: Input should be greater"),
        ({"task": {"name": ["a"], "path": 5}}, r"task: name must be text, got \['a'\]"),
        ({"task": {"name": "jsonl", "path": 5}}, "task: path must be text, got 5"),
        ({"adapter": {"type": {}}}, "adapter: type must be text, got {}"),
        ({"tasks": {"a": {"section": {"name": 1}}}}, "section: name must be text, got 1"),
    ],
)
def test_a_card_of_a_stranger_whose_words_would_do_harm_is_refused(expert, said, message):
    path = expert[0] / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(ExpertError, match=message):
        read_card(expert[0])


FAIR = {"value": 0.5, "low": 0.4, "high": 0.6, "correct": 50, "total": 100}
SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "total": 100}
MORE = {"value": 0.1, "low": -0.1, "high": 0.3, "problems": 100, "judged": True}


@pytest.mark.parametrize(
    ("key", "figures", "message"),
    [
        ("test", FAIR | {"value": -3}, "must be 0 <= low <= value <= high <= 1"),
        ("test", FAIR | {"value": 1e308}, "must be 0 <= low <= value <= high <= 1"),
        ("test", FAIR | {"low": 5, "high": -5}, "got low 5.0, value 0.5, high -5.0"),
        ("test", FAIR | {"low": 0.55}, "must be 0 <= low <= value <= high <= 1"),
        ("base_test", FAIR | {"correct": 5000, "total": 1000}, "got 0.5 of 5000 / 1000"),
        ("base_test", FAIR | {"correct": 90}, "value must be correct / total"),
        ("base_test", FAIR | {"verdicts": {"wrong": -7}}, "verdicts.wrong: Input should be gr"),
        ("validation", FAIR | {"confusion": {"a": {"b": -7}}}, "confusion.a.b: Input should be gr"),
        ("validation", FAIR | {"total": 10**400}, "total: Input should be less than"),
        ("test", SCORE | {"value": 1e308}, r"score: figures must be -1e\+20 <= low"),
        ("test", SCORE | {"total": -1}, "score.total: Input should be greater"),
        ("against_base", MORE | {"value": 3, "high": 4}, "must be -1 <= low <= value <= high <= 1"),
        ("against_base", MORE | {"judged": False, "low": 0.2}, "figures must be"),
        ("against_base", MORE | {"problems": 0}, "problems: Input should be greater"),
    ],
)
def test_figures_of_a_stranger_that_cannot_have_been_measured_are_refused(
    expert, key, figures, message
):
    path = expert[0] / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: figures}))
    with pytest.raises(ExpertError, match=message):
        read_card(expert[0])


def test_a_card_that_calls_an_expert_its_base_which_changes_it_is_refused(expert):
    path = expert[0] / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"equals_base": True}))
    with pytest.raises(ExpertError, match=r"must change nothing, as its card says \(equals_base\)"):
        load_expert(expert[0])


def test_an_expert_that_is_its_base_loads(expert, llama):
    state = adapter_state(attach_adapter(llama(), SvfAdapter(), seed=0), 0)
    card = expert[2].model_copy(update={"equals_base": True, "digest": state.digest})
    save_expert(expert[0], state, card)
    assert load_expert(expert[0]).card.equals_base
