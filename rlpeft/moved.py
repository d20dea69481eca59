"""Where modules went that had other names before 0.2: an import of an old one says the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "rlpeft.adapt": "rlpeft.search, and choosing is rlpeft.choose",
    "rlpeft.adapter_config": "rlpeft.recipe.adapter",
    "rlpeft.advantage": "rlpeft.training.advantage",
    "rlpeft.cem": "rlpeft.search.cem",
    "rlpeft.charts": "rlpeft.report.charts",
    "rlpeft.chat": "rlpeft.tokens.chat",
    "rlpeft.checkpoint": "rlpeft.runs.checkpoint",
    "rlpeft.checks": "rlpeft.doctor, and its laws are rlpeft.model_checks",
    "rlpeft.cli": "jobs.cli",
    "rlpeft.collect": "rlpeft.training.collect",
    "rlpeft.compare": "rlpeft.experts.change",
    "rlpeft.config": "rlpeft.recipe.run",
    "rlpeft.console": "jobs.cli.console",
    "rlpeft.digests": "rlpeft.models.digest",
    "rlpeft.eos": "rlpeft.tokens.eos",
    "rlpeft.export": "rlpeft.experts.export",
    "rlpeft.factors": "rlpeft.adapters.svf.factors",
    "rlpeft.fetch": "rlpeft.models.fetch",
    "rlpeft.forward": "rlpeft.training.forward",
    "rlpeft.geometry": "rlpeft.adapters.geometry",
    "rlpeft.group_attention": "rlpeft.training.group_attention",
    "rlpeft.learner": "rlpeft.training.learner",
    "rlpeft.loss": "rlpeft.training.loss",
    "rlpeft.measures": "rlpeft.experts.measures",
    "rlpeft.mechanisms": "rlpeft.models.mechanisms",
    "rlpeft.metrics": "rlpeft.runs.records",
    "rlpeft.mixing": "rlpeft.experts.mixture",
    "rlpeft.packing": "rlpeft.training.packing",
    "rlpeft.policy": "rlpeft.adapters.policy",
    "rlpeft.prompts": "rlpeft.tokens.prompts",
    "rlpeft.reward_config": "rlpeft.recipe.reward",
    "rlpeft.rollout.base": "rlpeft.rollout.engine",
    "rlpeft.rollout.fake_engine": "rlpeft.rollout.fake",
    "rlpeft.rollout.hf_engine": "rlpeft.rollout.hf.engine",
    "rlpeft.rollout.vllm_engine": "rlpeft.rollout.vllm.engine",
    "rlpeft.rollout.vllm_plugin": "rlpeft.rollout.vllm, and the server is rlpeft.serve",
    "rlpeft.rollout_config": "rlpeft.recipe.rollout",
    "rlpeft.scorer": "rlpeft.recipe.scorer",
    "rlpeft.specials": "rlpeft.tokens.specials",
    "rlpeft.supervised": "rlpeft.training.sft",
    "rlpeft.task_config": "rlpeft.recipe.task",
    "rlpeft.templates": "rlpeft.recipe.templates",
    "rlpeft.trackers": "rlpeft.runs.trackers",
    "rlpeft.trainer": "rlpeft.training.loop",
    "rlpeft.transfer": "rlpeft.experts.transfer",
    "jobs.cluster.launched": "rlpeft.program.launched",
    "jobs.cluster.threads": "rlpeft.program.threads",
    "jobs.command": "jobs.cli",
    "jobs.folder": "rlpeft.program.folder",
    "jobs.hub": "rlpeft.program.hub",
    "jobs.law_table": "jobs.models.law_table",
    "jobs.make_tiny": "jobs.models.make_tiny",
    "jobs.origin": "rlpeft.program.origin",
    "jobs.parts": "rlpeft.program.parts, and on Ray jobs.cluster.parts",
    "jobs.rows_of_run": "rlpeft.program.rows_of_run",
    "jobs.compare_adapters": "the study tiny-geometric-rl of `rlpeft study run`",
    "jobs.compare_mixes": "the command `rlpeft compare mixes`",
    "jobs.reward_check": "rlpeft.doctor.dry_run",
}


class SaysWhere:
    """Asked first of all finders: a folder that an old version left would be found by others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse an old name by telling the new one.

        Raises:
            ModuleNotFoundError: it was ours.
        """
        if name in MOVED:
            raise ModuleNotFoundError(f"{name} is now {MOVED[name]}.", name=name)
        return None


def tell_new_names() -> None:
    """Have imports of old names say the new ones."""
    if SaysWhere not in sys.meta_path:
        sys.meta_path.insert(0, SaysWhere)
