"""A folder of photographs, with the networks, losses and negative selection of a Keras project.

After RocketFlash/EmbeddingNet: images of 48 x 48, embeddings of 256 numbers and length 1, 20 classes x 3 images a
batch, margin 0.5, rectified Adam, a learning rate that falls in steps. The photographs are groceries, trained on some
days and tested on others; with `data=FOLDER` or `data=FILE.csv` they are your own. Bursts of train chose the rate.
`likewise reproduce folder-trainer` trains all of them; docs/forerunners.md has the results.
"""

from likewise.experiment.recipe import Recipe

__all__ = [
    "trainer_frozen",
    "trainer_pretrained",
    "trainer_siamese_l1",
    "trainer_siamese_l2",
    "trainer_simple",
    "trainer_simple2",
    "trainer_two_stages",
]

EPOCHS = 20


def trainer_simple2() -> Recipe:
    """Seven convolutions with BatchNorm from scratch, triplets with semi-hard negatives."""
    return Recipe(
        data="groceries",
        split="by_group(val=0.1)",
        size=48,
        network="simple2",
        dim=256,
        normalize=True,
        loss="triplet(margin=0.5, pick='semihard')",
        sim="sqeuclidean",
        sampler="pk(classes=20, images=3)",
        epochs=EPOCHS,
        optimizer="radam()",
        lr=3e-3,
        schedule="step(steps=3, factor=0.1)",
        amp="always",
        eval_every_epochs=0,
    )


def trainer_simple() -> Recipe:
    """Koch's four convolutions from scratch, triplets with semi-hard negatives; input of at least 65 x 65."""
    return trainer_simple2().replace(network="koch(width=256, activation='none')", dim=0, size=65)


def trainer_siamese_l2() -> Recipe:
    """Seven convolutions, pairs by Euclidean distance, contrastive loss; half the epochs, as a pair has two images."""
    return trainer_simple2().replace(
        loss="contrastive(margin=1.0)", sim="euclidean", sampler="pairs(batch=32)", epochs=EPOCHS // 2
    )


def trainer_siamese_l1() -> Recipe:
    """Seven convolutions, pairs by weighted differences, the probability of "same"; half the epochs too."""
    return trainer_siamese_l2().replace(loss="siamese_bce()", sim="manhattan")


def trainer_two_stages() -> Recipe:
    """Half of the epochs as a classifier (softmax), then the other half with triplets."""
    return trainer_simple2().replace(pretrain_epochs=EPOCHS // 2, epochs=EPOCHS // 2)


def trainer_pretrained() -> Recipe:
    """MobileNetV2 fine-tuned from ImageNet weights, triplets with semi-hard negatives."""
    return trainer_simple2().replace(
        size=96,
        network="mobilenet_v2",
        weights="mobilenet_v2-b0353104.pth",
        lr=1e-3,
        backbone_lr=0.3,
        epochs=5,
        augment="photo",
    )


def trainer_frozen() -> Recipe:
    """MobileNetV2 with frozen ImageNet weights and a trained linear layer."""
    return trainer_pretrained().replace(frozen_epochs=-1, epochs=8, lr=3e-3, augment="")
