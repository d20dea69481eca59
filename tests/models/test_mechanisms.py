"""What a config says of windows, caps and scales, and what of it is not understood."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig, Gemma2Config, GraniteConfig, LlamaConfig, MistralConfig

from rlpeft.errors import ModelError
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.mechanisms import Mechanisms, check_window_is_read, read_mechanisms


def test_a_plain_model_has_none():
    found = read_mechanisms(LlamaConfig(num_hidden_layers=2))
    assert found == Mechanisms((None, None))
    assert found.describe() == "every layer sees all tokens; plain logits"


def test_one_window_without_layer_types_is_that_of_every_layer():
    found = read_mechanisms(MistralConfig(num_hidden_layers=2, sliding_window=8))
    assert found.describe() == "2 of 2 layers see 8 tokens back; plain logits"


def test_gemma_2_has_windows_and_two_caps():
    found = read_mechanisms(Gemma2Config(num_hidden_layers=4))
    assert found == Mechanisms((4096, None, 4096, None), 50.0, 1.0, 30.0)
    assert found.describe() == (
        "2 of 4 layers see 4096 tokens back, the others all, scores capped at 50; "
        "logits capped at 30"
    )


def test_granite_divides_its_logits():
    found = read_mechanisms(GraniteConfig(num_hidden_layers=1, logits_scaling=4.0))
    assert found.logit_scale == 0.25
    assert found.describe().endswith("logits times 0.25")


def test_of_a_vision_language_model_the_language_model_counts():
    config = AutoConfig.for_model("gemma3")
    config.text_config.sliding_window = 7
    assert set(read_mechanisms(config).windows) == {7, None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attention_chunk_size", 128),
        ("final_logit_softcapping", -1.0),
        ("logit_scale", True),
        ("num_attention_sinks", 4),
        ("local_attention_window", 64),
        ("layer_types", ["full_attention", "linear_attention"]),
    ],
)
def test_a_field_that_is_not_understood_is_refused_by_name_and_value(field, value):
    config = LlamaConfig(num_hidden_layers=2)
    setattr(config, field, value)
    said = value[-1] if isinstance(value, list) else value
    with pytest.raises(ModelError, match=f"{field} = {said!r} of model type 'llama'"):
        read_mechanisms(config)


@pytest.mark.parametrize("window", [0, -3, 2.5, "many"])
def test_a_window_that_is_no_number_of_tokens_is_refused(window):
    config = LlamaConfig(num_hidden_layers=2)
    config.layer_types, config.sliding_window = ["sliding_attention"] * 2, window
    with pytest.raises(ModelError, match="must be a positive number of tokens"):
        read_mechanisms(config)


def test_layer_types_for_another_number_of_layers_are_refused():
    config = LlamaConfig(num_hidden_layers=2)
    config.layer_types = ["full_attention"] * 3
    with pytest.raises(ModelError, match="each of the 2 layers, it names 3"):
        read_mechanisms(config)


def test_a_window_that_the_architecture_never_reads_is_refused(tiny_model):
    with pytest.raises(ModelError, match="LlamaForCausalLM, which has no windows"):
        check_window_is_read(tiny_model("llama", sliding_window=4))


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gemma3_text", "phi3", "cohere2", "gpt_oss"])
def test_a_window_that_the_architecture_reads_is_kept(tiny_model, kind):
    check_window_is_read(tiny_model(kind, sliding_window=4))


def test_a_base_with_a_window_that_nothing_reads_is_not_loaded(tmp_path):
    folder = Path(shutil.copytree(resolve_model("tiny"), tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 4}))
    with pytest.raises(ModelError, match=r"Take the line out of its config\.json"):
        load_base_model(folder)
