"""A run's model on pairs of images: those of a file, or drawn within folds of its held-out classes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import spec
from likewise.evaluate import Embeddings, image_names, pair_files, too_few
from likewise.evaluate.error_rates import members_of
from likewise.evaluate.pair_files import Named, placed
from likewise.evaluate.resampling import strata, units
from likewise.evaluate.subgroups import ScoredPairs, by_group, by_role
from likewise.evaluate.verification import folded, verify
from likewise.experiment.rates import own_rates, rates, written
from likewise.experiment.run import Run
from likewise.experiment.thresholds import Chosen, choices, is_closed_set, kept_pairs, validation_thresholds
from likewise.metrics import calibration
from likewise.metrics.sampled_pairs import Pairs, draw_folds, similarities
from likewise.metrics.verification import aim
from likewise.models import Embedder
from likewise.safety.bounds import Record

__all__ = ["score_pairs"]


class Listed(NamedTuple):
    """Pairs with all that is known of their images."""

    pairs: Pairs
    vectors: Tensor  # [N, D]
    names: tuple[str, ...]  # [N]
    who: tuple[str, ...]  # [N] class or person; the image's own name where that is not known
    fold: Tensor | None
    role: tuple[str, ...] | None = None
    group: tuple[str, ...] | None = None


def score_pairs(
    run: Run,
    file: str | os.PathLike | None = None,
    *,
    images: str | os.PathLike | None = None,
    folds: int = 0,
    threshold_at: str = "",
) -> dict[str, object]:
    """Scores of the pairs in a file, or of pairs drawn within `folds` folds of the run's held-out classes.

    file: as `pair_files.read` takes it; its images are ids of the run's data, or paths from the folder `images`, from
        the file's own folder, or from here. LFW's folds, or a column `fold`, give the accuracy by folds as well; the
        columns `role` and `group` scores of each, and the gap between groups.
    threshold_at: what the threshold aims at on the run's validation pairs: far=0.05, at any level, accuracy, f1, eer,
        precision=0.99; empty: the model's. The pairs of the file choose nothing.
    Errors: ValueError where images are missing, pairs are of one kind, or there are too few classes for the folds.
    """
    known, model = Embeddings.load(run.embeddings), Embedder.load(run.model)
    seed = run.recipe.split_seed
    listed = from_file(Path(file), known, model, images) if file else dealt(known, run.metrics()["split"], folds, seed)
    score_T = similarities(listed.vectors, listed.pairs, sim=spec.bind("sim", model.sim))
    fit = model.record("calibration")
    chosen, threshold = thresholds_of(run, known, model, threshold_at)
    units_N, who_N = drawn_together(listed, known), numbered(listed.who)
    strata_N, members = strata(who_N, units_N), members_of(listed.pairs, units_N)
    scores = verify(
        listed.pairs,
        score_T,
        units_N,
        strata_N=strata_N,
        threshold=threshold.get("value"),
        fit=calibration.restored(fit) if fit else None,
        seed=seed,
    )
    scored = ScoredPairs(listed.pairs, score_T, who_N, units_N, strata_N)
    return {
        "run": run.name,
        "pairs": os.fspath(file) if file else f"{folds} folds of the {run.metrics()['split']} part",
        "scores": {name: asdict(score) for name, score in scores.items()} | by_folds(listed, score_T),
        "left_out": too_few(listed.pairs.same),
        "threshold": threshold,
        "error_rates": rates(chosen, score_T, listed.pairs.same, members)
        or own_rates(score_T, listed.pairs.same, threshold, members),
        **apart(scored, listed, threshold.get("value"), seed),
        "notes": notes(listed, known) + ([] if chosen else [NO_VALIDATION]),
    }


NO_VALIDATION = (
    "the run has no validation pairs: the thresholds of the levels of FAR are of the scored pairs themselves, "
    "and the rates no estimate for others"
)


def thresholds_of(run: Run, known: Embeddings, model: Embedder, target: str) -> tuple[list[Chosen], Record]:
    """What validation pairs choose: the thresholds to report, and the one that pairs are decided at (`{}`: none).

    The model keeps its own. Errors: ValueError for a target that is none, or without validation pairs.
    """
    val, saved = known.part("val"), model.record("threshold")
    pairs = kept_pairs(run, val, "val")
    level = target if target and aim(target)[0] == "far" else ""
    if target and not level:
        open_set = not is_closed_set(known, "val")
        chosen_again, _ = choices(known, pairs, run.recipe, open_set=open_set, target=target)
        saved = chosen_again._asdict() if chosen_again else {}
    chosen = validation_thresholds(known, pairs, model.sim, saved=saved, target=level)
    return chosen, {"value": chosen[0].threshold, "target": target} if level else saved


def apart(scored: ScoredPairs, listed: Listed, threshold: float | None, seed: int) -> dict[str, object]:
    """Scores by role and by group of the pairs, where the file has such columns."""
    values: dict[str, object] = {}
    if listed.role:
        values["roles"] = [written(one) for one in by_role(scored, listed.role, threshold=threshold, seed=seed)]
    if listed.group:
        slices, between, more = by_group(scored, listed.group, threshold=threshold, seed=seed)
        values["groups"] = [written(one) for one in slices]
        values["gaps"], values["further_groups"] = [gap._asdict() for gap in between], more
    return values


def from_file(file: Path, known: Embeddings, model: Embedder, images: str | os.PathLike | None) -> Listed:
    """Images of the run's data by their vectors, all others embedded."""
    folders = [Path(images)] if images else [file.parent, Path()]
    named: Named = pair_files.part(pair_files.read(file, known.ids))
    if named.person:  # LFW's list writes .jpg whatever the images were kept as
        named = renamed(named, image_names.with_suffix(named.names(), Either(known.ids, folders)))
    names, place = named.names(), {name: i for i, name in enumerate(known.ids)}
    others = [name for name in names if name not in place]
    seen = dict(zip(others, model.embed(image_names.found_at(others, folders, file)), strict=True))
    vectors = torch.stack([seen[name] if name in seen else known.vectors[place[name]] for name in names])
    who = tuple(named.person.get(name) or (name if name in seen else class_of(known, place[name])) for name in names)
    return Listed(placed(named, names), vectors, names, who, named.fold, named.role, named.group)


class Either(image_names.Files):
    """Whether a name is an id of the run's data, or of a file below one of the folders."""

    def __init__(self, ids: Sequence[str], folders: Sequence[Path]):
        super().__init__(folders)
        self.ids = frozenset(ids)

    def __contains__(self, name: object) -> bool:
        return name in self.ids or super().__contains__(name)


def renamed(pairs: Named, names: Mapping[str, str]) -> Named:
    """The same pairs, each image by the name that is given for its own."""
    first, second = (tuple(names[name] for name in side) for side in (pairs.first, pairs.second))
    return pairs._replace(first=first, second=second, person={names[n]: who for n, who in pairs.person.items()})


def class_of(known: Embeddings, place: int) -> str:
    return known.classes[int(known.labels[place])]


def dealt(known: Embeddings, split: str, folds: int, seed: int) -> Listed:
    """Pairs within folds of a part's classes."""
    part = known.part(split)
    pairs, fold_T = draw_folds(part.labels, folds=folds, seed=seed)
    who = tuple(class_of(part, i) for i in range(len(part)))
    return Listed(pairs, part.vectors, part.ids, who, fold_T)


def drawn_together(listed: Listed, known: Embeddings) -> Tensor:
    """Units of the intervals: people (classes) where none was trained on, else images."""
    trained = {class_of(known, i) for i in (known.split == 0).nonzero()[:, 0].tolist()}
    return units(numbered(listed.who), not trained & set(listed.who))


def numbered(names: Sequence[str]) -> Tensor:
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([place[name] for name in names], dtype=torch.int64)


def by_folds(listed: Listed, score_T: Tensor) -> dict[str, object]:
    """The accuracy by folds, with its standard error and each fold's own."""
    if listed.fold is None:
        return {}
    folds = folded(listed.pairs, score_T, listed.fold)
    return {"fold_accuracy": asdict(folds.score) | {"standard_error": folds.error, "folds": list(folds.accuracy)}}


def notes(listed: Listed, known: Embeddings) -> list[str]:
    """What makes the scores of these pairs mean less than they seem to."""
    sentences, (first, second, same) = [], listed.pairs
    trained = set(known.part("train").ids)
    seen_N = torch.tensor([name in trained for name in listed.names])
    if n := int((seen_N[first] | seen_N[second]).sum()):
        sentences.append(f"{n:,} of the {len(same):,} pairs hold images that the run was trained on")
    if listed.fold is not None and (shared := in_two_folds(listed)):
        sentences.append(
            f"{len(shared):,} people or classes are in more than one fold, the first is {shared[0]!r}: the folds are "
            "not independent, and their standard error is too small"
        )
    return sentences


def in_two_folds(listed: Listed) -> list[str]:
    """Who stands in pairs of several folds."""
    assert listed.fold is not None
    place: dict[str, int] = {}
    sides: Iterable[Tensor] = listed.pairs[:2]
    stands = ((listed.who[i], f) for side in sides for i, f in zip(side.tolist(), listed.fold.tolist(), strict=True))
    return list(dict.fromkeys(who for who, fold in stands if place.setdefault(who, fold) != fold))
