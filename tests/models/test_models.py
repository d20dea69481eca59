"""Base models: names, folders, exact prompt ids, ends, digests, and what the tiny model knows."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoConfig,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
)

from rlpeft.errors import ModelError
from rlpeft.models.base import BaseModel
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import (
    context_length,
    context_written,
    load_base_model,
    model_class,
    neutral_generation_config,
    require_embedded,
)
from rlpeft.models.tokenizer import load_tokenizer, read_tokenizer, read_whole_tokenizer
from rlpeft.tasks.tiny import SKILLS, tiny_task
from rlpeft.tokens.eos import eos_ids
from rlpeft.tokens.prompts import encode_prompt
from rlpeft.tokens.specials import encode_guarded, guard

TINY = resolve_model("tiny")
PAD, BOS, EOS, _, USER, ASSISTANT = range(6)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


@pytest.fixture(scope="module")
def model():
    return load_base_model(TINY)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def test_a_local_folder_is_taken_as_it_is(folder):
    assert resolve_model(str(folder)) == folder


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "must hold config.json"),
        ("model.safetensors", r"must hold \*.safetensors weights"),
        ("tokenizer.json", "must hold a tokenizer"),
    ],
)
def test_an_incomplete_folder_is_refused_with_what_it_lacks(folder, missing, message):
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=message):
        resolve_model(str(folder))
    with pytest.raises(ModelError, match=message):
        load_base_model(folder)


@pytest.mark.parametrize("name", ["tinny", "./nowhere", "/nowhere", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name):
    with pytest.raises(ModelError, match="must be an existing folder, a Hub id"):
        resolve_model(name)


def test_a_hub_id_that_the_hub_does_not_give_is_one_line():
    with pytest.raises(ModelError, match="'nobody/nothing' is no local folder and") as caught:
        resolve_model("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_an_unfetched_model_says_how_to_fetch_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="Run: rlpeft models fetch smollm2-135m"):
        resolve_model("smollm2-135m")


def test_weights_that_are_no_safetensors_file_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_base_model(folder)


def test_weights_that_lack_a_tensor_are_refused_and_not_made_up(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks model.layers.1.mlp.up_proj.weight \(1 in all\)"):
        load_base_model(folder)


def test_layers_that_the_config_leaves_out_are_refused_and_not_dropped(folder):
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] -= 1
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ModelError, match=r"no weight that its config.json leaves out, .*layers\.3\."
    ):
        load_base_model(folder)


def test_a_quantised_checkpoint_without_its_library_is_one_line(folder):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"cannot be loaded: .*bitsandbytes"):
        load_base_model(folder)


def _with_tokenizer(folder, **config):
    """A tokenizer of bytes with the pieces `a` and `ab`, and the mark `<end>`, in the folder."""
    letters = [*sorted(ByteLevel.alphabet()), "ab"]
    backend = Tokenizer(BPE({piece: i for i, piece in enumerate(letters)}, [("a", "b")]))
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    backend.add_special_tokens(["<end>"])
    backend.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["a", "ab", "!", "\u010a"])
@pytest.mark.parametrize("role", ["pad_token", "eos_token", "bos_token"])
def test_a_special_token_that_text_is_made_of_is_refused(folder, role, name):
    """Decoding without special tokens takes every `a` out of what the model said."""
    _with_tokenizer(folder, **{role: name})
    with pytest.raises(ModelError, match=rf"marks that no text is made of, '{name}' \(.*{role}"):
        load_tokenizer(folder)


def test_marks_and_new_words_may_be_special(folder):
    _with_tokenizer(folder, pad_token="pad", extra_special_tokens=["<think>"])
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<end>", "pad")


def test_letters_that_merges_would_make_a_mark_of_stay_letters(folder):
    """Files converted from SentencePiece hold the merges of every piece, those of marks too."""
    _with_tokenizer(folder, pad_token="<>")
    tree = json.loads((folder / "tokenizer.json").read_text())
    tree["model"]["merges"].append(["<", ">"])
    tree["model"]["vocab"]["<>"] = 258
    (folder / "tokenizer.json").write_text(json.dumps(tree))
    tokenizer = load_tokenizer(folder)
    ids = encode_guarded(tokenizer, guard(tokenizer, "ab<>"))
    assert tokenizer.convert_ids_to_tokens(ids) == ["ab", "<", ">"]


def test_of_named_chat_templates_the_default_is_taken(folder):
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "talk"}]
    _with_tokenizer(folder, chat_template=named)
    assert read_tokenizer(folder).chat_template == "talk"
    assert encode_prompt(read_tokenizer(folder), "ab") == [256]


def test_chat_templates_in_files_of_their_own_are_named_ones(folder):
    _with_tokenizer(folder)
    (folder / "chat_template.jinja").write_text("talk")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    assert read_tokenizer(folder).chat_template == "talk"
    assert read_whole_tokenizer(folder).chat_template == {"default": "talk", "tool_use": "tools"}


def test_chat_templates_without_a_default_are_refused(folder):
    named = [{"name": "rag", "template": "a"}, {"name": "tool_use", "template": "b"}]
    _with_tokenizer(folder, chat_template=named)
    with pytest.raises(ModelError, match="must be named default, they are rag, tool_use"):
        read_tokenizer(folder)


def test_a_broken_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
        load_tokenizer(folder)


def test_a_tokenizer_without_pad_pads_with_its_eos(folder):
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))
    assert load_tokenizer(folder).pad_token_id == EOS


def test_ends_are_the_union_of_generation_config_config_and_tokenizer(folder, tokenizer):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 9}))
    assert eos_ids(folder, tokenizer) == {7, 8, 9, EOS}


def test_ends_of_the_language_model_within_another_count(folder, tokenizer):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"text_config": {"eos_token_id": 9}}))
    assert 9 in eos_ids(folder, tokenizer)


def test_ends_of_a_loaded_model_are_those_of_its_folder(folder, tokenizer):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert eos_ids(load_base_model(folder), tokenizer) == {7, 8, EOS} == eos_ids(folder, tokenizer)


def test_a_model_without_any_end_is_refused(folder):
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    tokenizer = load_tokenizer(folder)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="must name an end-of-sequence token"):
        eos_ids(folder, tokenizer)


def test_no_sampling_default_of_the_model_survives(folder):
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": 2, "do_sample": True, "temperature": 0.3, "top_k": 5})
    )
    config = load_base_model(folder).generation_config
    assert (config.do_sample, config.temperature, config.top_k) == tuple(
        getattr(neutral_generation_config(LlamaConfig()), key)
        for key in ("do_sample", "temperature", "top_k")
    )
    assert config.eos_token_id == 2


def test_base_weights_are_frozen_and_in_evaluation_mode(model):
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_the_tiny_model_is_the_same_in_both_dtypes(model):
    halves = dict(load_base_model(TINY, dtype="bfloat16").named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, halves[name].float())


def test_the_packaged_model_is_small():
    assert sum(file.stat().st_size for file in TINY.iterdir()) < 2_000_000


def greedy(model, tokenizer, problems):
    ids = torch.tensor([encode_prompt(tokenizer, problem.prompt) for problem in problems])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    return tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("skill", ["swap", "sort", "ends"])
def test_the_tiny_model_knows_both_meanings_and_prefers_neither(model, tokenizer, skill, chat):
    problems = tiny_task(f"tiny/{skill}", num_validation=1, num_test=300, chat=chat).split("test")
    texts = greedy(model, tokenizer, problems)
    wanted = [text == problem.answer for text, problem in zip(texts, problems, strict=True)]
    other = [
        text == SKILLS[skill].other(problem.id.split("/")[-1])
        for text, problem in zip(texts, problems, strict=True)
    ]
    assert 0.2 < sum(wanted) / 300 < 0.6
    assert sum(a or b for a, b in zip(wanted, other, strict=True)) / 300 > 0.97


def test_the_tiny_model_masters_its_control_skill(model, tokenizer):
    problems = tiny_task("tiny/copy", num_validation=1, num_test=300).split("test")
    assert greedy(model, tokenizer, problems) == [problem.answer for problem in problems]


def test_any_text_survives_the_tiny_tokenizer(tokenizer):
    text = "What's 3 + 4?\n\tÜbung: 你好 \\boxed{swap} 🙂"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_the_context_of_a_vision_language_model_is_that_of_its_language_model():
    config = AutoConfig.for_model("llava")
    config.text_config.max_position_embeddings = 77
    assert not hasattr(config, "max_position_embeddings")
    assert context_length(config) == 77


def test_a_vision_language_model_is_loaded_frozen_and_answers_text(tiny_vision):
    base = BaseModel.open(str(tiny_vision))
    model = base.model()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in base.skeleton.named_parameters()
    ]
    assert model(input_ids=torch.tensor([[1, 5, 7]])).logits.shape == (1, 3, base.num_embeddings)


def test_a_vision_language_model_of_another_family_is_refused():
    with pytest.raises(ModelError, match=r"known here \(idefics3, smolvlm\), got 'llava'"):
        model_class(AutoConfig.for_model("llava"))


def test_a_context_is_found_by_any_of_its_names():
    assert context_length(GPT2Config(n_positions=33)) == 33
    assert context_length(BloomConfig(seq_length=44)) == 44


def test_a_config_without_a_context_says_what_to_add():
    with pytest.raises(ModelError, match=r"how many tokens it can attend to.*'bloom' does not"):
        context_length(BloomConfig())


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('{"max_position_embeddings": 33}', 33),
        ('{"text_config": {"n_positions": 44}}', 44),
        ('{"max_position_embeddings": "33", "text_config": 5}', None),
        ("[]", None),
        ("no json", None),
    ],
)
def test_a_context_is_read_from_a_config_without_the_library(tmp_path, written, found):
    (tmp_path / "config.json").write_text(written)
    assert context_written(str(tmp_path)) == found


def test_a_model_that_lies_here_under_its_name_says_its_context():
    assert context_written("tiny") == context_length(AutoConfig.from_pretrained(TINY))
    assert context_written("owner/elsewhere") is None


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("gemma2", {"attn_logit_softcapping": 0.1}), ("gpt_oss", {}), ("bloom", {})],
)
def test_a_model_is_loaded_with_an_attention_that_has_its_caps_and_sinks(
    tiny_model, tmp_path, kind, changes
):
    """`sdpa` would leave them out: the base would be another model than vLLM's."""
    eager = tiny_model(kind, **changes)
    eager.set_attn_implementation("eager")
    eager.save_pretrained(tmp_path)
    shutil.copy(TINY / "tokenizer.json", tmp_path)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    assert torch.equal(load_base_model(tmp_path)(ids).logits, eager(ids).logits)


def test_a_fast_tokenizer_is_taken_where_mistrals_lies_beside_it(folder):
    """transformers takes `tekken.json` first, of models of Mistral's."""
    mistral = pytest.importorskip("mistral_common")
    [tekken, *_] = sorted((Path(mistral.__file__).parent / "data").glob("tekken_2*.json"))
    shutil.copy(tekken, folder / "tekken.json")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mistral"}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.is_fast
    assert tokenizer("37")["input_ids"] == load_tokenizer(TINY)("37")["input_ids"]


def test_a_folder_fetched_with_the_tokenizer_of_earlier_versions_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = shutil.copytree(TINY, tmp_path / "rlpeft" / "models" / "smollm2-135m")
    assert resolve_model("smollm2-135m") == folder
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="Make it anew: rlpeft models fetch smollm2-135m"):
        resolve_model("smollm2-135m")


def test_a_token_that_the_model_has_no_embedding_for_is_named():
    require_embedded([1, 9], 10, where="x")
    with pytest.raises(ModelError, match=r"embeddings \(10\), train problem 'a' holds token 10"):
        require_embedded([1, 10], 10, where="train problem 'a'")


def test_a_long_text_is_no_news_for_transformers(tiny, caplog):
    from transformers.utils import logging

    logging.enable_propagation()
    tokenizer = load_tokenizer(tiny.path)
    assert (
        len(tokenizer("1 " * tokenizer.model_max_length)["input_ids"]) > tokenizer.model_max_length
    )
    logging.disable_propagation()
    assert "sequence length is longer" not in caplog.text
