"""The real vLLM is shown images, as engine and learner of this process are. One engine for all."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForImageTextToText

pytest.importorskip("vllm")

from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import EngineError
from rlpeft.image_files import images_of
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import LearnerConfig, LossConfig, SvfAdapter
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.rollout.vllm.images import prompt_of
from rlpeft.tokens.requests import Prompter
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample, pack
from rlpeft.types import Problem, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

BOUND = 1e-4
BLOCK = 32
LONG = "colour? " * 20
"""With an image, three blocks of the prefix cache."""


@pytest.fixture(scope="module")
def base(tiny_vision, tmp_path_factory):
    """`tiny_vision` with heads of 32, the least that vLLM has on a CPU."""
    folder = tmp_path_factory.mktemp("model") / "seeing"
    shutil.copytree(tiny_vision, folder)
    config = AutoConfig.from_pretrained(folder)
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "head_dim": 32}
    for name, value in {**sizes, "num_key_value_heads": 1}.items():
        setattr(config.text_config, name, value)
    config.vision_config.hidden_size = 64
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return BaseModel.open(str(folder))


@pytest.fixture(scope="module")
def policy(base):
    """A policy that is not its base."""
    policy = attach_adapter(base.model(), SvfAdapter(), seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = 1 + 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.fixture(scope="module")
def engine(base, policy):
    state = adapter_state(policy, 1)
    engine = VllmEngine(
        base.path,
        state.config,
        max_model_len=256,
        block_size=BLOCK,
        processor=base.processor,
    )
    engine.load_adapter(state)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images(make_image):
    """Two of the model's own size, and one that its processor makes smaller."""
    paths = [
        make_image(seed, size=size) for seed, size in ((1, (16, 16)), (2, (16, 16)), (3, (90, 60)))
    ]
    return [images_of(path.name, path.parent)[0] for path in paths]


@pytest.fixture(scope="module")
def prompter(base):
    return Prompter(base.tokenizer, max_tokens=256, sight=base.processor)


def asked(prompter, images, text="colour?"):
    problems = [Problem(f"{text} {n}", text, images=(image,)) for n, image in enumerate(images)]
    return [prompter.request(problem, (1, 2)) for problem in problems]


def learned(base, policy, samples):
    """Log-probs of completions as the learner reads them."""
    sizes = {"total_steps": 1, "temperature": 1.0, "processor": base.processor}
    learner = LocalLearner(policy, LearnerConfig(), LossConfig(), **sizes)
    (batch,) = pack(samples, token_budget=10_000)
    with torch.no_grad():
        log_pi_NV = torch.log_softmax(learner.forward.head(learner.forward.hidden(batch)), -1)
    return log_pi_NV.gather(-1, batch.targets_N[:, None])[:, 0]


def test_what_vllm_samples_of_images_the_learner_reads_alike(
    base, policy, engine, prompter, images
):
    text = Problem("text", "colour?")
    both = Problem("both", "colour?", images=tuple(images[:2]))
    requests = [*asked(prompter, images), *(prompter.request(p, (1, 2)) for p in (text, both))]
    rows = engine.rollout(requests, Sampling(max_tokens=12))
    for request, row in zip(requests, rows, strict=True):
        for done in row:
            sample = Sample(
                request.prompt_ids, done.token_ids, done.logprobs, 1.0, images=request.images
            )
            found = torch.tensor(done.logprobs)
            assert_close(found, learned(base, policy, [sample]), rtol=0, atol=BOUND)


def test_one_text_below_two_images_is_not_taken_from_the_prefix_cache(
    base, policy, engine, prompter, images
):
    ours = HfEngine(policy, base.tokenizer, eos_ids=base.eos_ids, processor=base.processor)
    greedy = Sampling(max_tokens=8).greedy
    requests = asked(prompter, images[:2], LONG)
    assert requests[0].prompt_ids == requests[1].prompt_ids
    # One after the other, and the first again, whose blocks are cached by then.
    for request in (*requests, requests[0]):
        (theirs,), (own,) = (each.rollout([request], greedy) for each in (engine, ours))
        assert theirs[0].token_ids == own[0].token_ids
        assert theirs[0].logprobs == pytest.approx(own[0].logprobs, abs=BOUND)
        assert theirs[0].version == 1
    first, second = (engine.rollout([request], greedy)[0][0] for request in requests)
    assert max(abs(a - b) for a, b in zip(first.logprobs, second.logprobs, strict=False)) > 1e-2


def test_a_prompt_without_the_tokens_of_its_image_is_refused(engine, base, prompter, images):
    (request,) = asked(prompter, images[:1])
    ids = tuple(id for id in request.prompt_ids if id != base.processor.token_id)
    with pytest.raises(EngineError, match=r"must hold the tokens of image"):
        engine.rollout([replace(request, prompt_ids=ids)], Sampling(max_tokens=2))


def test_vllm_is_given_one_token_for_an_image_and_knows_it_by_its_digest(base, prompter, images):
    problem = Problem("both", "colour?", images=tuple(images[:2]))
    prompt = prompt_of(prompter.request(problem, (1,)), base.processor)
    assert prompt["prompt_token_ids"].count(base.processor.token_id) == 2
    assert prompt["multi_modal_uuids"] == {"image": [image.digest for image in images[:2]]}
