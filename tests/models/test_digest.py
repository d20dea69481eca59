"""The digest of a base model: the same for the same weights in other files, another for others."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlpeft.errors import ExpertError, ModelError
from rlpeft.experts.files import load_expert
from rlpeft.models.digest import is_base, model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model

TINY = resolve_model("tiny")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    """The same model, saved again in many files by transformers."""
    folder = shutil.copytree(TINY, tmp_path / "sharded", ignore=lambda *_: [WEIGHTS])
    load_base_model(TINY, "bfloat16").save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 3
    return folder


def test_the_digest_follows_weights_and_shape_not_place_or_version(folder):
    digest = model_digest(TINY)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_version": "0"}))
    assert model_digest(folder) == digest
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    assert model_digest(folder) != digest


def test_the_digest_sees_one_changed_byte_of_the_weights(folder):
    digest = model_digest(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert model_digest(folder) != digest


def test_the_same_weights_in_other_files_have_the_same_digest(sharded):
    assert model_digest(sharded) == model_digest(TINY)


def test_only_the_files_that_are_loaded_count(folder):
    digest = model_digest(folder)
    save_file({"x": torch.ones(2)}, folder / "consolidated.safetensors")
    assert model_digest(folder) == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {f"{name}.other": value for name, value in t.items()},
        lambda t: {name: value.float() for name, value in t.items()},
        lambda t: {name: value[None] for name, value in t.items()},
        lambda t: dict(list(t.items())[1:]),
    ],
    ids=["name", "dtype", "shape", "one less"],
)
def test_another_tensor_is_another_base(folder, change):
    tensors = {name: value.bfloat16() for name, value in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    digest = model_digest(folder)
    save_file(change(tensors), folder / WEIGHTS)
    assert model_digest(folder) != digest


def former(folder):
    """As the first versions took it: SHA-256 over file digests and the config's text."""
    digest = hashlib.sha256()
    content = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    digest.update(f"{WEIGHTS}:{content};".encode())
    config = json.loads((folder / "config.json").read_text())
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(key, None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    return digest.hexdigest()


def test_a_card_with_a_digest_of_files_still_loads_and_names_the_base_anew(make_expert):
    old = former(TINY)
    vectors = {"base_model.model.model.layers.0.self_attn.q_proj.svf_z": torch.ones(64)}
    expert = make_expert("old", vectors, base_digest=old)
    digest = model_digest(TINY)
    assert old != digest
    assert load_expert(expert, base_digest=digest).card.base_digest == digest
    assert load_expert(expert).card.base_digest == old


def test_a_digest_of_other_files_is_another_base(make_expert, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    vectors = {"base_model.model.model.layers.0.self_attn.q_proj.svf_z": torch.ones(64)}
    expert = make_expert("other", vectors, base_digest=former(folder))
    with pytest.raises(ExpertError, match="was trained on base model"):
        load_expert(expert, base_digest=model_digest(TINY))
    assert not is_base(former(TINY), "f" * 64)


@pytest.mark.parametrize("named", ["../model.safetensors", "/etc/hostname", "absent.safetensors"])
def test_an_index_names_files_beside_it(sharded, named):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = named
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match="must name files beside it"):
        model_digest(sharded)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "{"])
def test_a_broken_index_is_one_line(sharded, text):
    (sharded / INDEX).write_text(text)
    with pytest.raises(ModelError, match="must name files of weights") as caught:
        model_digest(sharded)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_read_are_a_model_error(folder):
    (folder / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        model_digest(folder)
