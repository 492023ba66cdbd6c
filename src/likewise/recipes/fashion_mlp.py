"""Dense siamese networks on Fashion-MNIST: 3 and 4 layers of 128.

After iavasiljeva/siamese-networks-hse-2017: no biases, ReLU on every layer, dropout 0.1 between layers, contrastive
loss with margin 1, Adam at 1e-4, batches of 128, 10 epochs. Pairs are drawn again in every epoch; theirs, in order of
class and half of them unused, are `sampler="consecutive(batch=128, share=0.5)"`. `likewise reproduce mlp-pairs`
trains both orders; docs/forerunners.md has the results.
"""

from likewise.experiment.recipe import Recipe

__all__ = ["mlp3_contrastive", "mlp3_pairs", "mlp4_contrastive", "mlp4_pairs"]


def mlp3_contrastive() -> Recipe:
    """784-128-128-128 without biases, contrastive loss with margin 1, 10 epochs."""
    return contrastive(3)


def mlp4_contrastive() -> Recipe:
    """784-128-128-128-128 without biases, contrastive loss with margin 1, 10 epochs."""
    return contrastive(4)


def contrastive(layers: int) -> Recipe:
    return Recipe(
        data="fashion_mnist",
        network=dense(layers),
        dim=0,
        normalize=False,
        loss="contrastive(margin=1.0)",
        sim="euclidean",
        sampler="pairs(batch=128)",
        epochs=10,
        optimizer="adam()",
        lr=1e-4,
        schedule="constant",
        eval_every_epochs=0,
    )


def mlp3_pairs() -> Recipe:
    """784-128-128-128 with all pairs of a batch, flips, a one-cycle rate and averaged weights, 30 epochs."""
    return all_pairs(3)


def mlp4_pairs() -> Recipe:
    """784-128-128-128-128 with all pairs of a batch, flips, a one-cycle rate and averaged weights, 30 epochs."""
    return all_pairs(4)


def all_pairs(layers: int) -> Recipe:
    return Recipe(
        data="fashion_mnist",
        network=dense(layers, bias=True),
        dim=0,
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=10, images=25)",
        augment="flip()",
        epochs=30,
        lr=2e-3,
        ema=0.999,
        eval_every_epochs=0,
    )


def dense(layers: int, bias: bool = False, dropout: float = 0.1) -> str:
    return f"mlp(widths={(128,) * layers}, bias={bias}, dropout={dropout})"
