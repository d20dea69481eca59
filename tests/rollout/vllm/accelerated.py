"""Slices of every method on the fake accelerator, printed as JSON: what each raised.

python tests/rollout/vllm/accelerated.py
"""

import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

# Ours before tests: beside the fake accelerator there is a folder `rewards`, too.
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[3]))

import torch
from fake_accelerator import DEVICE, fake_accelerator
from peft import IA3Config, LoraConfig

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.svf.factors import Factors
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.peft_config import make_slice, read_config
from rlpeft.rollout.vllm.slice_adapters import FactoredSlice

SIZES = {"q": 8, "up": 24}
WIDTH = 16

CONFIGS = {
    "svf": SvfConfig(target_modules=[*SIZES]),
    "lora": LoraConfig(target_modules=[*SIZES], r=3),
    "dora": LoraConfig(target_modules=[*SIZES], r=3, use_dora=True),
    "ia3": IA3Config(target_modules=[*SIZES], feedforward_modules=["up"]),
    "hyplora": HypLoraConfig(target_modules=[*SIZES], r=3),
    "boost": HypLoraConfig(target_modules=[*SIZES], r=3, variant="boost"),
    "moslora": MoSLoraConfig(target_modules=[*SIZES], r=6),
}
FORMS = {"svf": ("factored", "spectral", "dense"), "lora": ("factored", "dense")}


@torch.no_grad()
def serve(name, form, dtype, *, forgotten=False):
    """Make a layer, send it values from the CPU, and let it work on both sides of a sync."""
    config = read_config(asdict(CONFIGS[name]))
    with fake_accelerator():
        weight = torch.empty(sum(SIZES.values()), WIDTH, dtype=dtype, device=DEVICE)
        rows = weight.split(list(SIZES.values()))
        adapters = [
            make_slice(config, n, part, form=form) for n, part in zip(SIZES, rows, strict=True)
        ]
        layer = AdaptedLinear(
            weight, names=[*SIZES], sizes=[*SIZES.values()], adapters=adapters, form=form
        )
        x = torch.empty(5, WIDTH, dtype=dtype, device=DEVICE)
        bias = torch.empty(len(weight), dtype=dtype, device=DEVICE)
        layer(x, bias)
        for adapter in adapters:
            if isinstance(adapter, FactoredSlice):
                size = adapter.rank
                basis, values = torch.empty(size, size), torch.empty(size)
                adapter.take_factors(Factors(basis, values, adapter.output_side, "0"))
            for tensor in adapter.tensors.values():
                assert tensor.device == DEVICE
                assert tensor.dtype == torch.float32
                tensor.copy_(torch.empty(tensor.shape))
        layer.refresh()
        if forgotten:
            bias = bias.cpu()
        y = layer(x, bias)
        assert y.device == DEVICE
        assert y.dtype == dtype


def raised(*args, **kwargs):
    try:
        serve(*args, **kwargs)
    except RuntimeError as error:
        return str(error)
    return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {
        f"{name} {form} {dtype}": raised(name, form, getattr(torch, dtype))
        for name in CONFIGS
        for form in FORMS.get(name, ("factored",))
        for dtype in ("float32", "bfloat16")
        if (form, dtype) != ("spectral", "bfloat16")
    }
    found["forgotten"] = raised("svf", "factored", torch.float32, forgotten=True)
    print(json.dumps(found))
