"""How to load an adapter, for its README: in rlpeft, PEFT, vLLM and plain transformers."""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple

from rlpeft.adapters.methods import named
from rlpeft.experts.files import ExpertCard
from rlpeft.experts.hub import is_hub_id
from rlpeft.models.folder import FETCHABLE, PACKAGED
from rlpeft.recipe.engines import ENGINES


class Quantised(NamedTuple):
    """How transformers is told of a quantisation.

    Attributes:
        config: its class there.
        made: an expression that makes one.
        imports: of what else that needs.
    """

    config: str
    made: str
    imports: tuple[str, ...] = ()


QUANTISED = {
    "int8": Quantised(
        "TorchAoConfig",
        "TorchAoConfig(Int8WeightOnlyConfig())",
        ("from torchao.quantization import Int8WeightOnlyConfig",),
    ),
    "nf4": Quantised(
        "BitsAndBytesConfig", 'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'
    ),
}
"""By `model.quantisation`."""


class BaseCode(NamedTuple):
    """How transformers loads the base.

    Attributes:
        attention: the implementation that computes what the base's config says.
        by: the class of its models.
        quantisation: as in a recipe's `model.quantisation`; empty: none.
    """

    attention: str = "sdpa"
    by: str = "AutoModelForCausalLM"
    quantisation: str = ""

    def code(self, name: str) -> str:
        """A call that loads a model.

        Args:
            name: an expression.
        """
        # transformers' own choice leaves a cap of attention scores out, and says nothing.
        named_attention = f", attn_implementation={json.dumps(self.attention)}"
        options = 'dtype="float32"' + ("" if self.attention == "sdpa" else named_attention)
        if self.quantisation:
            options += f", quantization_config={QUANTISED[self.quantisation].made}"
        return f"{self.by}.from_pretrained({name}, {options})"

    @property
    def imports(self) -> list[str]:
        """What the call needs."""
        if not self.quantisation:
            return [f"from transformers import {self.by}"]
        how = QUANTISED[self.quantisation]
        return [*how.imports, f"from transformers import {self.by}, {how.config}"]


OF_TEXT = BaseCode()
"""As most bases are."""


def how_to_load(card: ExpertCard, base: str, loading: BaseCode, where: str) -> str:
    """Commands and code.

    Args:
        base: the base model as the adapter's config names it.
        where: the folder or the id that the adapter is loaded by.
    """
    here, name = shlex.quote(where), shlex.quote(card.name)
    merged = f"rlpeft export {here} --format merged --out merged"
    elsewhere = [
        ("vLLM, with the adapter merged into its base", "bash", [merged, "vllm serve merged"]),
        ("Plain transformers, from the same folder", "python", _transformers(loading)),
    ]
    if loading.quantisation:
        engine = "" if ENGINES["vllm"].can(loading.quantisation) else " --engine hf"
        serve = f"rlpeft serve --experts {here}{engine}"
        elsewhere = [("An OpenAI server; a quantised base takes nothing in", "bash", [serve])]
    elif not named(str(card.adapter.get("type"))).is_mergeable:
        serve = f"rlpeft serve --experts {here} --engine hf"
        elsewhere = [("An OpenAI server; this method cannot be merged", "bash", [serve])]
    ways = [
        ("rlpeft", "bash", [f'rlpeft generate "PROMPT" --experts {here} --strategy {name}']),
        ("PEFT", "python", _peft(card, base, loading, where)),
        *elsewhere,
    ]
    return "\n\n".join(
        f"{title}:\n\n```{language}\n{chr(10).join(lines)}\n```" for title, language, lines in ways
    )


def _peft(card: ExpertCard, base: str, loading: BaseCode, where: str) -> list[str]:
    ours, method = [], named(str(card.adapter.get("type")))
    if method.is_ours:
        ours = [f"import rlpeft.adapters  # makes {method.label} known to PEFT"]
    found, lookup = json.dumps(base), []
    if not is_hub_id(base) and card.base_model in (*PACKAGED, *FETCHABLE):
        lookup = ["from rlpeft.models.folder import resolve_model"]
        found = f"resolve_model({json.dumps(card.base_model)})"
    return [
        *ours,
        "from peft import PeftModel",
        *lookup,
        *loading.imports,
        "",
        f"base = {loading.code(found)}",
        f"model = PeftModel.from_pretrained(base, {json.dumps(where)})",
    ]


def _transformers(loading: BaseCode) -> list[str]:
    return [
        f"from transformers import {loading.by}",
        "",
        "model = " + loading.code('"merged"'),
    ]
