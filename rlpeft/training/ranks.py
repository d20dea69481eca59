"""Ranks: the processes that share the steps of one learner, over `torch.distributed`.

Each holds the whole policy and takes its part of a step's micro-batches; gradients are added up
once a step, so that all ranks move alike. A process alone is a rank of one: it exchanges nothing.

What one rank cannot do the others must learn of before they wait for its gradient: so every part
of a step ends with an exchange of what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.utils._pytree import tree_map_only

from rlpeft.errors import ClusterError, ModelError, RlpeftError
from rlpeft.files import reason

T = TypeVar("T")

BETWEEN_STEPS = timedelta(days=365)
"""How long a rank listens for the next call: rollouts and validations have limits of their own."""


@dataclass(frozen=True)
class Ranks:
    """A process's place among those that share a learner; alone by default.

    Attributes:
        world_rank: counted from 0; the first is the one that the run speaks to.
        size: how many there are.
        timeout_s: how long they wait for one another within a step.
        control: a group on the CPU, for everything but gradients.
    """

    world_rank: int = 0
    size: int = 1
    timeout_s: float = 0.0
    control: Any = None

    @classmethod
    def meet(
        cls, url: str, world_rank: int, size: int, *, timeout_s: float, device: torch.device
    ) -> Ranks:
        """Wait for the others, and be one of them; a process can do so once.

        Args:
            url: of `torch.distributed`, the same for all: `file://PATH` or `tcp://HOST:PORT`.
            device: where gradients will be: nccl on CUDA, gloo elsewhere.

        Raises:
            ClusterError: they do not come.
        """
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with answered(size, timeout_s):
            dist.init_process_group(
                backend,
                init_method=url,
                rank=world_rank,
                world_size=size,
                timeout=timedelta(seconds=timeout_s),
            )
            control = dist.new_group(backend="gloo", timeout=BETWEEN_STEPS)
        return cls(world_rank, size, timeout_s, control)

    @staticmethod
    def leave() -> None:
        """Be no rank any more; the others are not waited for."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def together(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives on each rank, in their order, tensors on the CPU.

        Raises:
            RlpeftError: it raises on a rank, and so on all.
            ClusterError: a rank is gone, or took more than `timeout_s`.
        """
        if self.size == 1:
            return [work()]
        own, error = _tried(work)
        told = None if error is None else self._told(error)
        found: list[Any] = [None] * self.size
        with answered(self.size, self.timeout_s):
            # It alone says which rank does not come.
            dist.monitored_barrier(
                self.control, timedelta(seconds=self.timeout_s), wait_all_ranks=True
            )
            dist.all_gather_object(found, (_on_cpu(own), told), group=self.control)
        for refusal in (error, *(told for _, told in found)):
            if refusal is not None:
                raise refusal
        return [value for value, _ in found]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Put the sum of all ranks' gradients in the place of each one's, in fp32, all bits alike.

        Raises:
            ClusterError: a rank does not answer.
        """
        if self.size == 1:
            return
        own = list(parameters)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        # An expert that no token of this rank has chosen has a gradient elsewhere, or nowhere.
        reached = own[0].new_tensor([p.grad is not None for p in own], dtype=torch.float32)
        flat = torch.cat([*(grad.flatten().float() for grad in grads), reached])
        with answered(self.size, self.timeout_s):
            dist.all_reduce(flat)
        *sums, counts = flat.split([*(p.numel() for p in own), len(own)])
        for parameter, total, count in zip(own, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None

    def require_alike(self, digest: Callable[[], str], what: str) -> None:
        """Refuse to go on with ranks that have come apart.

        Raises:
            ModelError: their digests differ.
        """
        if self.size == 1:
            return
        first, *others = self.together(digest)
        odd = [rank for rank, other in enumerate(others, 1) if other != first]
        if odd:
            raise ModelError(
                f"{what} must be bit-equal on all {self.size} ranks of the learner, ranks {odd} "
                "differ from the first. Give all of them the same hardware and libraries, or set "
                "resources.learners = 1; the run continues from its newest checkpoint."
            )

    def say(self, value: Any) -> None:
        """Hand a value to every other rank, which must `hear` it."""
        self._broadcast(value)

    def hear(self) -> Any:
        """What the first rank says next, however long that takes."""
        return self._broadcast(None)

    def _broadcast(self, value: Any) -> Any:
        box = [value]
        with answered(self.size, self.timeout_s):
            dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def _told(self, error: Exception) -> RlpeftError:
        if isinstance(error, RlpeftError):
            return error
        return ModelError(
            f"rank {self.world_rank} of the learner must finish its part of a step, got "
            f"{type(error).__name__}: {_first_line(error)}. The run continues from its newest "
            "checkpoint when started again."
        )


ALONE = Ranks()


def over_ranks(
    parts: Sequence[Mapping[str, float]], *, sums: Collection[str] = ()
) -> dict[str, float]:
    """Metrics of a step from those of each rank that has some; what is no sum or extreme is a mean.

    >>> over_ranks([{"gain/max": 1.0, "gain/mean": 1.0}, {"gain/max": 3.0, "gain/mean": 2.0}])
    {'gain/max': 3.0, 'gain/mean': 1.5}
    """
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if name in part]
        join = sum if name in sums else EXTREMES.get(name.rpartition("/")[2], fmean)
        found[name] = float(join(values))
    return found


EXTREMES: Mapping[str, Callable[[list[float]], float]] = {"min": min, "max": max}
"""Of metrics, by the ends of their names."""


@contextmanager
def answered(size: int, timeout_s: float) -> Iterator[None]:
    """Tell what torch raises where ranks are gone or silent in words of ours."""
    try:
        yield
    except RuntimeError as error:
        raise ClusterError(
            f"all {size} ranks of the learner must answer within resources.learner_timeout_s = "
            f"{timeout_s:g} s, got: {_first_line(error)}. Look at memory and at what their "
            "processes are at; the same command continues from the newest checkpoint."
        ) from error


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # Recovery: told to the other ranks, then raised on all
        return None, error


def _on_cpu(value: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.detach().cpu(), value)


def _first_line(error: Exception) -> str:
    return next(iter(reason(error).strip().splitlines()), type(error).__name__)
