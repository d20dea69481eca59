"""Adapters: one package per method, each a PEFT method in PEFT's own config / layer / model split."""
