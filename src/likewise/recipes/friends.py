"""LeNet to a plane, trained by five losses with the same settings: the siamese network and its friends.

After heytitle/siamese-net-and-friends: 6@5, 16@5, 256-128-2 with PReLU, Adam at 1e-4, batches of 32, 20 epochs. For
Fashion-MNIST add `data=fashion_mnist`. `likewise reproduce friends` trains all of them; docs/forerunners.md has the
results.
"""

from likewise.experiment.recipe import Recipe

__all__ = ["lenet_2d_bce", "lenet_2d_contrastive", "lenet_2d_softmax", "lenet_2d_triplet", "lenet_2d_vae"]

EPOCHS = 20


def lenet_2d_softmax() -> Recipe:
    """LeNet to 2 numbers and a linear 10-way classifier on them: cross-entropy."""
    return Recipe(
        data="mnist",
        network="lenet",
        dim=2,
        normalize=False,
        loss="softmax()",
        sampler="shuffled(batch=32)",
        epochs=EPOCHS,
        optimizer="adam()",
        lr=1e-4,
        schedule="constant",
        eval_every_epochs=0,
        snapshot_epochs=",".join(map(str, range(EPOCHS + 1))),
    )


def lenet_2d_contrastive() -> Recipe:
    """LeNet to 2 numbers, pairs of images, contrastive loss with margin 1: the siamese network."""
    return lenet_2d_softmax().replace(loss="contrastive(margin=1.0)", sampler="pairs(batch=32)", sim="euclidean")


def lenet_2d_bce() -> Recipe:
    """LeNet to 2 numbers, pairs of images, Koch's head (probability from weighted differences)."""
    return lenet_2d_softmax().replace(loss="siamese_bce()", sampler="pairs(batch=32)", sim="manhattan")


def lenet_2d_triplet() -> Recipe:
    """LeNet to 2 numbers, random triplets, Euclidean distance, margin 1, mean over all triplets of the batch.

    Each row has one positive and one negative, so `pick='hard'` selects these, including triplets without loss.
    """
    loss = "triplet(margin=1.0, pick='hard')"
    return lenet_2d_softmax().replace(loss=loss, sampler="triplets(batch=32)", sim="euclidean")


def lenet_2d_vae() -> Recipe:
    """LeNet to 2 numbers, variational autoencoder without labels."""
    return lenet_2d_softmax().replace(loss="vae()", sim="euclidean")
