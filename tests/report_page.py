"""A report taken apart, for the tests of what it says."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"br", "img", "input", "meta", "link"}
HEADINGS = [
    "Worst errors", "Confused classes", "Class against class", "Class by class", "Threshold", "Nearest neighbours",
    "Scores", "Images of each part",
    "Map of the embedding", "Before and after training", "Silhouette of each class", "Training", "A batch in training",
    "State of the embedding", "Images left out", "Recipe",
]  # fmt: skip


class Page(HTMLParser):
    """A page taken apart; an element that is not closed in its place fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.path

    def handle_starttag(self, name, attributes):
        self.attributes += [(name, key, value) for key, value in attributes]
        if name not in VOID:
            self.path.append(name)

    def handle_startendtag(self, name, attributes):
        self.attributes += [(name, key, value) for key, value in attributes]

    def handle_endtag(self, name):
        assert self.path.pop() == name

    def handle_data(self, data):
        if not {"style", "script"} & set(self.path):
            self.text.append(data)
        if self.path and self.path[-1] == "h2":
            self.headings.append(data)

    def said(self) -> str:
        return " ".join("".join(self.text).replace("\N{NO-BREAK SPACE}", " ").split())

    def ids(self) -> list[str | None]:
        return [value for _, key, value in self.attributes if key == "id"]


def read(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))
