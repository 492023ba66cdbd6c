"""Figures: one contract over every plot, the colours measured, and the numbers in the images."""

import inspect
import itertools
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import norm

from likewise.metrics.calibration import reliability as binned
from likewise.viz import plots
from likewise.viz.plots import Cloud, Curve
from likewise.viz.plots.clouds import limits, scatter
from likewise.viz.plots.curves import running_mean
from likewise.viz.plots.images import displayable
from likewise.viz.plots.style import DISTINCT, PALETTE, SPOTLIT, class_key, sheet, short

NAMES = ("<b>&amp;", "$x$ and $", "_hidden", "日本語", "a name that is far too long for any legend or any map", "")


def cloud(n: int = 60, classes: tuple[str, ...] = NAMES) -> Cloud:
    rng = np.random.default_rng(0)
    return Cloud(rng.normal(size=(n, 2)), np.arange(n) % len(classes), classes)


def span(value: float) -> SimpleNamespace:
    return SimpleNamespace(value=value, low=value - 0.1, high=value + 0.1)


def nearest_mean() -> SimpleNamespace:
    return SimpleNamespace(predict=lambda xy: (xy[:, 0] > 0).astype(int))


RNG = np.random.default_rng(0)
CURVE = Curve([0, 1, 2], [3.0, 2.0, 1.0], [2.5, 1.5, 0.5], [3.5, 2.5, 1.5])
CALLS = {
    "maps": lambda: plots.maps({"training": cloud(), "test": cloud(20)}),
    "series": lambda: plots.series({f"epoch {e}": cloud() for e in range(3)}),
    "decision_regions": lambda: plots.decision_regions(cloud(), nearest_mean(), title="$5"),
    "loss_curve": lambda: plots.loss_curve(CURVE, loss_at_collapse=2.5),
    "score_curves": lambda: plots.score_curves({"knn@1": CURVE, "_x": Curve([0], [1.0])}),
    "active_curve": lambda: plots.active_curve(Curve([0, 1], [1.0, 0.5])),
    "losses_family": lambda: plots.losses_family(dict.fromkeys(NAMES[:2], CURVE), loss_at_collapse={NAMES[0]: 2.0}),
    "curves_family": lambda: plots.curves_family({"a": {"train": CURVE, "test": CURVE}, "b": {"train": CURVE}}),
    "silhouette_sequence": lambda: plots.silhouette_sequence({"a": [0.1, 0.5], "b": [0.0, -0.5]}, starts=[1]),
    "compare_bars": lambda: plots.compare_bars({n: span(i / 10) for i, n in enumerate(NAMES)}, xlabel="knn@1"),
    "silhouette": lambda: plots.silhouette(RNG.uniform(-1, 1, 60), np.arange(60) % 6, NAMES),
    "pair_histogram": lambda: plots.pair_histogram(RNG.normal(size=99), RNG.normal(size=9), threshold=0.1),
    "part_histogram": lambda: plots.part_histogram({n: RNG.normal(size=9) for n in NAMES[:3]}, xlabel="brightness"),
    "reliability": lambda: plots.reliability(SimpleNamespace(pairs=[3, 9], predicted=[0.1, 0.8], observed=[0, 1])),
    "det": lambda: plots.det({"a": (np.linspace(0, 1, 9), np.linspace(1, 0, 9))}),
    "class_matrices": lambda: plots.class_matrices(
        np.array([[3, 1], [0, 2]]), np.array([[0.9, 0.1], [0.1, np.nan]]), NAMES[:2], [[0, 0, 1, 1]], [[1, 0, 0, 1]]
    ),
    "batch_grid": lambda: plots.batch_grid(RNG.normal(size=(5, 3, 8, 8)), NAMES[:5]),
    "saliency_maps": lambda: plots.saliency_maps(RNG.normal(size=(2, 3, 8, 8)), RNG.normal(size=(2, 8, 8)), NAMES[:2]),
    "neighbour_rows": lambda: plots.neighbour_rows(
        [RNG.normal(size=(3, 3, 8, 8))] * 2, [NAMES[:3]] * 2, [[True, False]] * 2
    ),
}


def pixels(figure: Figure, tmp_path) -> np.ndarray:
    return np.asarray(Image.open(plots.save(figure, tmp_path / "figure.png")).convert("RGB"))


def test_every_plot_is_under_the_contract():
    drawing = {n for n in plots.__all__ if inspect.isfunction(getattr(plots, n))} - {
        "save",
        "class_key",
        "check_format",
    }
    assert drawing == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_plot_is_a_figure_with_something_on_it_and_leaves_no_trace(name, tmp_path):
    before = dict(matplotlib.rcParams)
    figure = CALLS[name]()
    image = pixels(figure, tmp_path)
    assert isinstance(figure, Figure)
    assert (image != 255).any(-1).mean() > 0.005
    assert dict(matplotlib.rcParams) == before
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_no_plot_needs_pyplot():
    modules = [m for n, m in sys.modules.items() if n.startswith("likewise.viz.plots")]
    assert len(modules) > 4
    assert not any(
        "import pyplot" in inspect.getsource(m) or "matplotlib.pyplot" in inspect.getsource(m) for m in modules
    )


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = plots.save(CALLS["active_curve"](), tmp_path / "a.png")
    old = path.read_bytes()
    figure = CALLS["active_curve"]()
    figure.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# Machado, Oliveira and Fernandes, 2009: what people without red, green or blue cones see of linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TAB10 = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]


def linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson, 2020."""
    lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.793617785, -0.0040720468],
        [1.9779984951, -2.428592205, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.808675766],
    ]
    return np.array(lab) @ np.cbrt(np.clip(np.array(lms) @ rgb, 0, None))


def closest(colors, sight) -> float:
    """Distance of the two colours that look most alike."""
    seen = [oklab(np.clip(np.array(SIGHT[sight]) @ linear(c), 0, 1)) for c in colors]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_ten_class_colours_can_be_told_apart(sight):
    assert closest(PALETTE, sight) > 0.09
    assert closest(TAB10, "no green") < 0.03  # the measure does find colours that cannot


@pytest.mark.parametrize(("paper", "least"), [("#ffffff", 2.0), ("#15181d", 2.9)])
def test_class_colours_stand_out_on_light_and_on_dark_paper(paper, least):
    light = {c: float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (*PALETTE, paper)}
    for c in PALETTE:
        dark, bright = sorted([light[c], light[paper]])
        assert (bright + 0.05) / (dark + 0.05) >= least


@pytest.mark.parametrize("classes", [1, 2, 10, 11, DISTINCT])
def test_up_to_twenty_classes_no_two_look_the_same(classes):
    key = class_key(np.arange(classes), classes)
    assert list(key) == list(range(classes))
    assert len(set(key.values())) == classes


def test_of_many_classes_the_largest_are_coloured():
    counts = np.ones(300, dtype=int)
    counts[[7, 50, 299]] = 9
    key = class_key(np.repeat(np.arange(300), counts), 300)
    assert len(key) == SPOTLIT
    assert {7, 50, 299} <= set(key)


@pytest.mark.parametrize("classes", [1, 300])
def test_maps_of_one_and_of_many_classes(classes, tmp_path):
    names = tuple(f"class {c}" for c in range(classes))
    figure = plots.maps({"all": cloud(2 * classes, names)})
    assert (pixels(figure, tmp_path) != 255).any()
    entries = [t.get_text() for t in figure.legends[0].get_texts()]
    assert entries == (["class 0"] if classes == 1 else [f"class {c}" for c in range(10)] + ["290 other classes"])


def test_every_point_of_a_map_is_drawn_once_in_the_colour_of_its_class():
    seen = cloud(40, tuple("abcdefghijklm"))
    _, (ax,) = sheet(3, 3)
    key = class_key(seen.labels, 13)
    layers = scatter(ax, seen, key)
    drawn = np.concatenate([at for at, _ in layers])
    assert sorted(drawn.tolist()) == list(range(40))
    for at_P, artist in layers:
        np.testing.assert_allclose(artist.get_offsets(), seen.xy[at_P])
        colors = [matplotlib.colors.to_hex(c) for c in artist.get_facecolors()]
        assert colors == [key[c].color for c in seen.labels[at_P]]


def test_shared_maps_have_one_square_box_around_everything():
    a, b = cloud(30), cloud(30)._replace(xy=10 * cloud(30).xy)
    shared, own = plots.maps({"a": a, "b": b}).axes, plots.maps({"a": a, "b": b}, shared=False).axes
    assert shared[0].axis() == shared[1].axis()
    assert own[0].axis() != own[1].axis()
    x_low, x_high, y_low, y_high = limits([np.array([[0.0, 0]]), np.array([[4.0, 1]])], margin=0)
    assert (x_low, x_high, y_low, y_high) == (0, 4, -1.5, 2.5)
    assert limits([np.zeros((0, 2))]) == (-1, 1, -1, 1)


def test_the_regions_are_what_the_classifier_says():
    figure = plots.decision_regions(cloud(40, ("left", "right")), nearest_mean(), grid=10)
    image = figure.axes[0].images[0].get_array()
    left, right = (matplotlib.colors.to_rgb(PALETTE[c]) for c in (0, 1))
    np.testing.assert_allclose(image[5, 0], left)
    np.testing.assert_allclose(image[5, 9], right)


def test_running_mean_by_hand():
    np.testing.assert_allclose(running_mean([1, 2, 6, 2, 1], share=0.4), [1.5, 3, 10 / 3, 3, 1.5])
    np.testing.assert_allclose(running_mean([1.0, 5.0]), [1, 5])


def test_the_loss_curve_shows_its_chance_value():
    axes = plots.loss_curve(CURVE, loss_at_collapse=2.5).axes[0]
    assert [t.get_text() for t in axes.texts] == ["collapse 2.5"]
    assert any(set(np.atleast_1d(line.get_ydata()).tolist()) == {2.5} for line in axes.lines)
    assert not plots.loss_curve(CURVE).axes[0].texts


def test_the_silhouette_shows_the_mean_of_each_class_and_the_lowest_classes_of_many():
    axes = plots.silhouette(np.array([0.5, 0.7, -0.2]), np.array([0, 0, 1]), ("a", "b")).axes[0]
    assert [t.get_text() for t in axes.texts] == ["0.60", "−0.20"]
    assert axes.get_xlabel() == "silhouette (dashed: mean 0.33)"
    many = np.arange(40).repeat(2)
    axes = plots.silhouette(-many / 40, many, tuple(map(str, range(40)))).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [str(c) for c in range(39, 19, -1)]


def test_a_pair_histogram_holds_all_of_either_kind():
    figure = plots.pair_histogram(np.full(10, 0.9), np.full(1000, 0.1), threshold=0.5)
    heights = [p.get_path().vertices[:, 1].max() for p in figure.axes[0].patches]
    assert heights == pytest.approx([1, 1, 1, 1])


def test_bars_carry_their_values_and_intervals():
    axes = plots.compare_bars({"a": span(0.5), "b": span(0.8)}).axes[0]
    assert [t.get_text() for t in axes.texts] == ["0.500", "0.800"]
    (whiskers,) = [c for c in axes.collections if hasattr(c, "get_segments")]
    assert [s[:, 0].tolist() for s in whiskers.get_segments()] == [pytest.approx([0.4, 0.6]), pytest.approx([0.7, 0.9])]


def test_det_leaves_out_what_lies_at_infinity():
    line = plots.det({"a": (np.array([0.0, 0.1, 1.0]), np.array([1.0, 0.2, 0.0]))}).axes[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[norm.ppf(0.1), norm.ppf(0.2)]])


def test_reliability_takes_the_table_of_the_metric():
    import torch

    table = binned(torch.tensor([0.05, 0.95, 0.97]), torch.tensor([False, True, False]), bins=10)
    line = plots.reliability(table).axes[0].lines[1]
    np.testing.assert_allclose(line.get_xydata(), [[0.05, 0], [0.96, 0.5]], atol=1e-6)


def test_images_are_shown_as_they_are():
    grey = np.array([[[0, 255]]], dtype=np.uint8)
    assert displayable(grey).tolist() == [[0, 255]]
    assert displayable(np.array([[[-1.0, 0, 3]]])).tolist() == [[0, 64, 255]]
    assert displayable(np.full((1, 2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert displayable(np.zeros((4, 5, 6), dtype=np.uint8)).shape == (5, 6, 3)
    assert len(plots.batch_grid(np.zeros((3, 1, 4, 4), dtype=np.uint8)).axes) == 3
    with pytest.raises(ValueError, match=r"\[B, C, H, W\].*got \[4, 4\]"):
        plots.batch_grid(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"got \[0, 1, 4, 4\]"):
        plots.batch_grid(np.zeros((0, 1, 4, 4)))


def test_names_that_matplotlib_would_drop_or_that_are_too_long():
    assert short("_x") == " _x"
    assert short("abcdef", 4) == "abc…"
    assert short("abcd", 4) == "abcd"


def test_similarities_that_are_all_the_same_are_drawn():
    one = np.full(20, 0.9999999, dtype=np.float32)
    assert plots.pair_histogram(one, one, threshold=0.5).axes
