"""What vLLM is started with on a CPU."""

import pytest

pytest.importorskip("vllm")

from vllm.platforms import current_platform

from rlpeft.rollout.vllm.start import llm_arguments

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
