"""The kinds of rollout engines there are: each a folder of its own, and one line of `ENGINES`.

No library is needed to read the table: the command line names the engines in its help.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """What must be known of a kind of engine before one is built; its code is imported only then.

    Attributes:
        build: import path of (`EngineSpec`, `BaseModel`) -> `rlpeft.rollout.engine.RolloutEngine`.
        takes_options: whether it reads `rollout.options`.
        batch_size: sequences generated at once where `rollout.batch_size` is absent.
        batches_a_call: full batches that a call is to have at most where engines share the work:
            one in an engine that ends a batch before it begins the next; more in one that fills
            every place that gets free, and has empty ones at the end of a call alone.
        expert_slots: the option that says how many experts may share a batch; `None`: any number.
        needs_factors: whether experts must name the factors of the base model's weights.
        quantises: what it can do of `model.quantisation`.
        sees_images: whether its requests may have images.
        gpu_share: the option that says its share of a GPU's memory; `None`: there is none.
        is_served: whether `rlpeft serve` runs it itself; the others answer in the place of vLLM.
        splits_weights: whether several workers may share its weights, `rollout.tensor_parallel`.
        bare: import path of (folder of a base model, *, dtype, max_model_len) -> the engine without
            an adapter, for `rlpeft models check`; empty: which cannot try it.
    """

    build: str
    takes_options: bool = False
    batch_size: int = 256
    batches_a_call: int = 1
    expert_slots: str | None = None
    needs_factors: bool = False
    quantises: tuple[str, ...] = ()
    sees_images: bool = False
    gpu_share: str | None = None
    is_served: bool = False
    splits_weights: bool = False
    bare: str = ""

    def can(self, quantisation: str) -> bool:
        """Whether it quantises a base in this way."""
        return quantisation in self.quantises


ENGINES = {
    "hf": Engine("rlpeft.rollout.hf.build:build", quantises=("int8", "nf4"), sees_images=True),
    "vllm": Engine(
        "rlpeft.rollout.vllm.build:build",
        takes_options=True,
        batches_a_call=4,
        expert_slots="max_experts",
        needs_factors=True,
        quantises=("int8",),
        sees_images=True,
        gpu_share="gpu_memory_utilization",
        is_served=True,
        splits_weights=True,
        bare="rlpeft.rollout.vllm.build:bare",
    ),
}
"""Each engine by its `rollout.engine`."""
