"""Photographs from a phone, with a network that others have trained on ImageNet: what is bought, on another day."""

from likewise.recipe import Recipe

__all__ = ["groceries", "groceries_new"]


def groceries() -> Recipe:
    """81 kinds of groceries, seen on other days: the published train and val, fine-tuned MobileNetV2."""
    return Recipe(
        data="groceries",
        split="by_group(val=0.15)",
        size=160,
        network="mobilenet_v2",
        weights="mobilenet_v2-b0353104.pth",
        dim=128,
        augment="strong",
        loss="supcon(temperature=0.1)",
        sampler="pk(classes=16, images=4)",
        optimizer="adamw(weight_decay=0.02)",
        lr=1e-3,
        backbone_lr=0.3,
        schedule="one_cycle(warmup=0.2)",
        epochs=12,
        ema=0.99,
        amp="always",
        eval_every_epochs=3,
    )


def groceries_new() -> Recipe:
    """Kinds of groceries never seen in training: fine ids from 41 on."""
    return groceries().replace(data="groceries(held_out=41)")
