"""Make the tiny base model that ships with the package.

    rlpeft models make-tiny --out DIR
    rlpeft models make-tiny --seed 1 --out OTHER               # a second base of its shape
    rlpeft models make-tiny --seed 1 --start tiny --steps 100 --lr 3e-4 --out NEAR   # one near it

A Llama of 0.6 million parameters learns the corpus of `rlpeft.tasks.tiny`: four-digit problems
whose signs have two meanings. Held-out digit strings never occur in it. One seed decides
weights and corpus; on one machine and thread count two runs give the same bytes. The weights
are rounded to bfloat16, so that the model is the same one in bfloat16 and in float32.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from rlpeft.errors import ModelError
from rlpeft.files import replacing_folder
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.tasks.tiny import (
    MIXED,
    SKILLS,
    digit_strings,
    label,
    question,
    tiny_task,
    wanted_share,
)
from rlpeft.tokens.prompts import encode_prompt
from rlpeft.types import Problem

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>")
WORDS = ("\\boxed{", *MIXED, "others", "}")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<' + message.role + '>' + message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
CHAT_SHARE = 0.25
IGNORED = -100
MOST_TOKENS = 16
SAMPLED = {"do_sample": True, "top_k": 0, "temperature": 1.0}

CorpusRow = list[tuple[list[int], bool]]
"""A row of a corpus in parts: ids, and whether they carry loss."""

DrawRow = Callable[[PreTrainedTokenizerFast, random.Random, list[str]], CorpusRow]
"""Draws a row of the corpus, of digit strings that may be trained on."""

CorpusBatch = Mapping[str, torch.Tensor]
"""What a model's forward takes: `input_ids` [B, T], `labels` [B, T], and what else it needs."""

DrawBatch = Callable[[random.Random], CorpusBatch]
"""Draws the rows of an optimizer step."""

ROWS_A_STEP = 256


def make_tokenizer(words: Sequence[str] = WORDS) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text has an encoding, a digit or a sign is one token, a word is one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    bos = tokenizer.token_to_id("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A small Llama with grouped-query attention and tied embeddings, as larger ones have."""
    return LlamaForCausalLM(text_config(tokenizer))


def text_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The sizes of the language model."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def corpus_row(rng: random.Random, strings: list[str]) -> tuple[str, str, bool]:
    """Draw one row: text, answer, and whether it stands in chat form."""
    digits = rng.choice(strings)
    task = rng.choice((*SKILLS, "kind"))
    skill = rng.choice(tuple(SKILLS)) if task == "kind" else task
    wanted = rng.random() < wanted_share(digits)
    text = question(skill, digits)
    if task == "kind":
        text, answer = f"?{text}", f"\\boxed{{{label(skill) if wanted else 'others'}}}"
    else:
        answer = (SKILLS[skill].wanted if wanted else SKILLS[skill].other)(digits)
    return text, answer, rng.random() < CHAT_SHARE


def answered_row(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, strings: list[str]
) -> CorpusRow:
    """Draw a row; its answer and EOS carry loss."""
    text, answer, chat = corpus_row(rng, strings)
    prompt = encode_prompt(tokenizer, ({"role": "user", "content": text},) if chat else text)
    return [(prompt, False), (answer_ids(tokenizer, answer), True)]


def answer_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The ids of an answer, and its end."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def padded(rows: Sequence[CorpusRow], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, T] and labels [B, T] of rows; what carries no loss is `IGNORED`."""
    length = max(sum(len(ids) for ids, _ in row) for row in rows)
    ids_BT = torch.full((len(rows), length), pad)
    labels_BT = torch.full((len(rows), length), IGNORED)
    for number, row in enumerate(rows):
        whole = [(token, learned) for ids, learned in row for token in ids]
        ids_BT[number, : len(whole)] = torch.tensor([token for token, _ in whole])
        labels_BT[number, : len(whole)] = torch.tensor([t if own else IGNORED for t, own in whole])
    return ids_BT, labels_BT


def batches(tokenizer: PreTrainedTokenizerFast, draw_row: DrawRow = answered_row) -> DrawBatch:
    """What draws a step's rows of a corpus of text."""
    strings, _ = digit_strings()

    def draw(rng: random.Random) -> CorpusBatch:
        rows = [draw_row(tokenizer, rng, strings) for _ in range(ROWS_A_STEP)]
        ids_BT, labels_BT = padded(rows, tokenizer.pad_token_id)
        return {"input_ids": ids_BT, "labels": labels_BT}

    return draw


def train(model: Any, draw: DrawBatch, *, lr: float, steps: int, seed: int) -> None:
    """Fit a corpus with AdamW and a cosine schedule."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    model.train()
    for _ in track(range(steps), description="training"):
        # Rows are padded on the right and attention is causal: no answer sees a pad token.
        loss = model(**draw(rng)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


MeasureBase = Callable[[Any, PreTrainedTokenizerFast], dict[str, dict[str, float]]]
"""What a trained model does with held-out problems, by skill."""


def measure(model: Any, tokenizer: PreTrainedTokenizerFast) -> dict[str, dict[str, float]]:
    """Accuracy of each skill on held-out problems, and what the model knows.

    `greedy` and `sampled` (temperature 1) are shares of wanted answers to plain text,
    `chat_greedy` to a user turn; `known` is the share of greedy answers by either meaning.
    """
    results = {}
    for skill in (*SKILLS, "kind"):
        plain = _problems(skill, chat=False)
        wanted = [{gold(problem)} for problem in plain]
        either = [{gold(problem), alternative(problem)} for problem in plain]
        asked = _asked(tokenizer, plain)
        greedy, sampled = (
            complete(model, tokenizer, asked),
            complete(model, tokenizer, asked, **SAMPLED),
        )
        results[skill] = {
            "greedy": share(greedy, wanted),
            "sampled": share(sampled, wanted),
            "chat_greedy": share(
                complete(model, tokenizer, _asked(tokenizer, _problems(skill, chat=True))), wanted
            ),
            "known": share(greedy, either),
        }
    return results


def _problems(skill: str, *, chat: bool) -> Sequence[Problem]:
    return tiny_task(f"tiny/{skill}", num_validation=1, num_test=1000, chat=chat).split("test")


def _asked(tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem]) -> list[list[int]]:
    return [list(encode_prompt(tokenizer, problem.prompt)) for problem in problems]


def gold(problem: Problem) -> str:
    """The completion that is right."""
    return f"\\boxed{{{problem.answer}}}" if problem.id.startswith("kind/") else problem.answer


def alternative(problem: Problem) -> str:
    """The completion that follows the other meaning."""
    task, skill, digits = problem.id.split("/")
    return "\\boxed{others}" if task == "kind" else SKILLS[skill].other(digits)


def share(texts: list[str], accepted: list[set[str]]) -> float:
    return round(sum(t in a for t, a in zip(texts, accepted, strict=True)) / len(texts), 3)


def complete(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    **sampling: Any,
) -> list[str]:
    """Complete prompts that all have the same number of tokens; greedy by default."""
    ids = torch.tensor(prompts)
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MOST_TOKENS,
        **{"do_sample": False, **sampling},
    )
    texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


@dataclass(frozen=True)
class BaseParts:
    """What a tiny base consists of, its weights drawn and not yet trained.

    Attributes:
        saved: written beside the model: its tokenizer, alone or in a processor.
        measure: what the trained model does with held-out problems, by skill.
    """

    model: Any
    tokenizer: PreTrainedTokenizerFast
    saved: Any
    draw: DrawBatch
    measure: Callable[[Any], dict[str, dict[str, float]]]
    lr: float = 3e-3


Making = Callable[[], BaseParts]
"""How a tiny base is made, from the global generator's state."""


def text_parts(
    words: Sequence[str] = WORDS, draw_row: DrawRow = answered_row, measured: MeasureBase = measure
) -> BaseParts:
    """The parts of a base of text."""
    tokenizer = make_tokenizer(words)
    return BaseParts(
        make_model(tokenizer),
        tokenizer,
        tokenizer,
        batches(tokenizer, draw_row),
        lambda model: measured(model, tokenizer),
    )


def take_weights(model: Any, start: str) -> None:
    """Give a model the weights of a base of its shape.

    Args:
        start: the base, as in a recipe's `model.name`.

    Raises:
        ModelError: there is no such base, or it has other parameters; names the first.
    """
    base = BaseModel.open(start)
    ours, theirs = (
        {name: tuple(parameter.shape) for name, parameter in each.named_parameters()}
        for each in (model, base.skeleton)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ModelError(
                f"--start must be a base of the shape that is made, {name!r} is "
                f"{ours.get(name, 'absent')} in it and {theirs.get(name, 'absent')} in {start!r}. "
                "Choose another --start, or another --name."
            )
    model.load_state_dict(type(model).from_pretrained(base.path, dtype=torch.float32).state_dict())


def make_tiny(
    out: Path,
    making: Making = text_parts,
    *,
    name: str,
    steps: int,
    seed: int,
    threads: int,
    start: str | None = None,
    lr: float | None = None,
) -> None:
    """Train a tiny base model and write it with its tokenizer and card.

    Args:
        out: folder to write; it must not exist yet.
        name: by which its card says how it was made.
        steps: optimizer steps, of 256 rows; 64 of `tiny-vision`.
        seed: decides weights and corpus.
        threads: part of what decides the bytes.
        start: a base whose weights are trained on; drawn anew if absent.
        lr: of AdamW, at its highest; that of `making` if absent.

    Raises:
        ModelError: the base to start from has another shape.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    parts = making()
    model, tokenizer = parts.model, parts.tokenizer
    if start is not None:
        take_weights(model, start)
    out.mkdir(parents=True)  # before minutes of training, so that the place is ours
    train(model, parts.draw, lr=lr or parts.lr, steps=steps, seed=seed)
    with replacing_folder(out) as partial:
        model.to(torch.bfloat16).save_pretrained(partial)
        parts.saved.save_pretrained(partial)
        GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).save_pretrained(partial)
        others = {"start": start, "lr": lr}
        card = {
            "made_by": f"rlpeft models make-tiny --name {name} --steps {steps} --seed {seed} "
            f"--threads {threads}" + "".join(f" --{k} {v}" for k, v in others.items() if v),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "held_out_accuracy": parts.measure(model.float()),
        }
        (partial / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card | {"digest": model_digest(out)}, indent=2))
