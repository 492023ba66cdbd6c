"""Accepted values of a recipe's fields."""

__all__ = ["AMP", "RANGES"]

AMP = ("gpu", "always", "never", "auto")

# Accepted minimum and maximum.
RANGES: dict[str, tuple[float, float]] = {
    "val": (0, 0.9),
    "channels": (0, 3),
    "min_per_class": (1, 2**31),
    "max_per_class": (0, 2**31),
    "max_classes": (0, 2**31),
    "rotations": (1, 4),
    "dim": (0, 65536),
    "memory": (0, 2**31),
    "tile": (0, 2**31),
    "epochs": (1, 1_000_000),
    "pretrain_epochs": (0, 1_000_000),
    "max_seconds": (0, 1e9),
    "lr": (0, 1e6),
    "proxy_lr": (0, 1e9),
    "proxy_share": (0, 1),
    "backbone_lr": (0, 1e6),
    "layer_decay": (0, 1),
    "frozen_epochs": (-1, 1_000_000),
    "unfreeze_epochs": (0, 1_000_000),
    "accumulate": (1, 1_000_000),
    "clip": (0, 1e12),
    "ema": (0, 0.9999999),
    "wise": (-1, 1),
    "whiten": (0, 1e6),
    "patience": (0, 1_000_000),
    "eval_every_epochs": (0, 1_000_000),
    "seed": (0, 2**32 - 1),
    "split_seed": (0, 2**32 - 1),
}
