"""Fitness: accuracy first, then how sure a mixture is of its correct answers."""

import math
from dataclasses import replace

import pytest

from rlpeft.rollout.groups import rollout_seed
from rlpeft.search.fitness import Fitness, mean_logprob
from rlpeft.search.journal import Key, Outcome
from rlpeft.types import Completion, FinishReason


def test_accuracy_counts_what_was_scored_and_likelihood_what_was_correct():
    outcomes = [Outcome(True, -0.5), Outcome(True, -1.5), Outcome(False, -9.0), Outcome(None, 0.0)]
    assert Fitness.of(outcomes) == Fitness(pytest.approx(2 / 3), -1.0)


def test_scores_that_judge_nothing_are_averaged_and_weigh_their_likelihoods():
    found = Fitness.of([Outcome(0.75, -1.0), Outcome(0.25, -3.0), Outcome(None, -9.0)])
    assert found == Fitness(0.5, -1.5, graded=True)
    assert found.as_dict() == {"score": 0.5, "likelihood": -1.5}


def test_without_a_correct_answer_there_is_no_likelihood():
    assert Fitness.of([Outcome(False, -0.1)]) == Fitness(0.0, -math.inf)


def test_without_a_score_there_is_no_accuracy():
    assert math.isnan(Fitness.of([Outcome(None, -0.1)]).value)


def test_a_completions_logprob_is_its_tokens_mean():
    def completion(*logprobs):
        return Completion((7,) * len(logprobs), logprobs, "", FinishReason.STOP, 0, "")

    assert mean_logprob(completion(-1.0, -3.0)) == -2.0
    assert mean_logprob(completion()) == 0.0


def test_a_population_is_one_load_and_one_batch(adaptation, experts, shots, engine):
    mixes = [experts.mix([0, a, 1 - a], normalise=True) for a in (0.5, 0.625, 0.75)]
    found = adaptation().grader.fitness(mixes, shots)
    assert len(engine.experts) == len(engine.requests) == 1
    assert {request.expert for request in engine.requests[0]} == {mix.digest for mix in mixes}
    # Gaps to the wanted multipliers: 0, 0.075 and 0.15, which misses the shot that asks for 0.1.
    assert [f.value for f in found] == [1.0, 1.0, pytest.approx(5 / 6)]
    assert [f.likelihood for f in found] == pytest.approx([0.0, -0.075, -0.15], abs=1e-6)


def test_what_is_known_is_not_asked_again(adaptation, experts, shots, engine):
    one, two = (experts.mix([0, a, 1 - a], normalise=True) for a in (0.5, 0.75))
    grader = adaptation().grader
    first = grader.fitness([one, one], shots[:4])
    assert len(engine.requests[0]) == 4
    assert grader.fitness([one], shots[:4]) == first[:1]
    assert len(engine.requests) == 1
    grader.fitness([one, two], shots)
    asked = [(r.expert, r.id.partition("/")[2]) for r in engine.requests[1]]
    assert [problem for digest, problem in asked if digest == one.digest] == ["shot/4", "shot/5"]
    assert len(asked) == 2 + 6


@pytest.mark.parametrize("samples", [1, 3])
def test_a_search_that_was_cut_off_asks_for_just_the_batches_it_lacks(
    adaptation, experts, shots, engine, tmp_path, samples
):
    mixes = [experts.mix([0, a, 1 - a], normalise=True) for a in (0.5, 0.625, 0.75)]
    whole = replace(adaptation().grader, parallel=2, samples=samples)
    found = whole.fitness(mixes, shots)
    batches = [[(r.expert, r.id, r.seeds) for r in batch] for batch in engine.requests]
    seeds = {(id.partition("/")[2], seed) for batch in batches for _, id, (seed,) in batch}
    assert seeds == {
        (shot.id, rollout_seed(whole.seed, shot.id, sample))
        for shot in shots
        for sample in range(samples)
    }
    cut = replace(adaptation(tmp_path / "cut").grader, parallel=2, samples=samples)
    cut.journal.add({key: whole.journal[key] for key in keys_of(batches[0])})
    engine.requests.clear()
    assert cut.fitness(mixes, shots) == found
    asked = [[(r.expert, r.id, r.seeds) for r in batch] for batch in engine.requests]
    assert asked == batches[1:]


def test_a_fitness_of_several_samples_is_their_mean(adaptation, experts, shots, engine):
    mix = experts.mix([0, 0.625, 0.375], normalise=True)
    grader = replace(adaptation().grader, samples=3)
    (found,) = grader.fitness([mix], shots[:2])
    asked = [(request.id.partition("/")[2], request.seeds[0]) for request in engine.requests[0]]
    assert len({*asked}) == 6
    assert [problem for problem, _ in asked] == ["shot/0"] * 3 + ["shot/1"] * 3
    first = Key(mix.digest, "shot/0", rollout_seed(grader.seed, "shot/0", 0))
    assert first.seed == asked[0][1]  # the one that a single answer has
    worths = [grader.journal[Key(mix.digest, p, seed)].worth for p, seed in asked]
    assert found.value == sum(map(float, worths)) / 6


def keys_of(batch):
    return [Key(digest, id.partition("/")[2], seed) for digest, id, (seed,) in batch]
