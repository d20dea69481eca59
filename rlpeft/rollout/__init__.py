"""Rollout engines: token ids in, token ids and sampling log-probs out, with proof of policy."""
