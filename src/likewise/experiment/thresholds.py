"""What a run's validation pairs choose: its threshold and its calibration; the pairs that are kept with the run."""

from typing import NamedTuple

import torch

from likewise import spec
from likewise.evaluate import Embeddings, Threshold, draw_pairs, pair_files, pick_calibration, pick_threshold
from likewise.evaluate.error_rates import LEVELS, ErrorRates, at_levels, at_threshold, members_of
from likewise.evaluate.pair_files import Named, placed
from likewise.evaluate.resampling import units
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.metrics import calibration
from likewise.metrics.calibration import Calibration
from likewise.metrics.sampled_pairs import Pairs, even, similarities
from likewise.metrics.verification import aim
from likewise.safety.bounds import Record

__all__ = ["Chosen", "choices", "is_closed_set", "kept_pairs", "pairs_of", "told", "validation_thresholds"]


def is_closed_set(embeddings: Embeddings, split: str) -> bool:
    """Whether the classes of a part were trained on (closed set)."""
    return bool(torch.isin(embeddings.part(split).labels, embeddings.part("train").labels).any())


def pairs_of(run: Run, embeddings: Embeddings, seed: int) -> dict[str, Pairs]:
    """The pairs of the validation and the test part that the run's scores are of: as kept, else drawn and kept.

    A part without pairs of both kinds is left out. Errors: ValueError where images of kept pairs are gone.
    """
    if run.pairs.exists():
        listed = pair_files.read(run.pairs)
        return {
            split: part_pairs
            for split in ("val", "test")
            if (part_pairs := _of_part(run, listed, embeddings.part(split), split))
        }
    parts = {split: part for split in ("val", "test") if len(part := embeddings.part(split))}
    drawn = {split: (part, draw_pairs(part.labels, seed=seed)) for split, part in parts.items()}
    some = {split: (part, pairs) for split, (part, pairs) in drawn.items() if len(pairs.same)}
    if some:
        pair_files.save(run.pairs, some)
    return {split: pairs for split, (_, pairs) in some.items()}


def kept_pairs(run: Run, part: Embeddings, split: str) -> Pairs | None:
    """The kept pairs of a part, None where there are none. Errors: ValueError where images of them are gone."""
    return _of_part(run, pair_files.read(run.pairs), part, split) if run.pairs.exists() else None


def _of_part(run: Run, listed: Named, part: Embeddings, split: str) -> Pairs | None:
    named = pair_files.part(listed, split)
    try:
        return placed(named, part.ids) if len(named.same) else None
    except ValueError as error:
        raise ValueError(f"{error}; delete {run.pairs} to draw other pairs") from None


def choices(
    embeddings: Embeddings, pairs: Pairs | None, recipe: Recipe, *, open_set: bool, target: str = "accuracy"
) -> tuple[Threshold, Calibration] | tuple[None, None]:
    """What the validation pairs choose: threshold and probability; nothing where there are none."""
    val = embeddings.part("val")
    if pairs is None:
        if target != "accuracy":
            raise ValueError(f"no threshold for {target}: the validation part has no pairs; train with val=0.1")
        return None, None
    sim, seed = recipe.sim, recipe.split_seed
    chosen = pick_threshold(val, target=target, sim=sim, open_set=open_set, pairs=pairs, seed=seed)
    return chosen, pick_calibration(val, sim=sim, open_set=open_set, pairs=pairs, seed=seed)


def told(fit: Calibration | None, pairs: Pairs | None) -> dict[str, object] | None:
    """A calibration as the model and metrics.json keep it, with the number of pairs it was fitted to."""
    return {**calibration.kept(fit), "n": len(even(pairs.same))} if fit and pairs else None


class Chosen(NamedTuple):
    """A threshold of the validation pairs, and the error rates that it has on them."""

    at: str
    threshold: float
    validation: ErrorRates


def validation_thresholds(
    embeddings: Embeddings, pairs: Pairs | None, sim: str, *, saved: Record | None = None, target: str = ""
) -> list[Chosen]:
    """The thresholds of levels of the FAR on validation pairs; none where there are no such pairs.

    saved: the model's own threshold, which comes first. target: a level such as far=0.03 that comes before it. No level
    is refused: what its threshold is worth is said by the interval of its FAR. Errors: ValueError for a level that
    no validation pairs can be asked for.
    """
    if pairs is None:
        if target:
            raise ValueError(f"no threshold for {target}: the validation part has no pairs; train with val=0.1")
        return []
    val = embeddings.part("val")
    score_T = similarities(val.vectors, pairs, sim=spec.bind("sim", sim))
    levels = sorted({*LEVELS, *([aim(target)[1]] if target else [])}, reverse=True)
    members = members_of(pairs, units(val.labels, not is_closed_set(embeddings, "val")))
    at_each = at_levels(score_T, pairs.same, levels, members)
    chosen = [Chosen(name, one.threshold, one) for name, one in at_each.items()]
    if saved:
        value = saved["value"]
        own = at_threshold(score_T, pairs.same, value, members)
        chosen.insert(0, Chosen(f"threshold for {saved['target']}", value, own))
    return sorted(chosen, key=lambda one: one.at != (f"far={aim(target)[1]:g}" if target else ""))
