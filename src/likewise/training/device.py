"""What only a run may choose: the device and the seeds."""

import random

import torch

__all__ = ["choose_device", "seed_everything"]


def choose_device(wanted: str = "auto") -> torch.device:
    """The device of a run. Errors: ValueError when what was asked for is not there."""
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


def seed_everything(seed: int) -> None:
    """Weights, dropout and random picks; orders, splits and intervals take their own generators from the same seed."""
    random.seed(seed)
    torch.manual_seed(seed)
