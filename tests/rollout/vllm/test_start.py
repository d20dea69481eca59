"""What vLLM is started with on a CPU."""

import pytest

pytest.importorskip("vllm")

from vllm.platforms import current_platform

from rlpeft.rollout.vllm.start import child_variables, llm_arguments, worker_arguments

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
