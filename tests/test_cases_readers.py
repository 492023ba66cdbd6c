"""Faults of reading that were seen once, each with its right value; the kind is looked for over every member."""

import json

import numpy as np
import pytest
from PIL import Image

from likewise import api
from likewise.data import load
from likewise.data.folder import pictures_below
from likewise.evaluate import pair_files
from likewise.experiment.recipe import Recipe
from likewise.export import reading
from likewise.imaging.find import SUFFIXES
from likewise.models import weights
from likewise.recipes.load import load_recipe


@pytest.fixture
def littered(tmp_path):
    """A folder as a Mac and a NAS leave it: litter, a folder called folder.jpg, rarer suffixes, a linked folder."""
    top = tmp_path / "own"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8))
    for folder in (top / "a", top / "b" / "folder.jpg", top / "@eaDir", top / ".hidden", tmp_path / "far"):
        folder.mkdir(parents=True)
    image.save(top / "a" / "0.png")
    image.save(top / "a" / "W.JFIF", format="JPEG")
    image.save(top / "a" / "j.jp2")
    image.save(top / "b" / "10.TGA")
    image.save(top / "b" / "9.dib")
    image.save(tmp_path / "far" / "0.png")
    (top / "linked").symlink_to(tmp_path / "far")
    (top / "loop").symlink_to(top)
    for junk in ("@eaDir/thumb.png", "a/._0.png", ".hidden/0.png", "notes.txt"):
        (top / junk).write_bytes(b"junk")
    return top


def test_a_folder_gives_embed_and_the_exported_model_what_training_reads(littered):
    right = ["a/0.png", "a/j.jp2", "a/W.JFIF", "b/9.dib", "b/10.TGA", "linked/0.png"]
    for files in (api.files, reading.files):
        came = [str(path.relative_to(littered)) for path in files([littered])]
        assert sorted(came) == sorted(right)
    assert sorted(load(str(littered)).ids) == sorted(right)
    assert [found.path for found in pictures_below(littered, [])] == api.files([littered])
    assert api.files([littered / "a" / "0.png"]) == [littered / "a" / "0.png"]


def test_a_folder_without_images_says_what_looked_like_one(littered):
    (littered / "c" / "folder.jpg").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"hold no pictures \(folder.jpg: a folder, not a picture\)"):
        api.files([littered / "c"])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_capitals_are_the_same_suffix_for_every_reader_of_a_folder(suffix, tmp_path):
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"")
    assert len(api.files([tmp_path])) == 2


def test_files_of_a_system_that_writes_capitals(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "0.png")
    table = tmp_path / "BIRDS.CSV"
    table.write_text("image,label\n0.png,a\n")
    assert load_recipe(table).data == str(table)
    rows = tmp_path / "ROWS.NPZ"
    np.savez(tmp_path / "rows.npz", X=np.zeros((4, 3)), y=[0, 0, 1, 1])
    (tmp_path / "rows.npz").rename(rows)
    assert load_recipe(rows).network.startswith("mlp")
    (tmp_path / "MY.TOML").write_text(Recipe(dim=3).to_toml())
    (tmp_path / "MY.JSON").write_text(json.dumps({"dim": 3}))
    assert load_recipe(tmp_path / "MY.TOML").dim == load_recipe(tmp_path / "MY.JSON").dim == 3


def test_weights_and_pairs_in_capitals(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "W.SAFETENSORS")
    assert weights.read(tmp_path / "W.SAFETENSORS")["a"].tolist() == [1, 1]
    assert weights.read(tmp_path)["a"].tolist() == [1, 1]
    pq.write_table(pa.table({"id_a": ["a"], "id_b": ["c"], "same": [True]}), tmp_path / "P.PARQUET")
    assert pair_files.read(tmp_path / "P.PARQUET").same.tolist() == [True]
