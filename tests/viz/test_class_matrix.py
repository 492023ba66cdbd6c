"""Classes against one another: hand-worked counts, similarities and joins, an oracle with loops, pages of many."""

import json
import re

import numpy as np
import pytest
import torch

from likewise import geometry
from likewise.viz.pages import class_findings as found_in
from likewise.viz.pages.class_matrix import LEVELS, cell_side, matrices, shades
from likewise.viz.pages.findings import Neighbours, nearest
from likewise.viz.pages.run_data import read
from report_page import Page
from report_run import clusters, digits, digits_metrics, digits_run, of_vectors, write_run


def test_a_count_for_every_query():
    counts = found_in.confusion(np.array([0, 0, 0, 2]), np.array([0, 1, 1, 2]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_the_most_confused_classes_are_in_most_errors_on_either_side():
    true, named = np.array([5, 5, 7, 9, 9, 9]), np.array([7, 7, 5, 9, 9, 3])
    # errors: 5 in three, 7 in three, 9 in one, 3 in one
    assert found_in.most_confused(true, named, 2).tolist() == [5, 7]
    assert found_in.most_confused(true, named, 3).tolist() == [3, 5, 7]
    assert found_in.most_confused(true, named, 9).tolist() == [3, 5, 7, 9]


def test_similarities_are_means_over_pairs_and_none_is_with_itself():
    first, second = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0]])
    means = found_in.class_similarity([first, second], geometry.cosine)
    np.testing.assert_allclose(means, [[0.6, 0.4], [0.4, np.nan]], atol=1e-6)


@pytest.mark.parametrize("sim", [geometry.cosine, geometry.euclidean])
def test_similarities_equal_an_explicit_loop(sim):
    rng = np.random.default_rng(3)
    parts = [torch.tensor(rng.normal(size=(n, 4)), dtype=torch.float32) for n in (3, 1, 5)]
    means = found_in.class_similarity(parts, sim)
    for row, x in enumerate(parts):
        for column, y in enumerate(parts):
            values = [
                float(sim(x[i : i + 1], y[j : j + 1]))
                for i in range(len(x))
                for j in range(len(y))
                if row != column or i != j
            ]
            assert means[row, column] == pytest.approx(np.mean(values) if values else np.nan, abs=1e-5, nan_ok=True)


def test_the_tree_joins_the_most_similar_classes_first():
    sim = np.array([[1.0, 0.1, 0.8], [0.1, 1.0, 0.3], [0.8, 0.3, 1.0]])
    tree = found_in.tree(sim)
    # 0 and 2 join at 0.8; class 1 joins both at the mean of 0.1 and 0.3, and stands beside 2
    assert tree.order.tolist() in ([0, 2, 1], [1, 2, 0])
    assert np.sort(tree.height.max(1)).tolist() == pytest.approx([0.87, 0.87])  # leaves, a tenth of the range above
    assert np.sort(tree.height.min(1)).tolist() == pytest.approx([0.2, 0.8])
    assert sorted(tree.place[tree.height.min(1) > 0.5][0].tolist()) in ([0, 0, 1, 1], [1, 1, 2, 2])


def by_hand(truth: list[int], named: list[int]) -> Neighbours:
    """Queries whose nearest neighbour is the reference of the class `named`; vectors are those of digits."""
    rng = np.random.default_rng(0)
    query, reference = (of_vectors(rng.normal(size=(len(truth), 3)), digits(len(truth))) for _ in range(2))
    query.labels[:], reference.labels[:] = torch.tensor(truth), torch.tensor(named)
    return Neighbours(query, reference, np.arange(len(truth))[:, None], np.ones((len(truth), 1)))


def test_rows_columns_and_names_are_in_one_order():
    matrix = found_in.class_matrix(by_hand([4, 4, 4, 6, 6, 8], [4, 4, 6, 8, 6, 8]), geometry.cosine)
    assert matrix is not None
    assert sorted(matrix.classes.tolist()) == [4, 6, 8]
    at = {c: n for n, c in enumerate(matrix.classes.tolist())}
    assert [matrix.queries[at[c]] for c in (4, 6, 8)] == [3, 2, 1]
    assert matrix.counts[at[4], at[6]] == 1
    assert matrix.counts[at[6], at[8]] == 1
    assert matrix.counts[at[8], at[6]] == 0
    assert (matrix.of, matrix.errors) == (3, 2)


def test_fewer_than_two_classes_or_broken_vectors_have_no_matrix():
    assert found_in.class_matrix(by_hand([1, 1], [1, 1]), geometry.cosine) is None
    broken = by_hand([1, 2], [1, 2])
    broken.query.vectors[0, 0] = torch.nan
    assert found_in.class_matrix(broken, geometry.cosine) is None


def test_shades_draw_each_cell_once_and_zero_not_at_all():
    values = np.array([[0.0, 1.0], [0.5, 0.04]])
    drawn = list(shades(values, "misses"))
    assert sum(path.count("M") for path in drawn) == 3
    side = cell_side(2)
    assert f"M{side:g} 0h" in drawn[-1]
    assert f'fill-opacity="{0.85:.2f}"' in drawn[-1]
    assert f'fill-opacity="{0.85 / LEVELS:.2f}"' in drawn[0]


@pytest.mark.parametrize(
    ("classes", "shown"),
    [(2, 2), (10, 10), pytest.param(81, 81, marks=pytest.mark.slow), pytest.param(140, 100, marks=pytest.mark.slow)],
)
def test_any_number_of_classes(classes, shown, tmp_path):
    held = clusters([f"class {c}" for c in range(classes)], each=3, dim=3)
    run = read(write_run(tmp_path / "r", held, metrics=digits_metrics(), epochs=0))
    text = "".join(matrices(run))
    page = Page(text)
    data = json.loads(re.search(r'id="class-matrix">(.*?)</script>', text, re.DOTALL).group(1))
    assert len(data["names"]) == len(data["queries"]) == len(data["similarity"]) == shown
    nn = nearest(held.part("test"), held.part("train"), geometry.cosine)
    errors = int((~nn.hit[:, 0]).sum())
    if shown == classes:
        assert sum(n for row, column, n in data["counts"] if row != column) == errors
    else:
        assert f"The 100 of {len(set(nn.named) | set(range(classes)))} classes with the most errors" in page.said()
    assert (run.run.path / "plots" / "classes.png").is_file()
    assert len(text) < 400_000


@pytest.mark.system
@pytest.mark.parametrize("width", [390, 1100])
def test_keys_and_clicks_show_the_errors_of_a_cell(browser, tmp_path, width):
    from likewise.viz.pages.report import write_report

    folder, images = digits_run(tmp_path / "runs" / "digits", snapshots=())
    told = []
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.set_default_timeout(120_000)  # a busy machine is no failure
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.goto(write_report(folder, images).as_uri())
    text, errors = tab.locator("#cell-text"), tab.locator("#cell-errors .pair")
    assert " taken for " in text.inner_text()  # the most frequent confusion at first
    assert errors.count() >= 1
    before = text.inner_text()
    tab.locator("svg.confusion").focus()
    tab.keyboard.press("ArrowRight")
    assert text.inner_text() != before
    tab.keyboard.press("Enter")
    assert "Errors: " in text.inner_text()
    assert tab.locator("svg.confusion title").text_content() in text.inner_text()
    tab.evaluate("""() => {
      const drawing = document.querySelector("svg.similarity"), box = drawing.getScreenCTM();
      const at = { clientX: box.e + 2 * box.a, clientY: box.f + 2 * box.d, bubbles: true };
      drawing.dispatchEvent(new MouseEvent("click", at));
    }""")
    assert "no errors in this cell" in text.inner_text()  # the first cell is on the diagonal
    assert errors.count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert told == []
    tab.close()
