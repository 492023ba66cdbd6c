"""The files of the page, read without a browser: texts, contrast, and what a strict policy forbids."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import likewise

PAGE = Path(likewise.__file__).parent / "serve" / "page"
MODULES = sorted(PAGE.glob("*.js"))
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
TEXTS = json.loads((PAGE / "texts.en.json").read_text(encoding="utf-8"))
PLURALS = (".one", ".other")
# Keys that are put together from a value of the service, a view or a place.
COMPOSED = ("undo.", "compare.target_", "compare.drop_")


def keys() -> set[str]:
    return {key.rpartition(".")[0] if key.endswith(PLURALS) and key.count(".") == 2 else key for key in TEXTS}


def used() -> set[str]:
    source = HTML + "".join(path.read_text(encoding="utf-8") for path in MODULES)
    return set(re.findall(r'["`]([a-z]+\.[a-z_]+)["`]', source)) - {"likewise.token"}


def test_every_text_is_there_and_used():
    assert used() <= keys()
    views = {f"{name}.tab" for name in ("ask", "compare", "enroll", "browse", "map")}
    assert {key for key in keys() - used() - views if not key.startswith(COMPOSED)} == set()


def test_plural_texts_come_in_both_forms():
    for key in keys():
        assert key in TEXTS or {key + form for form in PLURALS} <= set(TEXTS), key


class Words(HTMLParser):
    """Text, attributes and ids of the page."""

    def __init__(self, text: str):
        super().__init__()
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words += data.split()

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def test_the_page_itself_holds_no_text_that_a_translation_would_miss():
    words = Words(HTML.partition("<noscript>")[0]).words
    assert {word for word in words if re.search(r"\w", word)} == {"Likewise"}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    found = Words(HTML)
    assert not [name for _, name, _ in found.attributes if name == "style" or name.startswith("on")]
    assert found.values("src") == ["page/app.js"]
    assert [link for link in found.values("href") if not link.startswith(("#", "data:"))] == ["page/style.css"]
    for path in PAGE.iterdir():
        addresses = set(re.findall(r"https?:\W*[\w.]+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org"}, path.name


def test_ids_are_unique_and_labels_lead_to_them():
    found = Words(HTML)
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    for name in ("for", "aria-controls", "aria-labelledby", "aria-describedby"):
        assert set(found.values(name)) <= set(ids), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_makes_no_markup_from_text_and_is_short(path):
    source = path.read_text(encoding="utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|localStorage|srcdoc"
    assert re.findall(forbidden, source) == []
    assert len(source.splitlines()) <= 350
    imported = re.findall(r'from "\./([\w.]+)"', source)
    assert all((PAGE / name).is_file() for name in imported)


def test_the_token_is_never_part_of_an_address():
    source = (PAGE / "api.js").read_text(encoding="utf-8")
    assert "Authorization: `Bearer ${token.get()}`" in source
    assert not re.search(r"searchParams\.set\([^)]*token", source)


def palettes() -> dict[str, dict[str, str]]:
    css = (PAGE / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_controls_have_enough_contrast(scheme):
    """WCAG 2.2 AA: 4.5 for text, 3 for the edges of controls and the marks of a drawing."""
    colours = palettes()[scheme]
    for ground in ("paper", "raised"):
        for ink in ("ink", "muted", "accent", "wrong"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        assert contrast(colours["edge"], colours[ground]) >= 3, ground
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def test_the_colours_are_those_of_the_reports():
    """One look: the page of the service and the pages of a run share their palette."""
    css = (Path(likewise.__file__).parent / "viz" / "pages" / "style.css").read_text(encoding="utf-8")
    shared = re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[0])
    assert dict(shared).items() <= palettes()["light"].items()
