"""The laws of `rlpeft models check`: what must hold of a base model before anything is trained.

A law is one small function that looks at one thing, on the model itself, and gives a `Finding`:
holds, does not hold, does not apply or refused, with the smallest example that shows it. They
stand in one table (`rlpeft.model_checks.table`), which is the place to add one. What is right comes
from the text itself, from the model's own files or from transformers, never from what is examined.
"""

OWN_ENGINE = "hf"
"""What laws are always tried on: it runs on any machine, and takes a model that is open already."""
