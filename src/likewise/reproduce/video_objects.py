"""JoseVillagranE/SiameseNetworks: what a video follows, to a plane, by mined triplets; and what the split hides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from likewise import spec
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.build import load_images
from likewise.experiment.recipe import Recipe
from likewise.metrics.clustering import silhouette
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, kept, span
from likewise.reproduce.video_measures import (
    BACKGROUND,
    SCORES,
    SIDE,
    Distances,
    away,
    judged,
    pixels,
    scale,
    silhouette_over_all,
)
from likewise.reproduce.video_trainings import (
    FIRST,
    HONEST,
    NETWORKS,
    NEW,
    PARTS,
    SEEDS,
    divided,
    learned,
    respelled,
    seeds,
    tried,
    untrained,
)
from likewise.viz import plots
from likewise.viz.plots import Cloud
from likewise.viz.plots.style import INK

__all__ = ["PICKS", "run"]

# Mean silhouettes of their training pictures, read off their plots: of 3 videos, of 10.
THEIRS = {"Small": (0.348, 0.058), "AlexNet": (0.134, 0.235)}
CHANGED = {HONEST: "a gap changes the mean", NEW: "a video never seen"}
GRID = ((3e-5, 1.0), (1e-4, 1.0), (3e-4, 1.0), (1e-4, 0.2))  # learning rate, margin
PICKS = {"hardest": "hard", "random-hard": "random-hard", "semi-hard": "semihard"}
SHOWN = 8  # crops of a video
# What may be said of the videos that were had.
ABOUT: dict[tuple[str, ...], str] = {
    ("Crossing", "DragonBaby", "Human3"): (
        "Its videos, TLP, could not be had. Ours are three sequences of OTB, with 432 frames where its first three "
        "have 24,511: every tenth frame would leave 44 crops, so every second one is taken. The figures of the two "
        "projects are therefore not of the same pictures, and its ten videos have no counterpart here."
    )
}
FROM_SCRATCH = [
    "No file of ImageNet weights was at hand, so AlexNet is trained from scratch; with torchvision's file it is "
    "`likewise train video-alexnet weights=alexnet-owt-7be5be79.pth`."
]


def run(experiment: Experiment) -> Path:
    """Train what is missing and write the section. Errors: see `reproduce`."""
    main = {parts: {name: seeds(experiment, name, parts) for name in NETWORKS} for parts in PARTS}
    if not all(main[FIRST].values()):
        raise ValueError(f"{experiment.folder} lacks trainings; run `likewise reproduce video-objects` first")
    images = {
        parts: load_images(divided(experiment.recipe("video_small"), parts))
        for parts in PARTS
        if all(main[parts].values())
    }
    section = Section("video-objects", experiment.folder)
    section.say(*introduction(experiment, images[FIRST]))
    section.figure("crops", crops(images[FIRST]), "Crops of each video, from its beginning to its end")
    of_settings(section, experiment)
    of_their_measure(section, experiment, main[FIRST])
    of_splits(section, images, main)
    of_picks(section, experiment)
    section.say(*slips())
    return section.write()


def introduction(experiment: Experiment, images: Images) -> list[str]:
    recipe = experiment.recipe("video_small")
    counts = {part: len(images.part(part)) for part in ("train", "test")}
    every = spec.parse(recipe.data)[1].get("every", 10)
    return [
        "## Video objects",
        "After JoseVillagranE/SiameseNetworks: every tenth frame of a tracking benchmark's videos, cut to the box of "
        "what is followed and resized to 200 x 200; a class is a video. Two networks map a crop to a point of the "
        "plane: *Small* (32@5, 64@5, 64, 32 with PReLU) and *AlexNet*. Triplet loss on squared distances, negatives "
        f"picked within the batch, {recipe.epochs} epochs. The first 90 % of a video are for training, its end for "
        "validation.",
        f"Ours: {len(images.classes)} videos ({', '.join(images.classes)}), one frame in {every}, {counts['train']} "
        f"crops for training and {counts['test']} held out, {len(images.skipped)} left out. "
        + ABOUT.get(images.classes, ""),
        *FROM_SCRATCH[: not experiment.recipe("video_alexnet").weights],
    ]


def crops(images: Images) -> Any:
    at, titles = [], []
    for c, name in enumerate(images.classes):
        of_c = (images.labels == c).nonzero()[:, 0]
        at += of_c[torch.linspace(0, len(of_c) - 1, SHOWN).long()].tolist()
        titles += [name, *[""] * (SHOWN - 1)]
    return plots.batch_grid(images.batch(at), titles, columns=SHOWN, side=0.8)


def spans(trainings: Sequence[Embeddings], names: Sequence[str]) -> list[str]:
    found = [judged(one) for one in trainings]
    return [span([one[name] for one in found]) if all(name in one for one in found) else "–" for name in names]


# The settings.


def of_settings(section: Section, experiment: Experiment) -> None:
    """What every setting reached on the validation crops."""
    rows = []
    for name, recipe in NETWORKS.items():
        for lr, margin in GRID:
            found = tried(experiment, name, experiment.recipe(recipe), lr, margin)
            if found is not None:
                rows.append([name, f"{lr:g}", f"{margin:g}", *spans([found], ("train", *SCORES))])
    if not rows:
        return
    section.say("### Settings")
    section.say(
        "Optimizer, rate, batch and margin of its figures are not recorded. Ours are Adam and batches of 16 triplets, "
        "which were set, and the rate and margin with the highest silhouette on validation crops: 80 to 90 % of each "
        "video, after training on the first 70 %. The last tenth was not looked at; of the videos that are held out "
        "whole further down, the rest was. Seed 0."
    )
    section.rows(["network", "lr", "margin", "silhouette, train", *validation_heads()], rows)


def validation_heads() -> list[str]:
    return [f"{score}, validation" for score in SCORES]


# Their measure.


def of_their_measure(section: Section, experiment: Experiment, main: Mapping[str, Sequence[Embeddings]]) -> None:
    before = {name: untrained(experiment, name) for name in NETWORKS}
    section.say("### Their measure")
    section.say(
        "The mean silhouette of the training crops, in [-1, 1]: how much nearer a crop is to its own video than to the "
        f"nearest other one. Theirs is of one training; ours is the mean (least – most) over {SEEDS} seeds, as they "
        "count it, where a crop is one of its own neighbours, and as it is defined."
    )
    times = kept(experiment.folder / "seconds.json")
    rows = []
    for name, trainings in main.items():
        trains = [one.part("train") for one in trainings]
        counted = span([float(silhouette_over_all(one.vectors, one.labels).mean()) for one in trains])
        theirs = [f"{value:.3f}" for value in THEIRS[name]]
        seconds = f"{times[f'{FIRST}-{name}-seed0']:.0f}"
        rows.append([name, *theirs, *spans([before[name]], ["train"]), counted, *spans(trainings, ["train"]), seconds])
    head = [
        "network",
        "theirs, 3 videos",
        "theirs, 10 videos",
        "ours, untrained",
        "ours, as they count",
        "ours, as defined",
        "CPU s a training",
    ]
    section.rows(head, rows)
    section.say(verdict(main), *easier(before))
    section.say("```sh\n" + "\n".join(map(experiment.command, NETWORKS.values())) + "\n```")
    section.figure("maps", maps(before, main), "Each video's crops before and after training, seed 0; axes differ")
    caption = "Silhouette of every training crop in the order of the videos, seed 0; dashed: the means"
    section.figure("silhouettes", in_order(main), caption)


def verdict(main: Mapping[str, Sequence[Embeddings]]) -> str:
    """Which network is ahead, seed by seed."""
    small, alexnet = ([judged(one)["train"] for one in main[name]] for name in NETWORKS)
    ahead = [a - b for a, b in zip(small, alexnet, strict=True)]
    by_seed = ", ".join(f"{d:+.3f}" for d in ahead)
    steady = len({d > 0 for d in ahead}) == 1
    said = "the same network is ahead with every seed" if steady else "which network is ahead depends on the seed"
    three, ten = (THEIRS["Small"][i] - THEIRS["AlexNet"][i] for i in range(2))
    return (
        f"*Small* less *AlexNet*: theirs {three:+.3f} with 3 videos and {ten:+.3f} with 10, one training each; ours "
        f"{by_seed}: {said}."
    )


def easier(before: Mapping[str, Embeddings]) -> list[str]:
    """What an untrained network already has, where that is more than theirs had after training."""
    said = [
        f"an untrained {name} has {value:.3f} on ours, where a trained one has {THEIRS[name][0]:.3f} on theirs"
        for name in NETWORKS
        if (value := judged(before[name])["train"]) > THEIRS[name][0]
    ]
    return [f"These videos are easier to part than its own: {', '.join(said)}."] if said else []


def maps(before: Mapping[str, Embeddings], main: Mapping[str, Sequence[Embeddings]]) -> Any:
    """A network is a row: training crops before and after, held-out ones before and after."""
    panels = {}
    for name, trainings in main.items():
        for said, part in (("train", "train"), ("held out", "test")):
            for when, found in (("before", before[name]), ("after", trainings[0])):
                panels[f"{name}, {said}, {when}"] = cloud(found.part(part))
    return plots.maps(panels, columns=4, side=2.2, shared=False, names=False)


def in_order(main: Mapping[str, Sequence[Embeddings]]) -> Any:
    """Both networks on one plot, the first seed, training crops."""
    trains = {name: trainings[0].part("train") for name, trainings in main.items()}
    values = {name: silhouette(one.vectors, one.labels).tolist() for name, one in trains.items()}
    one = next(iter(trains.values()))
    starts = ((one.labels.diff() != 0).nonzero()[:, 0] + 1).tolist()
    figure = plots.silhouette_sequence(values, starts=starts)
    for start in (0, *starts):
        figure.axes[0].annotate(
            one.classes[one.labels[start]], (start, 0), xycoords=("data", "axes fraction"),
            xytext=(4, 4), textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    return figure


# The split.


def of_splits(
    section: Section, images: Mapping[str, Images], main: Mapping[str, Mapping[str, Sequence[Embeddings]]]
) -> None:
    section.say("### What the split does")
    plain = {parts: pixels(pictures) for parts, pictures in images.items()}
    section.say(
        "The end of a video asks whether a network knows that video again, and its first frames lie next to frames "
        "that were trained on; a gap leaves these out; a video never seen asks whether it learned to tell objects. "
        f"*Away* is how far a held-out crop is from the nearest training crop, in grey levels of 255 at {SIDE} x "
        f"{SIDE} pixels: of the same video, and of any where the video is new. *Pixels* is no network, but those "
        "pixels themselves. Crops of new videos, and their silhouettes, are measured among all crops.",
        told_of_distances(scale(plain[FIRST])),
    )
    rows = []
    for parts, own in plain.items():
        counts = [str(len(own.part(part))) for part in ("train", "test")]
        begin = [PARTS[parts], *counts, f"{away(own):.1f}"]
        for name, trainings in ({"pixels": [own]} | dict(main[parts])).items():
            rows.append([*begin, name, *spans(trainings, ("train", *SCORES))])
            begin = ["", "", "", ""]
    head = ["held out", "trained on", "crops held out", "away", "network", "silhouette, train", *SCORES]
    section.rows(head, rows)
    section.say(told_of_splits(main), *told_of_new(main, plain))
    if NEW in images:
        names = ", ".join(images[NEW].classes[c] for c in images[NEW].part("test").labels.unique().tolist())
        section.figure("new", all_crops(main[NEW]), f"All crops, where {names} was never seen in training; seed 0")


def all_crops(of: Mapping[str, Sequence[Embeddings]]) -> Any:
    panels = {name: cloud(trainings[0]) for name, trainings in of.items()}
    return plots.maps(panels, columns=2, side=2.6, shared=False, names=False)


def cloud(found: Embeddings) -> Cloud:
    return Cloud(found.vectors.numpy(), found.labels.numpy(), found.classes)


def told_of_distances(apart: Distances) -> str:
    return (
        f"For scale: a crop and the next one of its video are {apart.following:.0f} apart, any two of a video "
        f"{apart.same:.0f}, two of different videos {apart.different:.0f}. A test part drawn at random among all "
        f"frames would be {apart.random:.1f} away."
    )


def told_of_splits(main: Mapping[str, Mapping[str, Sequence[Embeddings]]]) -> str:
    """What a gap and a new video change in the silhouette of held-out crops."""
    said = []
    for parts, what in CHANGED.items():
        if all(main[parts].values()):
            changes = [
                f"{mean_of(main[parts][name], 'silhouette') - mean_of(main[FIRST][name], 'silhouette'):+.3f} ({name})"
                for name in NETWORKS
            ]
            said.append(f"{what} by {', '.join(changes)}")
    return f"In the silhouette of held-out crops, {'; '.join(said)}." if said else ""


def told_of_new(main: Mapping[str, Mapping[str, Sequence[Embeddings]]], plain: Mapping[str, Embeddings]) -> list[str]:
    """Whether a network is ahead of the pixels where it saw nothing of the video."""
    if NEW not in plain:
        return []
    own, found = judged(plain[NEW])["map@r"], {name: mean_of(main[NEW][name], "map@r") for name in NETWORKS}
    figures = ", ".join(f"{value:.3f} ({name})" for name, value in found.items())
    verdict = "no network is ahead of them" if own > max(found.values()) else "a network is ahead of them"
    return [f"Of a video never seen, the pixels themselves find {own:.3f} in map@r, against {figures}: {verdict}."]


def mean_of(trainings: Sequence[Embeddings], name: str) -> float:
    return mean(judged(one)[name] for one in trainings)


# The picks.


def of_picks(section: Section, experiment: Experiment) -> None:
    found = [(label, name, one) for name in NETWORKS for label, one in picked(experiment, name) if one is not None]
    if not found:
        return
    section.say("### Which triplets")
    section.say(
        "Every anchor has a positive of its own, and its negative is picked among those of the batch: the nearest "
        "(hardest), one drawn among those within the margin (random-hard), or all that are farther than the positive "
        "and within the margin (semi-hard). Trained up to the gap, seed 0. *Labels not looked at* is what their pick "
        "does: a negative may be of the anchor's own video.",
        f"One training a row. The {SEEDS} seeds of random-hard alone spread the silhouette of training crops by "
        f"{', '.join(f'{apart(experiment, name):.3f} ({name})' for name in NETWORKS)}, which any difference has to "
        "exceed.",
    )
    rows = [[name, *label, *spans([one], ("train", *SCORES))] for label, name, one in found]
    section.rows(["network", "pick", "positives", "negatives", "silhouette, train", *SCORES], rows)


def apart(experiment: Experiment, name: str) -> float:
    """How far the seeds of one setting lie from one another."""
    found = [judged(one)["train"] for one in seeds(experiment, name, HONEST)]
    return max(found) - min(found)


def picked(experiment: Experiment, name: str) -> list[tuple[tuple[str, str, str], Embeddings | None]]:
    """The picks by both networks; other positives and negatives, and a blind pick, by the small one."""
    base = divided(experiment.recipe(NETWORKS[name]), HONEST)
    own = spec.parse(base.loss)[1]["pick"]
    plain = ("random frame", "other video")
    recipes = {(said, *plain): base.replace(loss=respelled(base.loss, pick=pick)) for said, pick in PICKS.items()}
    if name == next(iter(NETWORKS)):
        recipes |= others(base, own)
    return [
        (label, learned(experiment, f"{HONEST}-{name}-seed0" if recipe == base else spelled(name, label), recipe))
        for label, recipe in recipes.items()
    ]


def others(base: Recipe, own: str) -> dict[tuple[str, str, str], Recipe]:
    behind = base.replace(data=respelled(base.data, background=True), sampler=respelled(base.sampler, negative="last"))
    return {
        (own, "next frame", "other video"): base.replace(sampler=respelled(base.sampler, positive="next")),
        (own, "random frame", BACKGROUND): behind,
        ("hardest", "random frame", "labels not looked at"): base.replace(
            loss=respelled(base.loss, pick="hard", blind=True)
        ),
    }


def spelled(name: str, label: Sequence[str]) -> str:
    return "-".join([HONEST, name, *label]).replace(" ", "_")


def slips() -> list[str]:
    lines = [
        "negatives are picked without a look at the labels, so that with three videos about a third of the candidates "
        "are of the anchor's own class;",
        "how hard a negative is compares its squared distance with the positive's plain one;",
        "the default word for positives, `Sequential`, is none of the two that are known, and the positive is then the "
        "anchor itself;",
        "the last frame of a video takes the first of the next video as its positive, since a text is compared with a "
        "number;",
        "a background negative is the whole frame, with the object in it; here it is a piece that does not touch the "
        "box;",
        "frames are matched to boxes by their place in an unsorted list, and frames without the target are kept; here "
        "they are matched by number, and dropped and counted;",
        "`normalize` scales every coordinate over the batch, not every embedding;",
        "the silhouette divides by the size of the class, not by that less one, which flatters small classes;",
        "AlexNet ends in 1,000 numbers where the plot expects two;",
        "the validation part is the end of the very videos, and says nothing of an object that was not seen.",
    ]
    return ["### What stood in the way", "Said kindly, and all of it easy to miss:\n\n- " + "\n- ".join(lines)]
