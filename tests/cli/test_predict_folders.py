"""The accuracy that `predict` prints for class folders."""

from pathlib import Path

import pytest

from likewise.gallery.predict import accuracy, folder_classes


def test_the_class_is_the_path_below_the_folder_or_its_last_name(tmp_path):
    for folder in ("Fruit/Apple", "x/Apple", "Pear"):
        (tmp_path / folder).mkdir(parents=True)
    paths = [tmp_path / "Fruit/Apple/1.png", tmp_path / "x/Apple/2.png", tmp_path / "Pear/3.png", Path("4.png")]
    assert folder_classes(paths, [tmp_path], ["Fruit/Apple", "Apple"]) == ["Fruit/Apple", "Apple", None, None]
    assert folder_classes(paths[2:3], [tmp_path / "Pear"], ["Pear"]) == ["Pear"]
    assert folder_classes(paths[:3], paths[:3], ["Apple"]) == [None] * 3  # files by themselves say nothing


def test_the_interval_is_exact():
    rows = [{"class": "a", "folder_class": "a"}] * 9 + [{"class": None, "folder_class": "a"}, {"class": "a"}]
    share = accuracy(rows)
    assert (share["value"], share["right"], share["n"], share["others"]) == (0.9, 9, 10, 1)
    # Clopper and Pearson, 1934: 9 of 10
    assert (share["low"], share["high"]) == pytest.approx((0.5550, 0.9975), abs=1e-4)
    assert accuracy([{"class": "a"}]) is None
