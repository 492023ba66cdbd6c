"""The embeddings of a teacher for the training images of a recipe: from a file, a run, or by its model."""

from pathlib import Path

import torch
from torch import Tensor, nn

from likewise.data.images import Images
from likewise.data.options import as_path
from likewise.embeddings import Embeddings, embed_shared
from likewise.experiment.recipe import Recipe
from likewise.losses.distill import needs_teacher
from likewise.models import Embedder
from likewise.spec import SpecError

__all__ = ["check_teacher", "teacher_of", "teacher_vectors"]


def teacher_of(recipe: Recipe) -> Path | None:
    """The file or folder of the teacher; None without one. Errors: SpecError, before any data is read."""
    if not recipe.distill:
        return None
    path = as_path(recipe.distill)
    if not path.exists():
        raise SpecError(
            f"there is no teacher {recipe.distill!r}; give a .parquet that `likewise embed` wrote, a run or its model "
            "folder"
        )
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise SpecError(f"a teacher's embeddings are a .parquet file, not {path.name!r}; `likewise embed` writes one")
    if recipe.rotations > 1 or recipe.mirror:
        raise SpecError(
            "rotations and mirror make new classes, of which a teacher knows nothing; leave out distill, or them"
        )
    return path


def teacher_vectors(recipe: Recipe, train: Images, device: torch.device) -> Tensor | None:
    """The teacher's embedding of each training image, float32 [N, T] on the device; None without a teacher.

    Images are as stored, without augmentation. A run's own embeddings are used where they hold all of the images;
    otherwise its model embeds them once, at the size of the recipe's images. Errors: ValueError naming what is missing.
    """
    path = teacher_of(recipe)
    if path is None:
        return None
    known = None
    if path.is_file():
        known = Embeddings.load(path)
        places = places_of(train.ids, known.ids)
        if lost := [image for image, place in zip(train.ids, places, strict=True) if place < 0]:
            raise ValueError(
                f"{path} has no vector for {len(lost):,} of {len(train.ids):,} training images, such as {lost[0]!r}; "
                "embed all of them with the teacher"
            )
    elif (path / "embeddings.parquet").is_file():
        known = Embeddings.load(path / "embeddings.parquet")
        places = places_of(train.ids, known.ids)
        known = known if min(places, default=0) >= 0 else None
    if known is None:
        return finite(embed_shared(Embedder.load(path).to(device), train).vectors, path).to(device)
    return finite(known.vectors[torch.tensor(places, dtype=torch.int64)], path).to(device)


def places_of(ids: tuple[str, ...], known: tuple[str, ...]) -> list[int]:
    """Where each id is among the known ones, which may all lie below one further folder; -1 for none."""
    place = {name: i for i, name in enumerate(known)}
    above = ""
    if ids and ids[0] not in place:
        above = next((name.removesuffix(ids[0]) for name in known if name.endswith(f"/{ids[0]}")), "")
    return [place.get(f"{above}{name}", -1) for name in ids]


def finite(vectors_NT: Tensor, path: Path) -> Tensor:
    """Errors: ValueError where the teacher has diverged."""
    if not vectors_NT.isfinite().all():
        raise ValueError(f"the teacher {path} has embeddings with NaN or infinity; give another one")
    return vectors_NT


def check_teacher(recipe: Recipe, loss_fn: nn.Module) -> None:
    """Errors: ValueError for a teacher that no loss compares with, and for a loss without its teacher."""
    if recipe.distill and not needs_teacher(loss_fn):
        raise ValueError(
            f"distill={recipe.distill} gives a teacher, and {recipe.loss} does not compare with one; give "
            "loss=\"sum(losses=['supcon', 'rkd'])\""
        )
    if needs_teacher(loss_fn) and not recipe.distill:
        raise ValueError(f"{recipe.loss} compares with a teacher's embeddings; give distill=FILE.parquet, or a run")
