"""Optimizers and learning-rate schedules by name.

An optimizer is `name(groups, lr, *, numbers)`; a schedule is `name(progress, *, numbers) -> factor`, where progress is
the share of the training done, from 0 to 1, and the factor multiplies the peak learning rate.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

__all__ = [
    "KINDS",
    "adam",
    "adamw",
    "constant",
    "cosine",
    "one_cycle",
    "param_groups",
    "plateau",
    "radam",
    "rmsprop",
    "sgd",
    "step",
]

KINDS = {
    "optimizer": ["adamw", "adam", "sgd", "radam", "rmsprop"],
    "schedule": ["constant", "step", "plateau", "cosine", "one_cycle"],
}

Rates = Mapping[nn.Parameter, float]


def adamw(groups, lr: float, *, weight_decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.999):
    """Adam with decoupled weight decay. Loshchilov & Hutter, 2019."""
    return torch.optim.AdamW(decayed(groups, weight_decay), lr, betas=(beta1, beta2), fused=True)


def adam(groups, lr: float, *, weight_decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999):
    """Adam; the decay, where given, is the L2 penalty of its time. Kingma & Ba, 2015."""
    return torch.optim.Adam(decayed(groups, weight_decay), lr, betas=(beta1, beta2), fused=True)


def sgd(groups, lr: float, *, momentum: float = 0.9, nesterov: bool = True, weight_decay: float = 0.0):
    """Stochastic gradient descent with (Nesterov) momentum. Sutskever et al., 2013."""
    nesterov = nesterov and momentum > 0
    return torch.optim.SGD(decayed(groups, weight_decay), lr, momentum=momentum, nesterov=nesterov, fused=True)


def radam(groups, lr: float, *, weight_decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999):
    """Adam with its early variance rectified, so that it needs no warm-up. Liu et al., 2020."""
    return torch.optim.RAdam(decayed(groups, weight_decay), lr, betas=(beta1, beta2))


def rmsprop(groups, lr: float, *, alpha: float = 0.9, momentum: float = 0.0, weight_decay: float = 0.0):
    """Each step over the root of the gradients' recent mean square. Tieleman & Hinton, 2012."""
    return torch.optim.RMSprop(decayed(groups, weight_decay), lr, alpha=alpha, momentum=momentum)


def constant(progress: float) -> float:
    """Always the peak."""
    return 1.0


def step(progress: float, *, steps: int = 3, factor: float = 0.1) -> float:
    """Times `factor` after each of `steps` equal parts of the training."""
    return factor ** min(int(progress * steps), steps - 1)


def plateau(progress: float, *, factor: float = 0.1, patience: int = 4) -> float:
    """Times `factor` whenever `patience` validations in a row have not passed the best score.

    The factor that progress alone gives is 1: the validations lower it, `callbacks.lower_when_flat`.
    """
    return 1.0


def cosine(progress: float, *, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Up over the share `warmup`, then down to `floor` along half a cosine. Loshchilov & Hutter, 2017."""
    if progress < warmup:
        return progress / warmup
    return floor + (1 - floor) * _half_cosine((progress - warmup) / (1 - warmup))


def one_cycle(progress: float, *, warmup: float = 0.3, start: float = 0.04, floor: float = 4e-6) -> float:
    """Up from `start` and down to `floor`, both along half a cosine. Smith & Topin, 2019."""
    if progress < warmup:
        return 1 + (start - 1) * _half_cosine(progress / warmup)
    return floor + (1 - floor) * _half_cosine((progress - warmup) / (1 - warmup))


def _half_cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def param_groups(
    model: nn.Module, loss: nn.Module, *, proxy_lr: float | None = None, lr_multipliers: Rates | None = None
) -> list[dict]:
    """The network's weights, its biases and scales (no decay), and what the loss learns (own rate, no decay).

    proxy_lr: times the learning rate for the loss's parameters; None takes the loss's own `lr_scale`.
    lr_multipliers: the same for parameters of the model, 1 where it does not say.
    """
    by_rate: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            by_rate.setdefault((lr_multipliers or {}).get(parameter, 1.0), []).append(parameter)
    groups: list[dict] = []
    for rate, trained in by_rate.items():
        groups += [
            {"params": [p for p in trained if p.ndim > 1], "lr_scale": rate},
            {"params": [p for p in trained if p.ndim <= 1], "lr_scale": rate, "weight_decay": 0.0},
        ]
    groups += _loss_groups(loss, proxy_lr)
    return [g for g in groups if g["params"]]


def _loss_groups(loss: nn.Module, proxy_lr: float | None) -> Iterator[dict]:
    scale = getattr(loss, "lr_scale", 1.0) if proxy_lr is None else proxy_lr
    yield {"params": [p for p in loss.parameters() if p.requires_grad], "lr_scale": scale, "weight_decay": 0.0}


def decayed(groups: list[dict], weight_decay: float) -> list[dict]:
    """Every group that does not say otherwise takes the recipe's decay."""
    return [{"weight_decay": weight_decay, **group} for group in groups]
