"""The page of `likewise serve` in a real browser, over a real model: what a person does with it, and what may go wrong."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import page_service
from likewise import Gallery
from likewise.serve.tokens import create_token

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PATIENCE = 60_000  # milliseconds; a busy machine is no failure
CHANGED = 6  # copies of the gallery for tests that change it
HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def browser():
    with page_service.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[Path]]:
    return page_service.held_out(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, files) -> Path:
    folder = tmp_path_factory.mktemp("galleries")
    return page_service.filled(folder / "digits.gallery", page_service.model(folder), files)


@pytest.fixture(scope="module")
def known_and_unknown(gallery, files) -> tuple[Path, str, Path]:
    """An image that the gallery names rightly, its class, and one that it does not name."""
    with Gallery.open(gallery) as opened:
        fresh = [(path, label) for label in sorted(files)[: page_service.ENROLLED] for path in files[label][16:]]
        known, label = next(pair for pair in fresh if opened.identify(pair[0]).label == pair[1])
        strangers = [path for other in sorted(files)[page_service.ENROLLED :] for path in files[other]]
        return known, label, next(path for path in strangers if opened.identify(path).label is None)


@pytest.fixture(scope="module")
def service(gallery) -> Iterator[str]:
    """One gallery that tests read, an empty one, and copies that they change."""
    copies = [gallery.with_name(f"copy{i}.gallery") for i in range(CHANGED)]
    for copy in copies:
        shutil.copy(gallery, copy)
    empty = gallery.with_name("empty.gallery")
    with Gallery.open(gallery) as opened:
        Gallery.create(empty, opened.about["model"]).close()
    with page_service.serving(gallery, empty, *copies) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(gallery) -> Iterator[tuple[str, dict[str, str]]]:
    """A service that asks for tokens, and one of each scope."""
    path, tokens = gallery.with_name("tokens.toml"), gallery.with_name("guarded.gallery")
    shutil.copy(gallery, tokens)
    texts = {scope: create_token(path, scope, scope) for scope in ("read", "write", "admin")}
    with page_service.serving(tokens, token_file=path) as url:
        yield url, texts


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens an address; what the browser complains of, and requests to other machines, fail the test."""
    complaints: list[str] = []
    contexts = []

    def opened(url: str, *, width: int = 1280, height: int = 900, **given):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **given))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("http://127.0.0.1", "blob:http://127.0.0.1", "data:"))
               or complaints.append(request.url))  # fmt: skip
        tab.on("console", lambda message: "Failed to load resource" in message.text or complaints.append(message.text))
        tab.goto(url)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def choose(tab, view: str, *paths: Path | dict) -> None:
    tab.locator(view).wait_for()
    tab.locator(f"{view} input[type=file]").first.set_input_files(list(paths) if len(paths) > 1 else paths[0])


def upload(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def wide(tab) -> int:
    return tab.evaluate("document.documentElement.scrollWidth")


def copy(service: str, n: int, view: str = "ask") -> str:
    """The address of the page on the n-th gallery that may be changed."""
    return f"{service}?gallery=copy{n}#{view}"


# ask


def test_a_known_image_is_named_first_and_its_neighbours_follow(open_page, service, known_and_unknown):
    path, label, _ = known_and_unknown
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    assert "Drop, paste or take a photo" in tab.locator("#ask .lead").inner_text()
    choose(tab, "#ask", path)
    verdict = tab.locator("#ask-answer .known .verdict")
    verdict.wait_for()
    assert re.fullmatch(rf"{label}, (> )?\d+\s%", verdict.inner_text())
    assert verdict.inner_text() in tab.locator("#ask-status").inner_text(), "a live region says it too"
    hits = tab.locator("#ask-found .hits > li")
    assert hits.count() == 10
    assert hits.first.locator(".name").inner_text() == label
    hits.first.locator("img").wait_for()
    shown = [float(text.split()[-1]) for text in tab.locator("#ask-found .figure").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    tab.get_by_role("button", name="Show more").click()
    tab.wait_for_function("document.querySelectorAll('#ask-found .hits > li').length > 10")


def test_an_unknown_image_is_unknown_and_names_the_nearest(open_page, service, known_and_unknown):
    tab = open_page(service)
    choose(tab, "#ask", known_and_unknown[2])
    tab.locator("#ask-answer .unknown .verdict").wait_for()
    answer = tab.locator("#ask-answer").inner_text()
    assert answer.startswith("Unknown")
    assert re.search(r"The nearest class is \d, below the threshold\.", answer)
    assert "at most 10\u00a0% of images of classes that are not in the gallery" in answer
    tab.locator("#ask-answer summary").click()
    assert "stays below the threshold" in tab.locator("#ask-answer dl").inner_text()


def test_an_image_may_be_pasted_and_dropped(open_page, service, known_and_unknown):
    path, label, _ = known_and_unknown
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    for event, owner in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        tab.evaluate(
            """([event, owner, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
                const target = event === "drop" ? document.querySelector("#ask .drop") : document.body;
                const what = event === "drop" ? DragEvent : ClipboardEvent;
                target.dispatchEvent(new what(event, { [owner]: data, bubbles: true, cancelable: true }));
            }""",
            [event, owner, list(path.read_bytes())],
        )
        tab.locator("#ask-answer .verdict").wait_for()
        assert tab.locator("#ask-answer .verdict").inner_text().startswith(label)
        tab.evaluate("document.querySelector('#ask-answer').replaceChildren()")


def test_not_this_one_is_honoured(open_page, service, known_and_unknown):
    path, label, _ = known_and_unknown
    tab = open_page(copy(service, 0))
    choose(tab, "#ask", path)
    hits = tab.locator("#ask-found .hits > li")
    hits.first.wait_for()
    before = tab.locator("#ask-found .name").all_inner_texts()
    tab.locator("#ask-found .reject").first.click()
    assert "cannot be undone" in tab.locator("dialog").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#ask-found .name").all_inner_texts() == before
    tab.locator("#ask-answer .not-this").click()
    tab.locator("dialog .danger").click()
    tab.locator("#notice .notice p").wait_for()
    assert f"will not be named {label} again" in tab.locator("#notice").inner_text()
    tab.wait_for_function("label => { const shown = document.querySelector('#ask-answer .verdict'); return shown && "
                          "!shown.textContent.startsWith(label); }", arg=label)  # fmt: skip
    assert label not in tab.locator("#ask-found .name").all_inner_texts()


def test_a_large_image_is_scaled_down_and_a_broken_one_is_named(open_page, service):
    tab = open_page(service)
    tab.evaluate("""() => {
        const send = window.fetch;
        window.sent = [];
        window.fetch = (url, options) => {
            if (options?.body instanceof FormData) window.sent.push(options.body.get("image").size);
            return send(url, options);
        };
    }""")
    noise = np.random.default_rng(0).integers(0, 255, (1200, 3000, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    choose(tab, "#ask", upload("large.png", file.getvalue()))
    tab.locator("#ask-answer .verdict").wait_for()
    assert len(file.getvalue()) > 8e6
    assert 0 < max(tab.evaluate("window.sent")) < 3e6
    choose(tab, "#ask", upload("broken.png", b"\x89PNG\r\n\x1a\n and no more"))
    error = tab.locator("#ask-status .error")
    error.wait_for()
    assert re.fullmatch(r"[A-Z].*image.*\.", error.inner_text(), re.DOTALL)
    assert tab.locator("#ask-answer").inner_text() == ""
    choose(tab, "#ask", upload("huge.bin", bytes(21 << 20)))
    tab.get_by_text("This file has 21 MB, and at most 20 MB are taken.").wait_for()


def test_an_empty_gallery_says_what_to_do(open_page, service):
    tab = open_page(f"{service}?gallery=empty")
    hint = tab.locator("#ask-empty")
    hint.wait_for()
    assert "This gallery is empty" in hint.inner_text()
    hint.locator("a").click()
    tab.locator("#enroll .lead").wait_for()
    for view in ("browse", "map"):
        tab.locator(f"#tab-{view}").click()
        tab.get_by_text("This gallery is empty").locator("visible=true").wait_for()


def test_a_service_that_is_gone_is_named_and_may_be_tried_again(open_page, service, known_and_unknown):
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    tab.route("**/v1/*", lambda route: route.abort())
    choose(tab, "#ask", known_and_unknown[0])
    tab.get_by_text("The service does not answer.").wait_for()
    tab.unroute("**/v1/*")
    tab.get_by_role("button", name="Try again").click()
    tab.locator("#ask-answer .verdict").wait_for()
    tab.context.set_offline(True)
    tab.locator("#offline:not([hidden])").wait_for()
    assert "You are offline" in tab.locator("#offline").inner_text()


def test_a_busy_service_is_asked_again(open_page, service, known_and_unknown):
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    answers = iter([True])

    def busy(route):
        if next(answers, False):
            route.fulfill(status=429, headers={"Retry-After": "0"}, json={"detail": "slow down"})
        else:
            route.continue_()

    tab.route("**/v1/identify*", busy)
    choose(tab, "#ask", known_and_unknown[0])
    tab.locator("#ask-answer .verdict").wait_for()


# compare


def test_two_images_on_the_dial(open_page, service, files):
    tab = open_page(f"{service}#compare")
    choose(tab, "#compare-first", files["0"][20])
    tab.get_by_text("One more image is needed.").wait_for()
    choose(tab, "#compare-second", files["1"][20])
    dial = tab.locator("svg.dial")
    dial.wait_for()
    assert re.match(
        r"Similarity -?[\d.]+ on a scale from .*; the threshold is -?[\d.]+", dial.get_attribute("aria-label")
    )
    assert {"different", "same"} <= set(tab.locator(".dial text").all_text_contents())
    assert "Different classes" in tab.locator("#compare-answer").inner_text()
    assert re.search(r"chosen on [\d,]+ validation pairs", tab.locator("#compare-answer").inner_text())
    assert "Different classes" in tab.locator("#compare-status").inner_text(), "a live region says it too"


def test_an_image_and_a_class_on_the_dial(open_page, service, known_and_unknown):
    path, label, _ = known_and_unknown
    tab = open_page(f"{service}#compare")
    tab.get_by_label("an image with a class").check()
    choose(tab, "#compare-first", path)
    tab.get_by_text("Enter the class to compare with.").wait_for()
    tab.locator("#compare-label").fill(label)
    tab.locator("#compare-label").press("Enter")
    tab.locator("svg.dial").wait_for()
    answer = tab.locator("#compare-answer").inner_text()
    assert answer.startswith(f"This is {label}") or f"This is {label}" in answer
    assert re.search(r"at most 10\s% of images of other classes pass \(95\s% interval", answer)
    tab.locator("#compare-label").fill("no such class")
    tab.locator("#compare-label").press("Enter")
    error = tab.locator("#compare-status .error")
    error.wait_for()
    assert "no such class" in error.inner_text()


# enroll, browse, correct


def test_a_class_is_enrolled_found_and_undone(open_page, service, files):
    tab = open_page(copy(service, 1, "enroll"))
    tab.locator("#enroll .lead").wait_for()
    tab.locator("#enroll-form .primary >> text=Enroll").click()
    tab.get_by_text("Choose one image or more first.").wait_for()
    small = io.BytesIO()
    Image.new("L", (4, 4), 9).save(small, "PNG")
    choose(
        tab,
        "#enroll",
        *(upload(path.name, path.read_bytes()) for path in files["9"][:5]),
        upload("s.png", small.getvalue()),
    )
    assert tab.locator("#enroll-list > li").count() == 6
    tab.locator("#enroll-form .primary >> text=Enroll").click()
    tab.get_by_text("Enter the class that the images show.").wait_for()
    tab.locator("#enroll-label").fill("nine")
    tab.locator("#enroll summary").click()
    tab.locator("input[value=strict]").check()
    tab.locator("#enroll-form .primary >> text=Enroll").click()
    tab.locator("#enroll-answer .verdict").wait_for()
    assert re.search(r"\d images enrolled in nine\.", tab.locator("#enroll-answer").inner_text())
    assert "Left out:" in tab.locator(".findings").inner_text()
    assert "pixels" in tab.locator(".findings").inner_text()
    tab.locator("#tab-browse").click()
    tab.locator("#browse-q").fill("nin")
    tab.locator("#browse-list").get_by_role("link", name="nine").wait_for()
    tab.get_by_text("1 class found").wait_for()
    tab.locator("#notice").get_by_role("button", name="Undo").click()
    tab.get_by_text("Undone: the enrollment.").wait_for()
    tab.get_by_text("No class name contains “nin”.").wait_for()


def test_an_unknown_image_leads_to_its_enrollment(open_page, service, known_and_unknown):
    tab = open_page(copy(service, 1))
    choose(tab, "#ask", known_and_unknown[2])
    tab.get_by_role("button", name="Enroll it as a class").click()
    assert tab.locator("#enroll-list > li").count() == 1
    assert tab.evaluate("document.activeElement.id") == "enroll-label"
    tab.locator("#enroll-label").fill("stranger")
    tab.keyboard.press("Enter")
    tab.get_by_role("link", name="See all images of stranger").click()
    tab.get_by_role("heading", name="stranger").wait_for()
    tab.locator("#tab-ask").click()
    choose(tab, "#ask", known_and_unknown[2])
    tab.locator("#ask-answer .known .verdict").wait_for()
    assert tab.locator("#ask-answer .verdict").inner_text().startswith("stranger")


def test_rename_merge_remove_and_undo(open_page, service):
    tab = open_page(copy(service, 2, "browse/0"))
    tab.locator("#class-list img").first.wait_for()
    assert tab.locator("#class-list > li").count() == 16
    undo = tab.locator("#notice").get_by_role("button", name="Undo")

    tab.locator("#class-actions").get_by_role("button", name="Rename").click()
    tab.get_by_label("New name").fill("1")
    tab.keyboard.press("Enter")
    tab.locator("#notice .error").wait_for()
    assert "already" in tab.locator("#notice").inner_text()
    tab.locator("#class-actions").get_by_role("button", name="Rename").click()
    tab.get_by_label("New name").fill("nought")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="nought").wait_for()
    assert "0 is now nought (16 images)." in tab.locator("#notice").inner_text()
    undo.click()
    tab.get_by_text("Undone: the renaming.").wait_for()

    tab.goto(copy(service, 2, "browse/1"))
    tab.locator("#class-actions").get_by_role("button", name="Merge").click()
    tab.get_by_label("Into the class").fill("2")
    tab.keyboard.press("Enter")
    tab.get_by_text("16 images of 1 moved into 2.").wait_for()
    tab.get_by_text("32 images", exact=True).first.wait_for()
    undo.click()
    tab.get_by_text("Undone: the merge.").wait_for()
    tab.get_by_text("16 images", exact=True).first.wait_for()

    tab.locator("#class-list input[type=checkbox]").first.check()
    tab.locator("#class-selection").get_by_role("button", name="Remove from the gallery").click()
    tab.get_by_text("15 images", exact=True).first.wait_for()
    undo.click()
    tab.get_by_text("Undone: the removal.").wait_for()
    tab.locator("#class-list input[type=checkbox]").first.check()
    tab.locator("#class-selection").get_by_role("button", name="Move to a class").click()
    tab.get_by_label("Class, existing or new").fill("apart")
    tab.keyboard.press("Enter")
    tab.get_by_text("1 image moved to apart.").wait_for()
    undo.click()
    tab.get_by_text("Undone: the move.").wait_for()
    tab.locator("#class-actions").get_by_role("button", name="Remove", exact=True).click()
    tab.get_by_text("2 removed (16 images).").wait_for()
    tab.get_by_text("5 classes", exact=True).first.wait_for()
    undo.click()
    tab.get_by_text("6 classes", exact=True).first.wait_for()


def test_forgetting_asks_for_the_name(open_page, service):
    tab = open_page(copy(service, 3, "browse/3"))
    tab.locator("#class-actions").get_by_role("button", name="Forget for good").click()
    go = tab.locator("dialog .danger")
    assert go.is_disabled()
    tab.get_by_label("Type 3 to confirm").fill("4")
    assert go.is_disabled()
    tab.get_by_label("Type 3 to confirm").fill("3")
    go.click()
    tab.get_by_text("3 is forgotten for good (16 images).").wait_for()
    assert tab.locator("#notice").get_by_role("button", name="Undo").count() == 0
    tab.goto(copy(service, 3, "browse/3"))
    tab.locator("#class-status").locator("text=/\\w/").first.wait_for()
    assert tab.locator("#class-list > li").count() == 0


def test_a_class_named_like_markup_is_shown_as_text(open_page, service, files, known_and_unknown):
    tab = open_page(copy(service, 4, "enroll"))
    tab.locator("#enroll .lead").wait_for()
    choose(tab, "#enroll", *files["8"][:3])
    tab.locator("#enroll-label").fill(HOSTILE)
    tab.keyboard.press("Enter")
    tab.locator("#enroll-answer a").click()
    tab.get_by_role("heading", name=HOSTILE).wait_for()
    tab.locator("#class-list .tile").first.click()
    tab.locator("dialog .hits .name").first.wait_for()
    assert tab.locator("dialog h2").inner_text() == HOSTILE
    tab.keyboard.press("Escape")
    tab.locator("#tab-ask").click()
    choose(tab, "#ask", files["8"][0])
    tab.locator("#ask-answer .verdict").wait_for()
    assert tab.locator("#ask-answer .verdict").inner_text().startswith(HOSTILE)
    tab.locator("#tab-map").click()
    tab.locator("#map-canvas").wait_for()
    assert HOSTILE in tab.locator("#map-class option").all_inner_texts()
    tab.locator("#tab-browse").click()
    tab.locator("#browse-list .name", has_text="onerror").wait_for()
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img[src=x]").count() == 0


def test_a_point_of_the_map_opens_its_image(open_page, service):
    tab = open_page(f"{service}#map")
    tab.locator("#map-canvas").wait_for()
    tab.get_by_text("96 images").first.wait_for()
    tab.locator("#map-canvas").focus()
    tab.keyboard.press("ArrowRight")
    first = tab.locator("#map-point strong").inner_text()
    tab.keyboard.press("+")
    tab.keyboard.press("Enter")
    tab.locator("dialog .hits").wait_for()
    assert tab.locator("dialog h2").inner_text() == first
    assert tab.locator("dialog .hits > li").count() == 8
    tab.keyboard.press("Escape")
    assert tab.locator("dialog").count() == 0
    assert tab.evaluate("document.activeElement.id") == "map-canvas", "the focus returns"
    tab.select_option("#map-class", label="0")
    tab.mouse.wheel(0, -200)


def test_the_gallery_is_chosen_by_name(open_page, service):
    tab = open_page(service)
    tab.locator("#gallery").select_option("empty")
    tab.locator("#ask-empty").wait_for()
    assert "0 images" in tab.locator("#about").inner_text()
    assert "gallery=empty" in tab.url


# tokens


def test_a_token_is_asked_for_and_kept_in_the_tab(open_page, guarded, known_and_unknown):
    url, texts = guarded
    tab = open_page(url)
    dialog = tab.locator("dialog")
    dialog.wait_for()
    assert "asks for a token, and none was entered" in dialog.inner_text()
    tab.keyboard.type("not-a-token")
    tab.keyboard.press("Enter")
    dialog.get_by_text("does not accept this token").wait_for()
    dialog.get_by_label("Token", exact=True).fill(texts["read"])
    tab.keyboard.press("Enter")
    tab.locator("#ask .lead").wait_for()
    assert dialog.count() == 0
    assert tab.evaluate("[localStorage.length, document.cookie, location.href]") == [0, "", url]
    choose(tab, "#ask", known_and_unknown[0])
    tab.locator("#ask-found img").first.wait_for()
    assert tab.get_by_role("button", name="Not this one").count() == 0, "a token that reads changes nothing"
    tab.locator("#tab-enroll").click()
    assert "This token may only read." in tab.locator("#enroll-denied").inner_text()
    assert not tab.locator("#enroll-form").is_visible()
    tab.reload()
    tab.locator("#enroll-denied").wait_for()


def test_what_a_token_may_not_do_is_said(open_page, guarded):
    url, texts = guarded
    tab = open_page(url)
    tab.locator("dialog").get_by_label("Token", exact=True).fill(texts["write"])
    tab.keyboard.press("Enter")
    tab.locator("#ask .lead").wait_for()
    tab.goto(f"{url}#browse/0")
    tab.get_by_text("To forget a class for good, enter a token with the scope admin.").wait_for()
    tab.evaluate("token => sessionStorage.setItem('likewise.token', token)", texts["read"])
    tab.locator("#class-actions").get_by_role("button", name="Remove", exact=True).click()
    tab.locator("#notice .error").wait_for()
    assert re.search(r"needs write\. Enter a token that has the scope for it\.", tab.locator("#notice").inner_text())


# every reader


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_view_without_scrolling_sideways(open_page, service, files, known_and_unknown, scheme):
    tab = open_page(service, width=390, height=844, color_scheme=scheme, is_mobile=True, has_touch=True)
    tab.locator("#ask .lead").wait_for()
    assert tab.locator("#ask").get_by_role("button", name="Take a photo").is_visible()
    assert tab.locator("#ask input[capture=environment]").count() == 1
    choose(tab, "#ask", known_and_unknown[0])
    tab.locator("#ask-found img").first.wait_for()
    assert wide(tab) <= 390
    tab.locator("#tab-compare").tap()
    choose(tab, "#compare-first", files["0"][20])
    choose(tab, "#compare-second", files["0"][21])
    tab.locator(".dial").wait_for()
    assert wide(tab) <= 390
    for view, there in (("enroll", "#enroll .lead"), ("map", "#map-canvas"), ("browse", "#browse-list img")):
        tab.locator(f"#tab-{view}").tap()
        tab.locator(there).first.wait_for()
        assert wide(tab) <= 390, view
    tab.locator("#browse-list a").first.tap()
    tab.locator("#class-list .tile").first.tap()
    tab.locator("dialog .hits").wait_for()
    assert wide(tab) <= 390
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[scheme]


def test_by_keyboard_alone(open_page, service, known_and_unknown):
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "skip"
    order = []
    for _ in range(4):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus on {order[-1]} is visible"
    assert order[:4] == ["gallery", "tab-ask", "Choose an image", "Options"]
    tab.locator("#tab-ask").focus()
    for key, view in (
        ("ArrowRight", "compare"),
        ("End", "map"),
        ("ArrowRight", "ask"),
        ("ArrowLeft", "map"),
        ("Home", "ask"),
    ):
        tab.keyboard.press(key)
        assert tab.evaluate("document.activeElement.id") == f"tab-{view}"
        assert tab.locator(f"#{view}").is_visible()
        assert tab.locator("[role=tab][aria-selected=true]").count() == 1
    choose(tab, "#ask", known_and_unknown[0])
    tab.locator("#ask-found .tile").first.focus()
    tab.keyboard.press("Enter")
    tab.locator("dialog .hits").wait_for()
    for _ in range(30):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.matches('#ask-found .tile')"), "the focus returns"


NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, textarea, canvas, svg[role], [role=tabpanel]")]
    .filter(node => node.checkVisibility() && node.type !== "file")
    .filter(node => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length
        || document.getElementById(node.getAttribute("aria-labelledby"))?.textContent))
    .map(node => node.outerHTML)"""
SMALL = """() => [...document.querySelectorAll("button, select, .tile")]
    .filter(node => node.checkVisibility() && node.getBoundingClientRect().height < 24).map(node => node.outerHTML)"""


def test_what_a_screen_reader_meets(open_page, service, files, known_and_unknown):
    """Landmarks, names of all controls, one heading of the first level, live regions that were there before."""
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    assert tab.evaluate("document.documentElement.lang") == "en"
    for role in ("banner", "main", "tablist"):
        assert tab.get_by_role(role).count() == 1, role
    assert all(
        tab.locator(f"#{view}-status").get_attribute("role") == "status" for view in ("ask", "compare", "enroll")
    )
    choose(tab, "#ask", known_and_unknown[0])
    tab.locator("#ask-found img").first.wait_for()
    views = ["ask", "compare", "enroll", "browse", "map"]
    for view in views:
        tab.locator(f"#tab-{view}").click()
        tab.locator(f"#{view} h1").locator("visible=true").wait_for()
        if view == "compare":
            choose(tab, "#compare-first", files["0"][20])
            choose(tab, "#compare-second", files["0"][21])
            tab.locator(".dial").wait_for()
        if view in ("browse", "map"):
            tab.locator(f"#{view}-status .note").wait_for()
        assert tab.locator("h1:visible").count() == 1
        assert tab.evaluate(NAMELESS) == []
        assert tab.evaluate(SMALL) == []
        assert tab.evaluate("[...document.images].every(image => image.hasAttribute('alt'))")
        assert tab.title().endswith("· Likewise")


def test_nothing_moves_for_those_who_want_it_still(open_page, service):
    tab = open_page(service, reduced_motion="reduce")
    tab.locator("#ask .lead").wait_for()
    moving = "getComputedStyle(document.querySelector('.working'), '::before').animationName"
    tab.evaluate("document.querySelector('#ask-status').innerHTML = '<span class=working>x</span>'")
    assert tab.evaluate(moving) == "none"
    tab.emulate_media(reduced_motion="no-preference")
    assert tab.evaluate(moving) == "turn"
