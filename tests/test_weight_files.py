"""Files of weights: one set of them, of finite floats, or the folder is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from rlpeft.digests import model_digest
from rlpeft.errors import ModelError
from rlpeft.models import load_base_model, resolve_model
from rlpeft.weight_files import check_formats

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
