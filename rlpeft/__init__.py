"""Reinforcement-learning fine-tuning of language models with tiny, mixable adapters."""

__version__ = "0.1.0"
