"""The page of `likewise serve` in a real browser: asking and comparing, and what may go wrong meanwhile."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from page_service import choose, copy, upload

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


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
    hits.nth(10).wait_for()


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
    assert "will not be found for your image" in tab.locator("dialog").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#ask-found .name").all_inner_texts() == before
    tab.locator("#ask-answer .not-this").click()
    tab.locator("dialog .danger").click()
    tab.locator("#notice .notice p").wait_for()
    assert f"will not be named {label} again" in tab.locator("#notice").inner_text()
    tab.locator("#ask-answer .verdict").filter(has_not_text=re.compile(f"^{label}")).wait_for()
    assert label not in tab.locator("#ask-found .name").all_inner_texts()
    tab.locator("#notice .primary").click()
    tab.locator("#notice").filter(has_text="the mark that it was not this one").wait_for()


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


def test_numbers_by_hand(open_page, service):
    """Percentages are never 0 or 100 for what is neither; the ends of the dial follow the similarity."""
    tab = open_page(service)
    tab.locator("#ask .lead").wait_for()
    shares = [0.9412, 0.9999, 1, 0, 0.00001, 0.0196, 0.0042, 0.5]
    shown = tab.evaluate(
        "async given => { const m = await import('/page/texts.js'); return given.map(m.percent); }", shares
    )
    texts = ["94", "> 99", "100", "0", "< 0.01", "2", "0.42", "50"]
    assert shown == [f"{text}\u00a0%" for text in texts]
    ends = "async ([sim, values]) => (await import('/page/dial.js')).ends(sim, values)"
    assert tab.evaluate(ends, ["cosine", [0.9, 0.5]]) == [0, 1]
    assert tab.evaluate(ends, ["cosine", [0.9, -0.1]]) == [-1, 1]
    assert tab.evaluate(ends, ["euclidean", [-3, -1]]) == [-5, 0]
    assert tab.evaluate(ends, ["dot", [10, 30]]) == [-10, 40]
