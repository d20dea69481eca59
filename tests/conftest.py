"""Fixtures every test may use."""

import json
import os
import runpy
import sys
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes a slow example, not a wrong one; the same examples are drawn every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# As in an active environment: what commands say of themselves depends on it.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# No test needs the Hub; asking for it where there is no network costs half a minute of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Ray reads these when it is imported. Given a token it need not write one into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
# As those that we start: actors that give way to the other worker's tests reach their limits.
os.environ.setdefault("RAY_worker_niceness", "0")


DEAR = ("ray", "campaign", "vllm", "slow")
"""Marks of files that take long, as they begin: tests on Ray go to one worker, and those of faults,
which fork, to another that has no threads of vLLM's yet."""


@cache
def _marked(path: Path, mark: str) -> bool:
    return f"mark.{mark}" in path.read_text(encoding="utf-8")


def pytest_collection_modifyitems(items):
    """The dearest first: of two workers none is left alone with them in the end."""
    files = {item.path for item in items}
    dear = {path: [not _marked(path, mark) for mark in DEAR] for path in files}
    items.sort(key=lambda item: dear[item.path])
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])


def _skip_without_gpu(items):
    if not items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deal files out whole, for they share engines, except where they say that they share nothing.

    Those that start Ray all go to one worker: they share its cluster, and look for its processes on
    the whole machine. (Marks `xdist_group` would say this, but pytest 9.2 does not keep the names
    that pytest-xdist 3.8 gives to items.)
    """
    from xdist.scheduler import LoadFileScheduling

    class OneRay(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            if _marked(config.rootpath / file, "ray"):
                return "ray"
            return nodeid if _marked(config.rootpath / file, "apart") else file

    return OneRay(config, log)


@pytest.fixture(scope="session")
def shared_path() -> Path:
    """Folder of public benchmark files beside the repository; tests that need it skip without."""
    path = (Path(__file__).resolve().parents[1] / ".." / "shared").resolve()
    if not (path / "data").is_dir():
        pytest.skip("benchmark files are not here: the folder ../shared/data is absent")
    return path


@pytest.fixture
def llama():
    """A maker of small random Llamas in float32: GQA, more columns than rows and the reverse."""

    def make(seed: int = 0, **changes):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from rlpeft.models.load import neutral_generation_config

        options = {
            "vocab_size": 60,
            "hidden_size": 32,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "bos_token_id": 1,
            "eos_token_id": [2, 3],
            "pad_token_id": 0,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(LlamaConfig(**(options | changes)))
        model.generation_config = neutral_generation_config(model.generation_config)
        return model.eval().requires_grad_(False)

    return make


TINY_SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "n_inner": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    # Large enough for attention to choose.
    "initializer_range": 0.3,
    "init_std": 0.3,
}
"""As far as a config knows the names; those of `tiny_model`."""


@pytest.fixture(scope="session")
def tiny_model():
    """A maker of small random models of two layers, of any architecture of transformers."""

    def make(kind, **changes):
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        kind = type(AutoConfig.for_model(kind))
        names = {*kind().to_dict(), *kind.attribute_map}
        config = kind(**{k: v for k, v in TINY_SIZES.items() if k in names} | changes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def tiny_vision(tmp_path_factory):
    """Folder of a small random Idefics3 with the tokenizer of `tiny`, its processor included.

    It sees pictures of 16 x 16 as four tokens each.
    """
    import torch
    from transformers import AutoModelForImageTextToText, Idefics3Config
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

    from rlpeft.models.folder import resolve_model
    from rlpeft.models.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("model") / "tiny-vision"
    tokenizer = load_tokenizer(resolve_model("tiny"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<global-img>"]})
    sizes = {"size": {"longest_edge": 16}, "max_image_size": {"longest_edge": 16}}
    eyes = Idefics3ImageProcessorPil(**sizes, do_image_splitting=False)
    Idefics3Processor(eyes, tokenizer, image_seq_len=4).save_pretrained(folder)
    names = [n for n in TINY_SIZES if n not in ("vocab_size", "max_position_embeddings")]
    text = {name: TINY_SIZES[name] for name in names if not name.startswith(("n_", "init_std"))}
    text |= {"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 256}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
        "initializer_range": 0.3,
    }
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = Idefics3Config(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=image, pad_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_image(tmp_path_factory):
    """A maker of PNG files with noise of a seed in them."""
    import numpy as np
    from PIL import Image

    def make(seed, *, size=(20, 12), folder=None, name=None):
        path = (folder or tmp_path_factory.mktemp("images")) / (name or f"{seed}.png")
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def make_expert(tmp_path_factory):
    """A maker of expert folders from tensors under PEFT's names, SVF on `tiny` by default."""

    def make(name, tensors, *, config=None, folder=None, **card):
        from rlpeft.adapter_state import AdapterState
        from rlpeft.experts.files import ExpertCard, save_expert

        config = config or {"peft_type": "SVF", "parametrisation": "direct"}
        state = AdapterState(config, tensors, card.get("step", 0))
        known = {
            "base_model": "tiny",
            "base_digest": "b" * 64,
            "adapter": {"type": config["peft_type"].lower()},
            "task": {"name": "tiny/swap"},
            "rewards": ("exact",),
            "seed": 0,
            "step": 0,
        } | card
        # Cards say it where configs do; neither did before there was a choice.
        factors = {k: config[k] for k in ("decomposition",) if k in config}
        known["adapter"] = factors | known["adapter"]
        folder = folder or tmp_path_factory.mktemp("expert") / name
        save_expert(folder, state, ExpertCard(name=name, digest=state.digest, **known))
        return folder

    return make


@pytest.fixture(scope="session")
def tiny():
    """The base model that ships with the package."""
    from rlpeft.models.base import BaseModel

    return BaseModel.open("tiny")


@pytest.fixture(scope="session")
def tiny_start(tiny):
    """SVF on the tiny base as it starts: nothing is changed."""
    from rlpeft.build import build_state
    from rlpeft.recipe.run import EngineSpec, ModelConfig, SvfAdapter

    return build_state(EngineSpec(model=ModelConfig(name="tiny"), adapter=SvfAdapter()), tiny)


QUICK = {
    "name": "quick",
    "model": {"name": "tiny"},
    "task": {"name": "tiny/swap", "num_validation": 8, "num_test": 8},
    "rollout": {"max_tokens": 6},
    "reward": [{"name": "exact"}],
    "learner": {"lr": 0.05},
    "train": {
        "steps": 4,
        "prompts_per_step": 4,
        "group_size": 4,
        "eval_every": 2,
        "report_to": [],
    },
}


@pytest.fixture(scope="session")
def make_quick():
    """A maker of recipes that train in a second; changes are given as section={key: value}."""

    from rlpeft.recipe.run import parse_recipe

    def make(**changes):
        tree = {name: dict(v) if isinstance(v, dict) else v for name, v in QUICK.items()}
        for section, values in changes.items():
            merged = {**tree.get(section, {}), **values} if isinstance(values, dict) else values
            tree[section] = merged
        return parse_recipe(tree, source="quick")

    return make


@pytest.fixture
def quick(make_quick):
    """See `make_quick`."""
    return make_quick


@pytest.fixture(scope="session")
def tiny_experts(tmp_path_factory, make_expert, tiny_start):
    """Two experts of the tiny base, each turning its multipliers a little."""
    from rlpeft.models.digest import model_digest
    from rlpeft.models.folder import resolve_model

    root = tmp_path_factory.mktemp("experts")
    for name, share, skill in (("up", 1.15, "swap"), ("down", 0.9, "sort")):
        make_expert(
            name,
            {key: z * share for key, z in tiny_start.tensors.items()},
            folder=root / name,
            task={"name": f"tiny/{skill}"},
            config=dict(tiny_start.config),
            adapter={"type": "svf", "parametrisation": "direct"},
            base_digest=model_digest(resolve_model("tiny")),
        )
    return root


@pytest.fixture
def adapt_recipe(tiny_experts):
    """A maker of small searches over `tiny_experts`; sections are replaced by name."""
    from rlpeft.recipe.adapt import AdaptRecipe

    def make(**changes):
        sections = {
            "model": {"name": "tiny"},
            "task": {"name": "tiny/mix", "num_validation": 8, "num_test": 20},
            "shots": {"number": 4},
            "search": {"population_size": 4, "iterations": 3},
            "rollout": {"max_tokens": 6, "max_prompt_tokens": 256},
            "reward": [{"name": "exact"}],
        }
        sections |= {"experts": [str(tiny_experts)]} | changes
        return AdaptRecipe(name="mix", **sections)

    return make


@pytest.fixture(scope="session")
def decided():
    """Reads all that a run leaves and that must not depend on when it was cut off."""
    from rlpeft.experts.files import load_expert
    from rlpeft.runs.checkpoint import list_checkpoints
    from rlpeft.runs.records import completions_steps, read_completions, read_metrics

    def is_time(name):
        return name.startswith("perf/") or name in ("step_time", "sync/seconds")

    def read(folder):
        checkpoint = list_checkpoints(folder)[-1]
        return {
            "tensors": (checkpoint / "state.safetensors").read_bytes(),
            "state": json.loads((checkpoint / "state.json").read_text()),
            "metrics": [
                {name: value for name, value in row.items() if not is_time(name)}
                for row in read_metrics(folder)
            ],
            "completions": [read_completions(path) for path in completions_steps(folder)],
            "expert": load_expert(folder / "expert").card.digest,
        }

    return read


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")
INSTRUCT = (
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }}</s>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="session")
def templates():
    """Chat templates by what they do."""
    return {"chatml": CHATML, "trimming": TRIMMING, "instruct": INSTRUCT}


@pytest.fixture
def byte_level():
    """A maker of byte-level tokenizers: ChatML's marks, and any tokens before text."""

    def make(template=CHATML, *, prefix=(), special=True, merges=(), normalizer=None):
        from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
        from tokenizers.models import BPE
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = [*letters, *("".join(pair) for pair in merges)]
        fast = Tokenizer(BPE({name: id for id, name in enumerate(vocab)}, list(merges)))
        fast.normalizer = normalizer
        fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        fast.decoder = decoders.ByteLevel()
        fast.add_special_tokens(["<|endoftext|>", *prefix])
        marks = ["<|im_start|>", "<|im_end|>"]
        fast.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
        if prefix:
            opening = [(name, fast.token_to_id(name)) for name in prefix]
            fast.post_processor = processors.TemplateProcessing(
                single=f"{' '.join(prefix)} $A", special_tokens=opening
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=fast, eos_token="<|endoftext|>", chat_template=template
        )

    return make


@pytest.fixture
def sentence_piece():
    """A tokenizer of SentencePiece's kind: a blank before text, `<s>` a piece of its vocabulary."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    def make(scheme="first", template=INSTRUCT):
        pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
        pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
        pieces += [("\u2581", -3.0), ("\u258142", -1.0), ("42", -2.0)]
        pieces += [(chr(code), -5.0) for code in range(33, 127)]
        fast = Tokenizer(Unigram(pieces, 0, byte_fallback=True))
        if scheme == "legacy":
            fast.normalizer = normalizers.Sequence(
                [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
            )
        else:
            fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        fast.decoder = decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        fast.add_special_tokens(["<unk>", "<s>", "</s>"])
        fast.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=fast,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            chat_template=template,
        )

    return make


@pytest.fixture
def user():
    """A talk of one turn by the user."""
    return lambda text: ({"role": "user", "content": text},)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fake of the Hub on loopback that this process, and its children, take for the Hub.

    Nobody is logged in, and its cache is empty; `hub.login(token)`, `hub.set_offline(True)`.
    """
    from huggingface_hub import constants

    fake = runpy.run_path(str(Path(__file__).with_name("fake_hub.py")))["FakeHub"]()

    def set_offline(is_offline):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
        monkeypatch.setenv("HF_HUB_OFFLINE", str(int(is_offline)))

    # huggingface_hub reads its settings once, when it is imported: a process that has done so is
    # told by its constants, a child by the environment.
    with fake.serving() as endpoint:
        fake.endpoint, fake.set_offline = endpoint, set_offline
        fake.login = partial(monkeypatch.setenv, "HF_TOKEN")
        cache, token = tmp_path / "hub-cache", tmp_path / "no-token"
        for name, value in {
            "ENDPOINT": endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": (
                f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            ),
            "HF_HUB_CACHE": str(cache),
            "HF_TOKEN_PATH": str(token),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name, value in {
            "HF_ENDPOINT": endpoint,
            "HF_HUB_CACHE": str(cache),
            "HF_TOKEN_PATH": str(token),
            "HF_HUB_DISABLE_XET": "1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        set_offline(False)
        yield fake


class Characters:
    """A tokenizer of one character a token."""

    bos_token_id = None
    chat_template = None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [ord(c) for c in text]}

    def __len__(self):
        return 0x110000


@pytest.fixture(scope="session")
def characters():
    """A tokenizer of one character a token."""
    return Characters()
