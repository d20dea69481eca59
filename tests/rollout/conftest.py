"""Small tokenizers of the kinds that models have; every character is a token or some."""

import string

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHARACTERS = [*string.ascii_letters, *string.digits, *string.punctuation, "\n"]
SPECIALS = ("<unk>", "<s>", "</s>", "<|end|>", "[/INST]")
"""Their ids are their places; `</s>` is the end of sequence."""


def sentence_piece(decoder):
    """As Llama's and Mistral's: spaces are `▁`, one stands before the text, bytes for the rest."""
    tokens = [*SPECIALS, "▁", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {token: index for index, token in enumerate([*tokens, *CHARACTERS, "▁x", "▁▁"])}
    merges = [("▁", "x"), ("▁", "▁")]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoder
    return made


def stripped():
    return decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def letters():
    """A character a token, and no decoder."""
    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *CHARACTERS, " "])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


KINDS = {
    "sentencepiece": lambda: sentence_piece(stripped()),
    "metaspace": lambda: sentence_piece(
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    ),
    "byte level": byte_level,
    "letters": letters,
}


@pytest.fixture(scope="session")
def make_tokenizer():
    """A maker of tokenizers of these kinds, with `SPECIALS` special."""

    def make(kind, **options):
        words = KINDS[kind]()
        words.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
        return PreTrainedTokenizerFast(
            tokenizer_object=words,
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            extra_special_tokens=["<|end|>", "[/INST]"],
            **options,
        )

    return make


@pytest.fixture(params=KINDS)
def any_tokenizer(request, make_tokenizer):
    """One of every kind."""
    return make_tokenizer(request.param)


@pytest.fixture(scope="session")
def chain_engine():
    """A maker of hf engines whose greedy next token follows from the last one alone.

    `steps` says which follows which; a token it does not name follows itself.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlpeft.adapters.policy import attach_adapter
    from rlpeft.recipe.run import SvfAdapter
    from rlpeft.rollout.hf.engine import HfEngine

    def make(tokenizer, steps, *, eos_ids=(2,), context=64):
        size = len(tokenizer)
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=context,
        )
        model = LlamaForCausalLM(config).eval().requires_grad_(False)
        following = [steps.get(token, token) for token in range(size)]
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(torch.eye(size)[following].T)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        policy = attach_adapter(model, SvfAdapter(targets=("q_proj",)), seed=0)
        return HfEngine(policy, tokenizer, eos_ids=eos_ids)

    return make
