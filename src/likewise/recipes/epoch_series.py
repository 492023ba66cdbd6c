"""A classifier against a siamese network in the plane, epoch by epoch, on MNIST.

Two convolutions and two dense layers to 2 numbers; the classifier reads them without a non-linearity between. A
snapshot is saved after every epoch from 0 to 50. `likewise reproduce epoch-series` trains all three and draws epochs 0,
1, 2, 5, 10, 20 and 50 side by side; docs/forerunners.md has the results.
"""

from likewise.experiment.recipe import Recipe
from likewise.recipes.friends import lenet_2d_softmax

__all__ = ["series_cnn", "series_siamese", "series_triplet"]

EPOCHS = 50


def series_cnn() -> Recipe:
    """LeNet to 2 numbers and a 10-way classifier on them, 50 epochs, a snapshot after each."""
    epochs = ",".join(map(str, range(EPOCHS + 1)))
    return lenet_2d_softmax().replace(sampler="shuffled(batch=128)", lr=1e-3, epochs=EPOCHS, snapshot_epochs=epochs)


def series_siamese() -> Recipe:
    """LeNet to 2 numbers, half of the pairs of one class, contrastive loss with margin 1."""
    return series_cnn().replace(loss="contrastive(margin=1.0)", sampler="pairs(batch=128)", sim="euclidean")


def series_triplet() -> Recipe:
    """LeNet to 2 numbers, random triplets, margin 1, which the original project did not train."""
    loss = "triplet(margin=1.0, pick='hard')"
    return series_cnn().replace(loss=loss, sampler="triplets(batch=128)", sim="euclidean")
