"""The pages of a run as one workspace: links, one verdict, what is written when, and how it is served."""

import http.client
import json
import shutil
import threading
from pathlib import Path

import pytest

from likewise.doctor import Finding
from likewise.experiment.run import Run
from likewise.experiment.verdict import keep_audit, verdict_of
from likewise.viz import explorer, workspace
from likewise.viz.pages import workspace as heads
from likewise.viz.pages.doctor import SIGNALS, found, signals, write_doctor
from likewise.viz.pages.report import write_report
from report_page import Page
from report_run import clusters, digits_metrics, digits_run, write_run

pytestmark = pytest.mark.slow  # a training or several processes for each part of it


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small run with its pages but the audit."""
    folder = tmp_path_factory.mktemp("made") / "runs" / "small"
    run = Run.open(write_run(folder, clusters(list("abc")), metrics=digits_metrics(), epochs=2))
    workspace.write_workspace(run, None)
    return run.path


@pytest.fixture
def run(made, tmp_path) -> Run:
    """A copy of it, which a test may change."""
    return Run.open(Path(shutil.copytree(made, tmp_path / "runs" / "small")))


def links_of(run: Run, name: str) -> list[str]:
    text = (run.path / name).read_text(encoding="utf-8")
    return [value or "" for _, key, value in Page(text).attributes if key == "href" and "html" in (value or "")]


def test_every_page_links_to_those_that_are_there(run):
    there = ["report.html", "map.html", "doctor.html"]
    for name in there:
        assert links_of(run, name) == there
        said = Page((run.path / name).read_text(encoding="utf-8")).said()
        assert "Not made yet: likewise audit runs/small" in said
    workspace.audit_run(run, None)
    for name in heads.PAGES:
        assert links_of(run, name) == list(heads.PAGES)
        assert "Not made yet" not in (run.path / name).read_text(encoding="utf-8")


def test_every_page_says_the_same_and_follows_the_audit(run):
    def grades() -> set[str]:
        texts = [path.read_text(encoding="utf-8") for name in heads.PAGES if (path := run.path / name).exists()]
        return {value or "" for text in texts for _, key, value in Page(text).attributes
                if key == "class" and "verdict" in (value or "")}  # fmt: skip

    assert grades() == {f"verdict {verdict_of(run).grade}"}
    keep_audit(run, {"images": 36, "held_out": 18, "leaked": 9, "suspects": 0, "split": "by_scene"})
    heads.relink(run)
    assert grades() == {"verdict bad"}
    for name in ("report.html", "map.html", "doctor.html"):
        assert "9 of 18 held-out images (50.0%)" in Page((run.path / name).read_text(encoding="utf-8")).said()
    written = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    assert written["verdict"]["grade"] == "bad"
    assert written["verdict"]["commands"][0] == (
        "likewise train runs/small/recipe.toml split=by_scene --name small-by-scene"
    )
    assert run.metrics()["verdict"]["name"] == "leakage"


def test_the_head_of_a_page_from_a_stranger_is_text(tmp_path):
    metrics = digits_metrics(caveats=["<script>alert(1)</script>"])
    run = Run.open(write_run(tmp_path / "runs" / "<b>", clusters(["a", "b"]), metrics=metrics, epochs=1))
    write_report(run.path)
    heads.relink(run)
    text = run.report.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_run_of_a_comparison_links_to_it(tmp_path):
    folder = write_run(tmp_path / "runs" / "a", clusters(["a", "b"]), metrics=digits_metrics(), epochs=1)
    run = Run.open(folder)
    assert "Comparison" not in heads.links(run, "report.html")
    (tmp_path / "compare.html").write_text("", encoding="utf-8")
    assert f'href="{heads.COMPARISON}"' in heads.links(run, "report.html")


def test_what_nobody_asked_for_costs_a_tenth_of_the_training():
    assert workspace.worth_an_audit(1_000, 15.0)
    assert not workspace.worth_an_audit(1_000, 14.0)
    assert not workspace.worth_an_audit(2, 1e9)
    assert workspace.map_method(100_000, 320.0) == "tsne"
    assert workspace.map_method(100_000, 319.0) == "pca"


def test_missing_and_earlier_pages_are_made(run):
    (run.path / "map.html").unlink()
    (run.path / "doctor.html").write_text("<html>of an earlier version</html>", encoding="utf-8")
    assert workspace.complete(run.path) == ["map.html", "audit.html", "doctor.html"]
    assert workspace.complete(run.path) == []
    (run.path.parent.parent / "compare.html").write_text("", encoding="utf-8")
    assert workspace.complete(run.path.parent.parent) == []
    with pytest.raises(ValueError, match="is not a run"):
        workspace.complete(run.path.parent)


def test_the_doctor_says_what_to_change(run):
    write_doctor(run)
    said = Page((run.path / "doctor.html").read_text(encoding="utf-8")).said()
    assert "No known problem of the training." in said
    listed = Page("".join(found([Finding("lr-too-high", "the loss is <b>", "lower lr from 1 to 0.1")]))).said()
    assert "lr-too-high" in listed
    assert "the loss is <b>" in listed
    assert all(name.replace("_", " ") in said for name in SIGNALS)
    assert "1 observation of" in "".join(signals([run_observation()]))
    assert "The 5 observations before these" in "".join(signals([run_observation()] * 25))


def run_observation():
    from likewise.doctor import Observation

    return Observation(step=1, epoch=1.0, loss=0.5, spread=0.5, rank=3.0, dead=0.0)


# Served


@pytest.fixture
def address(run):
    (run.path / "secret.txt").write_text("secret", encoding="utf-8")
    (run.path.parent / "outside.html").write_text("outside", encoding="utf-8")
    (run.path / "audit.html").symlink_to(run.path.parent / "outside.html")
    with explorer.server(run.path) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving.server_address
        serving.shutdown()
        thread.join()


def got(address: tuple[str, int], path: str, *, host: str = "", method: str = "GET") -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(*address[:2], timeout=20)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}


def test_the_pages_are_served_on_this_machine(address, run):
    assert address[0] == "127.0.0.1"
    report = run.report.read_text(encoding="utf-8")
    for path in ("/", "/report.html", "/report.html?x=1"):
        status, text, headers = got(address, path)
        assert (status, text) == (200, report)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert got(address, "/map.html", method="HEAD")[:2] == (200, "")
    assert got(address, "/report.html", host=f"localhost:{address[1]}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/secret.txt", "/recipe.toml", "/metrics.json", "/audit.html", "/../outside.html", "/%2e%2e/outside.html"),
        *("/..%2foutside.html", "//etc/passwd", "/report.html/", "/runs/small/report.html", "/%00", "/./report.html"),
    ],
)
def test_nothing_but_the_pages_is_served(address, path):
    status, text, _ = got(address, path)
    assert (status, text) == (404, "no such page in this run")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1@evil"])
def test_another_name_that_leads_here_is_refused(address, host):
    assert got(address, "/report.html", host=host)[0] == 403


def test_nothing_is_taken(address):
    assert got(address, "/report.html", method="POST")[0] == 501


def test_a_comparison_serves_its_runs(run, tmp_path):
    with pytest.raises(ValueError, match="holds no page to show"):
        explorer.server(tmp_path)
    (tmp_path / "compare.html").write_text("compared", encoding="utf-8")
    assert explorer.front(tmp_path) == "compare.html"
    assert list(explorer.page_files(tmp_path)) == [
        "compare.html", "runs/small/report.html", "runs/small/map.html", "runs/small/doctor.html",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["doctor.html"], "doctor.html"),
        (["doctor.html", "audit.html"], "audit.html"),
        (["map.html", "audit.html"], "map.html"),
        (["report.html", "map.html"], "report.html"),
        (["report.html", "compare.html"], "compare.html"),
        (["other.html"], ""),
    ],
)
def test_the_page_to_open_first(tmp_path, names, first):
    for name in names:
        (tmp_path / name).touch()
    if first:
        assert explorer.front(tmp_path) == first
    else:
        with pytest.raises(ValueError, match="holds no page to show; give a run, such as runs/digits"):
            explorer.front(tmp_path)


def test_one_file_holds_every_page(run):
    text = explorer.one_file(run.path)
    held = json.loads(text.partition('id="pages">')[2].partition("</script>")[0])
    assert held["first"] == "report.html"
    assert held["pages"]["map.html"] == (run.path / "map.html").read_text(encoding="utf-8")
    assert [value for _, key, value in Page(text).attributes if key in {"src", "href"}] == ["data:,"]


@pytest.mark.system
def test_links_work_within_the_one_file(browser, tmp_path):
    folder, images = digits_run(tmp_path / "digits", snapshots=())
    run = Run.open(folder)
    workspace.write_workspace(run, images)
    (tmp_path / "one.html").write_text(explorer.one_file(folder), encoding="utf-8")
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": 1000, "height": 800})
    tab.set_default_timeout(120_000)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((tmp_path / "one.html").as_uri())
    page = tab.frame_locator("#page")
    page.get_by_role("link", name="Threshold").click()
    page.get_by_role("link", name="Map", exact=True).click()
    page.get_by_text("PCA of the embedding").wait_for()
    page.get_by_role("link", name="Doctor").click()
    page.get_by_text("What was found").first.wait_for()
    assert complaints == []


def test_the_terminal_names_the_pages(run: Run):
    from likewise.cli.screen import headline

    said = headline(run)
    assert f"report: {run.path / 'report.html'} (it links to map, doctor)" in said
    assert said.splitlines()[-1].startswith("      likewise ")
    assert isinstance(run.path, Path)


def test_explore_writes_one_file(run, tmp_path, monkeypatch, capsys):
    from likewise.cli import main

    wanted = tmp_path / "all pages.html"
    monkeypatch.setattr("sys.argv", ["likewise", "explore", str(run.path), "--file", str(wanted)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr()
    assert said.out == f"{wanted}\n"
    assert said.err == "written: audit.html\n"
    assert set(
        json.loads(wanted.read_text(encoding="utf-8").partition('id="pages">')[2].partition("</script>")[0])["pages"]
    ) == set(heads.PAGES)
