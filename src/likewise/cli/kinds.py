"""What `likewise list` calls each kind of member, and what `spec` calls it."""

__all__ = ["KINDS"]

KINDS = {
    "losses": "loss",
    "miners": "miner",
    "relations": "relation",
    "similarities": "sim",
    "networks": "network",
    "models": "network",
    "heads": "head",
    "adapters": "adapter",
    "data": "data",
    "splits": "split",
    "samplers": "sampler",
    "augmentations": "augment",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "recipes": "recipe",
}
