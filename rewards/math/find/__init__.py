"""Where the final answer of a completion stands."""
