"""The `[rollout]` section of a recipe, and what an engine is built from: all that it sees of one.

The string under each field is its documentation.
"""

from __future__ import annotations

from operator import not_
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import AdapterConfig, Section
from rlpeft.recipe.engines import ENGINES
from rlpeft.suggest import did_you_mean
from rlpeft.types import LONGEST_STOP, MOST_STOPS, Quantisation, Sampling


def _known(engine: str) -> str:
    if engine not in ENGINES:
        raise ValueError(
            f"rollout.engine must be one of {', '.join(ENGINES)}, got {engine!r}."
            f"{did_you_mean(engine, ENGINES)}"
        )
    return engine


def _listed(schema: dict[str, Any]) -> None:
    schema["enum"] = [*ENGINES]


DECIDED_BY = {
    "model": "model.name",
    "model_path": "model.name",
    "adapter_config": "[adapter]",
    "dtype": "rollout.dtype",
    "max_model_len": "rollout.max_prompt_tokens + rollout.max_tokens",
    "max_num_seqs": "rollout.batch_size",
    "batch_size": "rollout.batch_size",
    "seed": "train.seed",
    "tensor_parallel": "rollout.tensor_parallel",
    "tensor_parallel_size": "rollout.tensor_parallel",
}
"""Arguments of an engine that other keys of a recipe decide."""

UNTRUNCATED = {"top_p": 1.0, "top_k": 0}
"""What a recipe may say of truncation, and recipes of before version 0.2 do: that there is none."""


MOST_TOKENS = 2**24
"""Of a completion: more than any model reads."""

COOLEST, HOTTEST = 0.01, 100.0
"""Of sampling. Below, vLLM samples at 0.01 whatever is asked, and log-probs are no numbers soon
after; above, no logit counts any more and every token is as likely."""

StopStrings = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)], ...],
    Field(max_length=MOST_STOPS),
]


class RolloutConfig(Section):
    """How completions are generated."""

    engine: Annotated[str, AfterValidator(_known), Field(json_schema_extra=_listed)] = "hf"
    """`hf`: transformers, runs anywhere. `vllm`: real vLLM with the rlpeft plugin."""
    num_engines: Annotated[int, Field(ge=1)] = 1
    """Engine actors; groups are spread over them. What several could not run at once waits in
    calls of a full batch of `hf` or four of `vllm`, taken by whichever engine is free first."""
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    """GPUs that share the weights of one engine, for `vllm` and bases that are too large for one;
    resources.engine_gpus must be as many. 1: every engine has them whole."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] = 512
    """A longer prompt is an error, never cut."""
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 256
    """New tokens a completion may have."""
    temperature: Annotated[float, Field(ge=COOLEST, le=HOTTEST)] = 1.0
    """Sampling temperature in training. Evaluation is greedy unless it says otherwise."""
    stop: StopStrings | None = None
    """Strings that end a completion; if absent none, and in `rlpeft evaluate` the expert's own."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Sequences generated at once; if absent, 256 in `hf`, and vLLM's own choice in `vllm`."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Dtype of the engine's weights; that of the learner if absent."""
    canary_bound: Annotated[float, Field(gt=0)] = 1e-3
    """Largest canary log-prob difference between engine and trainer accepted at a sync. However
    loose, the mean must stay below a quarter of what moving the adapter by 5 % was seen to move."""
    options: dict[str, Any] = {}
    """For `vllm`: further arguments of `vllm.LLM` (`gpu_memory_utilization` …) and of our engine
    (`form`, `max_experts`, `num_threads`). What other keys of a recipe decide is refused here."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_truncation(cls, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        asked = {name: section.get(name, none) for name, none in UNTRUNCATED.items()}
        if asked != UNTRUNCATED:
            raise ValueError(
                "rollout.top_p must be 1 and rollout.top_k 0 in training, got "
                f"top_p={asked['top_p']} and top_k={asked['top_k']}: a truncated sampler biases "
                "the importance ratio by the mass it cuts. Lower rollout.temperature instead."
            )
        return {name: value for name, value in section.items() if name not in UNTRUNCATED}

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.options and not ENGINES[self.engine].takes_options:
            takers = " or ".join(repr(name) for name in ENGINES if ENGINES[name].takes_options)
            raise ValueError(
                f"rollout.options are for rollout.engine = {takers}, the {self.engine!r} engine "
                f"has none, got {', '.join(self.options)}. Remove them, or change the engine."
            )
        for name, decided_by in DECIDED_BY.items():
            if name in self.options:
                raise ValueError(
                    f"rollout.options.{name} must not be set: {decided_by} decides it. Set that."
                )
        return self

    @model_validator(mode="after")
    def _check_parallel(self) -> Self:
        if self.tensor_parallel > 1 and not ENGINES[self.engine].splits_weights:
            able = " or ".join(repr(name) for name in ENGINES if ENGINES[name].splits_weights)
            raise ValueError(
                f"rollout.tensor_parallel must be 1 with rollout.engine = {self.engine!r}, got "
                f"{self.tensor_parallel}: the workers of {able} alone share weights. Set it to 1, "
                "or change the engine."
            )
        return self

    def require_devices(self, cpus: float, gpus: float) -> None:
        """Refuse what is reserved for an engine where its workers would have no device each.

        Args:
            cpus, gpus: of each engine.

        Raises:
            ValueError: says what to change.
        """
        workers = self.tensor_parallel
        if workers == 1 and gpus <= 1:
            return
        if gpus and gpus != workers:
            raise ValueError(
                f"resources.engine_gpus must be rollout.tensor_parallel = {workers}, a GPU for "
                f"each worker of an engine{' (or a share of one)' * (workers == 1)}, got {gpus:g}. "
                "Set one to the other."
            )
        if not gpus and cpus < workers:
            raise ValueError(
                f"resources.engine_cpus must be at least rollout.tensor_parallel = {workers} "
                f"without GPUs, a core for each worker of an engine, got {cpus:g}. Raise it, or "
                f"set resources.engine_gpus = {workers}."
            )

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Strings that end a completion, none where the section gives none."""
        return self.stop or ()

    @property
    def sampling(self) -> Sampling:
        """How training completions are drawn."""
        return Sampling(self.max_tokens, temperature=self.temperature, stop=self.stop_strings)

    @property
    def rows_a_call(self) -> int:
        """Completions that one call of an engine asks for at most, where several share the work."""
        engine = ENGINES[self.engine]
        return engine.batches_a_call * (self.batch_size or engine.batch_size)

    def for_experts(self, number: int) -> Self:
        """The section of engines in which so many experts share a batch, unless it says how many.

        Some engines make their slots when they start.
        """
        if (slots := ENGINES[self.engine].expert_slots) is None:
            return self
        return self.model_copy(update={"options": {slots: number} | self.options})


class TrainingRollout(RolloutConfig):
    """How completions are generated, and how far ahead of the learner."""

    max_lag: Annotated[int, Field(ge=0, le=4)] = 0
    """Steps that engines generate ahead, each under an adapter that many versions older than the
    learner's, so that they work while it learns; 1 does most. 0: one waits for the other."""

    def require_apart(self) -> None:
        """Refuse a lag where engine and learner share a process.

        Raises:
            ConfigError: says what to change.
        """
        if self.max_lag:
            raise ConfigError(
                f"rollout.max_lag must be 0 in one process, got {self.max_lag}: engine and learner "
                "share its cores, and neither gains by not waiting. Train with Ray (without "
                "--local; by jobs.train in Python), or set rollout.max_lag to 0."
            )

    def require_fitting(self, ratio_cap: float, resample_budget: int) -> None:
        """Refuse a lag that loss and loop cannot have.

        Raises:
            ValueError: says what to change.
        """
        if self.max_lag and not ratio_cap:
            raise ValueError(
                f"loss.ratio_cap must be above 0 with rollout.max_lag = {self.max_lag}, got 0: "
                "what an older policy said teaches the present one by their importance ratio. "
                "Leave loss.ratio_cap out, or set rollout.max_lag to 0."
            )
        if self.max_lag and resample_budget:
            raise ValueError(
                f"train.resample_budget must be 0 with rollout.max_lag = {self.max_lag}, got "
                f"{resample_budget}: groups would be replaced under a newer policy than the "
                "others of their step. Set one of the two to 0."
            )


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator in use takes: NumPy's old one has 32 bits."""

USED_SHARE = 0.92
"""Of the memory of a GPU, or of the share of it that an engine has: vLLM's own default."""


class ModelConfig(Section):
    """The base model, which is never changed."""

    name: str
    """A local folder, a Hub id, or `tiny`: the base model shipped with the package."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the base weights in the learner; adapters stay float32."""
    quantisation: Quantisation | None = Field(default=None, exclude_if=not_)
    """How the base's linear layers are quantised as they are loaded, in learner and engines alike.
    `int8`: torchao, a scale a row, at 2/5 to 1/4 of the memory. `nf4`: bitsandbytes, 4 bits, engine
    `hf` alone. Absent: as the files hold them, which may be quantised themselves."""

    def require_able(self, rollout: RolloutConfig, parallel: str = "replicate") -> None:
        """Refuse a quantisation that engine or learner cannot do.

        Args:
            parallel: of `learner.parallel`.

        Raises:
            ValueError: says what to change.
        """
        if self.quantisation is None:
            return
        if not ENGINES[rollout.engine].can(self.quantisation):
            able = [repr(name) for name, kind in ENGINES.items() if kind.can(self.quantisation)]
            raise ValueError(
                f"model.quantisation = {self.quantisation!r} needs rollout.engine = "
                f"{' or '.join(able)}, got {rollout.engine!r}. Change one of the two."
            )
        splits = {
            "rollout.tensor_parallel": rollout.tensor_parallel > 1,
            "learner.parallel = 'shard'": parallel == "shard",
        }
        if asked := [option for option, is_asked in splits.items() if is_asked]:
            raise ValueError(
                f"{asked[0]} must be left out with model.quantisation = {self.quantisation!r}: "
                "nobody has tried quantised layers that several share. Remove one of the two."
            )


class StartConfig(ModelConfig):
    """The base model, which is never changed, and where training begins."""

    start: str | None = None
    """An expert to go on from, a folder or `ORG/NAME@REVISION`, of the same `[adapter]` on the same
    base. Absent: a fresh adapter, which is the base."""

    merge: tuple[str, ...] = ()
    """Experts of methods that merge, as `start`, whose changes are added to the base before
    anything else: a new adapter is trained on top. An expert of such a base runs on no other."""

    @property
    def base(self) -> ModelConfig:
        """What engines are built from: where training begins comes to them as every policy does."""
        return ModelConfig(name=self.name, dtype=self.dtype, quantisation=self.quantisation)


class EngineSpec(Section):
    """One kind of engine: two that are built from equal specs give the same completions."""

    model: ModelConfig
    adapter: AdapterConfig
    """Its method and modules; the values come later, with each policy."""
    rollout: RolloutConfig = RolloutConfig()
    seed: Seed = 0
    """Decides how the adapter starts."""

    def with_gpu_share(self, share: float) -> EngineSpec:
        """The same for an engine that has this share of a GPU, unless the recipe says how much.

        Args:
            share: of the GPU's memory; a part of it is left free, as vLLM leaves it by default.
        """
        option, options = ENGINES[self.rollout.engine].gpu_share, self.rollout.options
        if option is None or option in options or "kv_cache_memory_bytes" in options:
            return self
        taken = {option: round(USED_SHARE * share, 3)}
        rollout = self.rollout.model_copy(update={"options": options | taken})
        return self.model_copy(update={"rollout": rollout})

    @property
    def dtype(self) -> str:
        """Of the weights in the engine."""
        return self.rollout.dtype or self.model.dtype


def require_room(max_tokens: int, context: int) -> None:
    """Refuse answers that the model cannot read to their end, however short the prompt.

    Args:
        max_tokens: `rollout.max_tokens`.
        context: tokens that the base model reads at most.

    Raises:
        ConfigError: says what to change.
    """
    if max_tokens >= context:
        raise ConfigError(
            f"rollout.max_tokens must be below the model's context of {context} tokens, which "
            f"holds prompt and answer, got {max_tokens}. Lower it by what prompts take, or take "
            "another model."
        )
