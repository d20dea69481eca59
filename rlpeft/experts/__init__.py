"""Experts: their files, and what is done with them: compare, mix, transfer, export."""

from rlpeft.experts.files import Expert, ExpertCard, load_expert, read_card, save_expert

__all__ = ["Expert", "ExpertCard", "load_expert", "read_card", "save_expert"]
