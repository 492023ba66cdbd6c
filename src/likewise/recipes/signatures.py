"""Signatures of writers who were not trained on, across paper, tablet and phone."""

from likewise.experiment.recipe import Recipe

__all__ = ["signatures"]


def signatures() -> Recipe:
    """Verification of signatures independent of the writer: 55 writers to train, 19 to validate, 19 others to test.

    command  likewise train signatures
    result   EER 33.1 % (95 % interval 28.3 to 36.6), map@r 0.096 (0.068 to 0.129), seed 0, all pairs of 19 writers
    without  raw pixels EER 46.4 % (43.2 to 49.1), map@r 0.023; MobileNetV2, frozen, 44.1 % (39.8 to 46.9), 0.024
    time     100 s of training on one core

    All 93 writers wrote the same name, so that a pair of two writers is a forgery without an example to copy, and only
    the hand tells them apart. Validation writers chose the settings (docs/log.md): little augmentation (slant and
    proportions are the writer's), 112 pixels. docs/verification.md goes on to FRR at a level of FAR.
    """
    return Recipe(
        data="signatures",
        split="by_class(val=0.2, test=0.2)",
        size=112,
        channels=1,
        network="strokes(channels=(24, 48, 96, 192, 256), pools=(1, 1, 1, 1, 1))",
        dim=0,
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=20, images=6)",
        augment="light(rotate=2.0, scale=0.1, translate=0.05)",
        epochs=10,
        optimizer="adamw(weight_decay=0.02)",
        lr=3e-3,
        schedule="one_cycle(warmup=0.2)",
        ema=0.99,
        amp="always",
        eval_every_epochs=0,
    )
