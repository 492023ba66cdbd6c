"""iavasiljeva/siamese-networks-hse-2017: dense siamese networks on Fashion-MNIST, and the limits of their score."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from likewise.data.consecutive_sampler import consecutive
from likewise.data.images import Images
from likewise.evaluate import Embeddings, draw_pairs, embed
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.compare import compare
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.trial import trial
from likewise.geometry import euclidean
from likewise.metrics import verification
from likewise.metrics.sampled_pairs import Pairs, similarities
from likewise.models import Embedder
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, load_json, save_json, score_text, span
from likewise.viz.pages.comparison import write_comparison

__all__ = ["ORDERS", "first_weights", "precision_of_same", "rows", "run"]

THEIRS = {3: "90.48 / 90.48", 4: "80.09 / 80.00"}
AT = 0.5  # their distance threshold for "same"
SEEDS = 2
ORDERS = {
    "theirs: in order of class, the first half": "consecutive(batch=128, share=0.5)",
    "the first half, shuffled": "consecutive(batch=128, share=0.5, shuffle=True)",
    "in order of class, all": "consecutive(batch=128)",
    "all, shuffled": "consecutive(batch=128, shuffle=True)",
    "drawn anew in every epoch": "pairs(batch=128)",
}
FIRST, LAST = next(iter(ORDERS)), list(ORDERS)[-1]
SCORES = ("pair_accuracy", "pair_auc", "eer", "knn@1", "probe")
Outcomes = list[dict[str, float]]  # a dict of measures for each seed
HELD_OUT = "by_class(val=0.2, test=0.2)"


def run(experiment: Experiment) -> Path:
    """Train what is missing and write the section. Errors: see `reproduce`."""
    section = Section("mlp-pairs", experiment.folder)
    section.say(*introduction())
    of_orders(section, experiment)
    of_compare(section, experiment)
    of_reach(section, experiment)
    return section.write()


def introduction() -> list[str]:
    return [
        "## Dense siamese networks on Fashion-MNIST",
        "After iavasiljeva/siamese-networks-hse-2017: 784-128-128-128, and the same with one more layer; no biases, "
        "ReLU on every layer, dropout 0.1 between layers, weights drawn from N(0.001, 0.02), contrastive loss with "
        "margin 1, Adam at 1e-4, batches of 128 pairs, 10 epochs.",
        f"The figure it reports as accuracy is the share of same-class pairs among those with a distance below {AT}: "
        "the precision of *same*. It ignores the same-class pairs that were missed. The same mistake is in a "
        "well-known example that has been copied often. We add the accuracy it was meant to be, on balanced test "
        "pairs at the threshold chosen on validation pairs, with AUC and EER.",
    ]


# Their number, and the order of the data.


def of_orders(section: Section, experiment: Experiment) -> None:
    results = orders(experiment)
    if not results:
        raise ValueError(f"{experiment.folder} holds no orders.json; run `likewise reproduce mlp-pairs` first")
    section.say("### Their metric, and the order of the pairs")
    section.say(
        "Their pairs are generated once, class by class, and the training loop stops after as many pairs as there "
        "are images, which is half of the pairs: only anchors of classes 0 to 4 are used, and each batch holds one "
        f"class. The rows differ only in the pairs; {over_seeds(results)}, in per cent. *Their figure* is their "
        "metric on training / test pairs."
    )
    head = ["pairs", "layers", "their figure", "precision of same, train", "test", "accuracy", "AUC", "EER", "steps"]
    section.rows(head, [order_row(order, layers, one) for order in ORDERS for layers, one in by_layers(results, order)])
    section.say(*verdict(results))


def orders(experiment: Experiment) -> dict[str, Outcomes]:
    """Results of every order, depth and seed; finished ones are loaded."""
    path = experiment.folder / "orders.json"
    results: dict[str, Outcomes] = load_json(path) or {}
    images = load_images(experiment.recipe("mlp3_contrastive")) if experiment.train else None
    for seed in range(SEEDS):
        for order, sampler in ORDERS.items():
            for layers in THEIRS:
                one = results.setdefault(f"{order}|{layers}", [])
                if images is not None and len(one) <= seed:
                    experiment.say(f"{layers} layers, seed {seed}; pairs: {order}")
                    one.append(outcome(theirs(experiment, layers, seed).replace(sampler=sampler), images))
                    save_json(path, results)
    return {name: one for name, one in results.items() if one}


def by_layers(results: Mapping[str, Outcomes], order: str) -> list[tuple[int, Outcomes]]:
    return [(layers, results[key]) for layers in THEIRS if (key := f"{order}|{layers}") in results]


def over_seeds(results: Mapping[str, Outcomes]) -> str:
    seeds = min(map(len, results.values()))
    return f"mean (minimum – maximum) over {seeds} seeds" if seeds > 1 else "seed 0"


def order_row(order: str, layers: int, one: Outcomes) -> list[str]:
    names = ("precision_train", "precision_test", "accuracy", "auc", "eer")
    figure = THEIRS[layers] if order == FIRST else ""
    return [order, str(layers), figure, *(span([s[n] for s in one], 1, 100) for n in names), f"{one[0]['steps']:.0f}"]


def verdict(results: Mapping[str, Outcomes]) -> list[str]:
    """Effect of a fourth layer for each order of pairs."""

    def cost(order: str, name: str) -> float:
        mean = {layers: mean_of(one, name) for layers, one in by_layers(results, order)}
        return 100 * (mean[4] - mean[3])

    changes = [
        f"{order}: {cost(order, 'precision_test'):+.1f} in precision of same, {cost(order, 'accuracy'):+.1f} in "
        "accuracy"
        for order in ORDERS
        if len(by_layers(results, order)) == len(THEIRS)
    ]
    return ["Effect of the fourth layer, in percentage points:\n\n- " + "\n- ".join(changes), *of_pairs(results)]


def of_pairs(results: Mapping[str, Outcomes]) -> list[str]:
    """Effect of other pairs at the same depth and number of steps."""
    ends = [dict(by_layers(results, order)) for order in (FIRST, LAST)]
    shared = [layers for layers in THEIRS if all(layers in end for end in ends)]
    first, last = ({layers: mean_of(end[layers], "accuracy") for layers in shared} for end in ends)
    changes = [f"{100 * (last[layers] - first[layers]):+.1f} with {layers} layers" for layers in shared]
    return (
        [
            (
                "Effect on accuracy of sampling new pairs every epoch, after the same number of steps: "
                f"{', '.join(changes)}."
            )
        ]
        if changes
        else []
    )


def mean_of(seeds: Outcomes, name: str) -> float:
    return sum(one[name] for one in seeds) / len(seeds)


def outcome(recipe: Recipe, images: Images) -> dict[str, float]:
    """Train once and measure."""
    parts = build(resolve_defaults(recipe), images)
    trial(parts)
    return judged(embed(parts.state.final, images)) | {"steps": parts.state.step}


def theirs(experiment: Experiment, layers: int, seed: int) -> Recipe:
    """Their settings, with their weight initialisation."""
    recipe = experiment.recipe(f"mlp{layers}_contrastive").replace(seed=seed)
    first = experiment.folder / "first" / f"{layers}-seed{seed}"
    if not first.exists():
        first_weights(recipe).save(first)
    return recipe.replace(weights=str(first))


def first_weights(recipe: Recipe) -> Embedder:
    """A network with weights from N(0.001, 0.02), without standardisation of its pixels (0 to 1)."""
    model = Embedder(recipe.network, shape=(1, 28, 28), dim=0, normalize=False, sim="euclidean")
    generator = torch.Generator().manual_seed(recipe.seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.001, 0.02, generator=generator)
    return model


def judged(results: Embeddings) -> dict[str, float]:
    """Their measure on their pairs of the training and the test part; ours on pairs drawn from the test part."""
    val, test = results.part("val"), results.part("test")
    pairs = {split: draw_pairs(part.labels) for split, part in (("val", val), ("test", test))}
    sims = {split: similarities(results.part(split).vectors, p, sim=euclidean) for split, p in pairs.items()}
    at = float(verification.threshold(verification.roc(sims["val"], pairs["val"].same)))
    curve = verification.roc(sims["test"], pairs["test"].same)
    right = verification.decide(sims["test"], pairs["test"].same, at)
    return {
        "precision_train": precision_of_same(results.part("train")),
        "precision_test": precision_of_same(test),
        "accuracy": 1 - (right.far + right.frr) / 2,  # of as many pairs of one kind as of the other
        "auc": float(verification.auc(curve)),
        "eer": float(verification.eer(curve)),
    }


def precision_of_same(part: Embeddings) -> float:
    """The share of alike pairs among those nearer than AT, over all consecutive pairs of a part."""
    pairs = consecutive_pairs(part.labels)
    return verification.decide(similarities(part.vectors, pairs, sim=euclidean), pairs.same, -AT).precision


def consecutive_pairs(labels_N: Tensor) -> Pairs:
    (both,) = consecutive(labels_N, batch=2 * len(labels_N), seed=0, epoch=0)
    first, second = both.chunk(2)
    return Pairs(first, second, labels_N[first] == labels_N[second])


# Their suggestions for further work.


def rows(experiment: Experiment) -> dict[str, Recipe]:
    """Networks, activations, similarities and a linear classifier, with the settings of the 3-layer network."""
    base = experiment.recipe("mlp3_contrastive")

    def activated(name: str) -> Recipe:
        return base.replace(network=base.network.replace("bias", f"activation='{name}', bias"))

    return {
        "3 x 128": base,
        "4 x 128": experiment.recipe("mlp4_contrastive"),
        "CNN (LeNet)": base.replace(network="lenet"),
        "PReLU": activated("prelu"),
        "GELU": activated("gelu"),
        "tanh": activated("tanh"),
        "a linear layer last": base.replace(dim=64),
        "cosine": base.replace(loss="contrastive()", sim="cosine", normalize=True),
        "squared distance": base.replace(loss="contrastive(pos_at=0.0, neg_at=-1.0)", sim="sqeuclidean"),
        "learned L1 (BCE)": base.replace(loss="siamese_bce()", sim="manhattan"),
        "linear classifier on top": base.replace(loss="softmax()", sim="cosine", sampler="shuffled(batch=128)"),
    }


def of_compare(section: Section, experiment: Experiment) -> None:
    folder = experiment.folder / "compare"
    if not (experiment.train or (folder / "compare.md").exists()):
        return
    if experiment.train:
        write_comparison(compare(rows(experiment), folder=folder, watch=experiment.watch, say=experiment.say))
    section.say("### Their suggestions: CNNs, other activations, other similarities, a classifier on top")
    section.say(
        "New pairs every epoch, Adam at 1e-4, 10 epochs of 54,000 anchors for every row, seed 0; run with `compare` "
        "in Python on the recipes of `likewise.reproduce.fashion_mlp.rows`."
    )
    section.say((folder / "compare.md").read_text(encoding="utf-8").strip())


# What the two networks can reach.


def of_reach(section: Section, experiment: Experiment) -> None:
    results = {name: experiment.run(name, recipe) for name, recipe in reach(experiment).items()}
    there = {name: one for name, one in results.items() if one is not None}
    if not there:
        return
    section.say("### What the two networks can reach")
    section.say(
        "The same two networks with biases, all pairs of a batch (SupCon), flips and a one-cycle learning rate. The "
        "first two rows test on the training classes; the last two hold out two classes for testing and two for the "
        "threshold (a fifth of the classes each), and train on the other six. With 95 % intervals."
    )
    section.rows(["recipe", *SCORES, "training, s"], [reach_row(name, one) for name, one in there.items()])
    lines = [experiment.command(name.partition(",")[0].replace("-", "_"), reach(experiment)[name]) for name in there]
    section.say("```sh\n" + "\n".join(lines) + "\n```")


def reach(experiment: Experiment) -> dict[str, Recipe]:
    recipes = {f"mlp{layers}-pairs": experiment.recipe(f"mlp{layers}_pairs") for layers in THEIRS}
    return recipes | {f"{name}, new classes": recipe.replace(split=HELD_OUT) for name, recipe in recipes.items()}


def reach_row(name: str, one: Run) -> list[str]:
    metrics = one.metrics()
    return [name, *(score_text(metrics["scores"].get(score)) for score in SCORES), f"{metrics['seconds']:.0f}"]
