"""Faults of reading that were seen once, each with its right value; the kind is looked for over every member."""

import copy
import inspect
import io
import json
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.base import is_classifier
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import likewise
from likewise import MetricLearner, api, evaluate, spec
from likewise.data import files, from_arrays, load
from likewise.data.folder import list_images
from likewise.data.hierarchical_sampler import hierarchical_pk
from likewise.data.options import LoadOptions
from likewise.evaluate import image_names, pair_files
from likewise.evaluate.pair_files import named
from likewise.experiment import verify_on
from likewise.experiment.build import build, load_images, needed_side, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.export import reading
from likewise.imaging.decode import ImageError, decode, head
from likewise.imaging.find import SUFFIXES
from likewise.models import Embedder, weights
from likewise.recipes.load import load_recipe
from likewise.spec import homes


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
    for listing in (api.files, reading.files):
        came = [str(path.relative_to(littered)) for path in listing([littered])]
        assert sorted(came) == sorted(right)
    assert sorted(load(str(littered)).ids) == sorted(right)
    assert [found.path for found in list_images(littered, [])] == api.files([littered])
    assert api.files([littered / "a" / "0.png"]) == [littered / "a" / "0.png"]


def test_a_folder_without_images_says_what_looked_like_one(littered):
    (littered / "c" / "folder.jpg").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"contain no images \(folder.jpg: a folder, not an image\)"):
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
    save_file({"a": torch.ones(2)}, tmp_path / "W.SAFETENSORS")
    assert weights.read(tmp_path / "W.SAFETENSORS")["a"].tolist() == [1, 1]
    assert weights.read(tmp_path)["a"].tolist() == [1, 1]
    pq.write_table(pa.table({"id_a": ["a"], "id_b": ["c"], "same": [True]}), tmp_path / "P.PARQUET")
    assert pair_files.read(tmp_path / "P.PARQUET").same.tolist() == [True]


def camera_file(orientation: object) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 9, 255, 65535])
def test_an_orientation_that_turns_nothing_leaves_height_and_width(orientation, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.jpg").write_bytes(camera_file(orientation))
    path = tmp_path / "a" / "0.jpg"
    assert head(path) == (3, 16, 24)
    assert decode(path).shape == (3, 16, 24)
    assert load(str(tmp_path)).shape == (3, 16, 24)
    without_torch = reading.pixels(path, (3, 16, 24)).transpose(2, 0, 1).astype(int)
    assert abs(without_torch - decode(path, (3, 16, 24)).numpy()).max() <= 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_orientation_that_turns_changes_them_over(orientation, tmp_path):
    path = tmp_path / "0.jpg"
    path.write_bytes(camera_file(orientation))
    assert head(path) == (3, 24, 16)
    assert decode(path).shape == (3, 24, 16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes], width: int, bits: int, colour: int, transparent: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    clear = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + head + clear + pixels + chunk(b"IEND", b"")


# Two pixels, one transparent, and one that is not.
TRANSPARENT = {
    "16 bits": (png([struct.pack(">HH", 1000, 40000)], 2, 16, 0, struct.pack(">H", 1000)), [255, 156]),
    "16 bits, the grey beside it": (png([struct.pack(">HH", 1000, 1001)], 2, 16, 0, struct.pack(">H", 1000)), [255, 4]),
    "16 bits, none of it": (png([struct.pack(">HH", 1000, 40000)], 2, 16, 0, struct.pack(">H", 7)), [4, 156]),
    "8 bits": (png([bytes([4, 156])], 2, 8, 0, struct.pack(">H", 4)), [255, 156]),
    "4 bits": (png([bytes([0x0F])], 2, 4, 0, struct.pack(">H", 0)), [255, 255]),
    "4 bits, white": (png([bytes([0x3F])], 2, 4, 0, struct.pack(">H", 3)), [255, 255]),
    "2 bits": (png([bytes([0b01100000])], 2, 2, 0, struct.pack(">H", 1)), [255, 170]),
    "1 bit": (png([bytes([0b00000000])], 2, 1, 0, struct.pack(">H", 0)), [255, 255]),
    "1 bit, white": (png([bytes([0b01000000])], 2, 1, 0, struct.pack(">H", 1)), [0, 255]),
    "16 bits a colour": (
        png([struct.pack(">6H", 1000, 1000, 1000, 40000, 40000, 40000)], 2, 16, 2, struct.pack(">3H", *[1000] * 3)),
        [255, 156],
    ),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_in_a_png_lies_on_white(name, tmp_path):
    data, right = TRANSPARENT[name]
    (tmp_path / "0.png").write_bytes(data)
    assert decode(data)[0, 0].tolist() == pytest.approx(right, abs=1)
    assert reading.pixels(tmp_path / "0.png", (1, 1, 2))[0, :, 0].tolist() == pytest.approx(right, abs=1)


def broken_files() -> dict[str, bytes]:
    """Files whose checksums and last bytes are right, and whose compressed pixels break off."""
    rows, progressive = b"".join(b"\0" + bytes(192) for _ in range(64)), io.BytesIO()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    cut = chunk(b"IDAT", zlib.compress(rows)[:20] + b"\xff" * 9)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(progressive, "JPEG", progressive=True)
    return {
        "broken.png": b"\x89PNG\r\n\x1a\n" + head + cut + chunk(b"IEND", b""),
        "broken.jpg": progressive.getvalue()[:1500] + b"\xff\xd9",
    }


@pytest.mark.parametrize("memory", [1 << 30, 1000])
@pytest.mark.parametrize("name", ["broken.png", "broken.jpg"])
def test_an_image_that_cannot_be_decoded_is_left_out_when_it_is_listed(name, memory, tmp_path, monkeypatch):
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", "0")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    broken = tmp_path / name
    broken.write_bytes(broken_files()[name])
    try:
        decode(broken, (3, 32, 32))
        can = 1  # where the decoder fills in what is missing, it is as good streamed as in memory
    except ImageError:
        can = 0
    assert not can or name == "broken.jpg"
    pixels, wrong = files.read([*paths, broken], LoadOptions(size=32, channels=3, memory=memory))
    assert len(pixels) == 3 + can
    assert set(wrong) == ({3} if not can else set())
    assert pixels[list(range(len(pixels)))].shape == (3 + can, 3, 32, 32)


def test_labels_that_no_int64_holds_are_classes_of_their_own():
    images = from_arrays(np.zeros((4, 8, 8), np.uint8), [1e19, 1e19, 2e19, 3.0])
    assert images.classes == ("3", "10000000000000000000", "20000000000000000000")
    assert images.labels.tolist() == [1, 1, 2, 0]
    assert from_arrays(np.zeros((2, 8, 8), np.uint8), [-1.0, 1.0]).classes == ("-1", "1")


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int16])
def test_whole_numbers_of_numpy_are_labels_among_objects(kind):
    y = np.array([kind(1), kind(2)] * 2, dtype=object)
    assert from_arrays(np.zeros((4, 8, 8), np.uint8), y).classes == ("1", "2")
    with pytest.raises(ValueError, match="y holds nan"):
        from_arrays(np.zeros((2, 8, 8), np.uint8), np.array([np.int64(1), float("nan")], dtype=object))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_floats_of_torch_that_numpy_lacks_are_taken(kind):
    images = from_arrays(torch.ones(4, 3).to(kind), torch.tensor([0, 1, 0, 1]).to(kind))
    assert images.pixels.dtype == torch.float32
    assert images.pixels.tolist() == torch.ones(4, 3).tolist()
    assert images.classes == ("0", "1")


def pairs_of(tmp_path, same, **columns):
    table = pa.table({"id_a": ["a", "b"], "id_b": ["c", "d"], **columns, "same": same})
    pq.write_table(table, tmp_path / "pairs.parquet")
    return pair_files.read(tmp_path / "pairs.parquet")


@pytest.mark.parametrize(
    "column", [["1", "0"], ["true", "False"], ["same", " different "], ["YES", "no"], [1, 0], [1.0, 0.0], [True, False]]
)
def test_pairs_in_parquet_are_read_as_in_csv(column, tmp_path):
    assert pairs_of(tmp_path, column).same.tolist() == [True, False]


@pytest.mark.parametrize(
    "column", [[True, None], [1.0, float("nan")], [1, 2], [1, -1], ["same", "maybe"], ["1", ""], [1.0, 0.5]]
)
def test_any_other_value_of_a_pair_is_refused_by_its_row(column, tmp_path):
    with pytest.raises(ValueError, match="row 2 of the pairs has same="):
        pairs_of(tmp_path, column)


def test_a_pair_without_an_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="row 2 of the pairs has no id_b"):
        pairs_of(tmp_path, [True, False], id_b=["c", None])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("x/1.png,x/2.png,same\nx/1.png,y/1.png,different", 2),
        ("x/1.png,y/1.png,different\nx/1.png,x/2.png,same", 2),
        ("x\\1,x\\2,same\nx\\1,y\\1,different", 2),
        ("Ann,Ann2,same\nAnn,Bob,different", 2),
        ("x/1.png,x/2.png,same", 1),
        ("a,b,same\nx/1.png,x/2.png,1", 1),
        ("id_a,id_b,same\nx/1.png,x/2.png,same", 1),
        ("Image 1,Image 2,Same\nx/1.png,x/2.png,different", 1),
        ("first,second,same,fold\nx/1.png,x/2.png,same,3", 1),
        ("id_a,id_b,label\nx/1.png,x/2.png,same", 1),
    ],
)
def test_a_first_line_is_a_heading_only_where_it_looks_like_one(text, right):
    assert len(named(text.splitlines()).same) == right


def test_a_first_line_in_doubt_is_refused_and_a_wrong_one_is_not_lost():
    with pytest.raises(ValueError, match=r"line 1 .*a heading or a pair"):
        named(["Ann,Bob,same", "Carl,Dora,different"])
    assert len(named(["Ann,Bob,same", "Carl,Dora,different"], known=["Bob"]).same) == 2
    with pytest.raises(ValueError, match=r"line 1 of the pairs reads 'x/1.png,x/2.png,maybe'"):
        named(["x/1.png,x/2.png,maybe", "x/1.png,y/1.png,different"])


LFW = ["1", "Ann_Lee\t1\t2", "Ann_Lee\t1\tBob_Day\t1"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".PNG", ".webp"])
def test_the_faces_of_lfw_may_be_kept_in_another_format(suffix, tmp_path):
    names = named(LFW).names()
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).with_suffix(suffix).write_bytes(b"")
    found = image_names.with_suffix(names, image_names.Files([tmp_path]))
    assert list(found.values()) == [name.replace(".jpg", suffix) for name in names]
    paths = image_names.found_at(list(found.values()), [tmp_path], tmp_path / "pairs.txt")
    assert [path.suffix for path in paths] == [suffix] * 3


def test_of_two_formats_lfws_own_is_taken_and_a_face_that_is_nowhere_stays_jpg():
    known = {"Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.png"}
    names = image_names.with_suffix(named(LFW).names(), known)
    assert list(names.values()) == [
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Ann_Lee/Ann_Lee_0002.png",
        "Bob_Day/Bob_Day_0001.jpg",
    ]
    renamed = verify_on.renamed(named(LFW), names)
    assert renamed.second == ("Ann_Lee/Ann_Lee_0002.png", "Bob_Day/Bob_Day_0001.jpg")
    assert renamed.person["Ann_Lee/Ann_Lee_0002.png"] == "Ann_Lee"


BYTES = np.random.default_rng(0).integers(0, 255, (4, 3, 16, 16)).astype(np.uint8)


@pytest.fixture(scope="module")
def embedder():
    torch.manual_seed(0)
    return Embedder("small_resnet(width=4, blocks=(1, 1))", shape=(3, 16, 16), dim=4, mean=0.5, std=0.25).eval()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_floats_in_the_range_of_bytes_are_refused_with_their_range(kind, embedder, tmp_path):
    floats = BYTES.astype(kind)
    wanted = rf"images of floats are 0 to 1, and .* hold {floats.min():g} to {floats.max():g}; divide them by 255"
    for given in (floats, torch.from_numpy(floats), list(floats), [BYTES[0], floats[1]], floats.transpose(0, 2, 3, 1)):
        with pytest.raises(ValueError, match="images of floats are 0 to 1, and they hold"):
            embedder.embed(given)
    with pytest.raises(ValueError, match=wanted):
        embedder.embed(floats)
    for given in (floats, floats[:, 0], floats.transpose(0, 2, 3, 1)):
        with pytest.raises(ValueError, match="images of floats are 0 to 1, and X hold"):
            from_arrays(given, [0, 0, 1, 1])
    for name in ("photo", "light", "noise"):
        with pytest.raises(ValueError, match=wanted):
            spec.bind("augment", name)()(torch.from_numpy(floats))
    np.savez(tmp_path / "own.npz", X=floats, y=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="images of floats are 0 to 1"):
        load(str(tmp_path / "own.npz"))


def test_floats_of_0_to_1_are_bytes_and_rows_of_numbers_have_any_range(embedder):
    floats = torch.from_numpy(BYTES).float() / 255
    torch.testing.assert_close(embedder.embed(floats), embedder.embed(BYTES), atol=1e-5, rtol=0)
    assert from_arrays(floats, [0, 0, 1, 1]).pixels.max() <= 1
    assert from_arrays(np.full((4, 3), 255.0), [0, 0, 1, 1]).pixels.max() == 255
    assert spec.bind("augment", "photo")()(floats).shape == floats.shape


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_stack_of_grey_images_is_never_one_in_colour(n):
    grey = Embedder("convnet", shape=(1, 28, 28), dim=4).eval()
    stack = torch.randint(256, (n, 28, 28), dtype=torch.uint8)
    for given in (stack, stack.numpy(), stack[:, :20, :20]):
        with pytest.raises(ValueError, match=r"stack of grey images is x\[:, None\]"):
            grey.embed(given)
    assert grey.embed(stack[:, None]).shape == (n, 4)
    assert grey.embed(torch.zeros(1, 3, 28, 28, dtype=torch.uint8)).shape == (1, 4)
    assert grey.embed([torch.zeros(3, 28, 28, dtype=torch.uint8)]).shape == (1, 4)


def test_every_image_of_a_small_class_is_drawn_in_every_epoch():
    labels = torch.tensor([0] * 4 + [1] * 5 + [2] + [3] * 2)
    for epoch in range(10):
        drawn = torch.cat(hierarchical_pk(labels, superclasses=1, classes=2, images=3, seed=0, epoch=epoch))
        assert labels[drawn].bincount().tolist() == [3, 3, 1, 2]
        assert len(drawn.unique()) == len(drawn)


@pytest.fixture(scope="module")
def flowers():
    return load_iris(return_X_y=True)


def test_a_metric_learner_names_its_columns(flowers):
    X, y = flowers
    fitted = make_pipeline(StandardScaler(), MetricLearner(epochs=1, dim=2)).fit(X, y)
    assert fitted.get_feature_names_out().tolist() == ["metriclearner0", "metriclearner1"]
    assert fitted.set_output(transform="default") is fitted


def test_a_metric_learner_is_cross_validated_by_strata(flowers):
    X, y = flowers  # sorted by class: folds without strata hold a class that was never trained on, and score 0
    assert is_classifier(MetricLearner())
    assert cross_val_score(MetricLearner(dim=2, epochs=5), X, y, cv=3).min() > 0.85
    words = np.array(["a", "b", "c"])[y]
    fitted = MetricLearner(dim=2, epochs=5).fit(X, words)
    assert set(fitted.predict(X)) == {"a", "b", "c"}
    assert fitted.score(X, words) == 1.0, "each training row is its own nearest"


@pytest.mark.slow
def test_the_empty_recipe_trains(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    assert load_recipe(tmp_path / "empty.toml") == Recipe()
    (tmp_path / "short.toml").write_text("epochs = 1\n")
    run = likewise.train(tmp_path / "short.toml", out=tmp_path, name="short")
    assert run.scores()["knn@1"].value > 0.8
    assert Embedder.load(run.path).shape == (1, 16, 16)
    assert run.recipe.size == 0
    again = api.evaluate(run.path)
    assert again.scores()["knn@1"] == run.scores()["knn@1"]


def test_images_are_enlarged_only_where_no_size_is_asked_for():
    for network in homes("network"):
        if needed := needed_side(network, (1, 8, 8)):
            assert load_images(Recipe(network=network)).shape == (1, needed, needed)
    assert load_images(Recipe(network="small_resnet")).shape == (1, 8, 8)
    recipe = Recipe(size=9)
    with pytest.raises(ValueError, match="give size=16 or more"):
        build(resolve_defaults(recipe), load_images(recipe))


def test_a_misspelled_field_is_a_spec_error_with_the_near_name():
    for make in (lambda: Recipe(epoch=2), lambda: Recipe("digits", epoch=2), lambda: Recipe().replace(epoch=2)):
        with pytest.raises(likewise.SpecError, match="no field 'epoch'; did you mean epochs"):
            make()
    recipe = Recipe("digits", dim=3)
    assert recipe == copy.deepcopy(recipe) == pickle.loads(pickle.dumps(recipe)) == recipe.replace(dim=3)


@pytest.mark.parametrize("wrong", [{"epochs": 2}, None, 3, ["digits"], Recipe])
def test_train_says_what_it_takes(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"train takes a Recipe, .* got (dict|NoneType|int|list|type)"):
        likewise.train(wrong, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_evaluate_is_a_function_and_a_package():
    generator = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(40, 4, generator=generator), torch.arange(40) % 4
    ids = tuple(map(str, range(40)))
    split = torch.zeros(40, dtype=torch.uint8)
    made = likewise.Embeddings(vectors, labels, ids, split, tuple("abcd"))
    assert likewise.evaluate(made, made, seed=1) == evaluate.evaluate(made, made, seed=1)
    assert likewise.evaluate is evaluate is sys.modules["likewise.evaluate"]
    assert list(inspect.signature(likewise.evaluate).parameters)[:2] == ["query", "reference"]
    code = (
        "import likewise; assert callable(likewise.evaluate); import likewise.evaluate.pair_files as p; assert p.named"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
