"""Processes for what may not come to an end: each request has a deadline that kills."""
