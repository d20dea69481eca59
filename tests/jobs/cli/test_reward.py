"""`rlpeft reward`: what it prints, and the one line a mistake gets."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app

ROWS = [
    {"id": "a", "gold": "7", "prediction": "It is \\boxed{7}."},
    {"id": "b", "gold": 7, "prediction": "It is \\boxed{8}."},
    {"gold": "7", "prediction": ""},
    {"gold": "", "prediction": "\\boxed{7}"},
    {"gold": "7", "prediction": "First we", "truncated": True},
]


def run(*arguments):
    return CliRunner().invoke(app, ["reward", *map(str, arguments)])


def mistake(*arguments):
    """Return the one line on standard error of a command that must fail."""
    result = run(*arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_score_prints_one_verdict_a_row_and_the_totals(predictions):
    result = run("score", predictions, "--kind", "math", "--json")

    *rows, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [row["id"] for row in rows] == ["a", "b", 2, 3, 4]
    kinds = ["correct", "wrong", "unparsable", "unscorable", "truncated"]
    assert [row["kind"] for row in rows] == kinds
    assert [row["score"] for row in rows] == [1.0, 0.0, 0.0, None, 0.0]
    assert rows[0]["extracted"] == "7"
    assert summary["rows"] == 5
    assert summary["totals"] == dict.fromkeys(kinds, 1) | {"timeout": 0, "error": 0}
    assert summary["mean_score"] == 0.25
    assert summary["rows_per_s"] > 0


def test_score_for_people_ends_in_totals(predictions):
    result = run("score", predictions)

    assert "a\tcorrect\t1.0" in result.stdout
    assert "unscorable" in result.stdout
    assert "rows/s" in result.stdout


def test_score_prints_text_that_is_no_utf8(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "\\ud800", "gold": "7", "prediction": "\\ud800 7 \\ud800"}\n')

    assert run("score", path).exit_code == 0
    assert run("score", path, "--kind", "exact").exit_code == 0


def test_score_writes_verdicts_to_a_file(predictions, tmp_path):
    result = run("score", predictions, "--out", tmp_path / "out.jsonl", "--json")

    assert json.loads(result.stdout)["rows"] == 5
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", 2, 3, 4]


def test_score_takes_options_and_compressed_files(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"gold": "G", "prediction": "Answer: G"}) + "\n")

    result = run("score", path, "--kind", "choice", "--option", "letters=ABCDEFG", "--json")

    assert json.loads(result.stdout.splitlines()[0])["score"] == 1.0


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "must exist"),
        ("", "at least one row"),
        ("not json\n", "line 1 must be one JSON object"),
        ("[1, 2]\n", "line 1 must be a JSON object"),
        ('{"gold": "7"}\n', "row 1 must have a text 'prediction', got None"),
        ('{"gold": {"a": 1}, "prediction": "7"}\n', "row 1: a gold answer must be text or"),
        ('{"gold": ["7"], "prediction": "7"}\n', "row 1: a gold answer must be text or a number"),
        ('{"gold": NaN, "prediction": "7"}\n', "row 1: a gold answer must be a finite number"),
        ('{"gold": "7", "prediction": ["7"]}\n', "row 1 must have a text 'prediction'"),
        ('{"gold": "7", "prediction": "7"}\n{"prediction": "7"}\n', "row 2"),
        ("[" * 100_000 + "\n", "line 1"),
        ('{"gold": ' + "9" * 5000 + ', "prediction": "7"}\n', "line 1"),
    ],
)
def test_a_bad_file_gets_one_line(tmp_path, content, what):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)

    assert what in mistake("score", path, "--json")


def test_an_unknown_kind_or_option_gets_one_line(predictions):
    assert "kind must be one of" in mistake("score", predictions, "--kind", "maths")
    assert "lettres" in mistake("score", predictions, "--kind", "choice", "--option", "lettres=AB")
    assert "KEY=VALUE" in mistake("score", predictions, "--option", "letters")


def test_check_shows_what_a_built_in_reward_does(problems):
    result = run("check", "math", "--data", problems, "--json")

    check = json.loads(result.stdout)
    assert check["reward"] == "math"
    assert check["columns"] == ["answer"]
    assert check["kinds"]["right"] == {"correct": 20, "score": 1.0}
    assert check["kinds"]["wrong"] == {"wrong": 20, "score": 0.0}
    assert check["kinds"]["empty"] == {"unparsable": 20, "score": 0.0}
    assert check["kinds"]["truncated"] == {"truncated": 20, "score": 0.0}
    assert check["kinds"]["hostile"]["score"] == 0.0
    assert check["pickles"] is True
    assert check["warnings"] == []
    assert set(check["ms_per_row"]) == set(check["kinds"])


def test_check_runs_a_users_reward_and_warns_of_what_is_odd(problems, tmp_path, monkeypatch):
    (tmp_path / "generous.py").write_text(
        "def reward(completions, answer, **kwargs):\n"
        "    print('scoring')\n"
        "    return [1.0 for _ in completions]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    result = run("check", "generous:reward", "--data", problems, "--rows", 3, "--json")

    check = json.loads(result.stdout)
    assert check["dialect"] == "TRL"
    assert check["columns"] == ["answer"]
    assert check["printed"] is True
    assert (check["is_constant"], result.exit_code) == (True, 1)
    assert check["kinds"]["right"] == {"graded": 3, "score": 1.0}
    assert any("does not tell right from wrong" in warning for warning in check["warnings"])
    assert any("empty completions score 1" in warning for warning in check["warnings"])


@pytest.mark.parametrize(
    ("gives", "fault"),
    [
        ("None", "all get no score (reward gave None)"),
        ("1.0", "all get the score 1, in whatever form"),
    ],
)
def test_check_of_a_useless_reward_is_a_fault_without_advice_on_forms(
    problems, tmp_path, monkeypatch, gives, fault
):
    module = f"useless_{gives[0]}"
    (tmp_path / f"{module}.py").write_text(
        f"def reward(completions, answer, **_):\n    return [{gives} for _ in completions]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run("check", f"{module}:reward", "--data", problems, "--rows", 3)
    said = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert f"fault: right, wrong and empty answers {fault}" in said
    assert "used below" not in said
    assert "have the prompt ask" not in said


def test_check_says_where_hostile_answers_earn_more_than_right_ones(
    problems, tmp_path, monkeypatch
):
    (tmp_path / "by_length.py").write_text(
        "def reward(completions, **_):\n    return [float(len(text)) for text in completions]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = json.loads(run("check", "by_length:reward", "--data", problems, "--json").stdout)
    (hostile,) = [warning for warning in found["warnings"] if warning.startswith("hostile")]
    assert hostile.endswith(", more than right ones")


def test_check_for_people_prints_a_table(problems):
    result = run("check", "math", "--data", problems, "--rows", 2)

    assert result.exit_code == 0
    assert "needs columns: answer" in result.stdout
    assert "hostile" in result.stdout


def test_check_shows_what_it_tried_and_in_which_form_a_right_answer_counts(
    problems, tmp_path, monkeypatch
):
    (tmp_path / "tagged.py").write_text(
        "def r(completion, gold):\n"
        "    print('[red]thinking')\n"
        "    return completion == f'<answer>{gold}</answer>'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    check = json.loads(run("check", "tagged:r", "--data", problems, "--json").stdout)
    assert check["form"] == "<answer>{}</answer>"
    assert check["forms"]["<answer>{}</answer>"] == 1.0
    assert check["forms"]["{}"] == 0.0
    assert check["kinds"]["right"] == {"correct": 20, "score": 1.0}
    assert check["examples"]["right"] == {
        "completion": "<answer>1</answer>",
        "gold": "1",
        "kind": "correct",
        "score": 1.0,
        "reason": "r gave 1",
    }
    assert check["warnings"] == []

    shown = run("check", "tagged:r", "--data", problems).stdout
    assert "wrong, gold 1: wrong, score 0" in shown
    assert "<answer>2</answer>" in shown
    assert "1.000  <answer>GOLD</answer>  <- used below" in shown


def test_check_ends_a_reward_that_sleeps_with_one_line(problems, tmp_path, monkeypatch):
    (tmp_path / "sleepy.py").write_text("import time\ndef r(completions):\n    time.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    line = mistake("check", "sleepy:r", "--data", problems, "--timeout-s", 0.5, "--json")

    assert "within reward.timeout_s = 0.5 s" in line
    assert "sleepy.py:3 in r" in line


def test_check_refuses_gold_answers_of_another_type_by_their_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a", "answer": "1"}\n{"question": "b", "answer": ["0010"]}\n')

    assert "row 2 (train): a gold answer must be text or a number for reward 'math'" in mistake(
        "check", "math", "--data", path
    )


@pytest.mark.parametrize("reward", ["math", "blanks:by_column"])
def test_check_refuses_blank_gold_answers_as_a_run_does(reward, tmp_path, monkeypatch):
    (tmp_path / "blanks.py").write_text(
        "def by_column(completions, answer):\n    return [0.0] * len(completions)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "rows.csv"
    golds = ["" if n in (2, 8, 30, 31) else n for n in range(40)]  # the last two are not tried
    path.write_text("\n".join(["question,answer", *(f"q{n},{g}" for n, g in enumerate(golds))]))

    line = mistake("check", reward, "--data", path, "--rows", 5)

    assert "rows 3, 9, 31 and 1 more (train): a gold answer must be there for" in line


def test_a_null_prediction_is_unscorable_and_the_others_are_judged(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [("7", "7"), ("7", None), (None, "7"), ("7", "\\boxed{7}")]
    path.write_text("".join(json.dumps({"gold": g, "prediction": p}) + "\n" for g, p in rows))

    *verdicts, summary = map(json.loads, run("score", path, "--json").stdout.splitlines())

    assert [v["kind"] for v in verdicts][1:] == ["unscorable", "unscorable", "correct"]
    assert verdicts[1]["reason"] == "prediction is null"
    assert summary["totals"]["unscorable"] == 2


def test_score_reads_several_right_answers_where_it_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"gold": ["1/2", "7"], "prediction": "\\\\boxed{7}"}\n')

    result = run("score", path, "--option", "several=true", "--json")

    assert json.loads(result.stdout.splitlines()[0])["kind"] == "correct"


def test_check_names_a_missing_column(problems, tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("def reward(completions, level): ...")
    monkeypatch.syspath_prepend(str(tmp_path))

    line = mistake("check", "needy:reward", "--data", problems)

    assert "'reward' needs the columns ['level'], got ['answer', 'question']" in line


def test_check_takes_right_answers_of_another_name_where_it_is_told(tmp_path, monkeypatch):
    (tmp_path / "order_rewards.py").write_text(
        "def order(completions, answer):\n"
        "    return [c.strip() == a for c, a in zip(completions, answer)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (rows := tmp_path / "zahlen.csv").write_text("frage,loesung\n1+1,2\n3+4,7\n")

    line = mistake("check", "order_rewards:order", "--data", rows)
    found = run("check", "order_rewards:order", "--data", rows, "--option", "gold=loesung")

    assert "--option gold=COLUMN" in line
    assert "right" in found.stdout


def test_check_names_a_wrong_number_of_scores(problems, tmp_path, monkeypatch):
    (tmp_path / "short.py").write_text("def reward(completions): return [1.0]")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "one score per completion (20), got 1 scores" in mistake(
        "check", "short:reward", "--data", problems
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("maths", "--data", "{problems}"), "got 'maths'"),
        (("no.module:f", "--data", "{problems}"), "no.module:f"),
        (("math", "--data", "./absent.jsonl"), "absent.jsonl"),
        (("math", "--data", "{problems}", "--task", "gsm9k"), "gsm9k"),
        (("choice", "--data", "{problems}", "--option", "letters=abc"), "letters"),
    ],
)
def test_a_check_that_cannot_run_gets_one_line(problems, arguments, what):
    line = mistake("check", *(text.format(problems=problems) for text in arguments))

    assert what in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "task"),
    [
        ("math", "gsm8k_test.jsonl", "gsm8k"),
        ("math", "svamp_test.jsonl", "svamp"),
        ("choice", "aqua_test.jsonl", "aqua"),
        ("choice", "arc_challenge_test.jsonl", None),
        ("mbpp", "mbpp.jsonl", None),
        ("humaneval", "HumanEval.jsonl.gz", None),
        ("code", "mbpp.jsonl", "mbpp"),
    ],
)
def test_built_in_rewards_pass_their_check_on_benchmarks(shared_path, name, file, task):
    chosen = ["--task", task] if task else []

    result = run("check", name, "--data", shared_path / "data" / file, *chosen, "--json")

    check = json.loads(result.stdout)
    assert check["kinds"]["right"] == {"correct": 20, "score": 1.0}
    assert check["kinds"]["wrong"]["score"] == 0.0
    assert check["warnings"] == []


def test_predictions_may_be_a_csv_whose_words_say_what_was_cut_off(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("gold,prediction,truncated\n7,It is \\boxed{7}.,false\n7,First we,True\n")
    *rows, _ = map(json.loads, run("score", path, "--json").stdout.splitlines())
    assert [row["kind"] for row in rows] == ["correct", "truncated"]
    path.write_text("gold,prediction,truncated\n7,First we,perhaps\n")
    assert "row 1 must have true or false as 'truncated'" in mistake("score", path)


@pytest.fixture
def recipe(problems, tmp_path, monkeypatch):
    """A recipe whose reward reads one form alone, and columns that only its task gives."""
    (tmp_path / "formed.py").write_text(
        "def tagged(prompts, completions, answer, question, tag, **columns):\n"
        "    assert all(text.startswith('Q: ') for text in prompts)\n"
        "    return [c == f'<{tag}>{a}</{tag}>' for c, a in zip(completions, answer)]\n"
        "def of_any(completions, **columns):\n"
        "    return [c == str(a) for c, a in zip(completions, columns['answer'])]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "mine.toml"
    path.write_text(
        "name = 'mine'\nmodel.name = 'tiny'\n"
        f"task.path = {str(problems)!r}\ntask.options.template = 'Q: {{question}}'\n"
        "task.num_validation = 4\ntask.num_test = 4\n"
        "reward = [{ name = 'formed:tagged', options = { tag = 'answer' } }, { name = 'exact' }]\n"
    )
    return path


def test_check_writes_true_and_false_as_rewards_compare_them(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "a", "answer": true}\n{"question": "b", "answer": false}\n' * 4)

    found = json.loads(run("check", "exact", "--data", rows, "--json").stdout)

    assert found["kinds"]["right"]["score"] == 1.0


def test_check_of_a_recipe_tries_its_rewards_on_its_own_rows_prompts_and_options(recipe):
    result = run("check", recipe, "--rows", 3, "--json")

    tagged, exact = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert (tagged["reward"], tagged["form"]) == ("tagged", "<answer>{}</answer>")
    assert tagged["kinds"]["right"] == {"correct": 3, "score": 1.0}
    assert (exact["reward"], exact["form"]) == ("exact", "{}")


def test_check_of_a_recipe_takes_nothing_that_it_says_itself(recipe, problems):
    assert "--data must be left out beside a recipe" in mistake("check", recipe, "--data", problems)
    assert "--data must name the rows to try 'math' on" in mistake("check", "math")


def test_check_warns_of_blank_gold_answers_that_a_reward_of_all_columns_gets(
    recipe, problems, tmp_path
):
    rows = problems.read_text().replace('"answer": "3"', '"answer": ""')
    (tmp_path / "blank.jsonl").write_text(rows)

    check = run("check", "formed:of_any", "--data", tmp_path / "blank.jsonl", "--json")

    (warning,) = json.loads(check.stdout)["warnings"]
    assert warning.startswith("1 of 30 gold answers are blank (row 3), which no run refuses")


def test_check_says_what_the_forms_of_a_right_answer_are_for(problems):
    shown = run("check", "exact", "--data", problems).stdout
    assert "how may an answer be written?" in shown
    assert "have the prompt ask for a form that scores" in shown
