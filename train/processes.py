"""Several processes that train one network: what torchrun starts, on one machine or many.

Every process holds the same weights and draws the same random numbers for the whole batch; each advances its own share of the slots.
Sums over the processes are all that travels: gradients at each optimiser step, metrics and evaluations when they are read, and the
slots when a checkpoint is written, so that a run can go on with another number of processes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as distributed
from torch import Tensor

from hrm_gym.agents.devices import choose_device
from hrm_gym.envs.errors import DeviceError


class Processes:
    """This process and its fellows. A process alone does nothing in all of these methods.

    Args:
        rank: this process's number, from 0.
        count: processes in all.

    Attributes:
        rank, count: as given.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def first(self) -> bool:
        """Whether this process writes and shows: the one with rank 0."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of `total` things: contiguous, the first ones larger by one where it does not come out even."""
        return shares(total, self.count)[self.rank]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into each of `tensors`, in place; one message for all of one dtype."""
        if self.count == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for same in by_dtype.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            distributed.all_reduce(flat)
            for tensor, summed in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says so; the host waits."""
        if self.count == 1:
            return flag
        votes = torch.tensor(int(flag), device=device)
        distributed.all_reduce(votes)
        return bool(votes)

    def join(self, part: Tensor, total: int) -> Tensor:
        """The whole of which every process holds its `share(total)` along the first axis: on all of them."""
        if self.count == 1:
            return part
        lengths = [part_of.stop - part_of.start for part_of in shares(total, self.count)]
        padded = part.new_zeros(max(lengths), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def shares(total: int, count: int) -> list[slice]:
    """`total` things cut into `count` contiguous parts whose sizes differ by one at most, the larger ones first."""
    size, rest = divmod(total, count)
    ends = [size * part + min(part, rest) for part in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]


def join_processes(device: str, environment: Mapping[str, str] = os.environ) -> tuple[Processes, torch.device]:
    """The processes that torchrun started (by RANK, WORLD_SIZE and LOCAL_RANK), and this one's device. One alone where it started none.

    Raises:
        DeviceError: the device is not there, or cannot be shared between processes.
    """
    count = int(environment.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if count == 1:
        return Processes(), chosen
    rank = int(environment["RANK"])
    if chosen.type == "mps":
        raise DeviceError(f"device 'mps' cannot be shared by {count} processes; use --device cpu, or one process")
    if chosen.type == "cuda":
        number = int(environment.get("LOCAL_RANK", "0"))
        if number >= torch.cuda.device_count():
            raise DeviceError(
                f"process {rank} wants GPU {number}, but this machine has {torch.cuda.device_count()}; start fewer processes on it"
            )
        chosen = torch.device("cuda", number)
        torch.cuda.set_device(chosen)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(rank, count), chosen


def leave_processes() -> None:
    """Close what `join_processes` opened."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
