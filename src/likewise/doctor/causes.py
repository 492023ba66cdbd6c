"""Rules for the causes: each returns the symptom and the remedy, or None."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

from likewise import spec
from likewise.doctor.observations import AT_COLLAPSE, PATIENCE, SEPARATED, Case, Observation, Setup, inner

__all__ = ["CAUSES", "Finding", "diagnose"]

UNRELATED = 3.0  # standard errors
BLOWN_UP = 2.0  # growth of the weight norm; 1.0 to 1.2 in healthy trainings
MOST = 0.5  # share of batches, or of embedding dimensions
FEW = 4  # images per class with which batch-hard starts to learn where it does not with 12
ONE_STEP = 1.5  # steps an epoch
FEW_STEPS = 200  # of a whole training
HINGES = {"triplet": 0.2, "contrastive": 0.7}  # recommended margin, as a share of the largest reachable one


@dataclass(frozen=True)
class Finding:
    """A cause by name, its symptom, and what to change."""

    name: str
    happening: str
    change: str

    def __str__(self) -> str:
        return f"{self.happening}; {self.change}"


Diagnosis = tuple[str, str] | None  # symptom, what to change


def diagnose(observations: Sequence[Observation], setup: Setup, *, patience: int = PATIENCE) -> list[Finding]:
    """Diagnose a training: settings that cannot work, and the first cause that explains why it does not learn.

    observations: in order; empty before training. patience: number of consecutive observations that must show a
    symptom; 1 for a finished training, which cannot recover.
    """
    case = Case(setup, observations, observations[-patience:] if len(observations) >= patience else [])
    settings = (
        ("margin-out-of-reach", margin_out_of_reach(setup)),
        ("lr-zero", lr_zero(case)),
        ("few-steps", few_steps(case)),
    )
    results = ((name, rule(case)) for name, rule in CAUSES.items() if setup.lr)
    first = next(((name, diagnosis) for name, diagnosis in results if diagnosis), None)
    return [Finding(name, *diagnosis) for name, diagnosis in (*settings, first or ("", None)) if diagnosis]


def lr_zero(case: Case) -> Diagnosis:
    if case.setup.lr:
        return None
    return "lr=0, so the weights do not move", f"give lr={case.setup.usual_lr or 1e-3:g}"


def few_steps(case: Case) -> Diagnosis:
    """An epoch is one optimizer step, and the whole training only a few."""
    last, epochs = case.observations[-1] if case.observations else None, case.setup.epochs
    if last is None or not epochs or last.epoch < 1 or last.step > ONE_STEP * last.epoch or epochs >= FEW_STEPS:
        return None
    happening = f"an epoch is one optimizer step, so that epochs={epochs} are only about {epochs} steps"
    batch = f"smaller batches, such as sampler='pk(classes={min(8, case.setup.classes or 8)}, images=4)'"
    return happening, f"give epochs={FEW_STEPS} or more, or {batch}"


def margin_out_of_reach(setup: Setup) -> Diagnosis:
    limit = reach(setup)
    for name, settings in inner(setup.loss):
        margin = settings.get("margin")
        if name in HINGES and margin and limit and margin > limit and not settings.get("soft"):
            return (
                f"margin={margin:g} cannot be reached: in {setup.sim} {setup.classes or 2} classes of normalised "
                f"embeddings are at most {limit:.3g} apart, so solved pairs keep a full loss",
                f"lower margin to {limit * HINGES[name]:.1g}",
            )
    return None


def reach(setup: Setup) -> float | None:
    """Largest possible gap between same-pair and different-pair similarity: C classes at the corners of a simplex."""
    cosine = 1 + 1 / (setup.classes - 1) if setup.classes and setup.classes > 1 else 2.0
    bounds = {"dot": cosine, "sqeuclidean": 2 * cosine, "euclidean": sqrt(2 * cosine)} if setup.normalize else {}
    return ({"cosine": cosine} | bounds).get(setup.sim)


def not_finite(case: Case) -> Diagnosis:
    if not case.observations or (isfinite(case.observations[-1].loss) and isfinite(case.observations[-1].spread)):
        return None
    happening = (
        f"at step {case.observations[-1].step} the loss or the embedding became NaN or infinite, and cannot recover"
    )
    return happening, f"restart with clip=1.0, and {lower_lr(case.setup)}"


def one_class_batches(case: Case) -> Diagnosis:
    if not case.observations or case.observations[-1].one_class <= MOST or not case.setup.compares_batch:
        return None
    happening = f"{case.observations[-1].one_class:.0%} of the batches contain one class only, so no pairs differ"
    return (
        happening,
        f"draw several classes per batch: sampler='pk(classes={min(10, case.setup.classes or 10)}, images=12)'",
    )


def no_same_pairs(case: Case) -> Diagnosis:
    if not case.observations or case.observations[-1].no_same <= MOST or not case.setup.compares_batch:
        return None
    happening = (
        f"{case.observations[-1].no_same:.0%} of the batches contain no two images of a class, so no pairs match"
    )
    return happening, "draw several images per class: sampler='pk(classes=32, images=4)'"


def dead_relu(case: Case) -> Diagnosis:
    if not case.lasting(lambda observation: observation.dead > MOST and observation.at_collapse()):
        return None
    happening = (
        f"{case.recent[-1].dead:.0%} of the embedding dimensions are 0 for every image: "
        "the ReLUs of the last layer are dead"
    )
    change = "end the network in a linear layer: dim=64 instead of dim=0, or mlp(last_activation=False)"
    return happening, change + (f", and {lower_lr(case.setup)}" if case.setup.high_lr else "")


def lr_too_high(case: Case) -> Diagnosis:
    growth = (case.recent[-1].growth or 1.0) if case.recent else 1.0
    blown_up = growth >= BLOWN_UP and not unrelated(case)  # memorising also needs large weights
    if not (lost(case) or unlearned(case)) or not (blown_up or case.setup.high_lr):
        return None
    grown = f", and the weight norm has grown {growth:.1f}-fold" if blown_up else ""
    easier = ", or use pick='semihard' before 'hard'" if case.setup.hardest else ""
    return plateau(case) + grown, lower_lr(case.setup) + easier


def wrong_labels(case: Case) -> Diagnosis:
    if not unrelated(case) or not case.lasting(Observation.suspicious):
        return None
    where = "" if case.lasting(Observation.guessing) else " outside the training part"
    return (
        f"same-class pairs are no more similar than others{where}, and neighbours in pixel space do not share labels",
        "check that the labels match the images: a shifted or shuffled list has this effect",
    )


def hard_pairs(case: Case) -> Diagnosis:
    if not case.setup.hardest or not case.collapsed():
        return None
    name, settings = spec.parse(case.setup.sampler or "pk")
    many = name == "pk" and settings.get("images", FEW + 1) > FEW
    fewer = f", or fewer images per class: sampler='pk(classes=10, images={FEW})'" if many else ""
    return (
        f"{plateau(case)}, a known effect of the hardest pairs on an untrained network",
        f"use pick='semihard' first{fewer}",
    )


def not_learning(case: Case) -> Diagnosis:
    if not lost(case):
        return None
    return plateau(
        case
    ), f"{lower_lr(case.setup)}, then try more classes per batch and a network with normalisation layers"


def lr_too_low(case: Case) -> Diagnosis:
    """The embedding has not changed since the first observation, and does not separate the classes."""
    if len(case.observations) <= PATIENCE or not case.lasting(
        lambda observation: unchanged(observation, case.observations[0])
    ):
        return None
    setup = case.setup
    happening = f"after {case.observations[-1].epoch:.3g} epochs the embedding has not changed since before training"
    higher = max(setup.usual_lr or 0.0, 10 * setup.lr)
    return happening, f"raise lr from {setup.lr:g} to {higher:.1g}, and check that the weights are not frozen"


def memorised(case: Case) -> Diagnosis:
    if not case.lasting(lambda observation: observation.fails_validation() and (observation.auc or 0) > SEPARATED):
        return None
    last = case.recent[-1]
    happening = f"pairs are separated in training (AUC {last.auc:.2f}) but not in validation ({last.val_auc:.2f})"
    return happening, "check the labels of the validation part, then add augmentation, or use a smaller network"


# In order of precedence: each cause explains the symptoms of later ones. Without pairs no learning rate helps.
CAUSES: dict[str, Callable[[Case], Diagnosis]] = {
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
    """The embedding collapsed, or its AUC is at chance level and its loss at the value of a collapse."""
    return case.collapsed() or (case.lasting(Observation.guessing) and case.lasting(Observation.at_collapse))


def unrelated(case: Case) -> bool:
    """The labels were tested against the images and appear unrelated."""
    related = case.observations[-1].related if case.observations else None
    return related is not None and related < UNRELATED


def unlearned(case: Case) -> bool:
    """With a supervised loss, pair AUC has not improved since the first observation."""
    before = case.observations[0].auc if case.observations else None
    if before is None:
        return False
    later = case.lasting(
        lambda observation: observation.step > case.observations[0].step and observation.loss_at_collapse is not None
    )
    return later and case.lasting(
        lambda observation: observation.auc is not None and observation.auc <= min(before, SEPARATED)
    )


def unchanged(observation: Observation, first: Observation) -> bool:
    measures = (
        (observation.spread, first.spread),
        (observation.rank, first.rank),
        (observation.auc or 0, first.auc or 0),
    )
    return (observation.auc or 0) < SEPARATED and all(abs(now - then) <= 0.01 * abs(then) for now, then in measures)


def plateau(case: Case) -> str:
    """`the loss has been 0.2000 = the margin since epoch 3: all images are embedded at one point`."""
    first, last = case.recent[0], case.recent[-1]
    at = f"{last.loss:.4f}{level(case.setup, last)}"
    still = first is not last and case.lasting(lambda observation: near(observation.loss, last.loss))
    so = f"has been {at} since epoch {first.epoch:.3g}" if still else f"is {at} after epoch {last.epoch:.3g}"
    return f"the loss {so}: {embedding_state(case)}"


def near(value: float, other: float) -> bool:
    return abs(value - other) <= (1 - AT_COLLAPSE) * abs(other)


def embedding_state(case: Case) -> str:
    if case.collapsed():
        return "all images are embedded at one point"
    than = "chance" if case.lasting(Observation.guessing) else f"before training, {case.observations[0].auc:.2f}"
    return f"pair AUC ({case.recent[-1].auc:.2f}) is no better than {than}"


def level(setup: Setup, observation: Observation) -> str:
    """Names the level of the loss: the margin, or the loss at collapse."""
    if observation.loss_at_collapse is None:
        return ""
    hinge = any(name == "triplet" and not settings.get("soft") for name, settings in inner(setup.loss))
    return (
        " = the margin"
        if hinge and near(observation.loss, observation.loss_at_collapse)
        else f" (at collapse: {observation.loss_at_collapse:.4f})"
    )


def lower_lr(setup: Setup) -> str:
    return f"lower lr from {setup.lr:g} to {min(setup.usual_lr or setup.lr, setup.lr / 10):.1g}"
