"""The page of `likewise serve` in a real browser: enrolling, correcting with undo, forgetting, the map, tokens."""

import io
import re

import pytest
from PIL import Image

from page_service import choose, copy, upload

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

HOSTILE = '<img src=x onerror="window.hacked=1">'


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
    tab.get_by_text("No image of this class is in the gallery.").wait_for()
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
