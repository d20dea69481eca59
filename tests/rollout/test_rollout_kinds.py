"""Kinds of tokenizers × engines: the same tokens give the same text and the same ends.

A scripted model says what it is told to, so what is right is known without an engine. Two kinds
hold what four have: special tokens, prefix tokens that are no BOS, and a template that trims.
"""

import pytest

from rlpeft.model_checks import engines
from rlpeft.model_checks.engines import Stage
from rlpeft.model_checks.finding import LawVerdict
from rlpeft.model_checks.subject import Subject
from rlpeft.model_checks.table import ENGINE_LAWS, LAWS, LawNeeds

TRIMMING = (
    "<s>{% for m in messages %}{{ m.role }}:{{ m.content | trim }}"
    "{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
TEXT_LAWS = (engines.texts, engines.ends, engines.special_stops, engines.plain_stops)


@pytest.fixture(scope="module")
def kind_of(make_tokenizer, tmp_path_factory):
    """A maker of folders that hold a tokenizer of a kind, and no weights."""
    from tokenizers.processors import TemplateProcessing

    def make(kind, prefix):
        tokenizer = make_tokenizer(kind, chat_template=TRIMMING)
        special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in prefix]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{' '.join(prefix)} $A", special_tokens=special
        )
        folder = tmp_path_factory.mktemp("kind")
        tokenizer.save_pretrained(folder)
        return Subject(folder, weights=False)

    return make


KINDS = [
    ("byte level", ("<s>", "<|end|>")),
    ("sentencepiece", ("<s>",)),
    ("metaspace", ("<|end|>",)),
    ("letters", ("<s>",)),
]


@pytest.mark.parametrize(("kind", "prefix"), KINDS, ids=[kind for kind, _ in KINDS])
def test_prompts_text_and_ends_are_right_for_every_kind_in_hf(kind_of, kind, prefix):
    subject = kind_of(kind, prefix)
    found = {
        law.name: law.check(subject)
        for law in LAWS
        if law.needs in (LawNeeds.TOKENIZER, LawNeeds.TEMPLATE)
    }
    stage = Stage(subject, "hf")
    found |= {law.name: law.check(stage) for law in ENGINE_LAWS}
    bad = {
        name: finding.evidence
        for name, finding in found.items()
        if finding.verdict not in (LawVerdict.HOLDS, LawVerdict.ABSENT)
    }
    ascii_alone = {"text survives", "taught as sampled"}
    assert bad.keys() == (ascii_alone if kind == "letters" else set()), bad
    assert found["plain stop strings"].verdict is LawVerdict.HOLDS


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "prefix"), KINDS[:2], ids=[kind for kind, _ in KINDS[:2]])
def test_both_engines_give_the_same_text_and_the_same_ends(kind_of, kind, prefix):
    pytest.importorskip("vllm")
    subject = kind_of(kind, prefix)
    by_engine = {name: Stage(subject, name) for name in ("hf", "vllm")}
    given = {}
    for name, stage in by_engine.items():
        bad = [law(stage) for law in TEXT_LAWS if law(stage).verdict is not LawVerdict.HOLDS]
        assert bad == []
        assert engines.limits(stage).verdict is LawVerdict.HOLDS
        given[name] = [
            (got.token_ids, got.text, got.finish_reason, got.prompt_end)
            for act in stage.acts
            for _, got in stage.completions(act)
        ]
    assert given["hf"] == given["vllm"]
    assert len(given["hf"]) > 8
