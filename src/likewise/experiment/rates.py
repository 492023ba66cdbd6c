"""Error rates of pairs as a run writes them: at thresholds of validation pairs, and by group of the test images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from torch import Tensor

from likewise import spec
from likewise.evaluate import Embeddings
from likewise.evaluate.error_rates import ErrorRates, Members, at_levels, at_threshold, members_of
from likewise.evaluate.protocol import Sample, group_names
from likewise.evaluate.resampling import units
from likewise.evaluate.subgroups import ScoredPairs, Slice, by_group
from likewise.experiment.records import ThresholdRecord
from likewise.experiment.thresholds import Chosen, is_closed_set, validation_thresholds
from likewise.metrics.intervals import Score
from likewise.metrics.sampled_pairs import Pairs, similarities
from likewise.safety.bounds import Record

__all__ = ["held_out_rates", "own_rates", "rates", "written"]


def held_out_rates(
    embeddings: Embeddings, pairs: Mapping[str, Pairs], sim: str, threshold: ThresholdRecord | None
) -> dict[str, object]:
    """FAR and FRR of the test pairs at thresholds of the validation pairs; by group, where groups are known.

    Empty where either part has no pairs. threshold: the model's; without one there are no rates by group.
    """
    if "val" not in pairs or "test" not in pairs:
        return {}
    test, (first_T, second_T, same_T) = embeddings.part("test"), pairs["test"]
    score_T = similarities(test.vectors, pairs["test"], sim=spec.bind("sim", sim))
    chosen = validation_thresholds(embeddings, pairs["val"], sim, saved=threshold)
    units_N = units(test.labels, not is_closed_set(embeddings, "test"))
    record: dict[str, object] = {"error_rates": rates(chosen, score_T, same_T, members_of(pairs["test"], units_N))}
    if threshold is None or test.groups is None:
        return record
    samples = [
        Sample(name, str(label), group)
        for name, label, group in zip(test.ids, test.labels.tolist(), test.groups, strict=True)
    ]
    sides = zip(first_T.tolist(), second_T.tolist(), strict=True)
    if names := group_names(samples, ((samples[a], samples[b]) for a, b in sides)):
        scored = ScoredPairs(pairs["test"], score_T, test.labels, units_N)
        slices, gaps, more = by_group(scored, names, threshold=threshold["value"], curves=False)
        record["groups"] = [written(one) for one in slices]
        record |= {"gaps": [gap._asdict() for gap in gaps], "further_groups": more}
    return record


def rates(chosen: Sequence[Chosen], score_T: Tensor, same_T: Tensor, members: Members) -> list[dict[str, object]]:
    """FAR and FRR of pairs at thresholds that other pairs, those of validation, have chosen."""
    return [
        record(one.at, at_threshold(score_T, same_T, one.threshold, members))
        | {"validation_far": asdict(one.validation.far)}
        for one in chosen
    ]


def record(at: str, one: ErrorRates) -> dict[str, object]:
    """Error rates at a threshold as they are written."""
    return {"at": at, "threshold": one.threshold, "far": asdict(one.far), "frr": asdict(one.frr)}


def own_rates(score_T: Tensor, same_T: Tensor, threshold: Record, members: Members) -> list[dict[str, object]]:
    """FAR and FRR at the model's threshold, and at levels of the FAR on these pairs themselves."""
    at_each = at_levels(score_T, same_T, members=members)
    if threshold:
        own = at_threshold(score_T, same_T, threshold["value"], members)
        at_each = {f"threshold for {threshold['target']}": own} | at_each
    return [record(name, one) for name, one in at_each.items()]


def written(one: Slice) -> dict[str, object]:
    return {name: asdict(value) if isinstance(value, Score) else value for name, value in one._asdict().items()}
