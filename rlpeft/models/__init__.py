"""Base models: from a name to a local folder, a tokenizer, a config and weights."""

from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model, load_config
from rlpeft.models.tokenizer import load_tokenizer

__all__ = ["load_base_model", "load_config", "load_tokenizer", "resolve_model"]
