"""An expert as a GGUF file is the expert, with the text of its base, or no file."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, normalizers

from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import ExpertError
from rlpeft.experts.export import export_expert
from rlpeft.experts.export_gguf import GGUF_FILE, SCRIPT, _require_same_tokens
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import SvfAdapter

TINY = resolve_model("tiny")
BEGIN, SPACE = 3 + 256, "\u2581"


@pytest.fixture(scope="module")
def converter():
    """llama.cpp's, where `make test` puts it."""
    path = Path(sys.prefix) / "converter" / SCRIPT
    if not path.is_file():
        pytest.skip(f"llama.cpp's converter is not here: {path} is absent, make test puts it there")
    return path


@pytest.fixture(scope="module")
def like_llama(tmp_path_factory):
    """The tiny base with a tokenizer of Llama's kind: the converter knows no other so small."""
    folder = tmp_path_factory.mktemp("models") / "like-llama"
    shutil.copytree(TINY, folder)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [SPACE, *"abcdefghijklmnopqrst"]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    fast = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    fast.normalizer = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    fast.decoder = decoders.Sequence(steps)
    fast.add_special_tokens(["<unk>", "<s>", "</s>"])
    fast.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def moved(base, make_expert):
    """An expert that says something else than its base."""
    adapter = SvfAdapter(targets=("q_proj", "down_proj"))
    policy = attach_adapter(load_base_model(base), adapter, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    state = adapter_state(policy, 1)
    about = {"base_digest": model_digest(base), "adapter": adapter.model_dump()}
    return make_expert("svf", state.tensors, config=state.config, base_model=str(base), **about)


@pytest.mark.slow
def test_a_gguf_file_holds_the_expert_and_the_tokens_of_its_base(
    converter, like_llama, make_expert, tmp_path
):
    expert = moved(like_llama, make_expert)
    receipt = export_expert(
        expert, tmp_path / "out", format="gguf", dtype="float32", converter=converter
    )
    assert receipt.gap < 1e-3 < receipt.effect
    assert set(receipt.files) == {GGUF_FILE}  # nothing of the merged model stays
    tokens = GGUFReader(tmp_path / "out" / GGUF_FILE).get_field("tokenizer.ggml.tokens").contents()
    assert tokens[BEGIN : BEGIN + 3] == [SPACE, "a", "b"]
    with pytest.raises(ExpertError, match=r"token 0 is '<pad>' and .'<unk>'. there"):
        _require_same_tokens(TINY, tmp_path / "out" / GGUF_FILE)


@pytest.mark.slow
def test_a_tokenizer_that_the_converter_does_not_know_leaves_no_file(
    converter, make_expert, tmp_path
):
    expert = moved(TINY, make_expert)
    with pytest.raises(ExpertError, match=r"pre-tokenizer was not recognized.*--format merged"):
        export_expert(expert, tmp_path / "out", format="gguf", converter=converter)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "name", "said"),
    [
        ("gguf", None, r"got none with --format gguf\. It is convert_hf_to_gguf.py in a clone"),
        ("merged", "convert.py", r"with --format merged\. Leave it out\."),
        ("gguf", "convert.py", "must be the file of llama.cpp's converter"),
    ],
)
def test_a_converter_goes_with_gguf_and_is_a_file(tmp_path, format, name, said):
    converter = name and tmp_path / name
    with pytest.raises(ExpertError, match=said):
        export_expert(tmp_path, tmp_path / "out", format=format, converter=converter)
