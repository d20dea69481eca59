"""Tasks from rows: what a user's file becomes, and what is said when it cannot."""

import gzip
import itertools
import json
import os
import subprocess
import sys

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks import load_task
from rlpeft.tasks.golds import refuse_golds
from rlpeft.tasks.jsonl import read_jsonl

ROWS = [{"prompt": f"question {i}", "answer": str(i), "topic": i % 3} for i in range(20)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path, name="jsonl", num_validation=4, num_test=6, **options):
    return load_task(
        TaskConfig(
            name=name,
            path=None if path is None else str(path),
            options=options,
            num_validation=num_validation,
            num_test=num_test,
        )
    )


def prompts(task, split):
    return [problem.prompt for problem in task.split(split)]


def test_one_file_is_carved_into_disjoint_splits_that_cover_it(tmp_path):
    task = load(write(tmp_path / "a.jsonl", ROWS))
    parts = [prompts(task, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [10, 4, 6]
    assert sorted(itertools.chain(*parts)) == sorted(row["prompt"] for row in ROWS)


def test_answers_and_other_columns_stay_with_their_prompt(tmp_path):
    task = load(write(tmp_path / "a.jsonl", ROWS))
    for problem in task.split("train"):
        number = int(problem.prompt.split()[1])
        assert problem.answer == str(number)
        assert problem.columns == {"prompt": problem.prompt, "topic": number % 3}


def test_the_seed_decides_what_is_carved(tmp_path):
    file = write(tmp_path / "a.jsonl", ROWS)
    assert prompts(load(file), "test") == prompts(load(file), "test")
    assert prompts(load(file), "test") != prompts(load(file, seed=1), "test")


def test_a_folder_gives_its_own_splits_cut_to_their_numbers(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:8])
    write(tmp_path / "valid.jsonl", ROWS[8:11])
    write(tmp_path / "test.jsonl", ROWS[11:])
    task = load(tmp_path)
    assert prompts(task, "train") == [row["prompt"] for row in ROWS[:8]]
    assert prompts(task, "validation") == [row["prompt"] for row in ROWS[8:11]]
    assert len(task.split("test")) == 6
    assert set(prompts(task, "test")) < {row["prompt"] for row in ROWS[11:]}


def test_a_prompt_of_a_later_split_is_left_out_of_earlier_ones(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:8])
    write(tmp_path / "validation.jsonl", ROWS[6:10])
    write(tmp_path / "test.jsonl", ROWS[9:12])
    task = load(tmp_path)
    assert prompts(task, "train") == [row["prompt"] for row in ROWS[:6]]
    assert prompts(task, "validation") == [row["prompt"] for row in ROWS[6:9]]


def test_rows_that_a_later_split_has_are_counted_and_named_where_none_is_left(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:8])
    write(tmp_path / "validation.jsonl", ROWS[6:10])
    write(tmp_path / "test.jsonl", ROWS[9:12])
    assert load(tmp_path).left_out == {"train": 2, "validation": 1, "test": 0}
    alike = load(write(tmp_path / "a.jsonl", ROWS), template="Of topic {topic}:")
    with pytest.raises(DataError, match=r"every prompt of the 10 train problems stands in a later"):
        alike.split("train")


def test_a_test_only_source_gives_up_validation_rows_that_are_not_tested(tmp_path):
    write(tmp_path / "test.jsonl", ROWS)
    task = load(tmp_path, num_test=100)
    assert len(task.split("validation")) == 4
    assert len(task.split("test")) == 16
    assert not set(prompts(task, "validation")) & set(prompts(task, "test"))
    with pytest.raises(DataError, match="has no train problems"):
        task.split("train")


def test_a_source_too_small_to_carve_is_told_in_the_rows_that_it_has(tmp_path):
    file = write(tmp_path / "a.jsonl", [{"prompt": str(i), "answer": "0"} for i in range(300)])
    with pytest.raises(DataError) as caught:
        load(file, num_validation=256, num_test=500)
    assert str(caught.value) == (
        f"task {str(file)!r}: task.num_validation + task.num_test must leave at least one of the "
        "300 train rows they are carved from, got 256 (the default) + 500 (the default). "
        "Lower them, such as task.num_validation = 30, task.num_test = 60."
    )
    assert len(load(file, num_validation=30, num_test=60).split("train")) == 210


@pytest.mark.parametrize(("rows", "sizes"), [(3, (1, 1)), (44, (11, 11)), (90, (20, 20))])
def test_of_few_rows_as_many_are_named_for_validation_as_they_can_spare(tmp_path, rows, sizes):
    file = write(tmp_path / "a.jsonl", [{"prompt": str(i), "answer": "0"} for i in range(rows)])
    with pytest.raises(
        DataError, match=r"num_validation = {}, task.num_test = {}\.".format(*sizes)
    ):
        load(file, num_validation=256, num_test=500)
    assert load(file, num_validation=sizes[0], num_test=sizes[1]).split("train")


def test_a_single_file_is_the_split_that_is_asked_for_whole(tmp_path):
    file = write(tmp_path / "a.jsonl", ROWS)
    config = TaskConfig(name="jsonl", path=str(file))
    for split in ("train", "validation", "test"):
        assert prompts(load_task(config, only=split), split) == [row["prompt"] for row in ROWS]


def test_test_rows_are_whole_where_they_alone_are_asked_for(tmp_path):
    write(tmp_path / "test.jsonl", ROWS)
    config = TaskConfig(name="jsonl", path=str(tmp_path))
    assert prompts(load_task(config, only="test"), "test") == [row["prompt"] for row in ROWS]
    few = config.model_copy(update={"num_test": 5})
    assert len(load_task(few, only="test").split("test")) == 5


def test_a_split_that_the_source_lacks_is_carved_as_in_training_even_if_it_alone_is_needed(
    tmp_path,
):
    write(tmp_path / "train.jsonl", ROWS)
    config = TaskConfig(name="jsonl", path=str(tmp_path), num_validation=4, num_test=6)
    alone, whole = load_task(config, only="test"), load_task(config)
    assert prompts(alone, "test") == prompts(whole, "test")


def test_gzip_is_read(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(json.dumps(row) for row in ROWS))
    assert len(load(path).split("train")) == 10


def test_a_template_is_filled_from_columns(tmp_path):
    task = load(write(tmp_path / "a.jsonl", ROWS), template="{topic}: {prompt}\nA:")
    problem = task.split("train")[0]
    topic, text = problem.columns["topic"], problem.columns["prompt"]
    assert problem.prompt == f"{topic}: {text}\nA:"


@pytest.mark.parametrize(
    "options", [{"template": "{prompt} \\boxed{answer}"}, {"prompt": "answer"}]
)
def test_a_prompt_does_not_reach_the_gold_answer_unless_it_is_asked_to(tmp_path, options):
    file = write(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(ConfigError, match=r"must not hold the gold answer.*\\boxed\{\{answer\}\}"):
        load(file, **options)
    problem = load(file, answer_in_prompt=True, **options).split("train")[0]
    assert problem.prompt.endswith(problem.answer) or f"{{{problem.answer}}}" in problem.prompt


def test_a_prompt_does_not_reach_the_column_that_a_reward_compares_with(tmp_path):
    write(tmp_path / "a.jsonl", [{**row, "gold": {"x": row["answer"]}} for row in ROWS])
    options = {"template": "{prompt} {gold}", "answer": ""}
    path, counts = str(tmp_path / "a.jsonl"), {"num_validation": 2, "num_test": 2}
    config = TaskConfig(name="jsonl", path=path, options=options, **counts)
    with pytest.raises(ConfigError, match="made of the column 'gold'"):
        refuse_golds(load_task(config).made_of, ["answer", "gold.x"])
    # Under `answer` rewards get the task's own gold answer.
    refuse_golds(load_task(config).made_of, ["answer", "topic"])
    asked = config.model_copy(update={"options": options | {"answer_in_prompt": True}})
    refuse_golds(load_task(asked).made_of, ["gold.x"])


ANSWERED = [
    {"prompt": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]}
    for i in range(20)
]


def test_chat_rows_that_hold_the_answer_are_refused_until_it_is_said_what_it_is(tmp_path):
    rows = [{**row, "answer": "x"} for row in ANSWERED]
    with pytest.raises(DataError, match=r"row 1: .*ends in a turn by the assistant, 'a0'.*answer"):
        load(write(tmp_path / "a.jsonl", rows))
    prefill = load(write(tmp_path / "a.jsonl", rows), last_turn="prefill").split("train")[0]
    assert [turn["role"] for turn in prefill.prompt] == ["user", "assistant"]


def test_the_answer_of_chat_rows_is_taken_out_as_the_gold_answer(tmp_path):
    problems = load(write(tmp_path / "a.jsonl", ANSWERED), last_turn="answer").split("train")
    for problem in problems:
        (turn,) = problem.prompt
        assert turn["content"][1:] == problem.answer[1:]
        assert (turn["content"][0], problem.answer[0]) == ("q", "a")
    rows = [{**row, "answer": "x"} for row in ANSWERED]
    own = load(write(tmp_path / "b.jsonl", rows), last_turn="answer").split("train")[0]
    assert (own.answer, len(own.prompt)) == ("x", 1)


@pytest.mark.parametrize(
    "prompt", ["q", [{"role": "user", "content": "q"}], ANSWERED[0]["prompt"][1:]]
)
def test_rows_without_the_turn_that_shall_be_the_answer_are_refused(tmp_path, prompt):
    rows = [{"prompt": prompt, "answer": "x"}]
    with pytest.raises(DataError, match="the last by the assistant, since"):
        load(write(tmp_path / "a.jsonl", rows), last_turn="answer")


def test_another_column_may_be_called_answer_where_the_gold_has_its_own(tmp_path):
    rows = [{"answer": f"{i} is even", "gold": "yes" if i % 2 == 0 else "no"} for i in range(20)]
    task = load(write(tmp_path / "a.jsonl", rows), template="True? {answer}", answer="gold")
    assert task.split("test")[0].prompt.startswith("True? ")


def test_the_gold_answer_is_guarded_under_its_own_columns_name(tmp_path):
    rows = [{"question": str(i), "gold": str(i)} for i in range(20)]
    with pytest.raises(ConfigError, match="made of the column 'gold'"):
        load(write(tmp_path / "a.jsonl", rows), template="{question} {gold}", answer="gold")


def test_a_template_that_names_no_column_of_the_data_says_which_there_are(tmp_path):
    with pytest.raises(DataError, match=r"names the column 'quest', the row has answer, prompt"):
        load(write(tmp_path / "a.jsonl", ROWS), template="{quest}")


@pytest.mark.parametrize("name", ["tiny/swap", "arithmetic", "kind"])
def test_a_path_that_a_generated_task_would_not_read_is_refused(tmp_path, name):
    with pytest.raises(
        ConfigError, match=r"task.path must be absent .*--data PATH, or by task.name = 'jsonl'"
    ):
        load(write(tmp_path / "a.jsonl", ROWS), name=name)


def test_chat_and_system_make_turns(tmp_path):
    task = load(write(tmp_path / "a.jsonl", ROWS), chat=True, system="Be brief.")
    problem = task.split("train")[0]
    assert problem.prompt == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": problem.columns["prompt"]},
    )


def test_a_column_of_chat_turns_is_taken_as_it_is(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": f"q{i}"}], "answer": "x"} for i in range(20)]
    task = load(write(tmp_path / "a.jsonl", rows))
    assert task.split("train")[0].prompt[0]["role"] == "user"


def test_the_fingerprint_follows_the_content_not_the_path(tmp_path):
    first = load(write(tmp_path / "a.jsonl", ROWS)).fingerprint()
    assert load(write(tmp_path / "b.jsonl", ROWS)).fingerprint() == first
    changed = [*ROWS[:-1], {**ROWS[-1], "answer": "20"}]
    assert load(write(tmp_path / "c.jsonl", changed)).fingerprint() != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold at least one row, it is empty"),
        ("\n\n", "must hold at least one row, it is empty"),
        ('{"prompt": "a", "answer": "b"}\n{oops\n', "line 2 must be one JSON object"),
        ("[1, 2]\n", "line 1 must be a JSON object, got list"),
        ('{"prompt": "a"}\n', r"train row 1: must have a column 'answer', has \['prompt'\]"),
        ('{"question": "a", "answer": "b"}\n', "must have a column 'prompt'"),
        (
            '{"prompt": "a", "answer": null}\n',
            "row 1: must have a value in column 'answer', got nul",
        ),
        (
            '{"prompt": null, "answer": "b"}\n',
            "row 1: must have a value in column 'prompt', got nul",
        ),
        ('{"prompt": "", "answer": "b"}\n', "must have a prompt that is non-empty"),
        ('{"prompt": " \\n", "answer": "b"}\n', "must have a prompt that is non-empty"),
        ('{"prompt": "a\\ud800", "answer": "b"}\n', "line 1 .* column 'prompt' holds the lone"),
        ('{"prompt": "a", "answer": {"x": ["\\udc00"]}}\n', "line 1 .* column 'answer' holds"),
        ('{"prompt": "a", "answer": "b"}\n\0\0\n', r"line 2 must be .*Mend the line, or remove it"),
        ('{"prompt": [{"role": "user"}], "answer": "b"}\n', "must have a prompt that is"),
        (
            '{"prompt": "[{\\"role\\": \\"user\\", \\"content\\": \\"q\\"}]", "answer": "b"}\n',
            "chat turns as a list, it holds their JSON as text",
        ),
        ('{"prompt": "a", "answer": "b"}\n', "Give a larger source"),
        ('{"prompt": 7, "answer": "b"}\n', "or a list of .* turns, got 7"),
        ('{"prompt": "a", "answer": "1", "answer": "2"}\n', "'answer' stands there twice"),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_and_where(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_split_are_refused_by_name(tmp_path):
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "validation.jsonl", ROWS[:2])
    write(tmp_path / "dev.jsonl", ROWS[2:4])
    with pytest.raises(DataError, match=r"one file of validation rows.*validation\.jsonl, dev"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "UTF-16: iconv -f UTF-16 -t UTF-8"),
        (
            '{"prompt": "a"}\n{"prompt": "K\u00e4se", "answer": "1"}\n'.encode("latin-1"),
            r"line 2 must be UTF-8: .* b'\\xe4'.*iconv -f ENCODING",
        ),
        ('{"prompt": "a", "answer": "1"}\n'.encode("utf-16"), "UTF-16: iconv"),
        ('{"prompt": "a", "answer": "1"}\n'.encode("utf-32"), "UTF-32: iconv"),
        (b"PAR1\x15\x04\x15\x80\x9c", "a Parquet file: name it FILE.parquet"),
        (gzip.compress(b'{"prompt": "a", "answer": "1"}\n', mtime=0), "name it FILE.jsonl.gz"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_what_it_is(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "bad.jsonl.gz"
    packed = bytearray(gzip.compress(b'{"prompt": "a", "answer": "1"}\n' * 500))
    path.write_bytes(packed[:-9])
    with pytest.raises(
        DataError, match=r"whole gzip file, it is damaged after line \d+: .*fetch it"
    ):
        load(path)
    packed[20:40] = bytes(20)
    path.write_bytes(packed)
    with pytest.raises(DataError, match="must be a whole gzip file, it is damaged"):
        load(path)
    path.write_bytes(b'{"prompt": "a", "answer": "1"}\n')
    with pytest.raises(DataError, match=r"as its name says, it is none\. Name it bad\.jsonl"):
        load(path)


def test_utf_8_is_read_whatever_the_locale_and_with_a_mark_before_it(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": f"größer {i}", "answer": "1"} for i in range(20)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8-sig")
    code = (
        "import sys; from pathlib import Path; from rlpeft.tasks.jsonl import read_jsonl; "
        "print(read_jsonl(Path(sys.argv[1]))[3]['prompt'] == 'gr\\xf6\\xdfer 3')"
    )
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=ascii_only, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr


def test_separators_of_lines_within_a_text_and_marks_of_joined_files_are_read(tmp_path):
    rows = [{"prompt": f"a\u2028b\u2029c\x85\x0b\x0c\x1c{i}", "answer": "1"} for i in range(10)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + text + "\ufeff" + text.replace("a", "A"), encoding="utf-8")
    read = read_jsonl(path)
    assert read[:10] == rows
    assert len(read) == 20
    pair = tmp_path / "pair.jsonl"
    pair.write_text('{"prompt": "\\ud83d\\ude00"}\n')
    assert read_jsonl(pair) == [{"prompt": "\U0001f600"}]


def test_a_source_without_train_rows_says_which_it_has(tmp_path):
    write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(
        DataError, match=r"no train problems, it has 4 validation and 6 test problems\. .* one file"
    ):
        load(tmp_path).split("train")


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(DataError, match="must be an existing file, folder or Hub id"):
        load(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match=r"must hold train.jsonl or test.jsonl.*it holds nothing"):
        load(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DataError, match=r"it holds rows\.jsonl\. Name its files so, or give"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"task.path must be given for 'jsonl'"):
        load(None)


def test_a_dataset_the_hub_does_not_give_is_one_line():
    with pytest.raises(DataError, match="'nobody/nothing' is no local path and the Hub") as caught:
        load("nobody/nothing", name="hub")
    assert "\n" not in str(caught.value)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(
        DataError, match=r"task.name must be one of tiny/swap, .*gsm8k.* got 'gsm9k'"
    ):
        load(None, name="gsm9k")


def test_an_option_the_task_does_not_take_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"task.options.shots of 'jsonl': .*Options are: prompt"):
        load(write(tmp_path / "a.jsonl", ROWS), shots=3)
    with pytest.raises(ConfigError, match=r"got 'rev'. .* Did you mean 'answer'\?"):
        load(write(tmp_path / "a.jsonl", ROWS), gold="rev")
    with pytest.raises(ConfigError, match=r"task.options.system needs task.options.chat = true"):
        load(write(tmp_path / "a.jsonl", ROWS), system="Be brief.")


@pytest.mark.parametrize("special", [True, False])
def test_a_task_may_ask_for_control_tokens_in_its_prompts(tmp_path, special):
    task = load(write(tmp_path / "rows.jsonl", ROWS), special_tokens=special)
    found = [p for split in ("train", "validation", "test") for p in task.split(split)]
    assert {problem.special_tokens for problem in found} == {special}


@pytest.mark.parametrize(
    ("role", "right"), [("gpt", "assistant"), ("model", "assistant"), ("Assistant", "assistant")]
)
def test_an_answer_under_another_name_of_the_role_stays_in_no_prompt(tmp_path, role, right):
    turns = [{"role": "user", "content": "3 + 4?"}, {"role": role, "content": "7"}]
    rows = [{"prompt": turns, "answer": "7"}] * 4
    with pytest.raises(DataError, match=f"row 1: .*got '{role}'. Write '{right}'"):
        load(write(tmp_path / "a.jsonl", rows))


def test_all_of_a_split_is_what_the_source_gives_to_it(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:8])
    write(tmp_path / "test.jsonl", ROWS[8:])
    task = load(tmp_path, num_test="all", num_validation=2)
    assert len(task.split("test")) == 12
    assert not task.unasked["test"]


def test_all_of_a_split_that_would_be_carved_or_generated_is_refused(tmp_path):
    file = write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(
        DataError, match=r"rows.jsonl': task.num_test must be a number where .* 'all'"
    ):
        load(file, num_test="all")
    with pytest.raises(
        ConfigError, match=r"num_validation must be a number for task.name = 'tiny/"
    ):
        load(None, name="tiny/swap", num_validation="all")


def test_rows_of_a_split_beyond_its_number_are_counted(tmp_path):
    write(tmp_path / "test.jsonl", ROWS)
    assert load(tmp_path).unasked == {"test": 10}  # 4 of 20 are validated on, 6 tested on
