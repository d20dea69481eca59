"""The process that holds the tests: what it runs, what it counts, and what it believes."""
