"""axe-core finds nothing on any page of a workspace, in light and dark, on a phone and a wide screen."""

from pathlib import Path

import pytest

from axe import violations
from likewise.experiment.compare import Comparison, Row
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.tune import Attempt, Span, Tuned
from likewise.viz import workspace
from likewise.viz.pages.comparison import write_comparison
from likewise.viz.pages.flips import compared_runs, write_flips
from likewise.viz.pages.tuning import write_tuning
from report_run import digits, digits_metrics, digits_run, embeddings, score, write_run

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SPACE = {"lr": Span(1e-4, 1e-2, whole=False), "loss": ["softmax", "supcon"]}
ATTEMPTS = (
    Attempt(0, "complete", 0.5, 2.5, {"lr": 1e-3, "loss": "softmax"}),
    Attempt(1, "complete", 0.9, 2.5, {"lr": 1e-4, "loss": "supcon"}),
    Attempt(2, "fail", None, 1.0, {"lr": 1e-2, "loss": "softmax"}),
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Every page by its name."""
    folder = tmp_path_factory.mktemp("runs")
    path, images = digits_run(folder / "digits")
    run = Run.open(path)
    workspace.write_workspace(run, images)
    workspace.audit_run(run, images)
    few = digits(600)
    earlier = write_run(folder / "runs" / "earlier", embeddings(few, progress=0.35), metrics=digits_metrics())
    later = write_run(folder / "runs" / "later", embeddings(few, progress=1.0), metrics=digits_metrics())
    first, second = Run.open(earlier), Run.open(later)
    write_flips(second, compared_runs(first, second), few, other=first)
    rows = []
    for one in (first, second):
        scores = {"knn@1": score(0.9), "pair_accuracy": score(0.8)}
        rows.append(Row(one.name, Recipe(data="digits"), (one,), scores, 0.5, 41.4, 1234.0))
    apart = {"knn@1": {"earlier": 0.0004}}
    compared = write_comparison(Comparison(folder, tuple(rows), {"knn@1": "later"}, apart), few)
    (folder / "search").mkdir()
    tuned = Tuned(folder / "search", Recipe(data="digits"), "knn@1", (), apart=False, gone=0, attempts=ATTEMPTS)
    of_run = {name: path / name for name in ("report.html", "map.html", "audit.html", "doctor.html")}
    of_methods = {path.name: path for path in compared if path.suffix == ".html"}
    return {**of_run, **of_methods, "flips.html": later / "flips.html", "tune.html": write_tuning(tuned, SPACE)}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_has_no_findings(browser, pages, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = []
    for name, path in pages.items():
        tab = context.new_page()
        tab.set_default_timeout(120_000)  # a busy machine is no failure
        tab.goto(path.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found += [f"{name}: {one}" for one in violations(tab)]
        tab.close()
    context.close()
    assert found == []
