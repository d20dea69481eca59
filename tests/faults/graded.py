"""A reward of a user's, which runs in a process of its own."""


def score(completions, answer, **columns):
    """1 where the completion begins with the answer."""
    return [
        float(text.strip().startswith(gold)) for text, gold in zip(completions, answer, strict=True)
    ]
