"""CSV files as people keep them, and every wrong one answered in a sentence."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.data.options import LoadOptions
from likewise.data.table import table
from small_images import png


@pytest.fixture
def pets(tmp_path):
    for i, name in enumerate(["a.png", "b.png", "c.png"]):
        (tmp_path / name).write_bytes(png(i))
    return tmp_path


def read(folder, text, encoding="utf-8", **settings):
    (folder / "pets.csv").write_bytes(text.encode(encoding))
    return table(LoadOptions(), path=str(folder / "pets.csv"), **settings)


def test_columns_by_name(pets):
    images = read(pets, "label,image\ncat,a.png\ndog,c.png\ncat,b.png\n")
    assert images.ids == ("a.png", "c.png", "b.png")
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 1, 0]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 2, 1]
    assert images.split.tolist() == [0, 0, 0]
    assert images.groups is None
    assert images.name == "pets"


def test_other_names_and_split_and_group(pets):
    text = "file,species,part,camera\na.png,cat,train,1\nb.png,dog,Validation,2\nc.png,cat,test,1\n"
    images = read(pets, text, image="file", label="species", split="part", group="camera")
    assert images.split.tolist() == [0, 1, 2]
    assert images.groups == ("1", "2", "1")


def test_without_a_header_columns_are_numbers(pets):
    images = read(pets, "a.png, 7, 1\nb.png, 10, 0\n", header=False, image=0, label=1, group=2)
    assert images.classes == ("7", "10")
    assert images.groups == ("1", "0")
    assert read(pets, "x,y\na.png,cat\n", image=0, label=1).classes == ("cat",)


def test_without_a_header_names_are_refused(pets):
    with pytest.raises(ValueError, match="columns are numbers from 0, as in image=0, label=1; got image='image'"):
        read(pets, "a.png,cat\n", header=False, image="image")
    with pytest.raises(ValueError, match="say image=0, label=1"):
        read(pets, "a.png,cat\n", header=False)


def test_root(pets, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    (elsewhere / "pets.csv").write_text("image,label\na.png,cat\n")
    assert len(table(LoadOptions(), path=str(elsewhere / "pets.csv"), root=str(pets))) == 1
    (elsewhere / "pets.csv").write_text(f"image,label\n{pets}/a.png,cat\n")
    assert len(table(LoadOptions(), path=str(elsewhere / "pets.csv"))) == 1, "absolute paths"


def test_the_line_to_type_names_no_column_twice_and_none_without_a_name(pets):
    with pytest.raises(ValueError, match=r"likewise train .*pets.csv --image-column other --label-column label "):
        read(pets, ",label,other\n1,cat,a.txt\n")
    with pytest.raises(ValueError, match=r"likewise train .*pets.csv --image-column image --label-column NAME "):
        read(pets, "image,\na.png,cat\n")
    with pytest.raises(ValueError, match=r"likewise train .*pets.csv --image-column y --label-column x "):
        read(pets, "x,y\ncat,a.png\n")


def test_missing_column_names_those_there(pets):
    with pytest.raises(ValueError, match=r"no column 'label'; it has 'image', 'lable'; did you mean lable\?"):
        read(pets, "image,lable\na.png,cat\n", label="label")
    with pytest.raises(ValueError, match=r"likewise train .*pets.csv --image-column pic --label-column lable"):
        read(pets, "when,lable,pic\n2020,cat,a.png\n")
    with pytest.raises(ValueError, match=r"pets.csv are 0 to 1, and label=2 is none of them"):
        read(pets, "image,label\na.png,cat\n", label=2)
    with pytest.raises(ValueError, match=r"pets.csv are 0 and up, and label=-1 is none of them"):
        read(pets, "a.png,cat\n", header=False, image=0, label=-1)
    with pytest.raises(ValueError, match="header=False where the first row is an image already"):
        read(pets, "a.png,cat\nb.png,dog\n")


def test_rows_that_cannot_be_used_are_listed(pets):
    text = "image,label\na.png,cat\nnowhere.png,dog\n\nb.png\nb.png,\n,dog\na.png,dog\nc.png,dog\n"
    images = read(pets, text)
    assert images.ids == ("a.png", "c.png")
    assert dict(images.skipped) == {
        "nowhere.png": "no such file",
        "line 5": "it has 1 columns, and column 1 is asked for",
        "b.png": "line 6 has no label",
        "line 7": "line 7 has no image",
        "a.png": "line 8 lists again what line 2 lists, with another label ('cat' there, 'dog' here)",
    }


def test_bom_semicolons_tabs_and_quotes(pets):
    assert len(read(pets, "\ufeffimage;label\na.png;cat\n", separator=";")) == 1
    assert len(read(pets, "image\tlabel\na.png\tcat\n", separator="\t")) == 1
    assert read(pets, 'image,label\n"a.png","big, red"\n').classes == ("big, red",)
    assert len(read(pets, "image,label\r\na.png,cat\r\nb.png,cat\r\n")) == 2


def test_two_spellings(pets):
    text = "image,label\na.png,Cat\nb.png,cat \nc.png,cat \n"
    with pytest.raises(ValueError, match="'Cat' and 'cat '"):
        read(pets, text)
    assert len(read(pets, text, spellings="merge").classes) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no rows"),
        ("image,label\n", "below its first line; is header=False meant"),
        ("image,label\nx.png,cat\n", "no image that can be read, for instance x.png: no such file"),
    ],
)
def test_nothing_to_read(pets, text, why):
    with pytest.raises(ValueError, match=why):
        read(pets, text)


def test_wrong_parts_separators_and_files(pets):
    with pytest.raises(ValueError, match="line 2: the part 'tset' is none of train, val, test"):
        read(pets, "image,label,part\na.png,cat,tset\n", split="part")
    with pytest.raises(ValueError, match="separator is one character"):
        read(pets, "image,label\n", separator=", ")
    with pytest.raises(ValueError, match="No such file"):
        table(LoadOptions(), path=str(pets / "nowhere.csv"))
    with pytest.raises(ValueError, match="does not read as CSV"):
        read(pets, "image,label\na.png," + "x" * 200_000 + "\n")


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.text(max_size=12), max_size=4), max_size=6), st.booleans(), st.sampled_from([",", ";", "\t"])
)
def test_any_rows_around_a_good_one_leave_it_readable(tmp_path_factory, rows, header, separator):
    folder = tmp_path_factory.mktemp("any", numbered=True)
    (folder / "a.png").write_bytes(png(1))
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([["image", "label"], *rows, ["a.png", "cat"]])
    (folder / "x.csv").write_text(text.getvalue(), encoding="utf-8", errors="replace")
    images = table(LoadOptions(), path=str(folder / "x.csv"), header=header, image=0, label=1, separator=separator)
    assert "a.png" in images.ids
    assert len(images) + len(images.skipped) <= len(rows) + 2


@given(text=st.text(max_size=300))
@settings(max_examples=50)
def test_any_text_is_read_or_refused_in_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    with pytest.raises(ValueError):
        table(LoadOptions(), path=str(path))


@pytest.mark.parametrize("image", ["image", "Path", "FILE", "File Name", "file_path", "filename"])
@pytest.mark.parametrize("label", ["Label", "CLASS", "target", "id", "Name"])
def test_usual_names_in_any_case(pets, image, label):
    images = read(pets, f"when,{label},{image}\n2020,dog,a.png\n2021,cat,b.png\n")
    assert images.ids == ("a.png", "b.png")
    assert images.classes == ("cat", "dog")


def test_the_more_telling_name_comes_first(pets):
    assert read(pets, "id,name,path,label\n1,x,a.png,cat\n2,y,b.png,dog\n").classes == ("cat", "dog")
    assert read(pets, "name,label\na.png,cat\nb.png,dog\n").ids == ("a.png", "b.png")
    assert read(pets, "image,name\na.png,cat\nb.png,dog\n").classes == ("cat", "dog")


@pytest.mark.parametrize("split", ["split", "Subset", "FOLD"])
def test_a_split_column_is_used_and_said(pets, split, capsys):
    images = read(pets, f"image,label,{split},Groups\na.png,cat,TRAIN,1\nb.png,dog,valid,2\nc.png,cat,Testing,1\n")
    assert images.split.tolist() == [0, 1, 2]
    assert images.groups == ("1", "2", "1")
    said = capsys.readouterr().err
    assert f"parts from column '{split}', groups from column 'Groups' (1 train, 1 val, 1 test)" in said


@pytest.mark.parametrize(
    ("column", "cells", "parts", "note"),
    [
        ("fold", "123", [0, 1, 2], "3 is test, 2 val, the others train"),
        ("fold", ["fold 1", "Fold_1", "fold2"], [0, 0, 2], "2 is test, the others train"),
        ("fold", ["1.0", "2.0", "9.0"], [0, 1, 2], "9 is test, 2 val"),
        ("split", "012", [0, 1, 2], "parts from"),
        ("split", "xyz", [0, 0, 0], "'split' is not used: it holds 'x', none of train, val, test"),
        ("split", "111", [0, 0, 0], "'split' is not used: it holds '1'"),
    ],
)
def test_folds_and_what_is_no_split(pets, column, cells, parts, note, capsys):
    rows = "".join(f"{name}.png,cat,{cell}\n" for name, cell in zip("abc", cells, strict=True))
    assert read(pets, f"image,label,{column}\n{rows}").split.tolist() == parts
    assert note in capsys.readouterr().err


def test_a_mistyped_part_is_an_error_and_an_empty_one_is_listed(pets):
    with pytest.raises(ValueError, match=r"line 3: the part 'tset' is none of train, val, test \(column 'split'\)"):
        read(pets, "image,label,split\na.png,cat,train\nb.png,cat,tset\n")
    images = read(pets, "image,label,split\na.png,cat,train\nb.png,cat,\nc.png,cat,test\n")
    assert dict(images.skipped) == {"b.png": "line 3 has no part"}


def test_a_group_that_all_share_is_not_used(pets, capsys):
    assert read(pets, "image,label,group\na.png,cat,1\nb.png,dog,1\n").groups is None
    assert "column 'group' is not used: every row has the same group" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_separator_and_encoding_are_found_out(pets, separator, encoding):
    text = f'image{separator}label\n"a.png"{separator}"\u00e9t\u00e9, a; b | c"\nb.png{separator}dog\n'
    assert read(pets, text, encoding=encoding).classes == ("dog", "\u00e9t\u00e9, a; b | c")


def test_single_quotes_and_another_first_separator(pets):
    assert read(pets, "'image','label'\n'a.png','big, red'\n").classes == ("big, red",)
    assert read(pets, "image;label\na.png;big, red\nb.png;big, blue\n").classes == ("big, blue", "big, red")


def test_missing_labels_and_one_file_in_several_spellings(pets):
    (pets / "sub").mkdir()
    images = read(pets, f"image,label\na.png,NaN\nb.png,cat\n./b.png,cat\nsub/../b.png,cat\n{pets}/b.png,cat\n")
    assert images.ids == ("b.png",)
    why = dict(images.skipped)
    assert why.pop("a.png") == "line 2 has no label"
    assert len(why) == 3
    assert all("lists again what line 3 lists" in reason for reason in why.values())


def test_paths_of_windows_and_urls(pets):
    (pets / "sub").mkdir()
    (pets / "sub" / "d.png").write_bytes(png(1))
    assert len(read(pets, "image,label\nsub\\d.png,cat\n")) == 1
    with pytest.raises(
        ValueError, match=r"line 2: 'https://example\.org/a\.png' is a URL, and images are read from files"
    ):
        read(pets, "image,label\nhttps://example.org/a.png,cat\n")


def test_a_table_that_is_too_large_is_refused_before_it_is_read(pets):
    (pets / "pets.csv").write_text("image,label\na.png,cat\n")
    with pytest.raises(ValueError, match="has 22 bytes and a table may have 10"):
        table(LoadOptions(memory=10), path=str(pets / "pets.csv"))


def parquet(folder, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), folder / "pets.parquet")
    return table(LoadOptions(), path=str(folder / "pets.parquet"))


def test_parquet_of_paths(pets):
    images = parquet(pets, File=["a.png", "b.png", "c.png"], Label=[1.0, 2.0, None], Split=["train", "test", "test"])
    assert images.classes == ("1", "2")
    assert images.split.tolist() == [0, 2]
    assert dict(images.skipped) == {"c.png": "row 3 has no label"}


def test_parquet_of_images(pets):
    images = parquet(pets, image=[png(3), b"no image"], label=["cat", "dog"])
    assert images.ids == ("row 1",)
    assert images.pixels[:, 0, 0, 0].tolist() == [3]
    assert [skip.id for skip in images.skipped] == ["row 2"]
    images = parquet(pets, image=[{"bytes": png(4), "path": "x"}, {"bytes": None, "path": "b.png"}], label=["u", "v"])
    assert images.pixels[:, 0, 0, 0].tolist() == [4, 1]


def test_parquet_that_cannot_be_read(pets):
    (pets / "text.parquet").write_text("no")
    for name, why in {"text.parquet": "does not read as Parquet", "nowhere.parquet": "No such file"}.items():
        with pytest.raises(ValueError, match=why):
            table(LoadOptions(), path=str(pets / name))
    with pytest.raises(ValueError, match=r"no column of labels .* --image-column file --label-column kind"):
        parquet(pets, file=["a.png"], kind=["cat"])
