"""A run from its recipe to its test, in one process or in parts that live elsewhere."""
