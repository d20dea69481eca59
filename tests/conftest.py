"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes a slow example, not a wrong one; the same examples are drawn every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# No test needs the Hub; asking for it where there is no network costs half a minute of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_path() -> Path:
    """Folder of public benchmark files beside the repository; tests that need it skip without."""
    path = (Path(__file__).resolve().parents[1] / ".." / "shared").resolve()
    if not (path / "data").is_dir():
        pytest.skip("benchmark files are not here: the folder ../shared/data is absent")
    return path


@pytest.fixture
def llama():
    """A maker of small random Llamas in float32: GQA, more columns than rows and the reverse."""

    def make(seed: int = 0, **changes):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from rlpeft.models import neutral_generation_config

        options = {
            "vocab_size": 60,
            "hidden_size": 32,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "bos_token_id": 1,
            "eos_token_id": [2, 3],
            "pad_token_id": 0,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(LlamaConfig(**(options | changes)))
        model.generation_config = neutral_generation_config(model.generation_config)
        return model.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def make_expert(tmp_path_factory):
    """A maker of expert folders from tensors under PEFT's names, SVF on `tiny` by default."""

    def make(name, tensors, *, config=None, folder=None, **card):
        from rlpeft.adapter_state import AdapterState
        from rlpeft.experts import ExpertCard, save_expert

        config = config or {"peft_type": "SVF", "parametrisation": "direct"}
        state = AdapterState(config, tensors, card.get("step", 0))
        known = {
            "base_model": "tiny",
            "base_digest": "b" * 64,
            "adapter": {"type": config["peft_type"].lower()},
            "task": {"name": "tiny/swap"},
            "rewards": ("exact",),
            "seed": 0,
            "step": 0,
        }
        folder = folder or tmp_path_factory.mktemp("expert") / name
        save_expert(folder, state, ExpertCard(name=name, digest=state.digest, **(known | card)))
        return folder

    return make
