"""Omniglot: characters of alphabets never seen in training, told apart from a single drawing of each."""

from likewise.recipe import Recipe

__all__ = ["omniglot"]


def omniglot() -> Recipe:
    """Alphabets never seen in training: 20-way one-shot, on the official within-alphabet runs.

    command  likewise train omniglot; then one_shot_error(Embedder.load("runs/omniglot"), omniglot_runs()) in Python
    result   error 3.0 % (95 % interval 1.3 to 5.3, 12 of 400), seed 0; 2.3 % (1.0 to 3.8) with views=32
    time     22 CPU minutes of training (27 minutes on 2 cores with other work going on)

    Trained on the background alphabets alone. Batches hold characters of two alphabets, so that what must be told apart
    is what is alike; each character turned and mirrored is seven more.
    """
    return Recipe(
        data="omniglot",
        val=0.0,
        size=40,
        turns=4,
        mirror=True,
        augment="handwriting",
        network="strokes(channels=(48, 96, 192, 192, 320))",
        dim=0,
        loss="supcon(temperature=0.1)",
        sampler="kin(families=4, classes=32, images=2)",
        epochs=16,
        optimizer="adamw(weight_decay=0.02)",
        lr=3e-3,
        schedule="one_cycle(warmup=0.15)",
        ema=0.999,
        amp="always",
        eval_every_epochs=0,
    )
