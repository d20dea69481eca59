"""The `[adapter]` section of a recipe: which PEFT method is trained, and how it starts.

The string under each field is its documentation. PEFT itself is not imported here: the record of a
method says what its section means to it (`rlpeft.adapters.methods`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rlpeft.recipe.by_type import ByType

SECTIONS = {
    "svf": "rlpeft.recipe.adapter:SvfAdapter",
    "lora": "rlpeft.recipe.adapter:LoraFamilyAdapter",
    "dora": "rlpeft.recipe.adapter:LoraFamilyAdapter",
    "ia3": "rlpeft.recipe.adapter:Ia3Adapter",
    "hyplora": "rlpeft.recipe.adapter:HypLoraAdapter",
    "moslora": "rlpeft.recipe.adapter:MoSLoraAdapter",
}
"""Each method by its `adapter.type`: where its section is. Those here are read in no time; one that
stands with its method brings PEFT with it, and is imported for recipes that name it alone."""

ATTENTION_AND_MLP = "attention-and-mlp"
"""Default targets: all attention and MLP projections of the base model, whatever their names
(`rlpeft.adapters.targets`)."""


LONGEST_PATTERN = 10_000
"""Characters of a regular expression over module names."""


def _named(targets: tuple[str, ...] | str) -> tuple[str, ...] | str:
    """Refuse targets that name nothing, and what is no regular expression."""
    if not targets or (not isinstance(targets, str) and "" in targets):
        raise ValueError(
            f"adapter.targets must name modules, got {targets!r}. Leave it out for the default."
        )
    if not isinstance(targets, str):
        return targets
    problem = ""
    if len(targets) > LONGEST_PATTERN:
        problem = f"it has {len(targets)} characters, the most are {LONGEST_PATTERN}"
    else:
        try:
            re.compile(targets)
        except (re.error, OverflowError, RecursionError) as error:
            problem = str(error)
    if problem:
        raise ValueError(
            "adapter.targets must be one regular expression, or a list of names, got "
            f"{targets!r:.80}: {problem}. Correct it."
        )
    return targets


NamedModules = Annotated[tuple[str, ...] | str, AfterValidator(_named)]

Targets = Annotated[
    NamedModules,
    Field(
        description="`attention-and-mlp`: all projections of the decoder layers. Or module names, "
        "or one regular expression, as PEFT's `target_modules`."
    ),
]


def _some(layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Refuse a list of no layers, which PEFT would take for all of them."""
    if layers is not None and (not layers or min(layers) < 0):
        raise ValueError(
            f"adapter.layers must list layer indices from 0 up, got {list(layers)!r:.80}. Leave it "
            "out for all layers."
        )
    return layers


Layers = Annotated[
    tuple[int, ...] | None,
    AfterValidator(_some),
    Field(description="Layer indices to adapt; all if absent."),
]


Decomposition = Literal["gram", "svd"]
"""How SVF's factors are computed (`rlpeft.adapters.svf.decompose`)."""


class Section(BaseModel):
    """Base of all sections: immutable, no unknown keys, finite numbers, documented fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _tells_booleans_from_numbers(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        # Pydantic reads true as 1, and 1 as true.
        found = read(value)
        _refuse_other_kind(value, found)
        return found


def _refuse_other_kind(value: Any, found: Any) -> None:
    """Refuse a boolean that was read as a number, or a number as a boolean, also in lists."""
    if isinstance(value, list | tuple) and isinstance(found, list | tuple):
        for each, read in zip(value, found, strict=False):
            _refuse_other_kind(each, read)
    elif isinstance(value, dict) and isinstance(found, dict):
        _refuse_other_kind([*value.values()], [*found.values()])
    elif (
        isinstance(value, int | float)
        and isinstance(found, int | float)
        and isinstance(value, bool) != isinstance(found, bool)
    ):
        wanted = "true or false" if isinstance(found, bool) else "a number"
        raise PydanticCustomError("other_kind", "must be {wanted}", {"wanted": wanted})


class AdapterSection(Section):
    """Base of the sections of methods, each of which has these fields in an order of its own."""

    if TYPE_CHECKING:
        type: str
        targets: tuple[str, ...] | str


class SvfAdapter(AdapterSection):
    """Singular-value fine-tuning (Transformer², arXiv 2501.06252, §3)."""

    type: Literal["svf"] = "svf"
    parametrisation: Literal["direct", "sigmoid_renorm"] = "direct"
    """`direct`: z itself, 1 at init (paper). `sigmoid_renorm`: sigmoid(p), rescaled to keep the
    nuclear norm (reference code)."""
    targets: Targets = ATTENTION_AND_MLP
    layers: Layers = None
    decomposition: Decomposition = "gram"
    """How singular vectors are computed. `gram`: by the eigenvectors of the Gram matrix in float64,
    on the weight's device. `svd`: in float32, a thousand times less exact: of runs and experts that
    do not name it, and for new ones to be mixed with those. A run that goes on keeps its own."""


class LoraFamilyAdapter(AdapterSection):
    """LoRA and DoRA from PEFT (the baselines)."""

    type: Literal["lora", "dora"]
    targets: Targets = ATTENTION_AND_MLP
    layers: Layers = None
    rank: Annotated[int, Field(ge=1)] = 16
    """LoRA rank."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA alpha; the update is scaled by alpha / rank."""


class Ia3Adapter(AdapterSection):
    """IA3 from PEFT (a baseline)."""

    type: Literal["ia3"]
    targets: NamedModules = ("k_proj", "v_proj", "down_proj")
    """Module names, or one regular expression, as PEFT's `target_modules`."""
    feedforward: tuple[str, ...] = ("down_proj",)
    """The targets whose input, not output, is scaled."""


SpaceName = Literal["euclidean", "hyperbolic", "spherical"]


class GeometricAdapter(AdapterSection):
    """What the two geometric methods share; sized by the plain LoRA of the same rank."""

    targets: Targets = ATTENTION_AND_MLP
    layers: Layers = None
    rank: Annotated[int, Field(ge=1)] = 16
    """LoRA rank; for MoSLoRA, that of the LoRA whose parameter count is not exceeded."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA alpha; the update is scaled by alpha / rank."""
    learn_curvature: bool = True
    """Learn one curvature a module (MoSLoRA: one a module and curved expert), within
    `curvature_bounds`."""
    curvature_bounds: tuple[float, float] = (1e-3, 4.0)
    """Bounds of a learned |kappa|; a start on or beyond them is refused."""
    curvature_reg: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of (kappa - its start)² in the loss, a mean over all learned curvatures."""

    def check_start(self, magnitude: float) -> None:
        """Refuse a learned |kappa| that starts outside its bounds."""
        low, high = self.curvature_bounds
        if not 0 < low < high <= 100:
            raise ValueError(
                "adapter.curvature_bounds must be two numbers with 0 < low < high <= 100, got "
                f"{self.curvature_bounds!r}."
            )
        if self.learn_curvature and not low < magnitude < high:
            raise ValueError(
                f"adapter.curvature must start with a size strictly between {low} and {high} "
                f"(adapter.curvature_bounds) to be learned, got {magnitude!r}. Widen the bounds, "
                "move the start, or set adapter.learn_curvature = false."
            )


class HypLoraAdapter(GeometricAdapter):
    """Hyperbolic LoRA (arXiv 2410.04010): log₀(B A exp₀(x)) in the Lorentz model."""

    type: Literal["hyplora"]
    variant: Literal["rotation", "boost"] = "rotation"
    """`rotation` (the paper): A and B act on the space coordinates, which is LoRA times one gain a
    token. `boost`: they also read the time coordinate, counted from the origin."""
    norm_mode: Literal["scale", "unit", "none"] = "scale"
    """What enters exp₀. `scale`: x / s with s learned from sqrt(in_features). `unit`: e^a x/‖x‖
    with a learned from 0. `none`: x itself."""
    curvature: Annotated[float, Field(ge=-100, le=0)] = -1.0
    """Sectional curvature kappa = -1/R²; its start where learned. 0 and fixed: plain LoRA."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_start(-self.curvature)
        return self


class MoSLoraAdapter(GeometricAdapter):
    """Mixture-of-Space LoRA (arXiv 2602.14490): one low-rank expert a space, routed by token."""

    type: Literal["moslora"]
    spaces: Annotated[tuple[SpaceName, ...], Field(min_length=1)] = (
        "euclidean",
        "hyperbolic",
        "spherical",
    )
    """The space of each expert; a space may come more than once."""
    map: Literal["ambient", "stereo", "proj"] = "proj"
    """`proj`: stereographic projection, no exp or log (cheapest). `stereo`: Poincaré ball and its
    dual. `ambient`: Lorentz model and sphere."""
    router: Literal["linear", "mlp", "z"] = "linear"
    """`linear` and `mlp` read the input, `z` the middle coordinates (nearly free). All start
    uniform."""
    curvature: Annotated[float, Field(ge=0, le=100)] = 0.25
    """|kappa| of every curved expert; its start where learned."""
    balance_coef: Annotated[float, Field(ge=0)] = 1e-2
    """Weight of E Σ p̄² in the loss (p̄: mean router shares of a micro-batch's tokens): 1 where
    experts are used equally, E where one takes all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(space != "euclidean" for space in self.spaces):
            self.check_start(self.curvature)
        if self.rank <= len(self.spaces):
            raise ValueError(
                f"adapter.rank must exceed the number of adapter.spaces ({len(self.spaces)}): each "
                f"expert needs a rank of at least 1 beside the router, got {self.rank!r}. Raise "
                "it, or list fewer spaces."
            )
        return self


AdapterConfig = Annotated[AdapterSection, ByType(SECTIONS, default="svf")]
