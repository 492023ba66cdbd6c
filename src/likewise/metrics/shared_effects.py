"""What images do to the values of others, for scores that are no ranking: few-shot accuracy and silhouette.

As in `influence.py`, which has the reasons: an image counts by its own value and by what it does to those of others.
Here for closed sets, where images are drawn; where classes are, their own values show enough of it.
"""

import torch
from torch import Tensor

from likewise.metrics.clustering import Silhouette
from likewise.metrics.few_shot import Episodes
from likewise.metrics.influence import without_noise
from likewise.metrics.intervals import Ratio

__all__ = ["few_shot_ratio", "silhouette_ratio"]


def few_shot_ratio(episodes: Episodes, right_EWQ: Tensor, labels_N: Tensor, *, classes: bool) -> Ratio:
    """The accuracy of episodes; with one example a class, with what each example does to the queries beside it.

    classes: whole classes are drawn. The mean of several examples varies little, so that the queries' values suffice.
    """
    n, code_N = len(labels_N), labels_N.unique(return_inverse=True)[1]
    place = episodes.query.flatten()
    ratio = Ratio(place.bincount(right_EWQ.flatten().double(), minlength=n), place.bincount(minlength=n).double())
    if classes or episodes.support.shape[-1] > 1:
        return ratio
    surplus_E = (right_EWQ.double() - right_EWQ.double().mean()).sum((1, 2))
    effect_EW = surplus_E[:, None].expand(episodes.support.shape[:2])
    example_EW = episodes.support[..., 0]
    effect_N = torch.zeros(n, dtype=torch.float64).index_add_(0, example_EW.flatten(), effect_EW.flatten())
    # how well one episode went is chance of all that is in it; the mean of each class is taken off
    chance = float((effect_EW.square() * (1 - 1 / code_N.bincount()[code_N[example_EW]])).sum())
    return with_effect(ratio, effect_N, code_N, chance)


def silhouette_ratio(silhouette: Silhouette, labels_N: Tensor) -> Ratio:
    """The mean silhouette, with what each image does to the silhouettes of others."""
    code_N = labels_N.unique(return_inverse=True)[1]
    ratio = Ratio(silhouette.value, torch.ones_like(silhouette.value))
    return with_effect(ratio, silhouette.effect, code_N, silhouette.squares)


def with_effect(ratio: Ratio, effect_N: Tensor, code_N: Tensor, noise: float) -> Ratio:
    """Effects within classes, less what is noise: the chance of both the image and the one that it acts on."""
    size_C = code_N.bincount().double()
    apart_N = effect_N - (effect_N.new_zeros(len(size_C)).index_add_(0, code_N, effect_N) / size_C)[code_N]
    own_N = ratio.over - ratio.over.sum() / ratio.under.sum() * ratio.under
    return ratio._replace(effect=without_noise(own_N, apart_N, noise) * apart_N)
