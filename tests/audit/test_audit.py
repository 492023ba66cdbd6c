"""The audit: wrong labels, copies, scenes, outliers; what was planted is found, and little else."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from likewise import api, geometry
from likewise.audit import audit, read_findings
from likewise.audit.duplicates import Copy, copies, laid_over, same_pixels, thumbs
from likewise.audit.labels import around, fit, outliers, suspects, votes
from likewise.audit.scenes import scenes
from likewise.cli import main
from likewise.data import load
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Nearest
from likewise.viz.pages.audit import page
from likewise.viz.pages.html import Thumbs
from report_page import Page
from report_run import clusters, digits, embeddings, write_run

PLANTED = ("same", "jpeg", "half", "cropped", "brighter")


def photographs(side: int = 120) -> list[Image.Image]:
    """Pieces of the two photographs that scikit-learn brings along, none overlapping another."""
    pieces = []
    for photo in load_sample_images().images:
        tops, lefts = range(0, photo.shape[0] - side, side), range(0, photo.shape[1] - side, side)
        pieces += [Image.fromarray(photo[y : y + side, x : x + side]) for y in tops for x in lefts]
    return pieces


def planted(image: Image.Image, how: str) -> Image.Image:
    w, h = image.size
    return {
        "same": image,
        "jpeg": image,
        "half": image.resize((w // 2, h // 2)),
        "cropped": image.crop((w // 25, h // 30, w - w // 40, h - h // 25)),
        "brighter": ImageEnhance.Brightness(image).enhance(1.2),
    }[how]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four classes of photographs; five training images have a copy in test, and one file is broken."""
    top = tmp_path_factory.mktemp("photos") / "set"
    pieces = photographs()
    for n, piece in enumerate(pieces):
        place = top / ("test" if n % 4 == 3 else "train") / f"class{n % 16 // 4}"
        place.mkdir(parents=True, exist_ok=True)
        piece.save(place / f"{n:03d}.png")
    for n, how in enumerate(PLANTED):
        source = 4 * n
        place = top / "test" / f"class{source % 16 // 4}" / (f"{how}.jpg" if how == "jpeg" else f"{how}.png")
        planted(pieces[source], how).save(place, **({"quality": 60} if how == "jpeg" else {}))
    (top / "train" / "class0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not an image")
    return top


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Run:
    """A short training on them."""
    recipe = api.load_recipe(str(folder)).replace(size=64, network="mlp(widths=(16,))", dim=8, epochs=1, val=0.0)
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="photos")


def test_votes_are_shares_of_the_neighbours_that_a_class_can_have():
    near = Nearest(torch.zeros(3, 2), torch.tensor([[1, 2], [0, 2], [0, 1]]))
    shares = votes(near, torch.tensor([0, 0, 1]), 2)
    assert shares.tolist() == [[1, 0], [1, 0], [1, 0]]  # a class of two asks one neighbour


def test_fit_is_the_product_with_the_mean_vote_of_the_others_by_explicit_loops():
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(30, 4, generator=generator)
    labels = torch.randint(4, (30,), generator=generator)
    found = fit(shares, labels)
    for i in range(30):
        others = [shares[j] for j in range(30) if j != i and labels[j] == labels[i]]
        expected = float(sum(float(shares[i, c]) * sum(float(o[c]) for o in others) / len(others) for c in range(4)))
        assert float(found[i]) == pytest.approx(expected, rel=1e-5)


def flipped(images: Images, share: float, seed: int) -> tuple[Images, set[int]]:
    rng = np.random.default_rng(seed)
    at = rng.choice(len(images), round(share * len(images)), replace=False)
    labels = images.labels.clone()
    labels[at] = (labels[at] + torch.from_numpy(rng.integers(1, 10, len(at)))) % 10
    return replace(images, labels=labels), set(at.tolist())


@pytest.mark.parametrize("seed", [0, 1])
def test_flipped_labels_of_real_digits_are_found(seed):
    images, wrong = flipped(digits(), 0.02, seed)
    told = embeddings(images, progress=1.0)
    found = suspects(told, around(told, geometry.cosine))
    at = [s.at for s in found]
    assert len(wrong & set(at)) >= 0.9 * len(wrong)
    assert len(wrong & set(at)) >= 0.5 * len(at)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert all(0 < s.score <= 1 for s in found)
    truth = digits().labels
    named = [s for s in found if s.at in wrong]
    assert sum(s.label == truth[s.at] for s in named) >= 0.9 * len(named)
    assert all(told.labels[n] != told.labels[s.at] for s in found for n in s.against)


def test_classes_of_one_are_not_judged():
    told = clusters(["a", "b", "c"], each=8)
    queries_without_positives = replace(
        told, labels=torch.cat([told.labels[:-1], torch.tensor([3])]), classes=("a", "b", "c", "alone")
    )
    found = suspects(queries_without_positives, around(queries_without_positives, geometry.cosine))
    assert len(queries_without_positives) - 1 not in {s.at for s in found}


def test_one_image_far_from_all_is_an_outlier():
    told = clusters(["a", "b"], each=30)
    vectors = told.vectors.clone()
    vectors[7] = -vectors.mean(0) * 10
    assert outliers(around(replace(told, vectors=vectors), geometry.cosine))[0].at == 7
    assert len(outliers(around(told, geometry.cosine))) < 5


def test_a_image_is_laid_over_its_cropped_self():
    side = 32
    pieces = torch.stack([torch.from_numpy(np.array(p.convert("L"))) for p in photographs()[:12]])[:, None].float()
    cut = pieces[:, :, 6:-4, 5:-7]
    whole, part = (
        torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True) for x in (pieces, cut)
    )
    over = laid_over(whole, part, 25)
    assert over.min() > 0.9
    assert over.median() > 0.99
    assert laid_over(whole, whole.roll(1, 0), 25).max() < 0.9


def test_every_planted_copy_is_found_and_no_other(folder):
    images = load(str(folder), size=96, channels=3)
    found = copies(images, thumbs(images))
    pairs = {frozenset((images.ids[c.first], images.ids[c.second])) for c in found}
    hows = {name.rpartition("/")[2].partition(".")[0] for pair in pairs for name in pair if name.startswith("test/")}
    assert hows == set(PLANTED)
    assert len(pairs) == len(PLANTED)
    exact = [c for c in found if c.exact]
    assert [images.ids[c.second].endswith("same.png") or images.ids[c.first].endswith("same.png") for c in exact] == [
        True
    ]


def test_images_of_which_no_two_are_alike_have_no_copies():
    pixels = torch.randint(0, 256, (30, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ids = tuple(map(str, range(30)))
    images = Images(pixels, torch.arange(30) % 2, ("a", "b"), ids, torch.zeros(30).byte())
    assert list(copies(images, thumbs(images))) == []


def test_same_pixels_are_paired_with_the_first():
    pixels = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2).clone()
    pixels[3] = pixels[1]
    pixels[4] = pixels[1]
    images = Images(pixels, torch.zeros(5).long(), ("a",), tuple("01234"), torch.zeros(5).byte())
    assert same_pixels(images) == [(1, 3), (1, 4)]


def test_handwriting_that_is_alike_is_no_copy():
    images = digits(600)
    assert len(copies(images, thumbs(images))) < 0.02 * len(images)


def shot() -> tuple[Embeddings, torch.Tensor, torch.Tensor]:
    """Images of scenes: class, plus what the scene adds in colours and embedding, plus noise; and the scene."""
    classes, scenes_each, shots = 8, 6, 4
    g = torch.Generator().manual_seed(0)
    n = classes * scenes_each * shots
    labels = torch.arange(n) // (scenes_each * shots)
    scene = torch.arange(n) // shots
    vectors = torch.randn(classes, 32, generator=g)[labels] + 0.7 * torch.randn(n // shots, 32, generator=g)[scene]
    vectors += 0.2 * torch.randn(n, 32, generator=g)
    light = torch.randint(256, (n // shots, 3, 4, 4), generator=g)[scene].float()
    light += 12 * torch.randn(n, 3, 4, 4, generator=g)
    small = torch.nn.functional.interpolate(light.clamp(0, 255), (32, 32)).byte()
    told = Embeddings(vectors, labels, tuple(map(str, range(n))), torch.zeros(n).byte(), tuple("abcdefgh"))
    return told, small, scene


def test_a_random_split_of_scenes_leaks_and_one_by_scene_does_not():
    told, small, scene = shot()
    torn = replace(told, split=torch.where(torch.arange(len(told)) % 4 == 3, 2, 0).byte())
    whole = replace(told, split=torch.where(scene % 6 == 5, 2, 0).byte())
    found = scenes(torn, small)
    assert found.leaks
    assert len(found.pairs) > 0.5 * found.checked
    assert all(scene[held] == scene[trained] for held, trained in found.pairs)
    assert not scenes(whole, small).leaks
    assert not scenes(torn, small.float().mean(1, keepdim=True).byte()).pairs  # grey: no colours to tell by


@pytest.mark.slow
def test_the_audit_of_a_run_says_it_all(folder, run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["likewise", "audit", str(run.path), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)
    assert said["leak"].startswith("This split leaks: ")
    assert "5 pairs of copies" in said["leak"]
    with (run.path / "audit.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["finding"] for line in lines] == [f["finding"] for f in said["findings"]]
    across = [line for line in lines if line["finding"] == "copy-across-parts"]
    assert len(across) == 5
    assert all(line["split"] == "test" and line["others"].startswith("train/") for line in across)
    assert [line["id"] for line in lines if line["finding"] == "broken"] == ["train/class0/broken.png"]
    shown = Page((run.path / "audit.html").read_text(encoding="utf-8"))
    assert "This split leaks" in shown.said()
    assert "broken.png" in shown.said()
    assert sum(key == "src" for _, key, _ in shown.attributes) >= 10
    assert all(value.startswith("data:") for _, key, value in shown.attributes if key == "src")


def test_without_the_images_it_says_what_it_cannot_know(tmp_path):
    folder = write_run(tmp_path / "gone", clusters(["a", "b"]))
    run = Run.open(folder)
    told = audit(run, Embeddings.load(run.embeddings), None)
    assert told.leak == "Leakage into training was not checked: the images are no longer available."
    assert "Not searched" in Page(page(told, Thumbs(None))).said()


def test_images_that_changed_since_are_refused(tmp_path):
    images = digits(60)
    run = Run.open(write_run(tmp_path / "d", embeddings(digits(), progress=1.0).take(range(50))))
    with pytest.raises(ValueError, match="no longer those of"):
        audit(run, Embeddings.load(run.embeddings), images)


def test_copies_with_two_labels_accuse_one(tmp_path):
    images = digits(60)
    told = embeddings(digits(), progress=1.0).take(range(60))
    run = Run.open(write_run(tmp_path / "d", told))
    made = replace(audit(run, told, None), copies=[Copy(0, 1, 1.0)])
    assert next(f for f in made.findings() if f.finding.startswith("copy")).finding == "copy-other-label"
    assert images.labels[0] != images.labels[1]


@pytest.mark.system
def test_a_browser_shows_the_page(browser, run, tmp_path):
    api.audit(run.path)
    for width in (390, 1100):
        asked: list[str] = []
        tab = browser.new_page(viewport={"width": width, "height": 800})
        tab.set_default_timeout(120_000)  # a busy machine is no failure
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto((run.path / "audit.html").resolve().as_uri())
        assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
        assert all(tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.screenshot(path=tmp_path / f"{width}.png", full_page=True)
        tab.close()


def test_findings_are_read_from_their_table(tmp_path):
    path = tmp_path / "audit.csv"
    assert read_findings(path) == {}
    rows = ["finding,id", "broken,b", "outlier,a", "outlier,a", "wrong-label,a", "unheard-of,c", "outlier,", "outlier"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert read_findings(path) == {"a": ("outlier", "wrong-label"), "b": ("broken",)}
