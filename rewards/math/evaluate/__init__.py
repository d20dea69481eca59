"""Sums and integrals in closed form, by SymPy in a worker that can be killed; lenient only."""
