"""What only a run may choose: the device and the seeds."""

import random

import torch

from likewise import distributed

__all__ = ["choose_device", "seed_everything"]


def choose_device(wanted: str = "auto") -> torch.device:
    """The device of a run; each of several processes has its own GPU. Errors: ValueError for one that is not there."""
    if distributed.world_size() > 1:
        return device_of_rank(wanted)
    if wanted == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(
            f"device is cpu, cuda, cuda:N, mps or auto, and {wanted!r} is not to be had here; try device=auto"
        ) from None
    return device


def device_of_rank(wanted: str) -> torch.device:
    """The CPU, or the GPU of this process. Errors: ValueError for another device, and too few GPUs."""
    gpus, number = torch.cuda.device_count(), distributed.local_rank()
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"several processes train on device=cpu, cuda or auto, each on its own GPU; got {wanted!r}")
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return torch.device("cpu")
    if number >= gpus:
        raise ValueError(
            f"process {number} of this machine has no GPU of its own, there are {gpus}; start as many processes as "
            "GPUs, or give device=cpu"
        )
    return torch.device("cuda", number)


def seed_everything(seed: int) -> None:
    """Weights, dropout and random picks; orders, splits and intervals take their own generators from the same seed."""
    random.seed(seed)
    torch.manual_seed(seed)
