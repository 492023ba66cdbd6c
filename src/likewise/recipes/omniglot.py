"""Omniglot: one-shot classification of characters from alphabets not seen in training."""

from likewise.experiment.recipe import Recipe

__all__ = ["omniglot", "omniglot_quick"]


def omniglot() -> Recipe:
    """Alphabets not seen in training: 20-way one-shot, on the official within-alphabet runs.

    command  likewise train omniglot
    result   one_shot_error 0.0125 (95 % interval 0.005 to 0.0225; 5 of the 400 official trials), seed 0
    time     52 minutes on 2 cores, 100 CPU minutes

    Trained on the background alphabets only. Batches contain characters of four alphabets, which gives hard negatives;
    rotations and reflections of a character are seven further classes.
    """
    return Recipe(
        data="omniglot",
        val=0.0,
        size=48,
        rotations=4,
        mirror=True,
        augment="handwriting",
        network="strokes(channels=(48, 96, 192, 192, 320))",
        dim=0,
        loss="sum(losses=['supcon(temperature=0.07)', 'cosface(scale=30.0, margin=0.3)'])",
        sampler="hierarchical_pk(superclasses=4, classes=32, images=2)",
        epochs=20,
        optimizer="adamw(weight_decay=0.02)",
        lr=3e-3,
        proxy_lr=10.0,
        schedule="one_cycle(warmup=0.15)",
        ema=0.999,
        amp="always",
        eval_every_epochs=0,
    )


def omniglot_quick() -> Recipe:
    """As omniglot in a quarter of an hour: smaller images, a quarter of the epochs.

    command  likewise train omniglot-quick
    result   one_shot_error 0.0225 (95 % interval 0.01 to 0.035; 9 of the 400 official trials), seed 0
    time     11 minutes on 2 cores, 21 CPU minutes
    """
    return omniglot().replace(size=40, epochs=5)
