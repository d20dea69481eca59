"""What is told of jobs: never the values of their variables."""

from jobs.cluster.submitted import _without_secrets


def test_values_of_variables_are_kept_off_messages_and_what_other_words_hold_is_not():
    variables = {"TOKEN": "hf_secret", "LONGER": "hf_secret_too", "THREADS": "1", "NONE": ""}
    text = "step 1 of 10: hf_secret_too, hf_secret"
    assert _without_secrets(text, {"env_vars": variables}) == "step 1 of 10: ***, ***"
    assert _without_secrets(text, {}) == text
