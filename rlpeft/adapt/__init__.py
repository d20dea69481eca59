"""Trained experts on tasks nobody trained for: which one, or which mixture (Transformer²)."""
