"""The learner on small random models of many architectures, windows made small.

What is right comes from transformers: each sequence alone through the model's own eager forward.
"""

import copy

import pytest
import torch
from torch.testing import assert_close

from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import ModelError
from rlpeft.recipe.run import LearnerConfig, LoraFamilyAdapter, LossConfig
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample, pack

LATENT = {
    "num_key_value_heads": 4,
    "head_dim": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
CAPS = {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 1.0}
SLIDING = {"sliding_window": 4}
SLIDING_AND_FULL = {**SLIDING, "layer_types": ["sliding_attention", "full_attention"]}
FULL_AND_SLIDING = {**SLIDING, "layer_types": ["full_attention", "sliding_attention"]}
SCALES = {
    "logits_scaling": 3.0,
    "attention_multiplier": 0.2,
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
}

FULL, WINDOW, MIXED, MIXED_BACK = (None, None), (4, 4), (4, None), (None, 4)

SUPPORTED = [
    ("llama", {}, FULL),
    ("mistral", SLIDING, WINDOW),
    ("mistral", {"sliding_window": None}, FULL),
    ("ministral", SLIDING_AND_FULL, MIXED),
    ("ministral3", SLIDING, WINDOW),
    ("mixtral", SLIDING, WINDOW),
    ("qwen2", {}, FULL),
    ("qwen2", {**SLIDING, "use_sliding_window": True, "max_window_layers": 1}, MIXED_BACK),
    ("qwen2_moe", {**SLIDING_AND_FULL, "use_sliding_window": True}, MIXED),
    ("qwen3", {**SLIDING_AND_FULL, "use_sliding_window": True}, MIXED),
    ("qwen3_moe", {**SLIDING, "use_sliding_window": True}, WINDOW),
    ("gemma", {}, FULL),
    ("gemma2", {**SLIDING, **CAPS, "query_pre_attn_scalar": 8}, MIXED),
    ("gemma3_text", {**SLIDING_AND_FULL, "query_pre_attn_scalar": 8}, MIXED),
    ("gemma3_text", {**SLIDING, "final_logit_softcapping": 1.0}, WINDOW),
    (
        "gemma4_text",
        {**SLIDING_AND_FULL, "vocab_size_per_layer_input": 60, "hidden_size_per_layer_input": 8},
        MIXED,
    ),
    (
        "gemma4_text",
        {
            "sliding_window": 4,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": 60,
            "hidden_size_per_layer_input": 8,
        },
        MIXED * 2,
    ),
    ("vaultgemma", {**SLIDING_AND_FULL, **CAPS}, MIXED),
    ("phi", {}, FULL),
    ("phi3", SLIDING, WINDOW),
    ("phi3", {"sliding_window": None}, FULL),
    ("phimoe", SLIDING, WINDOW),
    ("cohere", {"logit_scale": 0.5}, FULL),
    ("cohere2", {**SLIDING_AND_FULL, "logit_scale": 0.5}, MIXED),
    ("granite", SCALES, FULL),
    ("granitemoe", SCALES, FULL),
    ("granite_swa", {**SCALES, **FULL_AND_SLIDING}, MIXED_BACK),
    ("hyperclovax", SCALES, FULL),
    ("olmo", {}, FULL),
    ("olmo2", {}, FULL),
    ("olmo3", SLIDING_AND_FULL, MIXED),
    ("olmoe", {}, FULL),
    ("gpt2", {}, FULL),
    ("gpt_neox", {}, FULL),
    ("gpt_bigcode", {}, FULL),
    ("opt", {}, FULL),
    ("deepseek_v2", LATENT, FULL),
    ("deepseek_v3", LATENT, FULL),
    ("minicpm3", {**LATENT, "dim_model_base": 16}, FULL),
    ("starcoder2", SLIDING, WINDOW),
    ("glm", {}, FULL),
    ("glm4", {}, FULL),
    ("glm4_moe", {}, FULL),
    ("exaone4", SLIDING_AND_FULL, MIXED),
    ("smollm3", {**SLIDING_AND_FULL, "use_sliding_window": True}, MIXED),
    ("gpt_oss", SLIDING, MIXED),
    ("mimo_v2_flash", FULL_AND_SLIDING, MIXED_BACK),
    ("persimmon", {}, FULL),
    ("helium", {}, FULL),
    ("ernie4_5", {}, FULL),
    ("hunyuan_v1_dense", {}, FULL),
    ("seed_oss", {}, FULL),
    ("apertus", {}, FULL),
    ("arcee", {}, FULL),
    ("cwm", FULL_AND_SLIDING, MIXED_BACK),
    ("afmoe", SLIDING_AND_FULL, MIXED),
    ("nanochat", {"final_logit_softcapping": 1.0}, FULL),
]

REFUSED = [
    ("llama4_text", {}, "attention_chunk_size = 8192"),
    ("qwen3_next", {}, "linear_conv_kernel_dim = 4"),
    ("deepseek_v32", LATENT, "index_topk = 2048"),
    ("recurrent_gemma", {}, "attention_window_size = 2048"),
    ("lfm2", {}, "conv_L_cache = 3"),
    ("stablelm", {}, "StableLmModel no layer does"),
    ("falcon", {}, "FalconModel no layer does"),
    ("falcon", {"alibi": True}, "alibi = True"),
    ("gptj", {"rotary_dim": 4}, "GPTJModel no layer does"),
    ("bloom", {}, "BloomModel no layer does"),
    ("diffllama", {}, r"with 2 layers these did: \[0, 0, 1, 1\]"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
]


def learner(base, **options):
    policy = attach_adapter(base, LoraFamilyAdapter(type="lora", rank=2), seed=0)
    config = LearnerConfig(**options)
    return LocalLearner(policy, config, LossConfig(), total_steps=1, temperature=1.0)


def samples():
    """Groups whose prompts and completions exceed the window, and some that do not."""
    generator = torch.Generator().manual_seed(1)

    def tokens(count):
        return tuple(torch.randint(3, 50, (count,), generator=generator).tolist())

    long, short = tokens(9), tokens(2)
    pairs = [(long, tokens(14)), (long, tokens(3)), (long, tokens(9)), (short, tokens(7))]
    return [Sample(prompt, ids, (0.0,) * len(ids), 1.0) for prompt, ids in pairs]


def alone(model, sample):
    """Log-probs of a completion, from the model's own forward."""
    ids = torch.tensor([sample.prompt_ids + sample.completion_ids])
    log_pi_TV = torch.log_softmax(model(ids, use_cache=False).logits[0, :-1].float(), -1)
    logprobs_T = log_pi_TV.gather(-1, ids[0, 1:, None])[:, 0]
    return logprobs_T[-len(sample.completion_ids) :]


@pytest.mark.parametrize(
    ("kind", "changes", "windows"), SUPPORTED, ids=[f"{k}-{w}" for k, _, w in SUPPORTED]
)
def test_packed_groups_have_the_log_probs_of_each_sequence_alone(
    kind, changes, windows, tiny_model
):
    base = tiny_model(kind, **changes)
    own = copy.deepcopy(base)
    own.set_attn_implementation("eager")
    trained = learner(base)
    assert trained.forward.mechanisms.windows == windows
    (batch,) = pack(samples(), token_budget=1000)
    with torch.no_grad():
        hidden_ND = trained.forward.hidden(batch)
        log_pi_NV = torch.log_softmax(trained.forward.head(hidden_ND), -1)
        ours = log_pi_NV.gather(-1, batch.targets_N[:, None])[:, 0]
        # The longest prompt stands first: the batch keeps the order of the samples.
        theirs = torch.cat([alone(own, sample) for sample in samples()])
    assert theirs.std() > 0.1
    assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "changes", "named"), REFUSED, ids=[f"{k}-{n}" for k, _, n in REFUSED]
)
def test_what_cannot_be_expressed_is_refused_with_one_line_that_names_it(
    kind, changes, named, tiny_model
):
    with pytest.raises(ModelError, match=named) as caught:
        learner(tiny_model(kind, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["gemma2", "gpt_oss", "cohere2"])
def test_gradients_through_windows_caps_sinks_and_scales_are_those_of_a_plain_loop(
    kind, checkpointing, tiny_model
):
    changes = {**SLIDING_AND_FULL, **(CAPS if kind == "gemma2" else {})}
    trained = learner(tiny_model(kind, **changes), gradient_checkpointing=checkpointing)
    trained.forward_backward(samples())
    ours = {name: p.grad.clone() for name, p in trained.parameters.items()}
    policy = trained.policy.eval()
    policy.get_base_model().set_attn_implementation("eager")
    trained.optimizer.zero_grad()
    # Ratios are capped at 1 / exp(engine's log-prob 0): those of the loss, from plain log-probs.
    rows = [alone(policy, sample) for sample in samples()]
    ratios = [row.detach().exp().clamp(max=LossConfig().ratio_cap) for row in rows]
    losses = [-(ratio * row).sum() for ratio, row in zip(ratios, rows, strict=True)]
    (sum(losses) / len(rows)).backward()
    for name, p in trained.parameters.items():
        assert_close(ours[name], p.grad, rtol=1e-3, atol=1e-6)
    assert max(grad.abs().max() for grad in ours.values()) > 1e-3


def test_a_window_in_the_config_that_the_model_never_reads_is_refused(tiny_model):
    with pytest.raises(ModelError, match=r"log-probs of a probe differ by .* from the model's own"):
        learner(tiny_model("llama", **SLIDING))


def test_a_window_that_no_layer_asks_for_and_no_probe_can_reach_is_refused(tiny_model):
    base = tiny_model("llama", sliding_window=100_000)
    with pytest.raises(ModelError, match=r"layers \[0, 1\] do not ask for the sliding_window"):
        learner(base)
