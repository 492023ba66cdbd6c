"""Draws docs/images/losses/*.svg: what each family of losses pulls and pushes, computed from the losses themselves.

`python tools/loss_figures.py`. An arrow is the step of gradient descent, minus the gradient of the loss by that vector;
all arrows of a panel have one scale. docs/loss-geometry.md explains the figures.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from likewise import geometry, losses, spec
from likewise.losses.proxy import ProxyLoss
from likewise.losses.terms import as_terms, reduce
from likewise.viz.plots.style import FAINT, INK, MUTED, PALETTE, RC

FOLDER = Path(__file__).parent.parent / "docs" / "images" / "losses"
PULL, PUSH = PALETTE[2], PALETTE[1]
LONGEST = 0.42  # length of the longest arrow of a panel
SMALL = 0.02  # a shorter arrow is not drawn
SHAPES = "os^"

ANCHOR = 90.0  # degrees, on the unit circle
POSITIVES = (42.0, 118.0, 170.0)
NEGATIVES = (10.0, 66.0, 205.0, 300.0)
LABELS = torch.tensor([0] * len(POSITIVES) + [1] * len(NEGATIVES))


def on_circle(*degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1)


def one_anchor(loss: str, anchor_D: Tensor, emb_MD: Tensor, sim: Callable = geometry.cosine) -> tuple[Tensor, Tensor]:
    """The steps of the anchor and of the references, of which the first are its positives."""
    anchor_1D, moved_MD = anchor_D[None].clone().requires_grad_(), emb_MD.clone().requires_grad_()
    pos_1M = (LABELS == 0)[None]
    terms = as_terms(spec.bind("loss", loss)(sim(anchor_1D, moved_MD), pos_1M, ~pos_1M))
    anchor, moved = torch.autograd.grad(reduce(terms), (anchor_1D, moved_MD))
    return -anchor[0], -moved


def batch(loss: str, emb_ND: Tensor, labels_N: Tensor, sim: str = "cosine") -> Tensor:
    """The step of every vector of a batch."""
    moved_ND = emb_ND.clone().requires_grad_()
    (moved,) = torch.autograd.grad(losses.build(loss, sim=sim)(moved_ND, labels_N), moved_ND)
    return -moved


def proxies(loss: str, emb_ND: Tensor, labels_N: Tensor, proxies_MD: Tensor) -> tuple[Tensor, Tensor]:
    """The steps of the vectors and of the proxies of a loss over class proxies."""
    built = losses.build(loss, dim=2, classes=int(labels_N.max()) + 1)
    assert isinstance(built, ProxyLoss)
    built.double().proxies.data = proxies_MD.clone()
    moved_ND = emb_ND.clone().requires_grad_()
    moved, of_proxies = torch.autograd.grad(built(moved_ND, labels_N), (moved_ND, built.proxies))
    return -moved, -of_proxies


def weights(loss: str, at: Tensor, moved: int, fixed_M: Tensor) -> Tensor:
    """How strongly an anchor pulls (above 0) or pushes reference `moved`, while its similarity runs over `at`."""
    sim_NM = fixed_M.repeat(len(at), 1)
    sim_NM[:, moved] = at
    pulls = []
    for row in sim_NM:
        sim_1M = row[None].clone().requires_grad_()
        pos_1M = (LABELS == 0)[None]
        loss_1 = reduce(as_terms(spec.bind("loss", loss)(sim_1M, pos_1M, ~pos_1M)))
        (grad,) = torch.autograd.grad(loss_1, sim_1M)
        pulls.append(-grad[0, moved])
    return torch.stack(pulls)


def arrows(axes: Axes, emb_ND: Tensor, steps_ND: Tensor, longest: float, colours: Iterable[str]) -> None:
    """Steps as arrows; the longest of the panel has the length LONGEST."""
    for (x, y), step, colour in zip(emb_ND.tolist(), steps_ND * (LONGEST / longest), colours, strict=True):
        if float(step.norm()) > SMALL:
            end = (x + float(step[0]), y + float(step[1]))
            style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
            axes.annotate("", xy=end, xytext=(x, y), arrowprops=style, zorder=4)


def plane(axes: Axes, title: str, limit: float = 1.55) -> None:
    axes.set_title(title)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def circle(axes: Axes, radius: float = 1.0, middle: tuple[float, float] = (0.0, 0.0), **style: object) -> None:
    around = on_circle(*range(0, 361, 3)) * radius
    axes.plot(around[:, 0] + middle[0], around[:, 1] + middle[1], **{"color": FAINT, "lw": 1.0, "zorder": 1, **style})


def dots(axes: Axes, emb_ND: Tensor, colour: str, marker: str = "o", size: float = 42.0) -> None:
    axes.scatter(emb_ND[:, 0], emb_ND[:, 1], color=colour, marker=marker, s=size, zorder=5, linewidths=0)


def star(axes: Axes, at_D: Tensor) -> None:
    axes.scatter(*at_D.tolist(), color=INK, marker="*", s=150, zorder=6, linewidths=0)


def around_anchor(axes: Axes, loss: str, title: str) -> None:
    """The anchor, its positives and its negatives on the unit circle, and their steps."""
    anchor_D, emb_MD = on_circle(ANCHOR)[0], on_circle(*POSITIVES, *NEGATIVES)
    own, others = one_anchor(loss, anchor_D, emb_MD)
    plane(axes, title)
    circle(axes)
    longest = float(torch.cat([own[None], others]).norm(dim=1).max())
    arrows(axes, emb_MD, others, longest, [PULL] * len(POSITIVES) + [PUSH] * len(NEGATIVES))
    arrows(axes, anchor_D[None], own[None], longest, [INK])
    dots(axes, emb_MD[LABELS == 0], PULL)
    dots(axes, emb_MD[LABELS == 1], PUSH, "s")
    star(axes, anchor_D)


def strengths(axes: Axes, named: dict[str, str], low: float = -1.0, high: float = 1.0, x: str = "cosine") -> None:
    """Pull on a positive and push on a negative by its similarity, as shares of the loss's largest."""
    fixed_M = geometry.cosine(on_circle(ANCHOR), on_circle(*POSITIVES, *NEGATIVES))[0]
    at = torch.linspace(low, high, 161, dtype=torch.float64)
    for style, (name, loss) in zip(("-", "--"), named.items(), strict=False):
        pull, push = weights(loss, at, 0, fixed_M), -weights(loss, at, len(POSITIVES), fixed_M)
        most = float(torch.cat([pull, push]).abs().max())
        axes.plot(at, pull / most, color=PULL, ls=style, label=f"pull, {name}")
        axes.plot(at, push / most, color=PUSH, ls=style, label=f"push, {name}")
    axes.set(xlabel=f"{x} to the anchor", ylabel="strength, of the largest", ylim=(None, 1.1))
    axes.set_title("pull on a positive, push on a negative")
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, ncol=2)


def pair() -> Figure:
    """contrastive(margin=1) in the plane, with its margin, and its strength by distance."""
    figure, (left, right) = panels()
    anchor_D = torch.zeros(2, dtype=torch.float64)
    far = torch.tensor([0.45, 0.8, 1.15, 0.3, 0.62, 0.85, 1.25], dtype=torch.float64)
    emb_MD = on_circle(75, 160, 20, 330, 230, 110, 270) * far[:, None]
    own, others = one_anchor("contrastive(margin=1.0)", anchor_D, emb_MD, geometry.euclidean)
    plane(left, "contrastive(margin=1.0), euclidean")
    circle(left, ls=":", color=MUTED)
    longest = float(torch.cat([own[None], others]).norm(dim=1).max())
    arrows(left, emb_MD, others, longest, [PULL] * 3 + [PUSH] * 4)
    arrows(left, anchor_D[None], own[None], longest, [INK])
    dots(left, emb_MD[:3], PULL)
    dots(left, emb_MD[3:], PUSH, "s")
    star(left, anchor_D)
    left.text(0.72, -0.86, "margin", color=MUTED, fontsize=8)
    at = torch.linspace(-1.5, -0.001, 120, dtype=torch.float64)
    fixed_M = geometry.euclidean(anchor_D[None], emb_MD)[0]
    pull, push = (weights("contrastive(margin=1.0)", at, column, fixed_M) for column in (0, 3))
    most = float(pull.max())
    right.plot(-at, pull / most, color=PULL, label="pull on a positive")
    right.plot(-at, -push / most, color=PUSH, label="push on a negative")
    right.set(xlabel="distance to the anchor", ylabel="strength, of the largest", ylim=(-0.08, 1.1))
    right.set_title("strength by distance")
    right.axvline(1.0, color=MUTED, ls=":", lw=1)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
    return figure


def one_and_curves(loss: str, curves: dict[str, str]) -> Callable[[], Figure]:
    """A circle of one loss, and strengths of one or two."""

    def draw() -> Figure:
        figure, (left, right) = panels()
        around_anchor(left, loss, loss)
        strengths(right, curves)
        return figure

    return draw


def two_anchors(first: str, second: str) -> Callable[[], Figure]:
    """The same points under two losses."""

    def draw() -> Figure:
        figure, axes = panels()
        for side, loss in zip(axes, (first, second), strict=True):
            around_anchor(side, loss, loss)
        return figure

    return draw


CLASSES = {0: (60.0, 85.0, 130.0), 1: (150.0, 200.0, 240.0), 2: (265.0, 310.0, 20.0)}
BATCH = on_circle(*(angle for angles in CLASSES.values() for angle in angles))
BATCH_LABELS = torch.arange(3).repeat_interleave(3)
PROXIES = on_circle(105.0, 190.0, 335.0)


def whole_batch() -> Figure:
    """Every vector is an anchor: two losses over the structure of the batch."""
    figure, axes = panels()
    for side, loss in zip(axes, ("lifted(margin=1.0)", "centroid_triplet(margin=0.2)"), strict=True):
        plane(side, loss)
        circle(side)
        steps = batch(loss, BATCH, BATCH_LABELS)
        coloured(side, BATCH, BATCH_LABELS, steps, float(steps.norm(dim=1).max()))
        if loss.startswith("centroid"):
            for label in range(3):
                dots(side, BATCH[label == BATCH_LABELS].mean(0, keepdim=True), PALETTE[label], "x", 50)
    return figure


def coloured(axes: Axes, emb_ND: Tensor, labels_N: Tensor, steps_ND: Tensor, longest: float) -> None:
    """A batch in the colours of its classes, with its steps."""
    arrows(axes, emb_ND, steps_ND, longest, [PALETTE[label] for label in labels_N.tolist()])
    for label in labels_N.unique().tolist():
        dots(axes, emb_ND[labels_N == label], PALETTE[label], SHAPES[label])


def proxy() -> Figure:
    """Vectors and proxies move: from each vector's view, and from each proxy's."""
    figure, axes = panels()
    for side, loss in zip(axes, ("proxy_nca(scale=8.0)", "proxy_anchor(alpha=8.0)"), strict=True):
        plane(side, loss)
        circle(side)
        steps, of_proxies = proxies(loss, BATCH, BATCH_LABELS, PROXIES)
        longest = float(torch.cat([steps, of_proxies]).norm(dim=1).max())
        coloured(side, BATCH, BATCH_LABELS, steps, longest)
        arrows(side, PROXIES, of_proxies, longest, PALETTE[:3])
        for label in range(3):
            side.scatter(
                *PROXIES[label].tolist(), facecolor="white", edgecolor=PALETTE[label], marker="D", s=60, zorder=6
            )
    return figure


MARGINS = {
    "normalized_softmax(scale=20.0)": "-",
    "cosface(margin=0.35, scale=20.0)": "--",
    "arcface(margin=0.5, scale=20.0)": ":",
}


def softmax_margin() -> Figure:
    """Pull towards the own proxy by the angle to it, the other one at 120 degrees: the margin moves the boundary."""
    figure, (left, right) = panels()
    plane(left, "cosface(margin=0.35, scale=20.0)")
    circle(left)
    loss = "cosface(margin=0.35, scale=20.0)"
    steps, of_proxies = proxies(loss, BATCH, BATCH_LABELS, PROXIES)
    longest = float(torch.cat([steps, of_proxies]).norm(dim=1).max())
    coloured(left, BATCH, BATCH_LABELS, steps, longest)
    arrows(left, PROXIES, of_proxies, longest, PALETTE[:3])
    for label in range(3):
        left.scatter(*PROXIES[label].tolist(), facecolor="white", edgecolor=PALETTE[label], marker="D", s=60, zorder=6)
    angle = torch.linspace(1, 119, 119, dtype=torch.float64)
    for name, style in MARGINS.items():
        right.plot(angle, pull_by_angle(name, angle), color=PULL, ls=style, label=name)
    right.axvline(60, color=MUTED, lw=1)
    right.set(xlabel="degrees from the own proxy; the other is at 120", ylabel="step towards the own proxy")
    right.set_title("strength by angle")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
    return figure


def pull_by_angle(loss: str, degrees: Tensor) -> Tensor:
    """The step of a unit vector along the circle, towards its own proxy, which is at 0 degrees."""
    two = on_circle(0.0, 120.0)
    pulls = []
    for angle in degrees.tolist():
        steps, _ = proxies(loss, on_circle(angle, 120.0), torch.tensor([0, 1]), two)
        tangent = on_circle(angle - 90.0)[0]
        pulls.append(2 * steps[0] @ tangent)  # the loss is a mean over two vectors
    return torch.stack(pulls)


def two_views() -> Figure:
    """Losses without negatives: the views of an image meet, and the batch may not shrink."""
    figure, axes = panels()
    first = torch.tensor([[-0.5, 0.1], [-0.1, -0.2], [0.3, 0.25], [0.45, 0.5]], dtype=torch.float64)
    second = first + torch.tensor([[0.25, 0.3], [0.3, -0.25], [-0.25, 0.3], [0.3, -0.1]], dtype=torch.float64)
    emb_ND = torch.cat([first, second])
    labels_N = torch.arange(4).repeat(2)
    for side, loss in zip(axes, ("vicreg(variance=0.0, covariance=0.0)", "vicreg()"), strict=True):
        plane(side, f"{loss}" if loss == "vicreg()" else "vicreg(), invariance alone", 1.3)
        steps = batch(loss, emb_ND, labels_N)
        for a, b in zip(first, second, strict=True):
            side.plot(*zip(a.tolist(), b.tolist(), strict=True), color=FAINT, lw=1, zorder=1)
        arrows(side, emb_ND, steps, float(steps.norm(dim=1).max()), [PALETTE[i] for i in labels_N.tolist()])
        for number in range(4):
            dots(side, first[number : number + 1], PALETTE[number])
            dots(side, second[number : number + 1], PALETTE[number], "^")
    return figure


def panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(7.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


FIGURES: dict[str, Callable[[], Figure]] = {
    "pair": pair,
    "triplet": two_anchors("triplet(margin=0.2)", "triplet(margin=0.2, pick='hard')"),
    "softmax_over_batch": one_and_curves(
        "supcon(temperature=0.1)", {"T = 0.1": "supcon(temperature=0.1)", "T = 0.5": "supcon(temperature=0.5)"}
    ),
    "weighted_pairs": one_and_curves(
        "multi_similarity()", {"multi_similarity": "multi_similarity()", "circle": "circle()"}
    ),
    "listwise": one_and_curves(
        "smooth_ap(temperature=0.1)",
        {"T = 0.1": "smooth_ap(temperature=0.1)", "T = 0.01": "smooth_ap(temperature=0.01)"},
    ),
    "whole_batch": whole_batch,
    "proxy": proxy,
    "softmax_margin": softmax_margin,
    "two_views": two_views,
}  # fmt: skip


def draw(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(RC):
        for name, figure in FIGURES.items():
            figure().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    draw()
