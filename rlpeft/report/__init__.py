"""What a run looks like: the page, its charts and tables."""
