"""Handwritten digits included in scikit-learn; needs no download."""

from likewise.experiment.recipe import Recipe

__all__ = ["digits"]


def digits() -> Recipe:
    """1,797 handwritten digits of 8 x 8 pixels, 64-d embedding.

    command  likewise train digits
    result   knn@1 0.994 (95 % interval 0.986 to 1.000; 355 test images), seed 0
    time     3 seconds on 2 cores
    """
    return Recipe(
        data="digits",
        size=16,
        network="convnet",
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=10, images=12)",
        augment="light()",
        epochs=30,
        lr=2e-3,
    )
