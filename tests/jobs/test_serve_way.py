"""A user's whole way: written answers, RL from them, evaluation, the Hub, a server, an answer."""

import json

import openai
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

pytest.importorskip("vllm")

from jobs.cli import app

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "a key"


def rlpeft(*words):
    """The JSON document that a command prints."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def answers(run):
    """What base and expert of a run wrote to its test, by policy and prompt."""
    rows = pq.read_table(run / "test.parquet").to_pylist()
    return {(row["policy"], row["prompt"]): row["completion"] for row in rows}


def test_what_was_taught_rewarded_measured_and_pushed_is_served_by_its_id(
    quick, hub, serving, tmp_path
):
    taught, run, recipe = tmp_path / "taught", tmp_path / "run", tmp_path / "recipe.json"
    sections = {
        "task": {"num_validation": 32, "num_test": 16},
        "learner": {"lr": 0.02},
        "train": {"steps": 8, "eval_every": 8, "prompts_per_step": 16},
    }
    recipe.write_text(quick(name="swap", **sections).model_dump_json())
    rlpeft("sft", recipe, "--out", taught)
    start = f"model.start={str(taught / 'expert')!r}"
    trained = rlpeft("train", recipe, "--local", "--out", run, "--set", start)
    assert trained["start"]["name"] == "swap-sft"
    assert rlpeft("evaluate", run / "expert")["accuracy"]["value"] == trained["test"]["value"]
    hub.login("hf_writer")
    by_id = f"org/swap@{rlpeft('push', run / 'expert', 'org/swap')['commit']}"
    assert rlpeft("experts", "show", by_id)["card"]["digest"] == trained["digest"]
    known = answers(run)
    prompts = [prompt for policy, prompt in known if policy == "expert"]
    options = ("--experts", by_id, "--auto", "off", "--engine", "hf")
    with serving(*options, key=KEY) as (address, _):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
        assert {model.id for model in client.models.list()} == {"base", "swap"}
        for name, policy in (("base", "base"), ("swap", "expert")):
            asked = {"model": name, "max_tokens": 6, "temperature": 0}
            found = [client.completions.create(prompt=each, **asked) for each in prompts]
            told = [each.choices[0].text for each in found]
            assert told == [known[policy, prompt] for prompt in prompts]
    assert any(known["base", prompt] != known["expert", prompt] for prompt in prompts)
