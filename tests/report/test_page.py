"""A run's report: complete, self-contained, and safe to open whatever the model wrote."""

from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from rewards.verdict import Verdict, VerdictKind
from rlpeft.errors import DataError
from rlpeft.experts.card_parts import Parent
from rlpeft.experts.change import changes
from rlpeft.experts.files import load_expert
from rlpeft.experts.measures import Accuracy, MeanScore, PairedDifference
from rlpeft.image_files import images_of
from rlpeft.recipe.run import Recipe
from rlpeft.report.answers import pick, visible
from rlpeft.report.charts import change_grid, line_chart, series, smooth, spectrum_rows
from rlpeft.report.page import differences, facts, verdict_totals, write_report
from rlpeft.report.run_charts import change_of, learning_charts
from rlpeft.runs.records import RunRecorder
from rlpeft.types import AdvantagedGroup, Completion, FinishReason, Group, Problem

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} a\u202eb"
Z = "base_model.model.model.layers.0.self_attn.q_proj.svf_z"


def record_run(folder, *, text="4", steps=2, images=()):
    recipe = Recipe.model_validate(
        {"name": "run", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    )
    # Not a name that a recipe may have today; a folder's files may say anything.
    recorder = RunRecorder(folder, recipe.model_dump(mode="json") | {"name": text})
    wrong, right = Verdict(0.0, VerdictKind.WRONG, text), Verdict(1.0, VerdictKind.CORRECT, "ok")
    for step in range(1, steps + 1):
        done = Completion((5, 2), (-0.5, -0.1), text, FinishReason.STOP, step - 1, "d")
        group = Group(Problem(text, f"prompt {text}", text, images=images), (1,), (done, done))
        said = (right, wrong)
        scored = AdvantagedGroup(
            group, said, {"exact": said}, advantages=(0.5, -0.5), trained=(True, True)
        )
        recorder.completions(step, [scored])
        recorder.metrics(
            step,
            {
                "reward": 0.5,
                "kl": 0.01,
                "step_time": 2.0,
                "perf/rollout_s": 1.0,
                "perf/learner_s": 0.5,
                "verdicts/correct": 1.0,
                "verdicts/wrong": 1.0,
                "sync/bytes": 12288.0,
                "sync/seconds": 0.003,
            },
        )
    recorder.close()


def test_mean_scores_are_told_as_scores(tmp_path, make_expert):
    record_run(tmp_path)
    score = MeanScore.of([0.25, 0.25, 0.75, 0.75])
    make_expert("s", {Z: torch.tensor([1.2, 0.9])}, folder=tmp_path / "expert", test=score)
    page = write_report(tmp_path).read_text()
    assert "mean score 0.50 [0.12, 0.72] <small>&nbsp;4 scored" in page
    assert "50.0 % <small>" not in page


def test_a_base_with_an_expert_in_its_weights_is_called_so(tmp_path, make_expert):
    record_run(tmp_path)
    found = {"base_test": Accuracy.of(5, 10), "test": Accuracy.of(6, 10), "base_model": "tiny"}
    found["against_base"] = PairedDifference(value=0.1, low=-1, high=1, problems=10, judged=True)
    merged = (Parent(name="rising-SFT", digest="d"),)
    numbers = {Z: torch.tensor([1.2, 0.9])}
    make_expert("s", numbers, folder=tmp_path / "expert", merged=merged, **found)
    page = write_report(tmp_path).read_text()
    assert "of base model tiny with rising-SFT merged, trained" in page
    assert "<div>base with rising-SFT merged, test</div>" in page
    assert "Base with rising-SFT merged: the model without the adapter." in page
    assert "do not tell the expert from its base with rising-SFT merged." in page


def test_a_run_ahead_tells_who_waited_and_what_bounds_a_step():
    row = {"step": 1, "step_time": 4.0, "perf/rollout_s": 3.5, "perf/learner_s": 3.0}
    ahead = {"perf/learner_idle_s": 1.0, "perf/engine_idle_s": 0.2, "sample/staleness_max": 2.0}
    found = facts([row | ahead], {}, None)
    assert found["versions behind the learner"] == "2"
    assert found["learner and engines idle"] == "25% and 5%"
    assert found["a step is bound by"].startswith("generating (3.50 s of rollout beside 3.00 s")
    assert not {"versions behind the learner", "a step is bound by"} & facts([row], {}, None).keys()


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_expert):
    """The folder of a run with an expert, whose model writes HTML."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    record_run(folder, text=HOSTILE)
    accuracy = {"test": Accuracy.of(90, 100), "base_test": Accuracy.of(50, 100)}
    make_expert("swap", {Z: torch.tensor([1.2, 0.9])}, folder=folder / "expert", step=2, **accuracy)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text()


class Tags(HTMLParser):
    """Every tag of a page with its attributes, as a browser finds them."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.slow
def test_the_page_loads_nothing_and_runs_nothing(page):
    found = Tags(page).found
    assert {tag for tag, _ in found} & {"script", "link", "iframe", "object", "a", "form"} == set()
    attributes = [(name, value) for _, each in found for name, value in each.items()]
    sources = [value for name, value in attributes if name in ("src", "href", "srcset")]
    assert sources
    assert all(value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert [name for name, _ in attributes if name.startswith("on")] == []
    assert "default-src 'none'" in page


def test_what_a_model_wrote_is_escaped_wherever_it_stands(page):
    assert "<img src=x" not in page
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; {{ 7*7 }}"
    # prompt, completion, gold answer, problem, reason: the same text everywhere in this run
    assert page.count(shown) >= 5


def test_characters_that_reorder_text_are_spelled_out(page):
    body = page[: page.index("<h2>Recipe and card</h2>")]
    assert "\u202e" not in body
    assert "a⟨U+202E⟩b" in body


def test_base_and_expert_stand_with_their_intervals(page):
    assert "90.0 % <small>[82.6, 94.5]" in page
    assert "50.0 % <small>[40.4, 59.6]" in page


def test_a_run_that_is_not_finished_has_a_report(tmp_path):
    record_run(tmp_path / "run", steps=1)
    assert "no expert has been kept yet" in write_report(tmp_path / "run").read_text()


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        write_report(tmp_path)


def test_the_same_records_give_the_same_page(run, page):
    assert write_report(run).read_text() == page


def test_the_change_of_svf_is_drawn_by_module_and_by_singular_value(make_expert):
    drawn = change_of(load_expert(make_expert("x", {Z: torch.tensor([1.2, 0.9])})))
    assert [chart.title for chart in drawn.charts] == ["Size of the change", "z"]


def deepseek(make_expert):
    """A dense first layer, and experts of smaller rank in the second: one name, many modules."""
    layers = "base_model.model.model.layers"
    one, other = torch.full((4,), 1.5), torch.full((2,), 0.5)
    tensors = {
        f"{layers}.0.mlp.gate_proj.svf_z": one,
        f"{layers}.1.mlp.shared_experts.gate_proj.svf_z": torch.full((2,), 1.1),
        f"{layers}.1.mlp.experts.0.gate_proj.svf_z": other,
        f"{layers}.1.mlp.experts.1.gate_proj.svf_z": torch.ones(2),
    }
    return load_expert(make_expert("moe", tensors))


def test_modules_of_one_name_and_several_ranks_have_a_row_each(make_expert):
    expert = deepseek(make_expert)
    (rows,) = spectrum_rows(changes(expert)).items()
    kind, (layers, table) = rows
    assert (kind, layers) == ("gate_proj", [0, 1, 1, 1])
    assert table[0].tolist() == [1.5] * 4
    assert sorted(table[1:, 0].tolist()) == pytest.approx([0.5, 1.0, 1.1])
    assert np.isnan(table[1:, 2:]).all()
    assert [chart.title for chart in change_of(expert).charts] == ["Size of the change", "z"]


def test_the_size_of_a_change_counts_every_module_of_a_kind(make_expert):
    table, layers, kinds = change_grid(changes(deepseek(make_expert)))
    assert (layers, kinds) == ([0, 1], ["gate_proj"])
    assert table[:, 0].tolist() == pytest.approx([0.5, ((0.1**2 + 0.5**2 + 0) / 3) ** 0.5])


def test_a_change_that_cannot_be_read_is_explained(make_expert):
    expert = load_expert(make_expert("x", {Z: torch.ones(2)}, config={"peft_type": "BONE"}))
    assert "'BONE'" in change_of(expert).refusal


def test_long_text_keeps_its_start_and_its_end():
    shown = visible("a" * 30 + "b" * 5000 + "answer", 20, 6)
    assert shown == "a" * 20 + "\n[… 5,010 characters left out …]\n" + "answer"


def test_lines_and_tabs_are_left_as_they_are():
    assert visible("a\n\tb") == "a\n\tb"


def test_verdicts_are_counted_over_the_whole_run():
    rows = [{"verdicts/correct": 3.0, "verdicts/wrong": 1.0}, {"verdicts/wrong": 4.0}, {}]
    found = {kind: (count, share) for kind, count, share in verdict_totals(rows)}
    assert found["correct"] == (3, 0.375)
    assert found["wrong"] == (5, 0.625)
    assert found["timeout"] == (0, 0.0)


def row(problem, reward, verdict="wrong"):
    return {"problem": problem, "prompt": "p", "reward": reward, "verdict": verdict}


def test_problems_with_mixed_answers_are_shown_first():
    rows = [row("dull", 0.0), row("dull", 0.0), row("mixed", 0.0), row("mixed", 1.0)]
    assert [group[0]["problem"] for group in pick(rows)] == ["mixed", "dull"]


def test_every_kind_of_verdict_of_a_step_is_in_sight():
    mixed = [row(f"mixed {n}", score) for n in range(6) for score in (0.0, 1.0)]
    shown = pick([*mixed, *[row("failed", None, "error")] * 2])
    assert [group[0]["problem"] for group in shown] == [
        "mixed 0",
        "failed",
        *("mixed 1", "mixed 2", "mixed 3"),
    ]


def test_every_kind_of_verdict_of_a_problem_is_in_sight():
    rows = [row("a", 0.0)] * 6 + [row("a", 1.0, "correct"), row("a", None, "timeout")]
    assert [shown["verdict"] for shown in pick(rows)[0]] == ["wrong", "correct", "timeout", "wrong"]


def test_a_figure_without_records_has_no_chart():
    assert line_chart([{"step": 1, "reward": 0.5}, {"step": 2, "kl": None}], "kl") is None


def test_missing_and_null_figures_are_left_out_of_a_series():
    rows = [{"step": 1, "kl": 0.5}, {"step": 2}, {"step": 3, "kl": None}, {"step": 4, "kl": 0.1}]
    assert series(rows, "kl") == ([1, 4], [0.5, 0.1])


def test_the_running_mean_looks_back_only():
    assert smooth([0.0, 2.0, 4.0] + [4.0] * 10)[:3] == [0.0, 1.0, 2.0]
    assert smooth([7.0] + [0.0] * 12)[6:8] == [1.0, 0.0]


def test_geometric_figures_have_charts_where_a_run_has_them():
    rows = [{"step": k, "gain/hyperbolic/mean": 1.1, "router/entropy": 1.0} for k in (1, 2)]
    bare = {chart.title for chart in learning_charts([{"step": 1, "reward": 0.5}])}
    assert bare == {"Reward"}
    titles = {chart.title for chart in learning_charts(rows)}
    assert titles == {"Gain of the hyperbolic update", "Router entropy"}


def test_a_supervised_run_shows_its_loss_and_rl_does_not():
    learned = {"step": 1, "loss": 0.5, "mean_token_accuracy": 0.9}
    assert [chart.title for chart in learning_charts([learned])] == ["Loss of supervision"]
    assert learning_charts([{"step": 1, "loss": 0.5}]) == []


def test_tokens_are_counted_once_whether_rows_have_a_step_s_or_all_so_far():
    rows = [{"step": 1, "num_tokens": 96.0}, {"step": 2, "num_tokens": 160.0}]
    assert facts(rows, {}, None)["completion tokens"] == "256"
    taught = [{**row, "mean_token_accuracy": 0.5} for row in rows]
    assert facts(taught, {}, None)["tokens, those of prompts too"] == "160"


def test_an_expert_that_is_its_base_is_told_as_that_and_not_by_an_interval(tmp_path, make_expert):
    against = PairedDifference(value=0.0, low=-0.1, high=0.1, problems=30, judged=True)
    folder = make_expert("x", {Z: torch.ones(2)}, folder=tmp_path, against_base=against)
    card = load_expert(folder).card
    assert "(95 % interval" in differences(card)[0]
    (told,) = differences(card.model_copy(update={"equals_base": True}))
    assert told == "The expert is the base itself: they differ in nothing."


def test_a_page_shows_the_images_of_a_prompt_and_still_loads_nothing(tmp_path, make_image):
    path = make_image(0)
    record_run(tmp_path, images=images_of(path.name, path.parent))
    page = write_report(tmp_path).read_text()
    assert '<img class="shown" src="data:image/png;base64,' in page
    assert str(path) not in page


def test_a_page_says_of_an_image_that_it_is_not_what_was_seen(tmp_path, make_image):
    path = make_image(2)
    record_run(tmp_path, images=images_of(path.name, path.parent))
    path.unlink()
    assert "[2.png is not there any more, or another file" in write_report(tmp_path).read_text()
