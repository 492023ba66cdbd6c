"""The figures of docs/loss-geometry.md: what the arrows say, and that every figure is there and small."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from likewise import geometry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/loss-geometry.md"


@pytest.fixture(scope="module")
def tool():
    found = importlib.util.spec_from_file_location("loss_figures", ROOT / "tools/loss_figures.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_figure_is_shown_and_small(tool):
    shown = re.findall(r"\(images/losses/(\w+)\.svg\)", PAGE.read_text(encoding="utf-8"))
    assert shown == list(dict.fromkeys(shown))
    assert set(shown) == set(tool.FIGURES) == {path.stem for path in tool.FOLDER.glob("*.svg")}
    assert all(path.stat().st_size < 60_000 for path in tool.FOLDER.glob("*.svg"))


def test_contrastive_by_hand(tool):
    """Of 3 positives one at distance 2 is pulled by 2 / 3; of 4 negatives one at 0.5 is pushed by 0.5 / 4."""
    far = torch.tensor([2.0, 1.0, 1.0, 0.5, 3.0, 3.0, 3.0], dtype=torch.float64)
    emb_MD = tool.on_circle(0, 90, 180, 270, 45, 135, 225) * far[:, None]
    anchor, moved = tool.one_anchor("contrastive(margin=1.0)", torch.zeros(2).double(), emb_MD, geometry.euclidean)
    torch.testing.assert_close(moved[0], torch.tensor([-2 / 3, 0.0]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(moved[3], torch.tensor([0.0, -0.5 / 4]).double(), atol=1e-7, rtol=0)
    assert not moved[4:].any()
    torch.testing.assert_close(anchor, -moved.sum(0))


@pytest.mark.parametrize("loss", ["triplet(margin=0.2)", "triplet(margin=0.2, pick='hard')", "multi_similarity()"])
def test_positives_come_nearer_and_negatives_go_away(tool, loss):
    anchor_D, emb_MD = tool.on_circle(tool.ANCHOR)[0], tool.on_circle(*tool.POSITIVES, *tool.NEGATIVES)
    _, moved = tool.one_anchor(loss, anchor_D, emb_MD)
    towards = moved @ anchor_D
    assert (towards[:3] >= -1e-12).all()
    assert (towards[3:] <= 1e-12).all()
    assert towards[:3].max() > 1e-3
    assert towards[3:].min() < -1e-3
    torch.testing.assert_close((moved * emb_MD).sum(1), torch.zeros(7).double(), atol=1e-9, rtol=0)  # along the circle


def test_batch_hard_moves_one_of_each(tool):
    anchor_D, emb_MD = tool.on_circle(tool.ANCHOR)[0], tool.on_circle(*tool.POSITIVES, *tool.NEGATIVES)
    _, moved = tool.one_anchor("triplet(margin=0.2, pick='hard')", anchor_D, emb_MD)
    assert torch.nonzero(moved.norm(dim=1) > 1e-9).flatten().tolist() == [2, 4]  # 80 and 24 degrees away


def test_margins_move_the_boundary(tool):
    """At the boundary, 60 degrees, all pull; at 50, on the own side, only those with a margin do."""
    at = torch.tensor([50.0, 62.0], dtype=torch.float64)
    plain, cos, arc = (tool.pull_by_angle(name, at) for name in tool.MARGINS)
    assert plain[0] < 0.1 * plain[1]
    assert min(cos[0], arc[0]) > 10 * plain[0]


@pytest.mark.slow
def test_the_figures_are_up_to_date(tool, tmp_path):
    """Drawn again they hold the same curves and arrows, whatever version of matplotlib wrote the rest."""
    tool.draw(tmp_path)
    for path in sorted(tool.FOLDER.glob("*.svg")):
        drawn = (tmp_path / path.name).read_text(encoding="utf-8")
        assert numbers(drawn) == pytest.approx(numbers(path.read_text(encoding="utf-8")), abs=0.5), path.name


def numbers(svg: str) -> list[float]:
    return [float(x) for d in re.findall(r'<path d="([^"]*)"', svg) for x in re.findall(r"-?\d+\.?\d*", d)]
