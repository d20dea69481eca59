"""PEFT's mixed batches for all our methods: every row runs the adapter it names."""

import pytest
import torch
from peft import get_peft_model

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.errors import ConfigError

PROMPT = torch.tensor([[5, 9, 12, 7, 33, 2], [8, 8, 41, 3, 59, 10], [4, 4, 4, 9, 9, 9]])
METHODS = {
    "svf": SvfConfig,
    "svf dense": lambda **options: SvfConfig(form="dense", **options),
    "svf sigmoid": lambda **options: SvfConfig(parametrisation="sigmoid_renorm", **options),
    "hyplora": HypLoraConfig,
    "moslora": MoSLoraConfig,
}


def logits(model, **options):
    with torch.no_grad():
        return model(PROMPT, **options).logits


@pytest.fixture(params=METHODS)
def adapted(request, llama, perturb):
    """A maker of models with the adapters "first" and "second", which adapts fewer modules."""

    def make(dtype=torch.float32, **options):
        options = {"target_modules": ["q_proj", "down_proj"]} | options
        config = METHODS[request.param]
        model = perturb(get_peft_model(llama().to(dtype), config(**options), "first"), std=0.3)
        model.add_adapter("second", config(**options | {"target_modules": ["q_proj"]}))
        model.set_adapter("second")
        perturb(model, std=0.3, seed=2)
        model.set_adapter("first")
        return model.eval()

    return make


def alone(model):
    found = {}
    for name in ("first", "second"):
        model.set_adapter(name)
        found[name] = logits(model)
    model.set_adapter("first")
    with model.disable_adapter():
        found["__base__"] = logits(model)
    return found


@pytest.mark.parametrize(
    "names",
    [
        ["first", "second", "__base__"],
        ["__base__"] * 3,
        ["second", "__base__", "second"],
        ["first"] * 3,
    ],
)
def test_each_row_runs_the_adapter_that_it_names(adapted, names):
    model = adapted()
    expected = alone(model)
    mixed = logits(model, adapter_names=names)
    for row, name in enumerate(names):
        torch.testing.assert_close(mixed[row], expected[name][row], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected["first"], expected["second"], atol=1e-3)
    assert not torch.allclose(expected["first"], expected["__base__"], atol=1e-3)


def test_a_mixed_batch_over_a_bfloat16_base_keeps_base_rows_exact(adapted):
    model = adapted(torch.bfloat16)
    expected = alone(model)
    mixed = logits(model, adapter_names=["__base__", "first", "second"])
    assert torch.equal(mixed[0], expected["__base__"][0])
    torch.testing.assert_close(mixed[1], expected["first"][1], atol=0.05, rtol=0.05)


def test_a_batch_without_names_runs_the_active_adapter_afterwards(adapted):
    model = adapted()
    before = logits(model)
    logits(model, adapter_names=["second", "__base__", "second"])
    assert torch.equal(logits(model), before)


def test_a_disabled_adapter_is_no_adapter_in_any_row(adapted):
    model = adapted()
    expected = alone(model)["__base__"]
    with model.disable_adapter():
        assert torch.equal(logits(model, adapter_names=["first", "second", "first"]), expected)


@pytest.mark.parametrize(
    ("repeat", "count"),
    [
        ({"num_beams": 2}, 1),
        ({"num_beams": 2, "num_return_sequences": 2}, 2),
        ({"do_sample": True, "num_return_sequences": 3}, 3),
    ],
    ids=["beams", "all beams", "samples"],
)
def test_generation_that_repeats_rows_repeats_their_names(adapted, repeat, count):
    model = adapted()
    options = {"attention_mask": torch.ones_like(PROMPT), "max_new_tokens": 3, "eos_token_id": None}
    names = ["__base__", "first", "second"]
    mixed = model.generate(
        input_ids=PROMPT,
        adapter_names=names,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
        **repeat,
    )
    assert len(mixed.sequences) == count * len(PROMPT)
    each = len(mixed.logits[0]) // len(PROMPT)
    for row, name in enumerate(names):
        expected = alone(model)[name][row, -1]
        for copy in range(each):
            found = mixed.logits[0][row * each + copy]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["first", "typo", "third"], r"among \['first', 'second'\].*got \['third', 'typo'\]"),
        (["first", None, "second"], r"got \['None'\]"),
        (["first", "second"], "2 names for 3 rows"),
        ("first", "must be a list with one name a row, got 'first'"),
    ],
)
def test_names_that_cannot_be_served_are_refused(adapted, names, message):
    model = adapted()
    with pytest.raises(ConfigError, match=message):
        logits(model, adapter_names=names)


def test_a_model_in_training_refuses_row_adapters(adapted):
    model = adapted()
    with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
        logits(model.train(), adapter_names=["first"] * 3)


def test_a_merged_model_refuses_row_adapters(llama, perturb):
    model = perturb(get_peft_model(llama(), SvfConfig())).eval()
    model.merge_adapter()
    with pytest.raises(ConfigError, match=r"\['default'\] are merged.*unmerge_adapter"):
        logits(model, adapter_names=["__base__"] * 3)
    model.unmerge_adapter()
    logits(model, adapter_names=["__base__"] * 3)


def test_a_wrapped_module_to_save_follows_its_row(llama, perturb):
    config = SvfConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = perturb(get_peft_model(llama(), config), std=0.3).eval()
    adapted = logits(model)
    mixed = logits(model, adapter_names=["__base__", "default", "__base__"])
    torch.testing.assert_close(mixed[0], logits(llama())[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], adapted[1], atol=1e-5, rtol=1e-5)
