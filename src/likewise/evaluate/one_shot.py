"""One-shot classification as Omniglot asks it: an image, W characters seen once each, and the one it is most like.

Every trial is judged alone: that the other queries of its run show other characters is not made use of.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from likewise import spec
from likewise.data.omniglot_runs import OneShot, omniglot_runs
from likewise.data.options import AbsentError
from likewise.data.resample import Augment
from likewise.metrics import few_shot, intervals
from likewise.metrics.intervals import Score
from likewise.models import Embedder

__all__ = ["VIEW", "official_error", "one_shot_error"]

# How a further view of a drawing differs from it: less than a training image does.
VIEW = "handwriting(rotate=6, scale=0.08, shear=6, translate=0.03, bend=0.008)"


# Views of each image that the official score averages over; chosen on background alphabets (docs/log.md).
VIEWS = 8


def official_error(model: Embedder, *, ink: str = "bright", seed: int = 0) -> Score | None:
    """The error on Omniglot's 400 official trials, by VIEWS views of each image; None where they are not at hand.

    ink: as the model was trained. Errors: ValueError when the file of the trials is damaged.
    """
    try:
        return one_shot_error(model, omniglot_runs(ink=ink), views=VIEWS, seed=seed)
    except AbsentError:
        return None


def one_shot_error(
    models: Embedder | Sequence[Embedder],
    runs: Iterable[OneShot],
    *,
    views: int = 1,
    view: str = VIEW,
    seed: int = 0,
) -> Score:
    """Share of trials in which the most similar of the W support images is not of the query's character.

    models: one, or several whose cosine similarities are averaged. views: each image is embedded so many times, once
    as it is and then under the augmentation `view`, and the mean counts. The interval is the 95 % bootstrap over runs,
    since the trials of a run share its support and its two hands. On Omniglot's runs: people 4.5 %, BPL 3.3 % (Lake et
    al., 2015). Errors: ValueError without a model or a run, or for views below 1.
    """
    models, runs = list(models) if isinstance(models, Sequence) else [models], list(runs)
    if not models or not runs or views < 1:
        raise ValueError(f"needs a model, a run and a view at least; got {len(models)}, {len(runs)} and views={views}")
    move, generator = spec.bind("augment", view)(), torch.Generator().manual_seed(seed)

    def embed(images: Tensor) -> Tensor:
        return torch.cat([mean_view(model, images, views, move, generator) for model in models], -1)

    wrong = [few_shot.one_shot_error(embed(run.query) @ embed(run.support).mT, run.answer) for run in runs]
    run_T = torch.arange(len(runs)).repeat_interleave(torch.tensor([len(each) for each in wrong]))
    return intervals.bootstrap({"error": intervals.mean(torch.cat(wrong))}, run_T, seed=seed)["error"]


def mean_view(model: Embedder, images: Tensor, views: int, move: Augment, generator: Generator) -> Tensor:
    """`[N, D]` of length 1: the mean of the unit embeddings of an image's views."""
    seen = [images, *(move(images, generator) for _ in range(views - 1))]
    return F.normalize(torch.stack([F.normalize(model.embed(each), dim=-1) for each in seen]).mean(0), dim=-1)
