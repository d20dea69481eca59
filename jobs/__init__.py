"""Composition roots: the only package that imports Ray."""
