"""One process or many: the numbers and objects that ranks tell each other.

Works without any set-up: a lone process is rank 0 of 1 and every function returns at once. Host numbers travel over a
gloo group on the CPU also where gradients travel over nccl, so that exchanging them never waits for the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from retina.errors import ConfigError, RetinaError

# Rank 0 alone computes the COCO numbers while the others wait; gloo's and nccl's own limits are 30 and 10 minutes.
TIMEOUT = timedelta(hours=2)

_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_Result = TypeVar("_Result")

_host_group: dist.ProcessGroup | None = None  # gloo; None means the default group is gloo already


@contextmanager
def processes(device_type: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started for the length of the block; yield this rank's device.

    Where ``WORLD_SIZE`` is not set there is nothing to join.

    Args:
        device_type: ``"cpu"`` (gloo) or ``"cuda"`` (nccl, one device a rank of this machine).

    Raises:
        ConfigError: torchrun's environment is incomplete, or a machine has fewer devices than ranks.
    """
    global _host_group
    try:
        yield _join(device_type)
    finally:
        if _is_initialized():
            dist.destroy_process_group()
        _host_group = None


def _join(device_type: str) -> torch.device:
    global _host_group
    if "WORLD_SIZE" not in os.environ:
        return torch.device(device_type, 0) if device_type == "cuda" else torch.device(device_type)
    if absent := [name for name in _TORCHRUN_VARIABLES if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE is set in the environment, but {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not",
            why="several processes find each other by the variables that torchrun sets",
            fix="torchrun --nproc-per-node 2 train.py ...   (or: unset WORLD_SIZE)",
        )
    local_rank = int(os.environ["LOCAL_RANK"])
    if device_type != "cuda":
        dist.init_process_group("gloo", timeout=TIMEOUT)
        return torch.device(device_type)
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"rank {os.environ['RANK']} wants CUDA device {local_rank}, this machine has {torch.cuda.device_count()}",
            why="each process trains on a device of its own",
            fix=f"torchrun --nproc-per-node {max(torch.cuda.device_count(), 1)} ... (or train.device=cpu)",
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", timeout=TIMEOUT, device_id=device)
    _host_group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=TIMEOUT))
    return device


def rank() -> int:
    """Return the number of this process, 0 for a lone one."""
    return dist.get_rank() if _is_initialized() else 0


def world_size() -> int:
    """Return the number of processes, 1 for a lone one."""
    return dist.get_world_size() if _is_initialized() else 1


def is_main() -> bool:
    """Return whether this process writes files and talks to the user (rank 0)."""
    return rank() == 0


def mean_over_ranks(value: float) -> float:
    """Return the mean of a host number over all ranks, the same on each; of a sum that is exact for counts to 2**53."""
    if world_size() == 1:
        return float(value)
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total, group=_host_group)
    return total.item() / world_size()  # a tensor of the host: no device is waited for


def sum_tensor_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, on its device and without a gradient."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather_objects(value: Any) -> list[Any]:
    """Return every rank's ``value`` in rank order, on every rank; objects are pickled, tensors should be on the CPU."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_host_group)
    return values


def broadcast_object(value: Any) -> Any:
    """Return rank 0's ``value`` on every rank; what the others pass is ignored."""
    if world_size() == 1:
        return value
    holder = [value if is_main() else None]
    dist.broadcast_object_list(holder, src=0, group=_host_group)
    return holder[0]


def on_main_rank(function: Callable[[], _Result]) -> _Result:
    """Return on every rank what ``function`` returns on rank 0; a mistake that it finds is raised on every rank."""
    outcome: Any = None
    if is_main():
        try:
            outcome = function()
        except RetinaError as error:
            outcome = error
    outcome = broadcast_object(outcome)
    if isinstance(outcome, RetinaError):
        raise outcome
    return outcome


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier(group=_host_group)


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
