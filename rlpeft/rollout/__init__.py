"""Rollout engines: token ids in, token ids and sampling log-probs out, with proof of policy.

A new engine is a folder with a function (spec, base model) -> `rlpeft.rollout.engine.RolloutEngine`
and one line of `rlpeft.recipe.engines.ENGINES`.
"""
