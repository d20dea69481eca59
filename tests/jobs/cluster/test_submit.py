"""Runs as Ray jobs, through the command line."""

import json
import os
import signal

import psutil
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster.submit import _when_ready, dashboard_of, submit
from jobs.recipes import read_recipe
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.experts.files import read_card
from rlpeft.program.run import run
from rlpeft.runs.records import read_metrics

RECIPE = """
name = "job"
[model]
name = "tiny"
[task]
name = "tiny/swap"
num_validation = 8
num_test = 8
[rollout]
max_tokens = 6
[[reward]]
name = "exact"
[train]
steps = {steps}
prompts_per_step = 4
group_size = 4
eval_every = 2
report_to = []
"""


@pytest.fixture
def recipe(tmp_path):
    def make(steps):
        path = tmp_path / "job.toml"
        path.write_text(RECIPE.format(steps=steps))
        return str(path)

    return make


def cli(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def figures(folder):
    return [
        {k: v for k, v in row.items() if "time" not in k and not k.endswith(("_s", "/seconds"))}
        for row in read_metrics(folder)
    ]


def drivers(folder):
    """Training drivers at work in a run folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "jobs.train" in line and str(folder) in line:
            found.append(process)
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_a_submitted_run_whose_driver_is_killed_continues_and_ends(
    cluster, recipe, tmp_path, wait_for
):
    out, address = tmp_path / "run", cluster["dashboard"]
    path = recipe(20)
    sent = json.loads(
        cli("submit", path, "--address", address, "--out", out, "--retries", 2, "--json")
    )
    wait_for(lambda: len(read_metrics(out)) > 3)
    assert len(read_metrics(out)) < 20
    [driver] = drivers(out)
    os.kill(driver.pid, signal.SIGKILL)
    log = cli("logs", sent["id"], "--follow", "--address", address)
    assert "tries left" in log
    again = json.loads(cli("logs", sent["id"], "--address", address, "--json"))
    assert again == {"id": sent["id"], "log": log}
    assert json.loads(cli("status", sent["id"], "--address", address, "--json"))["status"] == (
        "SUCCEEDED"
    )
    run(read_recipe(path), tmp_path / "undisturbed")
    assert figures(out) == figures(tmp_path / "undisturbed")
    assert read_card(out / "expert") == read_card(tmp_path / "undisturbed" / "expert")


@pytest.mark.ray
@pytest.mark.slow
def test_a_stopped_run_leaves_no_driver_behind(cluster, recipe, tmp_path, wait_for):
    out, address = tmp_path / "run", cluster["dashboard"]
    job, _ = submit(recipe(100000), address=address, out=out, retries=5)
    wait_for(lambda: read_metrics(out))
    assert json.loads(cli("stop", job, "--address", address, "--json"))["stopped"]
    wait_for(lambda: not drivers(out))

    def found():
        return json.loads(cli("status", job, "--address", address, "--json"))

    wait_for(lambda: found()["status"] == "STOPPED")
    assert found()["out"] == str(out)


def test_an_address_where_nothing_answers_is_named(recipe):
    with pytest.raises(ClusterError, match=r"must answer at 'http://127\.0\.0\.1:9'"):
        submit(recipe(3), address="http://127.0.0.1:9")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9/"])
def test_an_address_is_taken_with_and_without_its_scheme(recipe, address):
    with pytest.raises(ClusterError, match=r"must answer at 'http://127\.0\.0\.1:9', none"):
        submit(recipe(3), address=address)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "localhost", "auto", "a b:3"])
def test_an_address_of_another_form_is_answered_with_those_there_are(recipe, address):
    with pytest.raises(ConfigError, match=r"http://HOST:8265 .*HOST:6379, got"):
        submit(recipe(3), address=address)


def test_a_cluster_that_does_not_take_jobs_yet_is_asked_again():
    answers = [RuntimeError("500: No available agent to submit job"), "job-1"]

    def send(**job):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _when_ready(send, entrypoint="x") == "job-1"
    answers[:] = [RuntimeError("500: No available agent to submit job")]
    with pytest.raises(RuntimeError, match="No available agent"):
        _when_ready(send, patience_s=-1, entrypoint="x")
    answers[:] = [RuntimeError("400: no such folder"), "job-2"]
    with pytest.raises(RuntimeError, match="no such folder"):
        _when_ready(send, entrypoint="x")


@pytest.mark.ray
def test_the_heads_own_address_leads_to_its_dashboard(cluster):
    assert dashboard_of(cluster["head"]) == cluster["dashboard"]
    assert dashboard_of(cluster["dashboard"].removeprefix("http://")) == cluster["dashboard"]


def test_a_remote_cluster_needs_to_be_told_the_run_folder(recipe):
    with pytest.raises(ConfigError, match="--out must name a folder on the head"):
        submit(recipe(3), address="http://cluster.example:8265")


def test_a_recipe_outside_the_folder_that_travels_is_refused(recipe, tmp_path):
    with pytest.raises(ConfigError, match="must lie in the folder that travels"):
        submit(
            recipe(3),
            address="http://127.0.0.1:9",
            out=tmp_path,
            working_dir=tmp_path / "elsewhere",
        )


@pytest.mark.ray
def test_a_missing_token_is_told_with_the_commands_that_mend_it(cluster, recipe, monkeypatch):
    # What the client sends, not what the cluster wants: a header without a token.
    monkeypatch.setattr(
        "ray.dashboard.modules.dashboard_sdk.get_auth_headers_if_auth_enabled", lambda headers: {}
    )
    with pytest.raises(ClusterError, match=r"ray get-auth-token --generate.*RAY_AUTH_MODE=token"):
        submit(recipe(3), address=cluster["dashboard"])
