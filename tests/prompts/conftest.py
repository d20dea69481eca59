"""Tokenizers of the kinds that models come with, small enough to be built in a moment."""

import pytest

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")
INSTRUCT = (
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }}</s>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="session")
def templates():
    """Chat templates by what they do."""
    return {"chatml": CHATML, "trimming": TRIMMING, "instruct": INSTRUCT}


@pytest.fixture
def byte_level():
    """A maker of byte-level tokenizers: ChatML's marks, and any tokens before text."""

    def make(template=CHATML, *, prefix=(), special=True, merges=(), normalizer=None):
        from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
        from tokenizers.models import BPE
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = [*letters, *("".join(pair) for pair in merges)]
        fast = Tokenizer(BPE({name: id for id, name in enumerate(vocab)}, list(merges)))
        fast.normalizer = normalizer
        fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        fast.decoder = decoders.ByteLevel()
        fast.add_special_tokens(["<|endoftext|>", *prefix])
        marks = ["<|im_start|>", "<|im_end|>"]
        fast.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
        if prefix:
            opening = [(name, fast.token_to_id(name)) for name in prefix]
            fast.post_processor = processors.TemplateProcessing(
                single=f"{' '.join(prefix)} $A", special_tokens=opening
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=fast, eos_token="<|endoftext|>", chat_template=template
        )

    return make


@pytest.fixture
def sentence_piece():
    """A tokenizer of SentencePiece's kind: a blank before text, `<s>` a piece of its vocabulary."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    def make(scheme="first", template=INSTRUCT):
        pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
        pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
        pieces += [("\u2581", -3.0), ("\u258142", -1.0), ("42", -2.0)]
        pieces += [(chr(code), -5.0) for code in range(33, 127)]
        fast = Tokenizer(Unigram(pieces, 0, byte_fallback=True))
        if scheme == "legacy":
            fast.normalizer = normalizers.Sequence(
                [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
            )
        else:
            fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        fast.decoder = decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        fast.add_special_tokens(["<unk>", "<s>", "</s>"])
        fast.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=fast,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            chat_template=template,
        )

    return make


@pytest.fixture
def user():
    """A talk of one turn by the user."""
    return lambda text: ({"role": "user", "content": text},)
