"""A user's own pictures."""

from likewise.recipe import Recipe

__all__ = ["folder"]


def folder(path: str = "") -> Recipe:
    """Your own folder, .csv or .npz of pictures with a class each; a fifth of it is kept for testing."""
    return Recipe(
        data=path,
        split="given",
        size=64,
        network="small_resnet",
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=16, images=8)",
        epochs=30,
        lr=2e-3,
        ema=0.99,
    )
