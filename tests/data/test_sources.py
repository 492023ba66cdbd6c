"""One contract over every source, on small files in the publishers' layout; then the real files, by what is known."""

import gzip
import inspect
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from likewise import data, spec
from likewise.data import sources
from likewise.data.groceries import bursts, histogram
from likewise.data.idx import FILES
from likewise.data.options import LoadOptions
from small_images import png

PEOPLE = {"training": ["s1", "s2", "s10"], "testing": ["s5"]}
GROCERIES = {"Leek": 0, "Apple": 1, "Milk": 2, "Brown-Mushroom": 3}
SCRIPTS = {"images_background": ["Latin", "Greek"], "images_evaluation": ["Tengwar"]}


def idx(*shape, values=None) -> bytes:
    values = np.arange(np.prod(shape)) % 10 if values is None else np.array(values)
    head = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def write_idx(folder) -> None:
    folder.mkdir()
    for file, content in zip(FILES, [idx(20, 4, 5), idx(20), idx(10, 4, 5), idx(10)], strict=True):
        (folder / file).write_bytes(content)


def write_zip(path, alphabets, drawings=3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for alphabet in alphabets:
            for character in range(1, 4):
                for n in range(drawings):
                    bits = Image.new("1", (7, 7), 1)
                    bits.putpixel((n, character), 0)
                    content = io.BytesIO()
                    bits.save(content, "PNG")
                    file.writestr(f"{path.stem}/{alphabet}/character{character:02d}/{n:04d}.png", content.getvalue())


def write_sequences(top) -> None:
    """Two videos of twelve frames, in which a bright square moves to the right."""
    for name in ("Car", "Dog"):
        (top / name / "img").mkdir(parents=True)
        for n in range(1, 13):
            frame = Image.new("RGB", (40, 30), (10 * n, 0, 0))
            frame.paste((255, 255, 255), (n, 5, n + 8, 15))
            frame.save(top / name / "img" / f"{n:04d}.png")
        (top / name / "groundtruth_rect.txt").write_text("".join(f"{n + 1},6,8,10\n" for n in range(1, 13)))


def write_groceries(top) -> None:
    """Two shelves a class and part, red and blue, on which the thing itself is green."""
    names = {"train": range(1, 9), "val": range(1, 3)}
    rng = np.random.default_rng(0)
    for part, numbers in names.items():
        lines = []
        for name, fine in GROCERIES.items():
            folder = top / part / "Food" / name
            folder.mkdir(parents=True)
            for n in numbers:
                pixels = rng.integers(0, 40, (12, 12, 3), dtype=np.uint8)
                pixels[:, :, 2 * (n % 3 == 0)] += 200
                pixels[3:9, 3:9] = (10 * fine, 200, 10)
                Image.fromarray(pixels).save(folder / f"{name}_{n:03d}.jpg", quality=95)
                lines.append(f"{part}/Food/{name}/{name}_{n:03d}.jpg, {fine}, 0")
        (top / f"{part}.txt").write_text("\n".join(lines) + "\n\n")
    rows = ["Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)"]
    (top / "classes.csv").write_text("\n".join(rows + [f"{name},{i},Food,0" for name, i in GROCERIES.items()]))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root that holds every source, each a few images."""
    root = tmp_path_factory.mktemp("root")
    write_idx(root / "mnist")
    write_idx(root / "fashion-mnist")
    for stem in ("images_background", "images_evaluation", "images_background_small1", "images_background_small2"):
        write_zip(root / f"omniglot/python/{stem}.zip", SCRIPTS.get(stem, ["Latin"]))
    for part, people in PEOPLE.items():
        for person in people:
            folder = root / "att-faces/data/faces" / part / person
            folder.mkdir(parents=True)
            for k in range(1, 11):
                Image.new("L", (6, 8), k).save(folder / f"{k}.pgm")
    (root / "att-faces/data/faces/training/README").write_text("about the faces")
    write_groceries(root / "grocery-store/dataset")
    write_sequences(root / "tracking-otb")
    for writer in ("1", "2"):
        (root / "cross-media-signatures/bin" / writer).mkdir(parents=True)
        for k in range(1, 41):
            Image.new("L", (6, 6), k).save(root / f"cross-media-signatures/bin/{writer}/{k}.png")
    for name in ("cat", "dog"):
        (root / "pets" / name).mkdir(parents=True)
        for i in range(5):
            (root / "pets" / name / f"{i}.png").write_bytes(png(i))
    (root / "pets.csv").write_text(
        "image,label\n" + "".join(f"pets/{n}/{i}.png,{n}\n" for n in ("cat", "dog") for i in range(5))
    )
    np.savez(root / "d.npz", X=np.zeros((6, 4, 4), np.uint8), y=[0, 0, 0, 1, 1, 1])
    return root


def settings(name, root) -> dict:
    return {
        "folder": {"path": str(root / "pets")},
        "table": {"path": str(root / "pets.csv")},
        "arrays": {"path": str(root / "d.npz")},
        "tracking": {"every": 1},
    }.get(name, {})


@pytest.fixture(params=sources.__all__)
def source(request, root):
    return lambda **want: getattr(sources, request.param)(LoadOptions(root, **want), **settings(request.param, root))


def test_contract(source):
    images = source()
    n = len(images)
    assert n > 0
    assert images.name
    assert images.pixels.shape[0] == n
    assert images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64
    assert images.split.dtype == torch.uint8
    assert images.split.max() <= 2
    assert (images.split == 0).any()
    assert sorted(set(images.labels.tolist())) == list(range(len(images.classes)))
    assert len(set(images.classes)) == len(images.classes)
    assert len(set(images.ids)) == n
    assert images.groups is None or len(images.groups) == n


def test_contract_twice_the_same(source):
    one, two = source(), source()
    assert torch.equal(one.pixels, two.pixels)
    assert torch.equal(one.labels, two.labels)
    assert one.ids == two.ids


def test_contract_of_the_names(source, root):
    """Every source is bound by its name, takes its keywords and no others, and says what it is."""
    for name in sources.__all__:
        function = getattr(sources, name)
        assert next(iter(inspect.signature(function).parameters)) == "options"
        assert inspect.getdoc(function)
        assert spec.find("data", name.replace("_", "-")) is function
        with pytest.raises(spec.SpecError, match="takes no 'colour'"):
            spec.bind("data", f"{name}(colour=1)")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "omniglot", "faces", "groceries", "signatures"])
def test_an_absent_source_says_where_and_how(name, tmp_path):
    with pytest.raises(data.AbsentError) as raised:
        data.load(name, root=tmp_path)
    sentence = str(raised.value)
    assert str(tmp_path) in sentence
    elsewhere = {
        "faces": "cam-orl.co.uk",
        "groceries": "github.com/marcusklasson",
        "signatures": "github.com/dishangti",
    }
    assert elsewhere.get(name, f"likewise data fetch {name}") in sentence
    assert "\n" not in sentence


def test_digits_split_is_fixed_and_stratified():
    images = sources.digits(LoadOptions())
    assert len(images) == 1797
    assert images.shape == (1, 8, 8)
    assert int(images.pixels.max()) == 255
    assert len(images.part("test")) == 355
    for digit in range(10):
        rows = np.flatnonzero(images.labels == digit)
        assert np.flatnonzero(images.split[rows] == 2).tolist() == list(range(4, len(rows), 5))
    assert images.pixels[0, 0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0], "0 0 5 13 9 1 0 0 of 16"


def test_idx_pixels_and_labels(root):
    images = sources.mnist(LoadOptions(root))
    assert images.shape == (1, 4, 5)
    assert images.pixels[1, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert images.labels[:12].tolist() == [*range(10), 0, 1]
    assert images.ids[0] == "train/00000"
    assert images.ids[20] == "test/00000"
    assert images.split.tolist() == [0] * 20 + [2] * 10
    assert sources.fashion_mnist(LoadOptions(root)).classes[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (FILES[0], b"not gzip", "cut short or no gzip"),
        (FILES[0], idx(20, 4, 5)[:-12], "cut short or no gzip"),
        (FILES[0], idx(20), "begins with 00000801, an idx file of this kind with 00000803"),
        (FILES[1], gzip.compress(b""), "begins with nothing"),
        (FILES[0], gzip.compress(gzip.decompress(idx(20, 4, 5))[:-7]), "says 20 x 4 x 5 bytes and holds 393"),
        (FILES[1], idx(19), "holds 20 images and .* holds 19 labels"),
        (FILES[3], idx(10, values=[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]), "holds the label 10; mnist has 0 to 9"),
    ],
)
def test_idx_says_which_file_is_wrong(tmp_path, file, content, why):
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / file).write_bytes(content)
    with pytest.raises(ValueError, match=why) as raised:
        sources.mnist(LoadOptions(tmp_path))
    assert file in str(raised.value)


def test_omniglot_sets_groups_and_ink(root):
    images = sources.omniglot(LoadOptions(root))
    assert len(images) == 27
    assert images.open
    assert images.classes[0] == "Greek/character01"
    assert set(images.groups) == {"Latin", "Greek", "Tengwar"}
    assert [images.groups[i] == "Tengwar" for i in range(27)] == [s == 2 for s in images.split.tolist()]
    assert images.ids[0] == "images_background/Greek/character01/0000.png"
    assert images.pixels[0, 0].nonzero().tolist() == [[1, 0]], "ink is bright"
    dark = sources.omniglot(LoadOptions(root), set="evaluation", ink="dark")
    assert (dark.pixels == 0).sum() == len(dark) == 9
    assert len(sources.omniglot(LoadOptions(root), set="small1").part("train")) == 9


def test_omniglot_refuses(root, tmp_path):
    with pytest.raises(ValueError, match="did you mean small2 or small1"):
        sources.omniglot(LoadOptions(root), set="small")
    with pytest.raises(ValueError, match="bright or dark"):
        sources.omniglot(LoadOptions(root), ink="blue")
    whole = (root / "omniglot/python/images_background.zip").read_bytes()
    path = tmp_path / "omniglot/python/images_background.zip"
    path.parent.mkdir(parents=True)
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    for content in (whole[:200], bytes(damaged), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or no zip; delete it and run `likewise data fetch omniglot`"):
            sources.omniglot(LoadOptions(tmp_path), set="background")


def test_faces_in_both_layouts(root, tmp_path):
    images = sources.faces(LoadOptions(root))
    assert images.classes == ("s1", "s2", "s5", "s10")
    assert images.shape == (1, 8, 6)
    assert images.open
    assert {images.classes[i] for i in images.part("test").labels} == {"s5"}
    assert images.ids[0] == "data/faces/testing/s5/1.pgm"
    assert images.ids[9].endswith("10.pgm")
    for person in ("s4", "s6"):
        (tmp_path / "att-faces" / person).mkdir(parents=True)
        Image.new("L", (6, 8)).save(tmp_path / "att-faces" / person / "1.pgm")
    flat = sources.faces(LoadOptions(tmp_path))
    assert flat.ids == ("s4/1.pgm", "s6/1.pgm")
    assert flat.split.tolist() == [0, 2]


def test_signatures_have_writers_and_media(root):
    images = sources.signatures(LoadOptions(root))
    assert images.classes == ("1", "2")
    assert images.groups is not None
    where = {int(name.split("/")[2][:-4]): group for name, group in zip(images.ids, images.groups, strict=True)}
    assert [where[k] for k in (1, 10, 11, 21, 40)] == ["paper", "paper", "tablet", "phone-hand", "phone-table"]


def test_groceries_labels_are_the_published_ids(root):
    images = sources.groceries(LoadOptions(root))
    assert images.classes == tuple(GROCERIES), "in the order of the ids, not of the names"
    assert images.split.bincount().tolist() == [32, 0, 8]
    assert all(i.split("/")[2] == images.classes[label] for i, label in zip(images.ids, images.labels, strict=True))
    assert images.ids[0] == "train/Food/Leek/Leek_001.jpg"
    assert not images.open


def test_groceries_groups_are_bursts(root):
    images = sources.groceries(LoadOptions(root))
    assert images.groups[:8] == tuple(f"train/Leek/{int(n % 3 == 0)}" for n in range(1, 9))
    assert len(set(images.groups[:32])) == 8
    parted = data.load("groceries", root=root, split="by_group(val=0.5)")
    of = [{parted.groups[i] for i in range(len(parted)) if parted.split[i] == part} for part in range(3)]
    assert len(of[0]) == len(of[1]) == 4
    assert not of[0] & of[1]
    assert of[2] == {f"val/{name}/0" for name in GROCERIES} or all(name.startswith("val/") for name in of[2])


def test_groceries_held_out(root):
    images = sources.groceries(LoadOptions(root), held_out=2)
    assert images.open
    assert set(images.part("test").labels.tolist()) == {2, 3}
    assert set(images.part("train").labels.tolist()) == {0, 1}
    assert all(i.startswith("train/") for i in images.ids), "the published val is left out"
    for wrong in (1, 4, -1):
        with pytest.raises(ValueError, match="the first fine id that is not trained on, 2 to 3"):
            sources.groceries(LoadOptions(root), held_out=wrong)


def test_groceries_says_which_line_is_wrong(tmp_path):
    write_groceries(top := tmp_path / "grocery-store/dataset")
    (top / "val.txt").write_text("val/a.jpg, 0, 0\nval/b.jpg, 99, 0\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 2: an image and an id of classes\.csv were expected"):
        sources.groceries(LoadOptions(tmp_path))
    (top / "classes.csv").write_text("a,b\nx,y\n")
    with pytest.raises(ValueError, match=r"is not the published classes\.csv"):
        sources.groceries(LoadOptions(tmp_path))


def test_a_broken_grocery_is_skipped(tmp_path):
    write_groceries(top := tmp_path / "grocery-store/dataset")
    (top / "train/Food/Milk/Milk_003.jpg").write_bytes(b"")
    images = sources.groceries(LoadOptions(tmp_path))
    assert [s.id for s in images.skipped] == ["train/Food/Milk/Milk_003.jpg"]
    assert len(images) == 39
    assert "" not in images.groups


def test_bursts_by_hand():
    plain = np.zeros((4, 3, 8, 8), np.uint8)
    assert bursts(plain[:0]) == []
    assert bursts(plain[:1]) == [0]
    assert bursts(plain) == [0, 0, 0, 0], "all the same image"
    plain[2:] = 255
    assert bursts(plain) == [0, 0, 1, 1]
    assert histogram(plain[0])[0] == 1
    assert histogram(plain[3])[-1] == 1


# The real files. Figures are the publishers' own.

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def counts(images, part):
    return images.part(part).labels.bincount(minlength=len(images.classes)).tolist()


def test_real_mnist(data_root):
    images = sources.mnist(LoadOptions(data_root("mnist").parent))
    assert images.shape == (1, 28, 28)
    assert counts(images, "train") == MNIST_TRAIN
    assert counts(images, "test") == MNIST_TEST
    assert images.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.part("test").labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert abs(images.part("train").pixels.float().mean().item() / 255 - 0.1307) < 1e-4


def test_real_fashion_mnist(data_root):
    images = sources.fashion_mnist(LoadOptions(data_root("fashion-mnist").parent))
    assert counts(images, "train") == [6000] * 10
    assert counts(images, "test") == [1000] * 10
    assert [images.classes[i] for i in images.labels[:3]] == ["Ankle boot", "T-shirt/top", "T-shirt/top"]
    assert abs(images.part("train").pixels.float().mean().item() / 255 - 0.2860) < 1e-4


@pytest.mark.slow
def test_real_omniglot(data_root):
    images = data.load("omniglot", root=data_root("omniglot").parent, size=28, channels=1)
    assert len(images) == 32_460
    assert images.labels.bincount().tolist() == [20] * 1623
    assert len(set(images.groups)) == 50
    test = images.part("test")
    assert len(test) == 13_180
    assert len(set(test.groups)) == 20
    assert images.open
    assert set(images.part("val").labels.tolist()).isdisjoint(images.part("train").labels.tolist())
    assert images.pixels.float().mean() < 40, "ink is bright and there is little of it"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("small1", 2720), ("small2", 3120)])
def test_real_omniglot_small(data_root, name, count):
    images = sources.omniglot(LoadOptions(data_root("omniglot").parent), set=name)
    assert len(images) == count
    assert images.shape == (1, 105, 105)
    assert len(images.classes) == count // 20
    assert len(set(images.groups)) == 5


def test_real_faces(data_root):
    images = sources.faces(LoadOptions(data_root("att-faces").parent))
    assert images.shape == (1, 112, 92)
    assert images.labels.bincount().tolist() == [10] * 40
    assert {images.classes[i] for i in images.part("test").labels} == {"s5", "s6", "s7"}
    assert images.skipped == ()


@pytest.mark.slow
def test_real_groceries(data_root):
    images = data.load("groceries", root=data_root("grocery-store").parent, size=64, split="by_group(val=0.15)")
    assert images.split.bincount().tolist()[2] == 296
    assert len(images) == 2936
    assert images.classes[:2] == ("Golden-Delicious", "Granny-Smith")
    assert images.classes[80] == "Zucchini"
    assert images.skipped == ()
    train, val = (set(images.part(name).groups) for name in ("train", "val"))
    assert not train & val
    held = data.load("groceries(held_out=41)", root=data_root("grocery-store").parent, size=64)
    assert held.open
    assert len(held.part("test")) == 1162
    assert held.part("test").labels.min() == 41
    assert max(len(set(images.groups)), 0) > 400, "about five bursts a class"


@pytest.mark.slow
def test_real_folder(data_root):
    images = data.load(str(data_root("grocery-store") / "dataset"), size=64)
    assert len(images.classes) == 81
    assert "Fruit/Apple/Golden-Delicious" in images.classes
    assert images.skipped == ()
    assert images.shape == (3, 64, 64)
    assert len(images.part("train")) + len(images.part("val")) == 2640
    assert len(images.part("test")) == 296, "the folder val/, of other days"


@pytest.mark.slow
def test_real_table(data_root):
    path = data_root("grocery-store") / "dataset" / "train.txt"
    text = f"table(path={str(path)!r}, header=False, image=0, label=1, group=2)"
    images = data.load(text, size=32, max_classes=5, split="by_class(val=0.2, test=0.2)")
    assert len(images.classes) == 5
    assert images.open
    assert all(16 <= n <= 70 for n in images.labels.bincount().tolist())
