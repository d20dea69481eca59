"""The loop, with a real learner on a small model and a scripted engine."""

import json
import shutil
from dataclasses import replace

import pytest

from rewards.errors import RewardError
from rewards.reading import to_verdict
from rewards.scorer import RewardSpec, ScoredBatch, Scorer
from rewards.verdict import Verdict, VerdictKind
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import EngineError
from rlpeft.experts.files import ExpertCard, load_expert
from rlpeft.experts.measures import MeanScore
from rlpeft.recipe.run import parse_recipe
from rlpeft.rollout.fake import FakeEngine, Faults
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.runs.checkpoint import save_checkpoint
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck
from rlpeft.tokens.requests import Prompter
from rlpeft.training.learner import LocalLearner
from rlpeft.training.loop import Run, resume, train
from rlpeft.types import FinishReason, Problem


class Digits:
    """A tokenizer of one digit a token, ids 10 to 19."""

    bos_token_id = None
    chat_template = None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [10 + int(c) for c in text]}

    def __len__(self):
        return 20


class Notes:
    """A recorder that keeps what it is told."""

    def __init__(self):
        self.rows, self.advantages = [], []

    def metrics(self, step, values):
        self.rows.append((step, dict(values)))

    def completions(self, step, groups):
        self.advantages.append((step, [scored.advantages for scored in groups]))

    def rewind(self, step):
        self.rows = [row for row in self.rows if row[0] <= step]


def problems(split, count):
    return tuple(Problem(f"{split}/{n}", f"{n}{n}", answer="7") for n in range(1, count + 1))


def by_parity(request, seed):
    """Right for every other seed: each group has signal."""
    text = "7" if seed % 2 else "8"
    return (10 + int(text), 2), (-4.0, -4.0), text, FinishReason.STOP


def make(llama, folder, script=by_parity, *, faults=None, **sections):
    tree = {
        "name": "t",
        "model": {"name": "tiny"},
        "task": {"name": "tiny/swap"},
        "train": {"steps": 4, "prompts_per_step": 3, "group_size": 4, "eval_every": 2},
        "rollout": {"max_prompt_tokens": 4, "max_tokens": 4},
        "loss": {"ratio_cap": 0},
    }
    for name, section in sections.items():
        tree[name] = tree.get(name, {}) | section
    recipe = parse_recipe(tree, source="test")
    learner = LocalLearner(
        attach_adapter(llama(), recipe.adapter, seed=0),
        recipe.learner,
        recipe.loss,
        total_steps=recipe.train.steps,
        temperature=1.0,
    )
    engine = FakeEngine(script, logprobs=learner.logprobs, faults=faults)
    splits = {name: problems(name, 5) for name in ("train", "validation", "test")}
    return Run(
        recipe=recipe,
        folder=folder,
        decks=[Deck(ProblemSet("digits", splits))],
        learner=learner,
        fleet=LocalFleet(engine),
        scorer=Scorer([RewardSpec("math")]),
        prompter=Prompter(Digits(), max_tokens=4),
        sampling=recipe.rollout.sampling,
        recorder=Notes(),
        card=ExpertCard(
            name="t",
            base_model="x",
            base_digest="y",
            adapter={},
            task={},
            rewards=(),
            seed=0,
            step=0,
            digest="",
        ),
        canary=[[1, 2, 3]],
    )


def test_an_engine_rests_while_the_learner_works(llama, tmp_path, monkeypatch):
    run, said = make(llama, tmp_path, train={"steps": 2}), []
    step, stream = run.learner.step, run.fleet.stream
    monkeypatch.setattr(run.fleet, "rest", lambda: said.append("rests"))
    monkeypatch.setattr(
        run.learner, "step", lambda samples: (said.append("learns"), step(samples))[1]
    )
    monkeypatch.setattr(
        run.fleet, "stream", lambda *asked: (said.append("asked"), stream(*asked))[1]
    )
    for _ in train(run):
        said.append("|")
    steps = "".join(word[0] for word in said).strip("|").split("|")
    assert steps[1:] == ["arl", "arla"]  # the last one validates
    assert "r" not in steps[0]


def test_steps_are_run_recorded_and_checkpointed(llama, tmp_path):
    run = make(llama, tmp_path)
    seen = [progress.step for progress, _ in train(run)]
    assert seen == [0, 1, 2, 3, 4]
    assert [step for step, _ in run.recorder.rows] == seen
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step_00000003",
        "step_00000004",
    ]


def test_every_step_syncs_the_adapter_it_samples_from_once(llama, tmp_path):
    """Also where a validation has sent it before."""
    run = make(llama, tmp_path)
    list(train(run))
    states: list[AdapterState] = run.fleet.engine.states
    assert [state.version for state in states] == [0, 1, 2, 3, 4]
    assert len({state.digest for state in states}) == 5


class Counted(LocalFleet):
    """Each sync takes a second more than the last."""

    def __init__(self, engine):
        super().__init__(engine)
        self.syncs = 0

    def sync(self, proof):
        self.syncs += 1
        return replace(super().sync(proof), load_s=float(self.syncs))


def test_a_step_whose_adapter_was_sent_before_records_the_proof_that_stands(llama, tmp_path):
    run = make(llama, tmp_path)
    run = replace(run, fleet=Counted(run.fleet.engine))
    list(train(run))
    proven = [
        {name: value for name, value in metrics.items() if name.startswith("sync/")}
        for _, metrics in run.recorder.rows
    ]
    assert [found["sync/seconds"] for found in proven] == [1, 1, 3, 3, 5]
    assert proven[1] == proven[0]
    assert all(found.keys() == {"sync/bytes", "sync/seconds", "sync/gap"} for found in proven)


def test_metrics_carry_the_names_users_know(llama, tmp_path):
    run = make(llama, tmp_path, loss={"kl_coef": 0.1})
    list(train(run))
    metrics = dict(run.recorder.rows)[2]
    expected = {
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "kl",
        "entropy",
        "completions/mean_length",
        "completions/clipped_ratio",
        "sampling/importance_sampling_ratio/mean",
        "sync/bytes",
        "sample/staleness_max",
        "verdicts/correct",
        "eval_accuracy",
        "step_time",
        "grad_norm",
        "learning_rate",
    }
    assert expected <= metrics.keys()
    json.dumps(metrics)


def test_reward_is_the_share_of_correct_answers(llama, tmp_path):
    run = make(llama, tmp_path)
    list(train(run))
    for _, metrics in run.recorder.rows[1:]:
        assert metrics["reward"] == metrics["verdicts/correct"] / 12


@pytest.mark.slow
def test_resuming_equals_running_through(llama, tmp_path):
    straight = make(llama, tmp_path / "straight")
    list(train(straight))
    broken = make(llama, tmp_path / "broken")
    for progress, _ in train(broken):
        if progress.step == 2:
            break
    resumed = make(llama, tmp_path / "broken")
    list(train(resumed))
    ours, theirs = resumed.learner.state_dict(), straight.learner.state_dict()
    assert resumed.learner.adapter_state().digest == straight.learner.adapter_state().digest
    assert ours["schedule"] == theirs["schedule"]
    first = [r.id for call in straight.fleet.engine.requests for r in call if "train" in r.id]
    second = [
        r.id
        for run in (broken, resumed)
        for call in run.fleet.engine.requests
        for r in call
        if "train" in r.id
    ]
    assert first == second


def test_the_best_expert_by_validation_is_kept(llama, tmp_path):
    """Validation answers turn right at step 2 and wrong again at step 4."""

    def script(request, seed):
        version = run.learner.num_steps
        if "validation" in request.id:
            return (17,), (-1.0,), "7" if version == 2 else "8", FinishReason.STOP
        return by_parity(request, seed)

    run = make(llama, tmp_path, script)
    list(train(run))
    card = load_expert(run.best_folder).card
    assert card.step == 2
    assert card.validation.value == 1.0


def test_a_tie_keeps_the_earlier_expert(llama, tmp_path):
    run = make(llama, tmp_path, lambda r, s: ((17,), (-1.0,), "7", FinishReason.STOP))
    list(train(run))
    assert load_expert(run.best_folder).card.step == 0


def test_patience_stops_early(llama, tmp_path):
    run = make(llama, tmp_path, train={"steps": 50, "patience": 2})
    steps = [progress.step for progress, _ in train(run)]
    assert steps[-1] < 50


def dull_half(request, seed):
    """Groups of odd problems are all right; those of even problems carry signal."""
    if int(request.id[-1]) % 2:
        return (17, 2), (-4.0, -4.0), "7", FinishReason.STOP
    return by_parity(request, seed)


def test_groups_without_signal_are_counted(llama, tmp_path):
    run = make(llama, tmp_path, dull_half)
    list(train(run))
    _, metrics = run.recorder.rows[1]
    _, advantages_PG = run.recorder.advantages[0]
    dull = sum(not any(advantages) for advantages in advantages_PG)
    assert metrics["frac_reward_zero_std"] == pytest.approx(dull / 3)
    assert metrics["resampled_groups"] == 0


def test_groups_without_signal_are_replaced_within_the_budget(llama, tmp_path):
    run = make(llama, tmp_path, dull_half, train={"resample_budget": 20})
    list(train(run))
    for _, metrics in run.recorder.rows[1:]:
        assert metrics["frac_reward_zero_std"] == 0
    assert sum(m["resampled_groups"] for _, m in run.recorder.rows[1:]) > 0


def test_a_spent_budget_is_a_small_step_and_no_crash(llama, tmp_path):
    always_right = lambda r, s: ((17, 2), (-4.0, -4.0), "7", FinishReason.STOP)  # noqa: E731
    run = make(llama, tmp_path, always_right, train={"resample_budget": 2})
    list(train(run))
    assert run.learner.num_steps == 4
    assert run.recorder.rows[1][1]["frac_reward_zero_std"] == 1
    assert run.recorder.rows[1][1]["grad_norm"] == 0


@pytest.mark.parametrize("masked", [True, False])
def test_truncated_completions_can_be_masked_or_scored(llama, tmp_path, masked):
    def script(request, seed):
        ids, logprobs, text, _ = by_parity(request, seed)
        return ids, logprobs, text, FinishReason.LENGTH

    # Without a baseline a truncated completion has advantage -1: scored, it moves the policy.
    run = make(llama, tmp_path, script, loss={"mask_truncated": masked, "advantage": "none"})
    list(train(run))
    assert run.recorder.rows[1][1]["completions/clipped_ratio"] == 1
    stayed = run.learner.adapter_state().digest == run.fleet.engine.states[0].digest
    assert stayed == masked


def test_a_false_digest_stops_the_run(llama, tmp_path):
    run = make(llama, tmp_path, faults=Faults(digest="f" * 64))
    with pytest.raises(EngineError, match=r"must run adapter version 0.*reports ffffffffffff"):
        list(train(run))


def test_completions_of_an_older_version_stop_the_run(llama, tmp_path):
    run = make(llama, tmp_path, faults=Faults(stale_by=1))
    with pytest.raises(EngineError, match="must come from adapter version"):
        list(train(run))


def test_an_engine_of_another_policy_stops_the_run(llama, tmp_path):
    run = make(llama, tmp_path)
    run.fleet.engine.logprobs = lambda rows: [[-1.0] * (len(r) - 1) for r in rows]
    with pytest.raises(EngineError, match="canary"):
        list(train(run))


class Says:
    """A reward that gives the number it finds in a completion, and no verdict."""

    def __init__(self, scores, correct_at=None):
        self.scores, self.correct_at = scores, correct_at

    def score(self, rollouts):
        step = rollouts.step
        verdicts = [
            to_verdict(self.scores[text], name="says", step=step, row=0, correct_at=self.correct_at)
            for text in rollouts.completions
        ]
        return ScoredBatch(verdicts, {"says": verdicts}, {}, {})


def graded(llama, tmp_path, **options):
    """Validation answers earn 0.3 at first, 0.7 at step 2, and 0.5 at step 4."""
    texts = {0: "a", 2: "b", 4: "c"}

    def script(request, seed):
        if "validation" in request.id:
            return (17,), (-1.0,), texts[run.learner.num_steps], FinishReason.STOP
        return by_parity(request, seed)

    scores = {"a": 0.3, "b": 0.7, "c": 0.5, "7": 1.0, "8": 0.1}
    run = replace(make(llama, tmp_path, script), scorer=Says(scores, **options))
    return run


def test_a_validation_counts_the_answers_that_failed_to_be_scored(llama, tmp_path):
    """Two of five; the accuracy is of the others."""
    failed = Verdict(None, VerdictKind.ERROR, "its environment raised")

    class Fails:
        def score(self, rollouts):
            right = [Verdict(1.0, VerdictKind.CORRECT)] * (len(rollouts.completions) - 2)
            return ScoredBatch([*right, failed, failed], {}, {}, {})

    run = replace(make(llama, tmp_path, train={"steps": 1}), scorer=Fails())
    (_, begun), *_ = train(run)
    assert (begun["eval_failed"], begun["eval_accuracy"]) == (2.0, 1.0)


def test_graded_rewards_choose_the_expert_by_their_mean_score(llama, tmp_path):
    run = graded(llama, tmp_path)
    list(train(run))
    card = load_expert(run.best_folder).card
    assert card.step == 2
    assert isinstance(card.validation, MeanScore)
    assert card.validation.value == pytest.approx(0.7)
    rows = [metrics for step, metrics in run.recorder.rows if step in (0, 2, 4)]
    assert [row["eval_score"] for row in rows] == pytest.approx([0.3, 0.7, 0.5])
    assert not any("eval_accuracy" in row for row in rows)


def test_graded_rewards_that_punish_still_choose_the_best(llama, tmp_path):
    run = graded(llama, tmp_path)
    run = replace(run, scorer=Says({"a": -3.0, "b": -1.5, "c": -2.0, "7": 0.0, "8": -1.0}))
    list(train(run))
    assert load_expert(run.best_folder).card.step == 2


def test_a_threshold_makes_graded_answers_right_or_wrong(llama, tmp_path):
    run = graded(llama, tmp_path, correct_at=0.5)
    list(train(run))
    rows = [metrics for step, metrics in run.recorder.rows if step in (0, 2, 4)]
    assert [row["eval_accuracy"] for row in rows] == [0.0, 1.0, 1.0]
    assert load_expert(run.best_folder).card.step == 2


def test_a_reward_that_scores_nothing_stops_the_run_at_step_0(llama, tmp_path):
    run = replace(make(llama, tmp_path), scorer=Says({"7": None, "8": None}))
    with pytest.raises(RewardError, match=r"none is \(5 unscorable\) at step 0.*says gave None"):
        list(train(run))
    assert run.recorder.rows == []


def test_too_many_unscorable_completions_stop_a_later_step(llama, tmp_path):
    run = make(llama, tmp_path, train={"unscorable_limit": 0.25})
    splits = dict(run.decks[0].task.splits)
    splits["train"] = tuple(replace(p, answer="???") for p in splits["train"])
    run = replace(run, decks=[Deck(ProblemSet("digits", splits))])
    with pytest.raises(RewardError, match=r"at most 25%.*12 of 12 at step 1.*gold '\?\?\?'"):
        list(train(run))


def test_a_checkpoint_from_before_graded_rewards_continues(llama, tmp_path):
    run = make(llama, tmp_path)
    list(train(run))
    tree = {"learner": run.learner.state_dict()}
    best = load_expert(run.best_folder).card.step
    old = {"step": 3, "cursor": 9, "best_step": best, "best_correct": 2, "best_total": 5}
    old["stale"] = 1
    shutil.copytree(run.best_folder, tmp_path / "old" / "expert")
    save_checkpoint(tmp_path / "old", 3, tree | {"progress": old}, keep=2)
    found = resume(replace(run, folder=tmp_path / "old"))
    assert (found.best_points, found.best_total, found.step) == (2, 5, 3)


def test_unscorable_completions_teach_nothing(llama, tmp_path):
    run = make(llama, tmp_path, train={"unscorable_limit": 1.0})
    splits = dict(run.decks[0].task.splits)
    splits["train"] = tuple(replace(p, answer="???") for p in splits["train"])
    run = replace(run, decks=[Deck(ProblemSet("digits", splits))])
    list(train(run))
    assert run.recorder.rows[1][1]["verdicts/unscorable"] == 12
    assert run.fleet.engine.states[0].digest == run.learner.adapter_state().digest


def ahead(llama, folder, lag, script=by_parity, **train):
    """A run whose engine proves itself by what the learner began with: steps are asked ahead."""
    train = {"steps": 6, "eval_every": 3} | train
    rollout = {"max_lag": lag, "canary_bound": 10}
    run = make(llama, folder, script, rollout=rollout, loss={"ratio_cap": 2}, train=train)
    first = run.learner.logprobs(run.canary)
    run.fleet.engine._logprobs = lambda rows: first
    return run


def versions_asked(run):
    """By step, the version that its groups were sampled under, in the order of the engine."""
    engine, found = run.fleet.engine, []
    for requests, version in zip(engine.requests, engine.ran, strict=True):
        if "train" in requests[0].id:
            found.append((int(requests[0].id.partition("/")[0]), version))
    return found


class Noted(FakeEngine):
    """Keeps the version of each call."""

    def __init__(self, script, logprobs):
        super().__init__(script, logprobs=logprobs)
        self.ran = []

    def rollout(self, requests, sampling):
        self.ran.append(self.states[-1].version)
        return super().rollout(requests, sampling)


@pytest.mark.parametrize(
    ("lag", "versions"), [(1, [0, 0, 1, 2, 3, 4]), (2, [0, 0, 0, 1, 2, 3]), (4, [0, 0, 0, 0, 0, 1])]
)
def test_groups_are_sampled_under_the_version_that_the_lag_says(llama, tmp_path, lag, versions):
    run = noted(llama, tmp_path, lag)
    list(train(run))
    assert versions_asked(run) == [*enumerate(versions, 1)]
    staleness = [row["sample/staleness_max"] for step, row in run.recorder.rows if step]
    assert staleness == [step - 1 - version for step, version in enumerate(versions, 1)]
    validated = [row["eval_accuracy"] for step, row in run.recorder.rows if step % 3 == 0]
    assert len(validated) == 3


def noted(llama, folder, lag, **train):
    run = ahead(llama, folder, lag, **train)
    engine = Noted(by_parity, run.fleet.engine._logprobs)
    return replace(run, fleet=LocalFleet(engine))


def test_engines_are_asked_for_later_steps_before_the_learner_learns(llama, tmp_path):
    run = noted(llama, tmp_path, 2)
    asked, learn = [], run.learner.step

    class Asked(LocalFleet):
        def stream(self, requests, sampling):
            asked.append(requests[0].id.partition("/")[0])
            return super().stream(requests, sampling)

    def step(samples):
        asked.append("learn")
        return learn(samples)

    run.learner.step = step
    list(train(replace(run, fleet=Asked(run.fleet.engine))))
    trained = " ".join(name for name in asked if name == "learn" or name.isdigit())
    assert trained == "1 2 3 learn 4 learn 5 learn 6 learn learn learn"


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [(1,), (2, 4), (3, 5)])
def test_a_run_ahead_that_was_cut_off_ends_as_one_that_was_not(llama, tmp_path, cuts):
    straight = noted(llama, tmp_path / "straight", 2)
    list(train(straight))
    broken = noted(llama, tmp_path / "broken", 2)
    for cut in (*cuts, None):
        asked = broken.fleet.engine
        broken = replace(noted(llama, tmp_path / "broken", 2), recorder=broken.recorder)
        for progress, _ in train(broken):
            if progress.step == cut:
                break
    assert asked is not broken.fleet.engine
    assert broken.learner.adapter_state().digest == straight.learner.adapter_state().digest
    assert versions_asked(broken) == versions_asked(straight)[cuts[-1] :]
    kept = [without_times(run.recorder.rows) for run in (broken, straight)]
    assert kept[0] == kept[1]


def without_times(rows):
    return [
        (step, {k: v for k, v in row.items() if "perf/" not in k and k not in TIMES})
        for step, row in rows
    ]


TIMES = ("step_time", "sync/seconds")


def test_an_error_of_a_step_ahead_is_raised_when_its_turn_comes(llama, tmp_path):
    run = ahead(llama, tmp_path, 1, steps=3)
    run.fleet.engine.faults = Faults(survives=3)  # the validation, and two steps
    with pytest.raises(EngineError, match="died"):
        list(train(run))
    assert run.recorder.rows[-1][0] == 2


@pytest.mark.slow
def test_patience_ends_a_run_ahead(llama, tmp_path):
    run = ahead(llama, tmp_path, 2, steps=50, eval_every=1, patience=2)
    steps = [progress.step for progress, _ in train(run)]
    assert steps[-1] < 50
