"""The code that runs inside vLLM's processes.

vLLM finds `register` through the `vllm.general_plugins` entry point and calls it in every process
it starts. Two public doors are used: a quantization method named `rlpeft`, whose linear method
runs the adapter inside each linear layer, and a worker extension, which receives the adapter's
values over `collective_rpc`.

`peft_config` says which modules are adapted; `slice_adapters` holds the arithmetic, which
`adapted_linear` runs in a fused layer by the products of `matmul`: these need no vLLM. `internals`
and `linear_methods` are the only files that touch vLLM's classes; `worker` is what the engine
calls. `core` starts and ends the processes, and says why one died.
"""

from __future__ import annotations

import logging

# On a machine without a GPU there is nothing to do about it; other lines of this logger stay.
logging.getLogger("vllm.triton_utils.importing").addFilter(
    lambda record: "doesn't include CPU backend" not in str(record.msg)
)

METHOD = "rlpeft"
"""Name of the quantization method."""


def register() -> None:
    """Make the quantization method known to vLLM. May be called twice."""
    from rlpeft.rollout.vllm.log import redirect

    redirect()
    import rlpeft.rollout.vllm.internals  # noqa: F401  registers on import
