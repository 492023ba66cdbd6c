"""likewise rank: any retrieval metric of a run's embeddings, by parts, across groups; what is wrong is one sentence."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from likewise import api
from likewise.cli import main
from likewise.evaluate import Embeddings
from likewise.metrics import retrieval
from report_run import clusters, digits_metrics, write_run

HELD = clusters(["a", "b", "c"], parts=("train", "val", "test"))
CAMERAS = tuple("left" if i % 2 else "right" for i in range(len(HELD)))


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "r", replace(HELD, groups=CAMERAS), metrics=digits_metrics(), epochs=1)


def by_hand(name: str, query: Embeddings, gallery: Embeddings | None = None) -> float:
    sets = [retrieval.Set(part.vectors, part.labels) for part in (query, gallery) if part is not None]
    return float(retrieval.measure([name], *sets).values[name].mean())


def test_the_part_that_was_scored_is_ranked_and_any_other_searched(run):
    test, train = HELD.part("test"), HELD.part("train")
    found = api.rank(run, ["mrr", "ndcg@5", "cmc@3"])
    assert list(found["scores"]) == ["mrr", "ndcg@5", "cmc@3"]
    assert (found["split"], found["gallery"], found["queries_without_positives"], found["of"]) == (
        "test",
        "test",
        0,
        18,
    )
    apart = api.rank(run, ["mrr"], gallery="train")
    assert found["scores"]["mrr"]["value"] == pytest.approx(by_hand("mrr", test))
    assert apart["scores"]["mrr"]["value"] == pytest.approx(by_hand("mrr", test, train))
    assert apart["gallery"] == "train"


def test_without_names_all_that_fit_are_measured(run):
    assert list(api.rank(run)["scores"]) == [
        "recall@1", "recall@5", "recall@10", "precision@10", "r_precision", "map@r", "map", "mrr", "ndcg@10",
    ]  # fmt: skip
    small = write_run(run.parent / "s", clusters(["a", "b"], each=5), metrics=digits_metrics(), epochs=1)
    assert list(api.rank(small)["scores"]) == ["recall@1", "recall@5", "r_precision", "map@r", "map", "mrr"]


def test_across_groups_the_own_camera_is_not_searched(run):
    test = replace(HELD, groups=CAMERAS).part("test")
    hits = []
    sim = torch.nn.functional.cosine_similarity(test.vectors[:, None], test.vectors, dim=-1)
    for q in range(18):
        same = [test.labels[i] == test.labels[q] and test.groups[i] == test.groups[q] for i in range(18)]
        seen = [i for i in range(18) if not same[i]]
        hits.append(bool(test.labels[max(seen, key=lambda i: float(sim[q, i]))] == test.labels[q]))
    found = api.rank(run, ["recall@1"], across_groups=True)["scores"]["recall@1"]
    assert found["value"] == pytest.approx(sum(hits) / 18)


def call(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["likewise", "rank", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_what_is_printed(run, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    code, out, _ = call(monkeypatch, capsys, str(run), "mrr", "map@r")
    assert code == 0
    assert out.startswith("r: queries from test, ranked among the other images")
    assert "mean of 1 / rank of the first hit" in out
    assert "one of the 3 nearest is of the same class" in call(monkeypatch, capsys, str(run), "recall@3")[1]
    told = json.loads(call(monkeypatch, capsys, str(run), "mrr", "--json")[1])
    assert set(told["scores"]["mrr"]) == {"value", "low", "high", "n"}
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_lone_queries_are_counted_in_print(run, monkeypatch, capsys):
    labels = HELD.labels.clone()
    labels[-1] = 0
    labels[-2] = 1
    only = replace(HELD, labels=torch.where(torch.arange(len(HELD)) == len(HELD) - 3, 3, labels), classes=(*"abcd",))
    only.save(run / "embeddings.parquet")
    out = call(monkeypatch, capsys, str(run), "mrr")[1]
    assert "1 of 18 images are left out: they have no other image of their class" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mrrr"], "no retrieval metric is named 'mrrr'"),
        (["recall@18"], "k is 18, but each query has 17 references to rank: choose k from 1 to 17"),
        (["mrr", "--gallery", "trian"], "no part named 'trian'; did you mean train"),
    ],
)
def test_what_is_wrong_is_one_sentence(run, monkeypatch, capsys, words, sentence):
    code, out, err = call(monkeypatch, capsys, str(run), *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_part_without_pictures_or_groups_is_one_sentence(run, monkeypatch, capsys):
    clusters(["a", "b", "c"]).save(run / "embeddings.parquet")
    err = call(monkeypatch, capsys, str(run), "mrr", "--gallery", "val")[2]
    assert "the part to search holds no images: leave it out, or choose one that has some" in err
    err = call(monkeypatch, capsys, str(run), "mrr", "--across-groups")[2]
    assert "across_groups needs the group (camera, video, writer) of each image, and it is not known" in err
    (run / "embeddings.parquet").unlink()
    assert "has no embeddings yet; run `likewise evaluate" in call(monkeypatch, capsys, str(run))[2]
