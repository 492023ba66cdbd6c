"""What is made of a trained model before it is kept: adapters merged, the mean with the first weights, whitening."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from likewise import distributed
from likewise.data.images import Images
from likewise.data.subset import spaced
from likewise.experiment.build import Parts, first_model, weights_of
from likewise.experiment.callbacks import monitored
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.models import Embedder, adapters
from likewise.models.embedder import evaluating
from likewise.models.inputs import at_once
from likewise.training.loop import State

__all__ = ["average_with_first", "check_wise", "merge_adapters", "recompute_statistics", "whiten"]

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the trained weights, that wise=-1 chooses from
STATISTICS = 4_096  # training images that give batch norms their statistics anew

Score = Callable[[nn.Module], Mapping[str, Mapping[str, object]]]


def merge_adapters(recipe: Recipe, state: State, run: Run | None) -> None:
    """Adapters become part of the weights; with a run they and the head are also kept by themselves."""
    if not recipe.adapter:
        return
    if run is not None and distributed.is_main():
        adapters.save(run.adapter, state.final, recipe.adapter)
    for model in (state.model, state.average):
        if isinstance(model, Embedder):
            adapters.merge(model.backbone)


def whiten(recipe: Recipe, state: State, images: Images) -> None:
    train = images.part("train")
    state.final.whiten(train, train.labels, shrink=recipe.whiten)
    distributed.broadcast_tensors(state.final)


def check_wise(recipe: Recipe, images: Images) -> None:
    """Errors: ValueError where there are no first weights to average with, and no validation to choose a share by."""
    if recipe.wise and not weights_of(recipe):
        raise ValueError(
            f"wise={recipe.wise:g} is a mean with the weights that training starts from, and {recipe.network} starts "
            "from random ones; give weights=FILE, or wise=0"
        )
    if recipe.wise == -1 and not len(images.part("val")):
        raise ValueError(
            "wise=-1 chooses the share of the trained weights by validation, and there is none; give wise=0.5"
        )


def average_with_first(recipe: Recipe, parts: Parts, score: Score, run: Run | None) -> None:
    """The final network becomes share * trained + (1 - share) * first weights; the head stays as trained.

    The first weights are those that the recipe names. wise=-1: of SHARES the one with the best validation score by
    `monitor`, of equal ones the larger. Batch norms get the statistics of training images. The share is in
    `callback_state["wise"]`. Adapters that a run keeps are multiplied by it, which is the same mean. Wortsman et al.,
    2022 (WiSE-FT). https://arxiv.org/abs/2109.01903
    """
    model: Embedder = parts.state.final
    first = {
        name: t.to(device_of(model)) for name, t in first_model(recipe, parts.images).backbone.state_dict().items()
    }
    trained = {name: t.clone() for name, t in model.backbone.state_dict().items()}
    train = parts.images.part("train")

    def take(share: float) -> None:
        model.backbone.load_state_dict(mixed(trained, first, share))
        recompute_statistics(model, train)

    share = recipe.wise
    if share < 0:
        share = best_share(SHARES, take, lambda: monitored(score(model), recipe.monitor))
    take(share)
    distributed.broadcast_tensors(model)
    parts.state.callback_state["wise"] = share
    if run is not None and recipe.adapter and distributed.is_main():
        adapters.rescale(run.adapter, share, model)


def best_share(shares: Sequence[float], take: Callable[[float], None], scored: Callable[[], float]) -> float:
    """The share with the highest score; of equal ones the largest."""
    values = {}
    for share in shares:
        take(share)
        values[share] = scored()
    return max(shares, key=lambda share: (values[share], share))


def mixed(trained: Mapping[str, Tensor], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """share * trained + (1 - share) * first of what are real numbers; counts are those of the trained ones."""
    return {
        name: torch.lerp(first[name].double(), t.double(), share).to(t) if t.is_floating_point() else t
        for name, t in trained.items()
    }


@torch.no_grad()
def recompute_statistics(model: Embedder, images: Images) -> None:
    """Mean and variance of every batch norm anew, from training images as they are, each batch counting alike.

    Statistics of one set of weights do not fit another; a mean of weights needs its own.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    some = spaced(images, STATISTICS)
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for places in torch.arange(len(some)).chunk(max(1, -(-len(some) // at_once(some.shape)))):
            model(some.batch(places).to(device_of(model)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def device_of(model: Embedder) -> torch.device:
    return model.scale.device
