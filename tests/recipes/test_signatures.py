"""The recipe `signatures`: writers are in one part only, and on the real images it is better than without training."""

import pytest

from likewise import load_data
from likewise.data.images import SPLITS
from likewise.experiment.train import train
from likewise.recipes import signatures


def test_writers_are_held_out(data_root):
    root = data_root("cross-media-signatures").parent
    recipe = signatures()
    images = load_data(recipe.data, root=root, size=8, channels=1, split=recipe.split)
    writers = [set(images.part(split).labels.tolist()) for split in SPLITS]
    assert [len(part) for part in writers] == [55, 19, 19]
    assert len(set.union(*writers)) == 93
    assert set(images.groups or ()) == {"paper", "tablet", "phone-hand", "phone-table"}


@pytest.mark.slow
def test_a_quarter_of_it_is_better_than_raw_pixels(data_root, tmp_path):
    data_root("cross-media-signatures")
    run, _ = train(signatures().replace(size=64, epochs=3, device="cpu"), out=tmp_path, name="signatures")
    found = run.metrics()
    assert found["scores"]["eer"]["value"] < 0.46
    assert found["without_training"]["baselines"]["pixels"]["difference"]["map@r"]["difference"] > 0
    assert {one["name"] for one in found["verification"]["groups"]} >= {"paper", "tablet", "paper + tablet"}
