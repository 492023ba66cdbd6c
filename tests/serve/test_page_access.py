"""The page of `likewise serve` on a phone, in the dark, by keyboard alone and with a screen reader."""

import pytest

from axe import violations
from page_service import choose, wide

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


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
        tab.locator(f"#{view}").wait_for()
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


NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, textarea, canvas, svg, section")]
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
        assert violations(tab) == []
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
