"""Mathematical answers: extraction, a small parser of our own, and exact comparison."""
