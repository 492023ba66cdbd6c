"""MNIST and Fashion-MNIST, 64-d and 2-D."""

from likewise.recipe import Recipe

__all__ = ["fashion_mnist", "fashion_mnist_2d", "mnist", "mnist_2d"]


def mnist() -> Recipe:
    """60,000 + 10,000 handwritten digits of 28 x 28 pixels, 64-d embedding."""
    return Recipe(
        data="mnist",
        network="convnet",
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=10, images=25)",
        augment="light()",
        epochs=12,
        lr=2e-3,
        ema=0.999,
    )


def mnist_2d() -> Recipe:
    """MNIST with an embedding that is its own map."""
    return mnist().replace(dim=2, loss="softmax()", sampler="shuffled(batch=128)", epochs=15)


def fashion_mnist() -> Recipe:
    """60,000 + 10,000 pictures of clothing of 28 x 28 pixels, 64-d embedding."""
    return mnist().replace(data="fashion_mnist", augment="flip()", epochs=20)


def fashion_mnist_2d() -> Recipe:
    """Fashion-MNIST with an embedding that is its own map."""
    return mnist_2d().replace(data="fashion_mnist", augment="flip()")
