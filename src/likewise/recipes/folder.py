"""A user's own images, or feature rows."""

from likewise.experiment.recipe import Recipe

__all__ = ["folder", "rows"]


def folder(path: str = "") -> Recipe:
    """Your own folder, .csv or .npz of images with class labels; a fifth is held out for testing."""
    return Recipe(
        data=path,
        split="auto",
        size=64,
        network="small_resnet",
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=16, images=8)",
        epochs=30,
        lr=2e-3,
        ema=0.99,
    )


def rows(path: str = "") -> Recipe:
    """Your own .npz of feature rows, X [N, D] with y [N]; a fifth is held out for testing."""
    return folder(path).replace(size=0, network="mlp(widths=(256,))", lr=1e-3)
