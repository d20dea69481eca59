"""What vLLM is started with on a CPU."""

import json

import pytest

pytest.importorskip("vllm")

from vllm.platforms import current_platform

from rlpeft.adapters import SvfConfig
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.options import check_quantised
from rlpeft.rollout.vllm.start import (
    QuantisedBase,
    child_variables,
    llm_arguments,
    plugin_arguments,
    quantised_base,
    worker_arguments,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not current_platform.is_cpu(), reason="another platform's limits"),
]


@pytest.mark.parametrize(
    ("context", "batch_size", "expected"),
    [(512, None, 4096), (8192, None, 8192), (512, 6000, 6000)],
)
def test_a_step_has_room_for_the_longest_prompt_and_for_a_token_of_each_sequence(
    context: int, batch_size: int | None, expected: int
) -> None:
    arguments = llm_arguments(context, batch_size)
    assert arguments["max_num_batched_tokens"] == expected
    assert arguments["enable_chunked_prefill"] is False, "a prompt is never split"


def test_a_worker_whose_threads_are_counted_runs_in_the_core(monkeypatch):
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    arguments = worker_arguments(child_variables(1))
    assert arguments == {"distributed_executor_backend": UniProcExecutor}


@pytest.mark.parametrize("bound", ["auto", "0-1"])
def test_a_worker_whose_threads_vllm_binds_has_a_process_of_its_own(monkeypatch, bound):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bound)
    assert worker_arguments(child_variables(1)) == {}


def test_workers_that_share_weights_have_processes_and_a_thread_each(monkeypatch):
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    variables = child_variables(None, 2)
    # Left alone, vLLM wants a NUMA node for each of them.
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert variables["OMP_NUM_THREADS"] == "1"
    assert worker_arguments(variables, 2) == {
        "tensor_parallel_size": 2,
        "distributed_executor_backend": "mp",
    }


@pytest.fixture
def checkpoint(tmp_path):
    """A maker of configs of quantised checkpoints."""

    def make(method):
        found = {"quantization_config": {"quant_method": method, "bits": 4}}
        (tmp_path / "config.json").write_text(json.dumps(found))
        return tmp_path

    return make


def test_a_checkpoint_is_read_as_its_own_config_says(checkpoint):
    base = quantised_base(checkpoint("gptq"))
    assert base == QuantisedBase("gptq", {"quant_method": "gptq", "bits": 4})
    told = plugin_arguments(None, form="factored", base=base)["hf_overrides"]
    assert told["quantization_config"]["base"] == {
        "method": "gptq",
        "config": {"quant_method": "gptq", "bits": 4},
    }


def test_a_way_of_quantising_that_is_not_known_to_be_read_alike_is_refused(checkpoint):
    with pytest.raises(EngineError, match=r"reads bases quantised by .*says 'bitsandbytes'"):
        quantised_base(checkpoint("bitsandbytes"))


def test_a_base_of_floats_has_nothing_to_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert quantised_base(tmp_path) is None


def test_int8_is_told_as_weights_that_are_not_quantised_yet(tmp_path):
    """With a `quant_method` vLLM takes the files for quantised ones."""
    pytest.importorskip("torchao")
    (tmp_path / "config.json").write_text("{}")
    base = quantised_base(tmp_path, "int8")
    assert base.method == "torchao"
    assert set(base.config) == {"quant_type"}


STORED = QuantisedBase("gptq", {"quant_method": "gptq"})
EAGER = {"enforce_eager": True, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("options", "arguments", "workers", "message"),
    [
        ({}, {"dtype": "float32"}, 1, "rollout.dtype must be 'bfloat16' or 'float16'"),
        ({}, {"enforce_eager": False}, 1, "enforce_eager must be true"),
        ({}, {}, 2, "tensor_parallel must be 1"),
        ({"use_dora": True}, {}, 1, "cannot run DoRA"),
    ],
)
def test_what_nobody_has_proven_on_a_quantised_base_is_refused(
    options, arguments, workers, message
):
    config = SvfConfig(target_modules=["q_proj"])
    vars(config).update(options)
    with pytest.raises(EngineError, match=message):
        check_quantised(config, EAGER | arguments, STORED, workers)
    check_quantised(SvfConfig(target_modules=["q_proj"]), EAGER, STORED)
