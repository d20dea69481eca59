"""Files of weights: one set of them, of finite floats, or the folder is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig

from rlpeft.errors import ModelError
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.weight_files import check_formats

TINY = resolve_model("tiny")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
UP = "model.layers.0.mlp.up_proj.weight"
READERS = pytest.mark.parametrize("read", [load_base_model, model_digest])


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def rewrite(folder, change):
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors), folder / WEIGHTS, metadata={"format": "pt"})


@READERS
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.bool])
def test_weights_of_whole_numbers_without_a_quantisation_are_refused(folder, read, dtype):
    """transformers would turn them into floats a hundred times too large, without a word."""
    rewrite(folder, lambda t: t | {UP: (t[UP].float() * 100).to(dtype)})
    with pytest.raises(ModelError, match=r"quantization_config.*up_proj.weight' as (I|U|B)"):
        read(folder)


@READERS
@pytest.mark.parametrize("name", [f"{UP}_scale", f"{UP}_scale_inv", UP[:-6] + "SCB"])
def test_scales_that_no_config_tells_of_are_refused(folder, read, name):
    eighth = torch.float8_e4m3fn
    rewrite(folder, lambda t: t | {UP: t[UP].float().to(eighth), name: torch.ones(1)})
    with pytest.raises(ModelError, match=r"how they are quantised .*holds .*up_proj"):
        read(folder)


def test_whole_numbers_of_a_quantised_model_are_left_to_its_library(folder):
    rewrite(folder, lambda t: t | {UP: torch.ones(4, 4, dtype=torch.int8)})
    check_formats(folder, LlamaConfig(quantization_config={"quant_method": "bitsandbytes"}))


@READERS
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [UP, "model.norm.weight"])
def test_a_single_value_that_is_not_finite_is_refused(folder, read, value, name):
    def spoil(tensors):
        tensors[name].view(-1)[-1] = value
        return tensors

    rewrite(folder, spoil)
    with pytest.raises(ModelError, match=f"must be finite, '{name}' holds NaN or infinity"):
        read(folder)


def test_weights_that_leave_the_range_of_the_dtype_are_refused(folder):
    rewrite(folder, lambda t: t | {UP: t[UP].bfloat16() + 1e6})
    assert load_base_model(folder).dtype == torch.float32
    with pytest.raises(ModelError, match=r"infinity in float16\..*larger range"):
        load_base_model(folder, "float16")


def test_a_mask_of_scores_in_an_old_file_may_hold_infinity(folder):
    """GPT-2's files hold such buffers under the name of a bias."""
    mask = {"model.layers.0.self_attn.bias": torch.full((1, 1, 2, 2), -float("inf"))}
    rewrite(folder, lambda t: t | mask)
    assert len(model_digest(folder)) == 64


@pytest.fixture
def sharded(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "sharded", ignore=lambda *_: [WEIGHTS])
    load_base_model(TINY, "bfloat16").save_pretrained(folder, max_shard_size="200KB")
    return folder


def test_a_whole_model_beside_a_sharded_one_is_refused(sharded):
    """transformers would load the one, vLLM the other."""
    assert resolve_model(str(sharded)) == sharded
    shutil.copy(TINY / WEIGHTS, sharded)
    with pytest.raises(ModelError, match="must hold one set of weights"):
        resolve_model(str(sharded))


def test_an_index_of_the_whole_model_alone_is_no_second_set(folder):
    names = dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS)
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    assert model_digest(folder) == model_digest(TINY)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.q_proj.bias", (4,)),
        ("lm_head.bias", (4,)),
        ("model.embed_norm.weight", (4,)),
        ("model.layers.0.self_attn.q_norm.weight", (4,)),
        ("model.layers.0.self_attn.sinks", (4,)),
        ("model.layers.0.attn.bias", (4,)),
        ("v_head.summary.weight", (1, 4)),
        ("model.logit_scale", ()),
    ],
)
def test_a_weight_that_the_architecture_does_not_read_is_refused_by_its_name(folder, name, shape):
    """transformers drops it with a warning, and the model that computes is another."""
    rewrite(folder, lambda t: t | {name: torch.ones(shape)})
    with pytest.raises(ModelError, match=f"no weight that its config.json leaves out.*{name} "):
        load_base_model(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,)),
        ("model.layers.0.self_attn.rotary.inv_freq", (4,)),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 4, 4)),
        ("model.layers.0.attn.masked_bias", ()),
        ("model.layers.0.attn.bias", (1, 1, 4, 4)),
    ],
)
def test_tables_that_old_files_hold_beside_the_weights_are_no_weights(folder, name, shape):
    rewrite(folder, lambda t: t | {name: torch.ones(shape)})
    assert load_base_model(folder).num_parameters() == load_base_model(TINY).num_parameters()


def test_masks_of_a_gpt2_file_are_passed_over_with_and_without_their_prefix(tmp_path):
    """Its first files name `h.0.attn.bias` what the model calls `transformer.h.0.attn.bias`."""
    folder = shutil.copytree(TINY, tmp_path / "gpt2", ignore=lambda *_: [WEIGHTS, "config.json"])
    config = GPT2Config(vocab_size=8, n_embd=4, n_layer=1, n_head=1, n_positions=8)
    GPT2LMHeadModel(config).save_pretrained(folder)
    mask = {"h.0.attn.bias": torch.ones(1, 1, 8, 8), "h.0.attn.masked_bias": torch.ones(())}
    rewrite(folder, lambda t: {k.removeprefix("transformer."): v for k, v in t.items()} | mask)
    assert load_base_model(folder).config.model_type == "gpt2"


def test_a_stale_copy_of_a_weight_in_another_shard_is_refused(sharded):
    """The index names one shard, transformers and vLLM load the tensors of all of them."""
    last = sorted(sharded.glob("model-*.safetensors"))[-1]
    tensors = load_file(last)
    first = next(key for key in load_file(TINY / WEIGHTS) if key not in tensors)
    save_file(tensors | {first: torch.ones(4, 4)}, last, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"each weight once.*'{first}'.*lies in {last.name}"):
        resolve_model(str(sharded))


def test_an_index_that_names_another_shard_than_the_weight_lies_in_is_refused(sharded):
    index = json.loads((sharded / INDEX).read_text())
    places = index["weight_map"]
    one, other = sorted(set(places.values()))[:2]
    moved = next(key for key, file in places.items() if file == one)
    (sharded / INDEX).write_text(json.dumps({"weight_map": places | {moved: other}}))
    with pytest.raises(ModelError, match=f"'{moved}' of {other} lies in {one}"):
        resolve_model(str(sharded))


def test_a_copy_of_the_weights_under_another_name_without_an_index_is_refused(folder):
    """transformers reads model.safetensors, vLLM every file, the last of a weight wins."""
    shutil.copy(folder / WEIGHTS, folder / "old.safetensors")
    with pytest.raises(ModelError, match=r"each weight once.*lies in old\.safetensors"):
        resolve_model(str(folder))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_a_model_is_refused_and_not_put_into_it(folder, name):
    """transformers would load it into the base of every run, vLLM would not."""
    (folder / name).write_text("{}")
    with pytest.raises(
        ModelError, match=rf"an adapter \({name}\) beside {WEIGHTS}: .*Move the adapter"
    ):
        resolve_model(str(folder))


@pytest.mark.parametrize("factor", [1, 2])
def test_a_head_beside_a_tied_embedding_must_be_its_copy(folder, factor):
    """transformers would compute with both, vLLM with the embedding."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    embedding = load_file(TINY / WEIGHTS)["model.embed_tokens.weight"]
    rewrite(folder, lambda t: t | {"lm_head.weight": embedding * factor})
    if factor == 1:
        assert load_base_model(folder).lm_head.weight.equal(embedding.float())
    else:
        with pytest.raises(ModelError, match=r"one weight for head and embedding.*two that differ"):
            load_base_model(folder)
