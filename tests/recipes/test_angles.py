"""Images that come at any angle are told from upright ones, from training images alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_plan import FACTS

from likewise.data.images import Images
from likewise.recipes.angles import BY_CHANCE, TURNS, Angles, angles, matched, turned
from likewise.recipes.rules import rules

SIDE = 32


def shapes(turns: list[float], seed: int = 0) -> Images:
    """Four classes: a smooth pattern of each, turned by these angles in degrees, with noise."""
    rng, pictures, labels = np.random.default_rng(seed), [], []
    for label in range(4):
        pattern = Image.fromarray(rng.integers(0, 256, (5, 5), np.uint8)).resize((2 * SIDE, 2 * SIDE), Image.BICUBIC)
        for turn in turns:
            picture = np.asarray(pattern.rotate(turn, Image.BILINEAR).crop((SIDE // 2,) * 2 + (3 * SIDE // 2,) * 2))
            pictures.append(np.clip(picture + rng.normal(0, 30, picture.shape), 0, 255))
            labels.append(label)
    pixels = torch.from_numpy(np.stack(pictures).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    ids = tuple(f"{i}.png" for i in range(len(labels)))
    return Images(pixels, torch.tensor(labels), tuple("abcd"), ids, torch.zeros(len(labels), dtype=torch.uint8))


def test_upright_images_and_those_at_any_angle():
    rng = np.random.default_rng(1)
    upright = angles(shapes(rng.normal(0, 5, 25).tolist()))
    assert upright.upright > 0.9
    assert not upright.any
    found = angles(shapes(rng.uniform(0, 360, 25).tolist()))
    assert found.upright < 2 * BY_CHANCE
    assert found.any
    assert found.judged == 100


def test_a_quarter_turn_by_hand():
    """Turned by 90 degrees counter-clockwise the image is the transposed one in other order."""
    grey_1HW = torch.arange(16.0).reshape(1, 4, 4)
    turned_TD = turned(grey_1HW)[:, 0]
    inside = torch.ones(4, 4, dtype=torch.bool)
    inside[[0, 0, 3, 3], [0, 3, 0, 3]] = False
    for turn in (0, TURNS // 4, TURNS // 2):
        values_D = torch.rot90(grey_1HW[0], round(4 * turn / TURNS))[inside]
        unit_D = (values_D - values_D.mean()) / (values_D - values_D.mean()).norm()
        torch.testing.assert_close(turned_TD[turn], unit_D, atol=1e-5, rtol=0)


def test_matches_by_explicit_loops():
    """Of others in another group, near-copies left out."""
    grey_MHW = shapes([0, 100, 200, 0.0]).batch(range(8))[:, 0]
    grey_MHW[4] = grey_MHW[0]
    groups_M = np.array([0, 0, 1, 2, 3, 4, 4, 5])
    unit_TMD = turned(grey_MHW.float())
    expected = []
    for i in range(8):
        best, at = -math.inf, None
        for j in range(8):
            values = [float(unit_TMD[0, i] @ unit_TMD[turn, j]) for turn in range(TURNS)]
            if groups_M[i] != groups_M[j] and max(values) <= 0.97 and max(values) > best:
                best, at = max(values), int(np.argmax(values))
        expected.append(at)
    assert matched(grey_MHW, groups_M).tolist() == expected


def test_test_images_are_not_looked_at():
    upright = shapes([0.0] * 20)
    turning = shapes(np.random.default_rng(1).uniform(0, 360, 20).tolist())
    both = replace(
        upright,
        pixels=torch.cat([upright.pixels, turning.pixels]),
        labels=upright.labels.repeat(2),
        ids=(*upright.ids, *(f"t{name}" for name in upright.ids)),
        split=torch.tensor([0, 2], dtype=torch.uint8).repeat_interleave(80),
    )
    assert angles(both) == angles(upright)


@pytest.mark.parametrize("count", [1, 2, 14])
def test_few_images_say_nothing(count):
    found = angles(shapes(np.random.default_rng(1).uniform(0, 360, count).tolist()))
    assert not found.any


def test_the_plan_turns_what_comes_at_any_angle():
    photographs = replace(FACTS, side=150, channels=3)
    chosen, notes = rules(replace(photographs, angles=Angles(0.25, 200)))
    assert "rotate=180" in chosen["augment"]
    assert "(25% match others of their class upright, 19% would by chance)" in " ".join(notes)
    for found in (Angles(), Angles(0.6, 200), Angles(0.25, 50)):
        chosen, notes = rules(replace(photographs, angles=found))
        assert "rotate=180" not in chosen["augment"]
        assert "angle" not in " ".join(notes)
