"""What the hf engine says and where it ends, on models whose every next token is known."""

from itertools import pairwise

from rlpeft.types import FinishReason, Request, Sampling

GREEDY = Sampling(max_tokens=8, temperature=0.0)


def chain(ids):
    return dict(pairwise(ids))


def test_a_completion_keeps_its_first_space(make_tokenizer, chain_engine):
    tokenizer = make_tokenizer("sentencepiece")
    row = tokenizer.convert_tokens_to_ids(["f", ":", "▁▁", "▁x", "</s>"])
    engine = chain_engine(tokenizer, chain(row))
    ((found,),) = engine.rollout([Request("r", tuple(row[:2]), (0,))], GREEDY)
    assert (found.token_ids, found.text) == (tuple(row[2:]), "   x")
    assert found.finish_reason is FinishReason.STOP
