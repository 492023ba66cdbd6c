"""The causes, one function each: from a case to what happens and what to change, or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

from likewise import spec
from likewise.doctor.observations import AT_COLLAPSE, PATIENCE, TOLD_APART, Case, Look, Setup, inner

__all__ = ["CAUSES", "Finding", "diagnose"]

UNRELATED = 3.0  # standard errors
BLOWN_UP = 2.0  # growth of the weights; 1.0 to 1.2 where all is well
MOST = 0.5  # of the batches, of the embedding
FEW = 4  # images a class with which batch-hard gets off the ground where it does not with 12
HINGES = {"triplet": 0.2, "contrastive": 0.7}  # the margin that works, as a share of the largest in reach


@dataclass(frozen=True)
class Finding:
    """A cause by name, what it does, and what to change."""

    name: str
    happening: str
    change: str

    def __str__(self) -> str:
        return f"{self.happening}; {self.change}"


Said = tuple[str, str] | None  # what happens, what to change


def diagnose(looks: Sequence[Look], setup: Setup, *, patience: int = PATIENCE) -> list[Finding]:
    """What is wrong: a margin out of reach, and the first cause that explains why nothing is learned. Mostly nothing.

    looks: in order; there may be none, for what can be said before training. patience: how many looks in a row must
    show a symptom; 1 for a training that has ended and will not get over it.
    """
    case = Case(setup, looks, looks[-patience:] if len(looks) >= patience else [])
    margin = margin_out_of_reach(setup)
    said = ((name, rule(case)) for name, rule in CAUSES.items())
    first = next(((name, found) for name, found in said if found), None)
    return [Finding(name, *found) for name, found in (("margin-out-of-reach", margin), first or ("", None)) if found]


def margin_out_of_reach(setup: Setup) -> Said:
    limit = reach(setup)
    for name, settings in inner(setup.loss):
        margin = settings.get("margin")
        if name in HINGES and margin and limit and margin > limit and not settings.get("soft"):
            return (
                f"margin={margin:g} cannot be reached: in {setup.sim} {setup.classes or 2} classes of normalised "
                f"embeddings are at most {limit:.3g} apart, so solved pairs go on pulling as hard as wrong ones",
                f"lower margin to {limit * HINGES[name]:.1g}",
            )
    return None


def reach(setup: Setup) -> float | None:
    """How much more alike same pairs can be than every different pair: C classes at the corners of a simplex."""
    cosine = 1 + 1 / (setup.classes - 1) if setup.classes and setup.classes > 1 else 2.0
    bounds = {"dot": cosine, "sqeuclidean": 2 * cosine, "euclidean": sqrt(2 * cosine)} if setup.normalize else {}
    return ({"cosine": cosine} | bounds).get(setup.sim)


def not_finite(case: Case) -> Said:
    if not case.looks or (isfinite(case.looks[-1].loss) and isfinite(case.looks[-1].spread)):
        return None
    happening = f"at step {case.looks[-1].step} the loss or the embedding is no longer a number, nor will it be again"
    return happening, f"start anew with clip=1.0, and {lower_lr(case.setup)}"


def one_class_batches(case: Case) -> Said:
    if not case.looks or case.looks[-1].one_class <= MOST or not case.setup.compares_batch:
        return None
    happening = f"{case.looks[-1].one_class:.0%} of the batches hold one class only, so nothing is ever pushed apart"
    return (
        happening,
        f"draw several classes a batch: sampler='pk(classes={min(10, case.setup.classes or 10)}, images=12)'",
    )


def no_same_pairs(case: Case) -> Said:
    if not case.looks or case.looks[-1].no_same <= MOST or not case.setup.compares_batch:
        return None
    happening = (
        f"{case.looks[-1].no_same:.0%} of the batches hold no two pictures of a class, so nothing is pulled together"
    )
    return happening, "draw several pictures a class: sampler='pk(classes=32, images=4)'"


def dead_relu(case: Case) -> Said:
    if not case.lasting(lambda look: look.dead > MOST and look.at_collapse()):
        return None
    happening = (
        f"{case.recent[-1].dead:.0%} of the embedding is 0 for every picture: the ReLUs that it ends in are dead"
    )
    change = "let it end in a linear layer, with dim=64 in place of dim=0 or with mlp(last_activation=False)"
    return happening, change + (f", and {lower_lr(case.setup)}" if case.setup.high_lr else "")


def lr_too_high(case: Case) -> Said:
    growth = (case.recent[-1].growth or 1.0) if case.recent else 1.0
    blown_up = growth >= BLOWN_UP and not unrelated(case)  # learning by heart takes long weights too
    if not (lost(case) or unlearned(case)) or not (blown_up or case.setup.high_lr):
        return None
    grown = f", and the weights have grown to {growth:.1f} times their length" if blown_up else ""
    easier = ", or use pick='semihard' before 'hard'" if case.setup.hardest else ""
    return stands(case) + grown, lower_lr(case.setup) + easier


def wrong_labels(case: Case) -> Said:
    if not unrelated(case) or not case.lasting(Look.suspicious):
        return None
    where = "" if case.lasting(Look.guessing) else " outside the training part"
    return (
        f"pairs of one class are no more alike than others{where}, nor do neighbours in pixels share labels",
        "check that the labels belong to the pictures: a shifted or shuffled list does this",
    )


def hard_pairs(case: Case) -> Said:
    if not case.setup.hardest or not case.collapsed():
        return None
    name, settings = spec.parse(case.setup.sampler or "pk")
    many = name == "pk" and settings.get("images", FEW + 1) > FEW
    fewer = f", or fewer images a class: sampler='pk(classes=10, images={FEW})'" if many else ""
    return f"{stands(case)}, as the hardest pairs make an untrained network do", f"use pick='semihard' first{fewer}"


def not_learning(case: Case) -> Said:
    if not lost(case):
        return None
    return stands(
        case
    ), f"{lower_lr(case.setup)}, then try more classes a batch and a network with normalisation layers"


def lr_too_low(case: Case) -> Said:
    """Nothing has moved since the first look, and that was not good enough to stay."""
    if len(case.looks) <= PATIENCE or not case.lasting(lambda look: unchanged(look, case.looks[0])):
        return None
    setup = case.setup
    happening = f"after {case.looks[-1].epoch:.3g} epochs the embedding is still what it was before training"
    higher = max(setup.usual_lr or 0.0, 10 * setup.lr)
    return happening, f"raise lr from {setup.lr:g} to {higher:.1g}, and see that the weights are not frozen"


def memorised(case: Case) -> Said:
    if not case.lasting(lambda look: look.fails_validation() and (look.auc or 0) > TOLD_APART):
        return None
    last = case.recent[-1]
    happening = f"same pairs are told apart in training (AUC {last.auc:.2f}) and not in validation ({last.val_auc:.2f})"
    return happening, "check the labels of the validation part, then augment, or take a smaller network"


# In this order: each explains away those behind it. Without pairs nothing is learned, whatever the learning rate.
CAUSES: dict[str, Callable[[Case], Said]] = {
    "not-finite": not_finite,
    "one-class-batches": one_class_batches,
    "no-same-pairs": no_same_pairs,
    "dead-relu": dead_relu,
    "lr-too-high": lr_too_high,
    "wrong-labels": wrong_labels,
    "hard-pairs": hard_pairs,
    "not-learning": not_learning,
    "lr-too-low": lr_too_low,
    "memorised": memorised,
}


def lost(case: Case) -> bool:
    """It collapsed, or it guesses and its loss is no better than a guess."""
    return case.collapsed() or (case.lasting(Look.guessing) and case.lasting(Look.at_collapse))


def unrelated(case: Case) -> bool:
    """Labels were asked whether they belong to the pictures, and do not seem to."""
    related = case.looks[-1].related if case.looks else None
    return related is not None and related < UNRELATED


def unlearned(case: Case) -> bool:
    """A loss that reads labels has left pairs no better apart than they were at the first look."""
    before = case.looks[0].auc if case.looks else None
    if before is None:
        return False
    later = case.lasting(lambda look: look.step > case.looks[0].step and look.loss_at_collapse is not None)
    return later and case.lasting(lambda look: look.auc is not None and look.auc <= min(before, TOLD_APART))


def unchanged(look: Look, first: Look) -> bool:
    measures = ((look.spread, first.spread), (look.rank, first.rank), (look.auc or 0, first.auc or 0))
    return (look.auc or 0) < TOLD_APART and all(abs(now - then) <= 0.01 * abs(then) for now, then in measures)


def stands(case: Case) -> str:
    """`the loss has stood at 0.2000 = the margin since epoch 3: all pictures are embedded at one point`."""
    first, last = case.recent[0], case.recent[-1]
    at = f"{last.loss:.4f}{level(case.setup, last)}"
    still = first is not last and case.lasting(lambda look: near(look.loss, last.loss))
    so = f"has stood at {at} since epoch {first.epoch:.3g}" if still else f"is {at} after epoch {last.epoch:.3g}"
    return f"the loss {so}: {placed(case)}"


def near(value: float, other: float) -> bool:
    return abs(value - other) <= (1 - AT_COLLAPSE) * abs(other)


def placed(case: Case) -> str:
    if case.collapsed():
        return "all pictures are embedded at one point"
    than = "by guessing" if case.lasting(Look.guessing) else f"before training, {case.looks[0].auc:.2f}"
    return f"pairs are told apart no better (AUC {case.recent[-1].auc:.2f}) than {than}"


def level(setup: Setup, look: Look) -> str:
    """What the loss stands at: the margin, or what an embedding reaches that knows nothing."""
    if look.loss_at_collapse is None:
        return ""
    hinge = any(name == "triplet" and not settings.get("soft") for name, settings in inner(setup.loss))
    return (
        " = the margin"
        if hinge and near(look.loss, look.loss_at_collapse)
        else f" (without any learning: {look.loss_at_collapse:.4f})"
    )


def lower_lr(setup: Setup) -> str:
    return f"lower lr from {setup.lr:g} to {min(setup.usual_lr or setup.lr, setup.lr / 10):.1g}"
