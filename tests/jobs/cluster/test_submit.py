"""Runs as Ray jobs, through the command line."""

import json
import os
import re
import signal

import psutil
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.submit import work_of
from jobs.cluster.dashboard import dashboard_of
from jobs.cluster.submit import _when_ready
from jobs.recipes import read_recipe
from rlpeft.experts.files import read_card
from rlpeft.program.run import run
from rlpeft.report.page import write_report
from rlpeft.runs.records import read_metrics

NOBODY = "http://127.0.0.1:9"

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


def refused(*arguments):
    """The line that a command ends with."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    return result.stderr.strip().splitlines()[-1]


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
        if "jobs.cli" in line and str(folder) in line:
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
    sent = cli("submit", "train", recipe(100000), "--address", address, "--out", out, "--json")
    job = json.loads(sent)["id"]
    wait_for(lambda: read_metrics(out))
    assert json.loads(cli("stop", job, "--address", address, "--json"))["stopped"]
    wait_for(lambda: not drivers(out))

    def found():
        return json.loads(cli("status", job, "--address", address, "--json"))

    wait_for(lambda: found()["status"] == "STOPPED")
    assert found()["out"] == str(out)


def test_an_address_where_nothing_answers_is_named(recipe):
    line = refused("submit", recipe(3), "--address", "http://127.0.0.1:9")
    assert "must answer at 'http://127.0.0.1:9'" in line


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9/"])
def test_an_address_is_taken_with_and_without_its_scheme(recipe, address):
    line = refused("submit", recipe(3), "--address", address)
    assert "must answer at 'http://127.0.0.1:9', none" in line


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "localhost", "auto", "a b:3"])
def test_an_address_of_another_form_is_answered_with_those_there_are(recipe, address):
    line = refused("submit", recipe(3), "--address", address)
    assert "http://HOST:8265 (or HOST:8265), or the head's HOST:6379, got" in line


@pytest.mark.slow
def test_a_cluster_that_does_not_take_jobs_yet_is_asked_again(capsys):
    answers = [RuntimeError("500: No available agent to submit job"), "job-1"]

    def send(**job):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _when_ready(send, entrypoint="x") == "job-1"
    assert capsys.readouterr().err.count("the cluster takes no jobs yet") == 1
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
    line = refused("submit", recipe(3), "--address", "http://cluster.example:8265")
    assert "--out must name a folder on the cluster" in line


def test_a_recipe_outside_the_folder_that_travels_is_refused(recipe, tmp_path):
    (tmp_path / "sent").mkdir()
    line = refused("submit", recipe(3), "--address", NOBODY, "--working-dir", tmp_path / "sent")
    assert "the recipe must lie in the folder that travels" in line


@pytest.mark.ray
def test_a_missing_token_is_told_with_the_commands_that_mend_it(cluster, recipe, monkeypatch):
    # What the client sends, not what the cluster wants: a header without a token.
    monkeypatch.setattr(
        "ray.dashboard.modules.dashboard_sdk.get_auth_headers_if_auth_enabled", lambda headers: {}
    )
    line = refused("submit", recipe(3), "--address", cluster["dashboard"])
    assert re.search(r"ray get-auth-token --generate.*RAY_AUTH_MODE=token", line)


# --- what a job runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["sft", "train"])
def test_what_a_command_refuses_early_is_refused_before_anything_is_sent(word, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1=", "answer": null}\n' * 40)
    words = ["--model", "tiny", "--data", rows, "--reward", "math"]
    line = refused("submit", word, *words, "--address", NOBODY)
    assert "answer" in line
    assert "must answer at" not in line


def test_an_option_of_another_command_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["submit", "sft", "quickstart", "--show", "2"])
    assert result.exit_code == 2
    assert "No such option: --show" in result.stderr


def test_an_option_that_is_given_twice_is_refused_on_either_side_of_the_command():
    assert "--push must be given once" in refused("submit", "sft", "--push", "a/b", "--push", "a/c")
    words = ["submit", "--address", "a", "--address", "b", "quickstart", "--set", "x=y"]
    assert "--address must be given once" in refused(*words)


def test_a_job_on_its_cluster_is_never_local():
    assert "leave it out" in refused("submit", "train", "quickstart", "--local")


@pytest.fixture
def work():
    """What a job would run, of a command as it is typed."""

    def read(*words):
        group = get_command(app)
        with group.make_context("rlpeft", [*words]) as beside:
            name, command, rest = group.resolve_command(beside, [*words])
            with command.make_context(name, rest, parent=beside) as context:
                return work_of(context, context.params["words"], None)

    return read


def test_a_recipe_alone_is_trained(work):
    assert work("submit", "quickstart", "--set", "train.steps=3") == work(
        "submit", "train", "quickstart", "--set", "train.steps=3", "--retries", "9"
    )
    found = work("submit", "quickstart", "--set=train.steps=3")
    assert (found.words, found.name) == (
        ("train", "quickstart", "--set", "train.steps=3"),
        "quickstart",
    )


def test_an_evaluation_answers_in_actors_and_keeps_no_folder_of_its_own(
    work, tiny_experts, monkeypatch
):
    monkeypatch.chdir(tiny_experts)
    found = work("submit", "evaluate", "up", "ORG/NAME", "--num", "5", "--address", NOBODY)
    assert found.words == ("evaluate", "up", "ORG/NAME", "--num", "5", "--address", "auto")
    assert (found.name, found.named) == (None, (("expert 'up'", "up"),))


def test_a_recipe_is_found_by_its_option_however_that_is_written(work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "r.toml").write_text(RECIPE.format(steps=3))
    words = ["submit", "evaluate", "/elsewhere/expert"]
    found = work(*words, "--recipe=sub/r.toml")
    assert found == work(*words, "--recipe", "sub/r.toml")
    assert "sub/r.toml" in found.words
    assert found.recipes == ("sub/r.toml",)


@pytest.mark.parametrize("words", [[], ["ORG/NAME"]])
@pytest.mark.parametrize("name", ["none/at/all", "runs/nope"])
def test_an_expert_that_is_not_here_is_refused_unless_the_job_may_find_it(
    work, tmp_path, monkeypatch, name, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert name in refused("submit", "evaluate", name, *words, "--address", NOBODY)
    assert work("submit", "evaluate", "/there/expert", *words).named == ()


def test_what_an_evaluation_refuses_early_is_refused_before_it_is_sent(tiny_experts, recipe):
    words = ["submit", "evaluate", tiny_experts / "up", "--address", NOBODY]
    assert "lie in the folder of its run" in refused(*words)
    words += ["--recipe", recipe(3)]
    assert "--num must be at most the 8 test problems" in refused(*words, "--num", 9)
    assert "greedy answers" in refused(*words, "--samples", 2)
    assert "must answer at" in refused(*words)


def test_a_search_without_its_experts_is_refused_before_it_is_sent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused("submit", "adapt", "tiny-mix", "--address", NOBODY)
    assert "none at or below 'runs/swap/expert'" in line


def test_a_base_that_is_not_here_is_refused_unless_the_job_may_find_it(work, recipe):
    line = refused("submit", recipe(3), "--set", "model.name=no/such/base", "--address", NOBODY)
    assert "model.name must be an existing folder" in line
    for name in ("/there/base", "owner/base", "smollm2-135m"):
        assert work("submit", recipe(3), "--set", f"model.name={name}").name == "job"


@pytest.mark.slow
def test_a_run_that_has_ended_is_told_before_it_is_sent(make_quick, tmp_path):
    run(make_quick(train={"steps": 1}), tmp_path / "run")
    write_report(tmp_path / "run")
    stored = tmp_path / "run" / "recipe.json"
    words = ["submit", stored, "--out", tmp_path / "run", "--address", NOBODY]
    told = CliRunner().invoke(app, [str(word) for word in words]).stderr
    assert "computes nothing, it has ended" in told


def test_a_folder_here_is_none_of_a_job_that_runs_elsewhere(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "job").mkdir(parents=True)
    (tmp_path / "runs" / "job" / "stranger.txt").write_text("")
    told = "a run's folder must be new or empty"
    assert told in refused("submit", recipe(3), "--address", NOBODY)
    assert told not in refused("submit", recipe(3), "--address", "http://nowhere.invalid:9")


def test_a_push_whose_token_stays_here_is_told_before_it_is_sent(hub, recipe):
    hub.login("hf_writer")
    words = ["submit", recipe(3), "--push=org/expert", "--address", NOBODY]
    told = CliRunner().invoke(app, words).stderr
    assert "yours goes along by --env HF_TOKEN" in " ".join(told.split())
    told = CliRunner().invoke(app, [*words, "--env", "HF_TOKEN=x"]).stderr
    assert "goes along" not in told
    assert "must answer at" in told


def test_supervised_training_reserves_the_gpus_of_all_its_learners(work):
    sizes = ["--set", "resources.learners=2", "--set", "resources.learner_gpus=1"]
    found = work("submit", "sft", "quickstart", *sizes)
    assert (found.gpus, found.name) == (2, "quickstart-sft")
    assert work("submit", "train", "quickstart", *sizes).gpus == 0  # its learners are actors


def test_two_recipes_of_one_name_need_their_folders(tmp_path, recipe, make_expert):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "job.toml"
    other.write_text(RECIPE.format(steps=3))
    words = ["ORG/NAME", "--recipe", recipe(3), "--recipe", other, "--address", NOBODY]
    assert "must have names of their own" in refused("submit", "evaluate", *words)


def test_a_command_that_cannot_be_submitted_is_told_with_those_that_can():
    line = refused("submit", "generate", "3=", "--address", NOBODY)
    assert "must be one of train, sft, adapt, evaluate, or a recipe to train" in line
