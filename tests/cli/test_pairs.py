"""likewise pairs: tables, folders and runs; and a file of pairs all the way to scores by role and by group."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from likewise import api
from likewise.cli import main

MEDIA = ("paper", "pad")


def mark(who: int, n: int, medium: int) -> Image.Image:
    """A drawing that is the writer's own: lines of the writer's slant, thicker on paper."""
    image = Image.new("L", (24, 24), 255)
    draw = ImageDraw.Draw(image)
    for x in (4, 10, 16):
        draw.line((x + n % 3, 2 + who, x + who - 4 + n % 2, 20 - who), fill=0, width=2 - medium)
    return image


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Fifteen writers with six signatures on two media, and two forgeries each; three of them are test writers."""
    folder = tmp_path_factory.mktemp("signed")
    rows = [("image", "writer", "medium", "kind", "split")]
    for who in range(15):
        part = "train" if who < 5 else "val" if who < 12 else "test"
        for n in range(8):
            name = f"w{who}-{n}.png"
            forged = n > 5
            mark((who + 1) % 15 if forged else who, n, n % 2).save(folder / name)
            rows.append((name, f"w{who}", MEDIA[n % 2], "forgery" if forged else "genuine", part))
    with (folder / "signed.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    genuine = [row[:3] + row[4:] for row in rows if row[3] != "forgery"]
    with (folder / "genuine.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(genuine)
    return folder / "signed.csv"


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*words: object, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["likewise", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        assert stopped.value.code == code, out.err
        return out.out if code == 0 else out.err

    return run


COLUMNS = ("--label-column", "writer", "--role", "kind", "--group", "medium")


def test_a_table_gives_three_roles_within_and_across_groups(table, tmp_path, call):
    printed = call("pairs", table, "-o", tmp_path / "p.csv", *COLUMNS, "--part", "test", "--seed", 3)
    # 15 pairs of a writer's 6 signatures; 36 of two writers; 6 x 2 forgeries
    assert printed.startswith("45 genuine, 108 random, 36 skilled pairs of 24 images of 3 classes: ")
    assert f"--images {table.parent} --threshold-at far=0.05" in printed
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["group"] for row in rows} == {"paper", "pad", "pad + paper"}
    again = call("pairs", table, "-o", tmp_path / "q.csv", *COLUMNS, "--part", "test", "--seed", 3, "--json")
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    assert json.loads(again)["roles"] == {"genuine": 45, "random": 108, "skilled": 36}
    call("pairs", table, "-o", tmp_path / "w.parquet", *COLUMNS, "--within", "--per-class", 4)
    call("pairs", table, "-o", tmp_path / "a.txt", *COLUMNS, "--across", "--per-class", 4)
    assert "pad + paper" in (tmp_path / "a.txt").read_text(encoding="utf-8")


def test_a_folder_of_classes_needs_no_table(table, tmp_path, call):
    for who in range(3):
        (tmp_path / "f" / f"w{who}").mkdir(parents=True)
        for n in range(3):
            mark(who, n, 0).save(tmp_path / "f" / f"w{who}" / f"{n}.png")
    assert call("pairs", tmp_path / "f", "-o", tmp_path / "p.csv").startswith("9 genuine, 27 random pairs of 9 images")
    wrong = call("pairs", tmp_path / "f", "-o", tmp_path / "q.csv", "--across", code=2)
    assert "pairs across groups need the group of each image" in wrong


def test_rows_without_a_file_are_left_out_and_named(table, tmp_path, call):
    text = table.read_text(encoding="utf-8") + "gone.png,w0,paper,genuine,test\n"
    (table.parent / "more.csv").write_text(text, encoding="utf-8")
    printed = call("pairs", table.parent / "more.csv", "-o", tmp_path / "p.csv", *COLUMNS)
    assert "left out: 1, such as gone.png: there is no such file" in printed


W = ("TABLE", "-o", "p.csv", "--label-column", "writer")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("TABLE", "-o", "p.csv", "--within", "--across"), "--within and --across exclude each other"),
        (("TABLE", "-o", "p.png"), "pairs are written as .csv, .txt or .parquet, and"),
        (("TABLE", "-o", "there.csv"), "there.csv exists; give another -o FILE, or --force"),
        (("TABLE", "-o", "p.csv"), "has no column of labels"),
        (("TABLE", "-o", "p.csv", "--label-column", "author"), "has no column 'author'; it has 'image', 'writer'"),
        ((*W, "--role", "medium"), "is 'paper'; write genuine (or original), or forgery"),
        ((*W, "--part", "tets"), "no part named 'tets'; did you mean"),
        ((*W, "--per-class", "0"), "the number of pairs per class is 1 or more, got 0"),
        ((*W, "--across"), "pairs across groups need the group of each image"),
        ((*W, "--group", "writer", "--across"), "no class has two genuine images across groups"),
        (("FOLDER", "-o", "p.csv", "--role", "kind"), "--role names a column of a table, and"),
        (("none.csv", "-o", "p.csv"), "none.csv does not exist; give a table"),
        (("IMAGE", "-o", "p.csv"), "is no table (.csv, .tsv, .parquet), folder of classes, or run"),
        (("TABLE",), "Missing option '-o'"),
    ],
)
def test_wrong_calls_are_one_sentence(words, sentence, table, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine", encoding="utf-8")
    named = {"TABLE": table, "FOLDER": table.parent, "IMAGE": table.parent / "w0-0.png"}
    said = call("pairs", *(named.get(word, word) for word in words), code=2)
    assert sentence in said.splitlines()[-1]  # a line on the columns that were found may stand before it
    assert said.count("\n") < 3
    assert "likewise train" not in said
    assert (tmp_path / "there.csv").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.slow
def test_from_a_table_to_the_rates_of_each_role_and_group(table, tmp_path, call):
    """The threshold is that of the validation writers, whatever the pairs of the file are."""
    data = f"table(path={str(table.parent / 'genuine.csv')!r}, label='writer', group='medium')"
    fields = (
        "network=mlp(widths=(32,))",
        "dim=8",
        "epochs=3",
        "sampler=pk(classes=5, images=4)",
        "eval_every_epochs=0",
    )
    recipe = api.load_recipe("digits").override(f"data={data}", *fields)
    run = api.train(recipe, out=tmp_path, name="r").path
    kept = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["verification"]
    assert {one["name"] for one in kept["groups"]} == {"paper", "pad", "pad + paper"}
    assert kept["error_rates"][0]["at"] == "threshold for accuracy"
    assert "Error rates by group" in (run / "report.html").read_text(encoding="utf-8")

    call("pairs", table, "-o", tmp_path / "p.csv", *COLUMNS, "--part", "test")
    how = ("evaluate", run, "--pairs", tmp_path / "p.csv", "--images", table.parent, "--threshold-at", "far=0.05")
    found = json.loads(call(*how, "--json"))
    assert [one["name"] for one in found["roles"]] == ["genuine", "random", "skilled"]
    assert [gap["score"] for gap in found["gaps"]] == ["eer", "frr", "far"]
    first = found["error_rates"][0]
    assert (first["at"], first["threshold"]) == ("far=0.05", found["threshold"]["value"])
    assert first["validation_far"]["value"] <= 0.05
    printed = call(*how)
    assert not [line for line in printed.partition("thresholds of")[2].splitlines() if len(line) > 80]
    for word in ("\nskilled", "\npad + paper", "\nEER gap", "\nFRR gap"):
        assert word in printed

    # other pairs, the same threshold
    call("pairs", run, "-o", tmp_path / "own.csv", "--within", "--seed", "1")
    other = json.loads(call("evaluate", run, "--pairs", tmp_path / "own.csv", "--threshold-at", "far=0.05", "--json"))
    assert other["threshold"] == found["threshold"]
    assert call("pairs", run, "-o", tmp_path / "x.csv", "--role", "kind", code=2).startswith("likewise: --role names")


GUIDE = Path(__file__).parents[2] / "docs/verification.md"


@pytest.mark.slow
def test_the_commands_of_the_guide_run_in_their_order(table, tmp_path, call, monkeypatch):
    monkeypatch.chdir(shutil.copytree(table.parent, tmp_path / "signed"))
    mark(0, 0, 0).save("a.png")
    mark(0, 1, 0).save("b.png")
    text = GUIDE.read_text(encoding="utf-8").partition("## A measured example")[0]
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "likewise"
        quick = ["network=mlp(widths=(16,))", "epochs=2", "dim=8"] if words[1] == "train" else []
        assert call(*words[1:], *quick)
    assert set(Path().glob("*.csv")) >= {Path("pairs.csv"), Path("across.csv"), Path("own.csv")}
