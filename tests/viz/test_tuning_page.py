"""The page of a search: places on axes worked by hand, every state of a trial, and what a browser and the keys show."""

from pathlib import Path

import pytest

from likewise.experiment.recipe import Recipe
from likewise.experiment.tune import Attempt, Span, Tuned
from likewise.viz.pages.axes import axis_of
from likewise.viz.pages.tuning import ranking, write_tuning
from report_page import Page

SPACE = {"lr": Span(1e-4, 1e-2, whole=False), "loss": ["softmax", "<b>&"], "dim": Span(8, 16, whole=True)}


def attempt(number: int, state: str, value: float | None, lr: float = 1e-3, loss: str = "softmax") -> Attempt:
    return Attempt(number, state, value, 2.5, {"lr": lr, "loss": loss, "dim": 12})


ATTEMPTS = (
    attempt(0, "complete", 0.5),
    attempt(1, "fail", None, lr=1e-2),
    attempt(2, "complete", 0.9, lr=1e-4, loss="<b>&"),
    attempt(3, "pruned", 0.95),
    Attempt(4, "waiting", None, None, {}),
)


def search(folder: Path, attempts: tuple[Attempt, ...] = ATTEMPTS, monitor: str = "knn@1") -> Tuned:
    folder.mkdir(exist_ok=True)
    return Tuned(folder, Recipe(data="digits"), monitor, (), apart=False, gone=1, attempts=attempts)


def test_a_logarithmic_axis_has_decades_and_places_by_the_logarithm():
    axis = axis_of([1e-3], SPACE["lr"])
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01"]
    assert [round(axis(value), 9) for value in (1e-4, 1e-3, 1e-2)] == [0.0, 0.5, 1.0]


def test_a_linear_axis_has_round_steps_and_is_widened_by_what_occurred():
    axis = axis_of([20], SPACE["dim"])
    assert (axis(8), axis(14), axis(20)) == (0.0, 0.5, 1.0)
    assert [value for value, _ in axis.ticks] == [10, 15, 20]  # 12 / 4 = 3, the next round step is 5
    assert [text for _, text in axis_of([], Span(-1.0, 1.0, whole=False)).ticks] == ["−1", "−0.5", "0", "0.5", "1"]
    assert axis_of([0.5], Span(0.5, 0.5, whole=False))(0.5) == 0.5
    assert [text for _, text in axis_of([], Span(2, 30, whole=True)).ticks] == ["2", "30"]  # one decade: the ends


def test_categories_are_spaced_evenly_as_listed():
    axis = axis_of(["b", None], ["a", "b", "c", "a category with a long name"])
    assert [axis(name) for name in "abc"] == [0.125, 0.375, 0.625]
    assert [text for _, text in axis.ticks][3] == "a category wi…"


def test_the_best_finished_trial_is_first_whatever_a_stopped_one_had(tmp_path):
    assert [t.number for t in ranking(search(tmp_path))] == [2, 0, 3, 1, 4]
    assert [t.number for t in ranking(search(tmp_path, monitor="eer"))] == [0, 2, 3, 1, 4]


def test_every_trial_is_on_the_page_with_its_state(tmp_path):
    path = write_tuning(search(tmp_path / "lr & loss"), SPACE)
    assert path == tmp_path / "lr & loss" / "tune.html"
    found = Page(path.read_text(encoding="utf-8"))
    said = found.said()
    assert "2 finished, 1 stopped early, 1 failed, 1 not finished" in said
    assert "Trial 2 is the best: knn@1 0.9 with lr = 0.0001, loss = <b>&, dim = 12." in said
    assert "lr: 0.0001 to 0.01, logarithmic; loss: softmax, <b>&; dim: 8 to 16" in said
    marks = [value for _, key, value in found.attributes if key == "data-trial"]
    # order, three settings and the parallel lines; the waiting one has no settings yet
    assert {n: marks.count(str(n)) for n in range(5)} == {0: 5, 1: 5, 2: 5, 3: 5, 4: 2}
    drawn = path.read_text(encoding="utf-8")
    assert drawn.count('class="trial fail" data-trial="1"') == 4
    assert drawn.count("<script") == 3
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_one_trial_of_one_setting_is_enough(tmp_path):
    path = write_tuning(
        search(tmp_path, (Attempt(0, "complete", 0.5, None, {"loss": "softmax"}),)), {"loss": ["softmax"]}
    )
    assert "Trial 0 is the best" in Page(path.read_text(encoding="utf-8")).said()


def test_more_trials_than_the_page_holds_are_said(tmp_path):
    many = tuple(Attempt(n, "complete", n / 2000, None, {"loss": "softmax"}) for n in range(1_001))
    text = write_tuning(search(tmp_path, many), {"loss": ["softmax"]}).read_text(encoding="utf-8")
    assert "The best 1,000 of 1,001 trials; trials.csv lists all." in text
    assert 'data-trial="1000"' in text
    assert 'data-trial="0"' not in text


@pytest.mark.system
@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_marks_the_same_trial_everywhere(browser, tmp_path, width):
    path = write_tuning(search(tmp_path), SPACE)
    asked, told = [], []
    tab = browser.new_page(viewport={"width": width, "height": 3000})  # nothing scrolls
    tab.set_default_timeout(120_000)  # a busy machine is no failure
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.goto(path.as_uri())
    text = tab.locator("#trial-text")
    assert text.inner_text().startswith("Trial 2: knn@1 0.9, finished; lr = 0.0001")
    assert tab.locator(".current").count() == 5
    tab.locator(".tuning svg").first.focus()
    tab.keyboard.press("ArrowRight")
    assert text.inner_text().startswith("Trial 0:")
    tab.locator('.tuning svg >> nth=1 >> [data-trial="1"]').hover(force=True)
    assert text.inner_text() == "Trial 1: no score, failed; lr = 0.01, loss = softmax, dim = 12"
    assert tab.locator(".current").count() == 5
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert told == []
    tab.close()
