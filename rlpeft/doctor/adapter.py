"""What the adapter found in the model, and that it starts as nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlpeft.adapters.policy import adapted_modules
from rlpeft.adapters.targets import counted, left_out, unmatched
from rlpeft.doctor.row import Check, fail, ok
from rlpeft.experts.change import kind_order, place
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import LossConfig, Recipe

IDENTITY_GAP = 1e-4
"""Log-prob difference up to which a fresh adapter is the base model."""


def check_forward(learner: Any) -> Check:
    """Windows, caps and scales of the base model, which the learner expresses."""
    return ok("attention and logits", learner.forward.mechanisms.describe())


def check_targets(recipe: Recipe, learner: Any) -> Check:
    """Which modules the adapter found and left out, and named targets that found none."""
    modules = adapted_modules(learner.policy)
    kinds = Counter(place(module)[1] for module in modules)
    listed = counted({kind: kinds[kind] for kind in sorted(kinds, key=kind_order)})
    found = f"{len(modules)} modules: {listed}"
    if others := left_out(learner.policy.get_base_model(), modules):
        found += f"; left out: {counted(others)}"
    if lost := unmatched(recipe.adapter.targets, modules):
        return fail(
            "adapter modules",
            f"{found}; no module is named {', '.join(lost)}",
            "Correct or remove them in adapter.targets.",
        )
    return ok("adapter modules", found)


def check_trainable(learner: Any) -> Check:
    """How much is trained."""
    trained = sum(parameter.numel() for parameter in learner.parameters.values())
    every = sum(parameter.numel() for parameter in learner.policy.parameters())
    found = f"{trained:,} of {every:,} parameters ({trained / every:.2%})"
    if not trained:
        return fail("trainable parameters", found, "Correct adapter.targets or adapter.layers.")
    return ok("trainable parameters", found)


def check_reference(loss: LossConfig, metrics: Mapping[str, float]) -> Check:
    """How far from what the KL is measured training begins, where that is an expert."""
    found = f"{metrics['kl']:.3g} nats a token ({loss.kl}) from the {loss.reference} at step 0"
    if loss.reference == "base":
        found += (
            f", a penalty of {loss.kl_coef * metrics['kl']:.3g} that draws back to the base; "
            "loss.reference = 'start' measures from where training begins"
        )
    return ok("KL to the reference", found)


def check_start(learner: Any, canary: Sequence[Sequence[int]]) -> Iterator[Check]:
    """The fresh adapter is the base model, and scoring is not random."""
    first = learner.logprobs(canary)
    with learner.policy.disable_adapter():
        base = learner.logprobs(canary)
    gap = largest_gap(first, base)
    found = f"log-probs of adapter and base differ by at most {gap:.2g}"
    if gap <= IDENTITY_GAP:
        yield ok("KL at step 0", found)
    else:
        yield fail("KL at step 0", found, "The adapter must start as the identity; reset it.")
    again = largest_gap(learner.logprobs(canary), first)
    rates = [m.p for m in learner.policy.modules() if type(m).__name__ == "Dropout" and m.p > 0]
    found = f"two scorings differ by {again:.2g}; {len(rates)} dropout layers have a rate above 0"
    if again == 0:
        yield ok("dropout", found)
    else:
        yield fail("dropout", found, "Set every dropout of the model's config.json to 0.")
