"""JoseVillagranE/SiameseNetworks: tracked objects in the plane, mined triplets, and the effect of the split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import torch

from likewise import spec
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.build import load_images
from likewise.metrics.clustering import silhouette
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, load_json, span
from likewise.reproduce.video_measures import (
    SCORES,
    SIDE,
    Distances,
    away,
    judged,
    pixels,
    scale,
    silhouette_over_all,
    spans,
)
from likewise.reproduce.video_picks import of_picks
from likewise.reproduce.video_trainings import (
    FIRST,
    HONEST,
    NETWORKS,
    NEW,
    PARTS,
    SEEDS,
    divided,
    seeds,
    tried,
    untrained,
)
from likewise.viz import plots
from likewise.viz.plots import Cloud
from likewise.viz.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["run"]

# Mean silhouettes of their training images, read off their plots: of 3 videos, of 10.
THEIRS = {"Small": (0.348, 0.058), "AlexNet": (0.134, 0.235)}
CHANGED = {HONEST: "a gap changes it", NEW: "an unseen video"}
GRID = ((3e-5, 1.0), (1e-4, 1.0), (3e-4, 1.0), (1e-4, 0.2))  # learning rate, margin
SHOWN = 8  # crops of a video
# Notes on the available videos.
ABOUT: dict[tuple[str, ...], str] = {
    ("Crossing", "DragonBaby", "Human3"): (
        "The original's videos (TLP) were not available. Ours are three OTB sequences with 432 frames, where its "
        "first three have 24,511: every tenth frame would leave 44 crops, so we take every second one. The figures "
        "of the two projects are therefore on different images, and its experiment on ten videos has no counterpart "
        "here."
    )
}
FROM_SCRATCH = [
    "No ImageNet weights were available, so AlexNet is trained from scratch; with torchvision's file, run `likewise "
    "train video-alexnet weights=alexnet-owt-7be5be79.pth`."
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
        "After JoseVillagranE/SiameseNetworks: every tenth frame of a tracking benchmark's videos, cropped to the "
        "tracked object's box and resized to 200 x 200; each video is a class. Two networks embed a crop in two "
        "dimensions: *Small* (32@5, 64@5, 64, 32 with PReLU) and *AlexNet*. Triplet loss on squared distances, "
        f"negatives mined within the batch, {recipe.epochs} epochs. The first 90 % of each video is used for "
        "training, the rest for validation.",
        f"Ours: {len(images.classes)} videos ({', '.join(images.classes)}), one frame in {every}, {counts['train']} "
        f"crops for training and {counts['test']} held out, {len(images.skipped)} dropped. "
        + ABOUT.get(images.classes, ""),
        *FROM_SCRATCH[: not experiment.recipe("video_alexnet").weights],
    ]


def crops(images: Images) -> "Figure":
    at, titles = [], []
    for c, name in enumerate(images.classes):
        of_c = (images.labels == c).nonzero()[:, 0]
        at += of_c[torch.linspace(0, len(of_c) - 1, SHOWN).long()].tolist()
        titles += [name, *[""] * (SHOWN - 1)]
    return plots.batch_grid(images.batch(at), titles, columns=SHOWN, side=0.8)


# The settings.


def of_settings(section: Section, experiment: Experiment) -> None:
    """Scores of every setting on the validation crops."""
    rows = []
    for name, recipe in NETWORKS.items():
        for lr, margin in GRID:
            results = tried(experiment, name, experiment.recipe(recipe), lr, margin)
            if results is not None:
                rows.append([name, f"{lr:g}", f"{margin:g}", *spans([results], ("train", *SCORES))])
    if not rows:
        return
    section.say("### Settings")
    section.say(
        "The optimizer, learning rate, batch size and margin behind its figures are not recorded. We fixed Adam and "
        "batches of 16 triplets, and chose the learning rate and margin with the highest silhouette on validation "
        "crops: from 80 to 90 % of each video, after training on the first 70 %. The last tenth was not used; the "
        "earlier frames of the videos that are held out completely further down were. Seed 0."
    )
    section.rows(["network", "lr", "margin", "silhouette, train", *validation_heads()], rows)


def validation_heads() -> list[str]:
    return [f"{score}, validation" for score in SCORES]


# Their measure.


def of_their_measure(section: Section, experiment: Experiment, main: Mapping[str, Sequence[Embeddings]]) -> None:
    before = {name: untrained(experiment, name) for name in NETWORKS}
    section.say("### Their measure")
    section.say(
        "The mean silhouette of the training crops, in [-1, 1]: how much nearer a crop is to its own video than to "
        f"the nearest other one. Theirs is from one training; ours is the mean (minimum – maximum) over {SEEDS} "
        "seeds, computed their way, where a crop counts as its own neighbour, and by the definition."
    )
    times = load_json(experiment.folder / "seconds.json")
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
        "ours, their way",
        "ours, as defined",
        "CPU s per training",
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
    text = "the same network is ahead with every seed" if steady else "which network is ahead depends on the seed"
    three, ten = (THEIRS["Small"][i] - THEIRS["AlexNet"][i] for i in range(2))
    return (
        f"Difference of *Small* and *AlexNet*: theirs {three:+.3f} with 3 videos and {ten:+.3f} with 10, one "
        f"training each; ours by seed {by_seed}: {text}."
    )


def easier(before: Mapping[str, Embeddings]) -> list[str]:
    """Note if an untrained network already exceeds their trained one."""
    text = [
        (
            f"an untrained {name} reaches {value:.3f} on ours, where a trained one reaches {THEIRS[name][0]:.3f} on "
            "theirs"
        )
        for name in NETWORKS
        if (value := judged(before[name])["train"]) > THEIRS[name][0]
    ]
    return [f"Our videos are easier to separate than theirs: {', '.join(text)}."] if text else []


def maps(before: Mapping[str, Embeddings], main: Mapping[str, Sequence[Embeddings]]) -> "Figure":
    """One row per network: training crops before and after, held-out crops before and after."""
    panels = {}
    for name, trainings in main.items():
        for text, part in (("train", "train"), ("held out", "test")):
            for when, results in (("before", before[name]), ("after", trainings[0])):
                panels[f"{name}, {text}, {when}"] = cloud(results.part(part))
    return plots.maps(panels, columns=4, side=2.2, shared=False, names=False)


def in_order(main: Mapping[str, Sequence[Embeddings]]) -> "Figure":
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
    section.say("### Effect of the split")
    plain = {parts: pixels(part_images) for parts, part_images in images.items()}
    section.say(
        "Holding out the end of a video tests whether the network recognizes that video again, and the first "
        "held-out frames are adjacent to training frames; a gap removes these; an unseen video tests whether the "
        "network learned to tell objects apart. *Distance* is how far a held-out crop is from the nearest training "
        f"crop, in grey levels (0 to 255) at {SIDE} x {SIDE} pixels: the nearest of the same video, or of any video "
        "if its own is new. *Pixels* uses those pixels as the embedding, without a network. Crops of new videos, "
        "and their silhouettes, are measured among all crops.",
        distances_text(scale(plain[FIRST])),
    )
    rows = []
    for parts, own in plain.items():
        counts = [str(len(own.part(part))) for part in ("train", "test")]
        begin = [PARTS[parts], *counts, f"{away(own):.1f}"]
        for name, trainings in ({"pixels": [own]} | dict(main[parts])).items():
            rows.append([*begin, name, *spans(trainings, ("train", *SCORES))])
            begin = ["", "", "", ""]
    head = ["held out", "trained on", "crops held out", "distance", "network", "silhouette, train", *SCORES]
    section.rows(head, rows)
    section.say(splits_text(main), *new_videos_text(main, plain))
    if NEW in images:
        names = ", ".join(images[NEW].classes[c] for c in images[NEW].part("test").labels.unique().tolist())
        section.figure("new", all_crops(main[NEW]), f"All crops; {names} was not in the training data; seed 0")


def all_crops(of: Mapping[str, Sequence[Embeddings]]) -> "Figure":
    panels = {name: cloud(trainings[0]) for name, trainings in of.items()}
    return plots.maps(panels, columns=2, side=2.6, shared=False, names=False)


def cloud(results: Embeddings) -> Cloud:
    return Cloud(results.vectors.numpy(), results.labels.numpy(), results.classes)


def distances_text(apart: Distances) -> str:
    return (
        f"For scale: the distance is {apart.following:.0f} between consecutive crops of a video, {apart.same:.0f} "
        f"between any two crops of a video, and {apart.different:.0f} between crops of different videos. A test part "
        f"sampled at random from all frames would have a distance of {apart.random:.1f}."
    )


def splits_text(main: Mapping[str, Mapping[str, Sequence[Embeddings]]]) -> str:
    """Effect of a gap and of new videos on the silhouette of held-out crops."""
    text = []
    for parts, what in CHANGED.items():
        if all(main[parts].values()):
            changes = [
                f"{mean_of(main[parts][name], 'silhouette') - mean_of(main[FIRST][name], 'silhouette'):+.3f} ({name})"
                for name in NETWORKS
            ]
            text.append(f"{what} by {', '.join(changes)}")
    return f"Effect on the silhouette of held-out crops: {'; '.join(text)}." if text else ""


def new_videos_text(
    main: Mapping[str, Mapping[str, Sequence[Embeddings]]], plain: Mapping[str, Embeddings]
) -> list[str]:
    """Whether a network exceeds raw pixels on videos not seen in training."""
    if NEW not in plain:
        return []
    own, results = judged(plain[NEW])["map@r"], {name: mean_of(main[NEW][name], "map@r") for name in NETWORKS}
    figures = ", ".join(f"{value:.3f} ({name})" for name, value in results.items())
    verdict = "no network beats them" if own > max(results.values()) else "a network beats them"
    return [f"On an unseen video, raw pixels reach a map@r of {own:.3f}, against {figures}: {verdict}."]


def mean_of(trainings: Sequence[Embeddings], name: str) -> float:
    return mean(judged(one)[name] for one in trainings)


# The picks.


def slips() -> list[str]:
    lines = [
        "negatives are mined without checking labels, so with three videos about a third of the candidates are of "
        "the anchor's own class;",
        "the hardness of a negative compares its squared distance with the positive's plain distance;",
        "the default value for positives, `Sequential`, is not one of the two accepted values, and the positive is "
        "then the anchor itself;",
        "the last frame of a video takes the first frame of the next video as its positive, because a string is "
        "compared with a number;",
        "a background negative is the whole frame, including the object; here it is a patch that does not overlap "
        "the box;",
        "frames are matched to boxes by their position in an unsorted list, and frames without the target are kept; "
        "here they are matched by frame number, and frames without the target are dropped and counted;",
        "`normalize` scales every coordinate over the batch, not every embedding;",
        "the silhouette divides by the class size instead of the class size minus one, which favours small classes;",
        "AlexNet outputs 1,000 numbers where the plot expects two;",
        "the validation part is the end of the training videos, and says nothing about unseen objects.",
    ]
    return ["### Bugs in the original", "All of these are easy to miss:\n\n- " + "\n- ".join(lines)]
