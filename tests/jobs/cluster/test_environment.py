"""Packages and variables of a job: checked here, and never shown."""

import pytest

from jobs.cluster.environment import environment_of
from rlpeft.errors import ConfigError

SECRET = "hf_never_to_be_shown"


@pytest.fixture
def file(tmp_path):
    """A maker of files of a runtime environment."""

    def make(text):
        (tmp_path / "env.yaml").write_text(text)
        return tmp_path / "env.yaml"

    return make


def test_a_file_and_the_command_line_are_one(file, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    path = file('pip: ["a>=1"]\nenv_vars: {A: "1", B: "2"}\n')
    assert environment_of(path, ["b==2"], ["B=3", "HF_TOKEN"]) == {
        "pip": ["a>=1", "b==2"],
        "env_vars": {"A": "1", "B": "3", "HF_TOKEN": SECRET},
    }


def test_packages_are_added_to_those_with_options(file):
    path = file('pip: {packages: ["a"], pip_check: false}\n')
    assert environment_of(path, ["b"])["pip"] == {"packages": ["a", "b"], "pip_check": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("working_dir: .", "must not set 'working_dir': --working-dir"),
        ("pipp: [a]", "Did you mean 'pip'"),
        ("env_vars: {A: 1}", "must be names and texts"),
        ("env_vars: [A]", "must be names and texts"),
        ("pip: [a]\nconda: {}", "must be one that Ray takes"),
        ("[", "runtime environment '.*' must be YAML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(file, text, said):
    with pytest.raises(ConfigError, match=said):
        environment_of(file(text))


@pytest.mark.parametrize("package", ["./x.whl", "--index-url=https://x", "a b"])
def test_what_is_no_requirement_is_refused(package):
    with pytest.raises(ConfigError, match="must be a requirement such as"):
        environment_of(pip=[package])


def test_a_variable_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match="--env NOT_SET takes its value from here"):
        environment_of(variables=["NOT_SET"])


def test_no_message_shows_a_value(file):
    for variables in ([f"not a name={SECRET}"], [f"={SECRET}"]):
        with pytest.raises(ConfigError) as caught:
            environment_of(variables=variables)
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        environment_of(
            file(f"pip: ['a @ https://{SECRET}@b/a.whl']\nuv: [b]\nenv_vars: {{A: {SECRET}}}")
        )
    assert SECRET not in str(caught.value)
