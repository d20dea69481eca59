"""The CEM service: many searches, and a search that any death leaves as it was."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from jobs.adapt import run
from jobs.cli import app
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.recipe.adapt import AdaptRecipe

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def client(cluster, tmp_path_factory):
    """A client of a service whose searches lie in a folder of their own."""
    import ray

    from jobs.cem.client import open_client, start_service

    folder = tmp_path_factory.mktemp("service")
    with open_client(cluster["head"], start_in=folder) as client:
        yield client
    ray.kill(start_service(folder))
    deadline = time.monotonic() + 60
    while processes("EngineAct") and time.monotonic() < deadline:
        time.sleep(0.2)  # its engines end with it, and the cluster is others' too


def processes(name):
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            is_alive = child.status() != psutil.STATUS_ZOMBIE
            if is_alive and child.name().startswith(f"ray::{name}"):
                found.append(child)
    return found


def evaluated(folder):
    """Mix, problem and seed of every evaluation, each as often as it was made."""
    lines = (Path(folder) / "evaluations.jsonl").read_text().splitlines()
    return sorted(tuple(json.loads(line)[:3]) for line in lines)


def test_a_search_whose_service_and_engine_are_killed_ends_as_one_undisturbed(
    client, adapt_recipe, tmp_path, wait_for
):
    search = {"population_size": 4, "iterations": 24}
    recipe = adapt_recipe(search=search, rollout={"num_engines": 2, "max_tokens": 6})
    undisturbed = run(recipe, tmp_path / "undisturbed")

    submitted = client.submit(recipe)
    id, out = submitted["id"], Path(submitted["out"])
    for name in ("EngineAct", "CemServ"):
        # Its engines at work again, an iteration has both of them in it.
        seen = client.status(id)["iteration"]
        wait_for(lambda seen=seen: client.status(id)["iteration"] > seen)
        time.sleep(0.3 * random.Random(os.getpid()).random())
        assert json.loads((out / "search.json").read_text())["state"] == "running"
        victim = processes(name)[0]
        victim.send_signal(signal.SIGKILL)
        # Until it is gone, a status may tell of what came before.
        wait_for(lambda name=name, victim=victim: victim not in processes(name))
    client.wait(id)

    result = client.result(id)
    assert result["coefficients"] == undisturbed["coefficients"]
    assert result["digest"] == undisturbed["digest"]
    assert result["test"] == undisturbed["test"]
    assert evaluated(out) == evaluated(tmp_path / "undisturbed")


def test_searches_share_engines_and_do_not_disturb_each_other(client, adapt_recipe, tmp_path):
    recipes = [adapt_recipe(seed=seed) for seed in (1, 2)]
    ids = [client.submit(recipe)["id"] for recipe in recipes]
    assert len(set(ids)) == 2
    for id, recipe in zip(ids, recipes, strict=True):
        client.wait(id)
        alone = run(recipe, tmp_path / id)
        assert client.result(id)["coefficients"] == alone["coefficients"]
    assert set(ids) <= {status["id"] for status in client.list()}


def test_a_cancelled_search_stops_and_may_be_continued(client, adapt_recipe, tmp_path, wait_for):
    recipe = adapt_recipe(search={"population_size": 4, "iterations": 40})
    id = client.submit(recipe, "stopped")["id"]
    wait_for(lambda: client.status(id)["iteration"] >= 1)
    cancelled = client.cancel(id)
    assert cancelled["state"] == "cancelled"
    time.sleep(1.5)
    assert client.status(id)["iteration"] <= cancelled["iteration"] + 1
    with pytest.raises(ClusterError, match=r"no result, it is cancelled at iteration \d+ of 40"):
        client.result(id)
    assert client.submit(recipe, "stopped")["state"] == "running"
    client.wait(id)
    assert client.result(id)["coefficients"] == run(recipe, tmp_path / "a")["coefficients"]


def test_a_search_that_cannot_be_says_why(client, adapt_recipe, tmp_path):
    id = client.submit(adapt_recipe(experts=[str(tmp_path)]))["id"]
    client.wait(id)
    assert client.status(id)["state"] == "failed"
    with pytest.raises(ClusterError, match="failed: experts must name a folder with experts"):
        client.result(id)


def test_an_unknown_search_and_a_bad_id_are_told(client, adapt_recipe):
    with pytest.raises(ClusterError, match="there must be a search 'nothing'"):
        client.status("nothing")
    with pytest.raises(ConfigError, match="--id must be"):
        client.submit(adapt_recipe(), "../up")


def test_submitting_again_is_submitting_once(client, adapt_recipe):
    recipe = adapt_recipe()
    client.submit(recipe, "once")
    client.submit(recipe, "once")
    with pytest.raises(ClusterError, match="with another recipe"):
        client.submit(adapt_recipe(seed=9), "once")
    client.wait("once")


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_may_run_on_vllm(client, adapt_recipe, tmp_path):
    pytest.importorskip("vllm")
    rollout = {"max_tokens": 6, "max_prompt_tokens": 32}
    id = client.submit(adapt_recipe(rollout=rollout | {"engine": "vllm"}))["id"]
    client.wait(id)
    result, alone = client.result(id), run(adapt_recipe(rollout=rollout), tmp_path / "hf")
    assert result["coefficients"] == alone["coefficients"]
    assert result["test"] == alone["test"]


def test_the_commands_know_the_service(client, tiny_experts, cluster, tmp_path):
    told = []

    def cem(*arguments):
        result = CliRunner().invoke(app, ["cem", *arguments, "--address", cluster["head"]])
        assert result.exit_code == 0, result.output
        told.append(result.stderr)
        return result.stdout

    options = [f'experts=["{tiny_experts}"]', "task.num_test=10", "search.population_size=4"]
    sets = [part for option in options for part in ("--set", option)]
    submitted = cem("submit", "tiny-mix", "--light", "--id", "by-hand", *sets)
    assert "submitted by-hand" in submitted
    assert "uniform" in cem("result", "by-hand", "--wait")
    assert "iteration 10/10  best" in told[-1]
    assert json.loads(cem("status", "by-hand", "--json"))["state"] == "done"
    assert "by-hand" in cem("list")
    assert json.loads(cem("cancel", "by-hand", "--json"))["state"] == "done"


def test_paths_of_a_recipe_are_made_absolute(tmp_path, monkeypatch):
    from jobs.cem.client import absolute

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots.jsonl").touch()
    recipe = AdaptRecipe(
        name="x",
        model={"name": "tiny"},
        task={"name": "tiny/mix"},
        experts=("runs",),
        shots={"path": "shots.jsonl"},
    )
    found = absolute(recipe)
    assert found.experts == (str(tmp_path / "runs"),)
    assert found.shots.path == str(tmp_path / "shots.jsonl")
    assert found.model.name == "tiny"
