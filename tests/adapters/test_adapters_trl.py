"""TRL's trainers take our `peft_config` unchanged, and train it."""

import warnings

import pytest
from datasets import Dataset

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.tokenizer import load_tokenizer

pytestmark = [
    pytest.mark.slow,
    # TRL and accelerate warn about their own options and about a machine without CUDA.
    pytest.mark.filterwarnings("ignore"),
]


def tiny():
    path = resolve_model("tiny")
    return load_base_model(path), load_tokenizer(path)


def trained(model, prefix="svf_z"):
    return [p for n, p in model.named_parameters() if prefix in n]


def options(tmp_path):
    # `bf16` is left out: TRL's default is autocast over a float32 base.
    return {
        "output_dir": str(tmp_path),
        "max_steps": 2,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("config", "prefix"),
    [(SvfConfig(), "svf_z"), (HypLoraConfig(r=4), "hyplora_B"), (MoSLoraConfig(r=8), "moslora_B")],
    ids=["svf", "hyplora", "moslora"],
)
def test_sft_trainer_trains_our_methods(tmp_path, config, prefix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import SFTConfig, SFTTrainer
    model, tokenizer = tiny()
    rows = [{"prompt": f"{n}@=", "completion": str(n)[2:] + str(n)[:2]} for n in range(1000, 1032)]
    trainer = SFTTrainer(
        model,
        args=SFTConfig(**options(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=config,
    )
    start = [vector.detach().clone() for vector in trained(trainer.model, prefix)]
    trainer.train()
    assert start
    pairs = zip(trained(trainer.model, prefix), start, strict=True)
    assert all(bool((now != then).any()) for now, then in pairs)


def test_rloo_trainer_trains_svf(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import RLOOConfig, RLOOTrainer
    model, tokenizer = tiny()

    def rising(completions, **_):
        return [-float(ord(text[0])) if text else -99.0 for text in completions]

    trainer = RLOOTrainer(
        model,
        reward_funcs=rising,
        args=RLOOConfig(**options(tmp_path), num_generations=4, max_completion_length=6),
        train_dataset=Dataset.from_list([{"prompt": f"{n}#="} for n in range(1000, 1032)]),
        processing_class=tokenizer,
        peft_config=SvfConfig(),
    )
    trainer.train()
    assert any(bool((z != 1).any()) for z in trained(trainer.model))


def test_dpo_trainer_trains_svf(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import DPOConfig, DPOTrainer
    model, tokenizer = tiny()
    numbers = range(1000, 1032)
    rows = [{"prompt": f"{n}#=", "chosen": f"{n}", "rejected": "9999"} for n in numbers]
    trainer = DPOTrainer(
        model,
        args=DPOConfig(**options(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=SvfConfig(),
    )
    trainer.train()
    assert any(bool((z != 1).any()) for z in trained(trainer.model))


def test_grpo_trainer_trains_svf(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import GRPOConfig, GRPOTrainer
    model, tokenizer = tiny()

    def rising(completions, **_):
        return [-float(ord(text[0])) if text else -99.0 for text in completions]

    trainer = GRPOTrainer(
        model,
        reward_funcs=rising,
        args=GRPOConfig(**options(tmp_path), num_generations=4, max_completion_length=6),
        train_dataset=Dataset.from_list([{"prompt": f"{n}#="} for n in range(1000, 1032)]),
        processing_class=tokenizer,
        peft_config=SvfConfig(),
    )
    trainer.train()
    assert any(bool((z != 1).any()) for z in trained(trainer.model))
