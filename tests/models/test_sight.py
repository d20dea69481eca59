"""Engine and learner see alike, and as the model's own forward pass and processor do."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoProcessor

from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import DataError, EngineError, ModelError
from rlpeft.image_files import images_of, opened
from rlpeft.models.base import BaseModel
from rlpeft.models.sight import embedded
from rlpeft.recipe.run import LearnerConfig, LossConfig, SvfAdapter
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.tokens.chat import ChatForm
from rlpeft.tokens.requests import Prompter
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample, pack
from rlpeft.types import Problem, Sampling

AGREE = 1e-5
"""Log-prob difference up to which both sides read the same: rounding in fp32."""

IDEFICS3 = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }}:"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% endif %}"
    "{% endfor %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
"""A template that takes lists of parts alone, as that family's do."""


@pytest.fixture(scope="module")
def base(tiny_vision):
    return BaseModel.open(str(tiny_vision))


@pytest.fixture(scope="module")
def own(tiny_vision):
    """The processor as transformers has it."""
    return AutoProcessor.from_pretrained(tiny_vision)


@pytest.fixture(scope="module")
def images(make_image):
    return [images_of(path.name, path.parent)[0] for path in map(make_image, (1, 2))]


@pytest.fixture
def prompter(base):
    return Prompter(base.tokenizer, max_tokens=100, sight=base.processor)


def engine_of(base, **changes):
    policy = attach_adapter(base.model(), SvfAdapter(), seed=0)
    known = {"eos_ids": base.eos_ids, "processor": base.processor} | changes
    return HfEngine(policy, base.tokenizer, **known)


def learner_of(base, processor):
    policy = attach_adapter(base.model(), SvfAdapter(), seed=0)
    sizes = {"total_steps": 1, "temperature": 1.0}
    return LocalLearner(policy, LearnerConfig(), LossConfig(), processor=processor, **sizes)


def logprobs(learner, samples):
    """Those of the learner, sample by sample."""
    (batch,) = pack(samples, token_budget=10_000)
    with torch.no_grad():
        log_pi_NV = torch.log_softmax(learner.forward.head(learner.forward.hidden(batch)), -1)
    return log_pi_NV.gather(-1, batch.targets_N[:, None])[:, 0]


def test_a_plain_prompt_has_the_tokens_that_the_processor_writes(prompter, own, images):
    problem = Problem("p", "Which colour?", images=(images[0],))
    theirs = own(text="<image>Which colour?", images=[[opened(images[0])]])["input_ids"][0]
    assert prompter.encode(problem) == theirs
    assert theirs.count(own.image_token_id) == 4


def test_two_images_stand_before_the_text_in_their_order(prompter, own, images):
    theirs = own(text="<image><image>Which?", images=[[opened(i) for i in images]])["input_ids"][0]
    assert prompter.encode(Problem("p", "Which?", images=tuple(images))) == theirs


@pytest.mark.parametrize("template", ["", IDEFICS3])
def test_chat_turns_have_the_tokens_that_template_and_processor_write(base, own, images, template):
    own.tokenizer.chat_template = own.chat_template = template or base.tokenizer.chat_template
    own.tokenizer.padding_side = base.tokenizer.padding_side
    prompter = Prompter(own.tokenizer, max_tokens=100, sight=base.processor, form=ChatForm())
    turns = ({"role": "user", "content": "Which <image> colour?"},)
    parts = [{"type": "image"}, {"type": "text", "text": "Which PLACE colour?"}]
    given = [{"role": "user", "content": parts if template else "<image>Which PLACE colour?"}]
    text = own.tokenizer.apply_chat_template(given, add_generation_prompt=True, tokenize=False)
    pictures = [[opened(images[0])]]
    theirs = own(text=text, images=pictures, add_special_tokens=False)["input_ids"][0]
    ours = prompter.encode(Problem("p", turns, images=(images[0],)))
    marks = [
        own.tokenizer(name, add_special_tokens=False)["input_ids"] for name in ("PLACE", "<image>")
    ]
    # A name in data is letters: the place of the image is not forged.
    assert ours.count(own.image_token_id) == 4
    assert marks[1] == [own.image_token_id]
    start = next(at for at in range(len(theirs)) if theirs[at : at + len(marks[0])] == marks[0])
    assert ours[:start] == theirs[:start]
    assert own.tokenizer.decode(ours).replace("<image> colour", "PLACE colour") == (
        own.tokenizer.decode(theirs)
    )


def test_a_prompt_with_an_image_for_a_model_that_sees_none_is_refused(base, images):
    blind = Prompter(base.tokenizer, max_tokens=100)
    with pytest.raises(DataError, match=r"problem 'p': it shows an image, which base model or"):
        blind.ids(Problem("p", "Which?", images=(images[0],)))


def test_engine_and_learner_agree_with_the_models_own_pass_on_what_is_seen(
    base, own, prompter, images
):
    asked = [
        Problem("one", "Which colour?", images=(images[0],)),
        Problem("other", "Which colour?", images=(images[1],)),
        Problem("both", "And these?", images=tuple(images)),
        Problem("text", "Which colour?"),
    ]
    requests = [prompter.request(problem, (1, 2)) for problem in asked]
    rows = engine_of(base).rollout(requests, Sampling(max_tokens=12))
    samples = [
        Sample(request.prompt_ids, done.token_ids, done.logprobs, 1.0, images=request.images)
        for request, row in zip(requests, rows, strict=True)
        for done in row
    ]
    samples.sort(key=lambda s: -len(s.prompt_ids))
    model = base.model()
    for sample in samples:
        pixels = {}
        if sample.images:
            files = [[opened(image) for image in sample.images]]
            pixels = own.image_processor(images=files, return_tensors="pt")
            assert own.image_token_id not in sample.completion_ids  # theirs would be given features
        ids = torch.tensor([sample.prompt_ids + sample.completion_ids])
        with torch.no_grad():
            log_pi_TV = torch.log_softmax(model(input_ids=ids, **pixels).logits[0, :-1], -1)
        theirs = log_pi_TV.gather(-1, ids[0, 1:, None])[-len(sample.completion_ids) :, 0]
        assert_close(torch.tensor(sample.logprobs), theirs, rtol=0, atol=AGREE)
        assert_close(
            logprobs(learner_of(base, base.processor), [sample]), theirs, rtol=0, atol=AGREE
        )


def test_packed_prompts_that_differ_in_their_images_alone_are_kept_apart(base, prompter, images):
    ids = prompter.ids(Problem("p", "Which colour?", images=(images[0],)))
    samples = [Sample(ids, (7, 8, 9), (0.0,) * 3, 1.0, images=(image,)) for image in images]
    learner = learner_of(base, base.processor)
    packed = logprobs(learner, samples)
    alone = torch.cat([logprobs(learner, [sample]) for sample in samples])
    assert_close(packed, alone, rtol=0, atol=AGREE)
    assert (alone[:3] - alone[3:]).abs().max() > 1e-3


def test_an_image_token_that_the_policy_wrote_is_a_token(base, prompter, images):
    ids = prompter.ids(Problem("p", "Which colour?", images=(images[0],)))
    written = (7, base.processor.token_id, 8)
    sample = Sample(ids, written, (0.0,) * 3, 1.0, images=(images[0],))
    model, whole = base.model(), torch.tensor([ids + written])
    pixels = base.processor.pixels(images[0])
    with torch.no_grad():
        embeds_BTD = model.get_input_embeddings()(whole)
        places = [at for at, id in enumerate(ids) if id == base.processor.token_id]
        embeds_BTD[0, places] = model.get_image_features(**pixels).pooler_output[0]
        log_pi_TV = torch.log_softmax(model(inputs_embeds=embeds_BTD).logits[0, :-1], -1)
    theirs = log_pi_TV.gather(-1, whole[0, 1:, None])[-3:, 0]
    assert_close(logprobs(learner_of(base, base.processor), [sample]), theirs, rtol=0, atol=AGREE)


def test_a_completion_does_not_depend_on_what_its_batch_sees(base, prompter, make_image):
    engine, paths = engine_of(base), map(make_image, range(5))
    seen = [images_of(path.name, path.parent) for path in paths]
    # So long that what prompts begin with would be read once, were it not for their images.
    question = "Which colour? " * 6
    asked = [Problem(f"{n}", question, images=each) for n, each in enumerate(seen)]
    requests = [prompter.request(problem, (5,)) for problem in asked]
    sampling = Sampling(max_tokens=12)
    together = [row[0].token_ids for row in engine.rollout(requests, sampling)]
    alone = [engine.rollout([request], sampling)[0][0].token_ids for request in requests]
    assert together == alone


def test_an_engine_and_a_learner_that_see_nothing_refuse_images(base, prompter, images):
    request = prompter.request(Problem("p", "Which?", images=(images[0],)), (1,))
    with pytest.raises(EngineError, match=r"'p' must show no images"):
        engine_of(base, processor=None).rollout([request], Sampling(max_tokens=2))
    sample = Sample(request.prompt_ids, (7, 8), (0.0, 0.0), 1.0, images=request.images)
    with pytest.raises(ModelError, match=r"samples must have no images"):
        logprobs(learner_of(base, None), [sample])


def test_a_prompt_with_other_than_a_token_for_each_feature_is_refused(base, prompter, images):
    request = prompter.request(Problem("p", "Which?", images=(images[0],)), (1,))
    ids = tuple(id for id in request.prompt_ids if id != base.processor.token_id)
    with pytest.raises(ModelError, match=r"it writes 0 for 4"):
        engine_of(base).rollout([replace(request, prompt_ids=ids)], Sampling(max_tokens=2))


def test_a_model_of_text_sees_nothing():
    assert BaseModel.open("tiny").processor is None


def test_embeddings_without_images_are_those_of_the_tokens(base):
    model, ids_BT = base.model(), torch.tensor([[1, 7, 9]])
    shows_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    found = embedded(model, base.processor, ids_BT, shows_BT, [])
    assert torch.equal(found, model.get_input_embeddings()(ids_BT))
