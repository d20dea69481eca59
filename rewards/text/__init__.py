"""Rewards of words and form: choices, labels, exact text and patterns, thinking, length."""
