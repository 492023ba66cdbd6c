"""Pairs as files list them: CSV and the pairs.txt of Labeled Faces in the Wild, and what is wrong with some."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluate import pair_files as pl

LFW = """2\t2
Abel\t1\t4
Abel\t2\t3
Abel\t1\tBea_B\t2
Abel\t3\tBea_B\t1
Cy\t1\t2
Dora\t3\t10
Cy\t1\tDora\t2
Cy\t2\tDora\t3
"""


@pytest.mark.parametrize("heading", ["", "first,second,same\n"])
def test_pairs_from_a_file(heading: str):
    text = heading + 'a.png,b.png,1\n\n "c, d.png" ,a.png, different\nb.png,a.png,TRUE\n'
    found = pl.listed(text.splitlines(), ["b.png", "a.png", "c, d.png"])
    assert [x.tolist() for x in found] == [[1, 2, 0], [0, 1, 1], [True, False, True]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the list of pairs is empty"),
        ("first,second,same", "the list of pairs is empty"),
        ("a,b,1\nb,x,0\ny,x,1", "2 images of the pairs are not among the 2 embedded ones; the first is 'x'"),
        ("a,b,1\na,b", "line 2 of the pairs reads 'a,b'"),
        ("a,b,maybe", "line 1 of the pairs reads 'a,b,maybe'"),
        ("a,b,1\n\na,b,maybe", "line 3 of the pairs reads 'a,b,maybe'"),
    ],
)
def test_a_file_of_pairs_that_does_not_read_is_one_sentence(text: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        pl.listed(text.splitlines(), ["a", "b"])


def test_a_heading_may_name_folds_and_parts():
    text = "id_a,id_b,same,split,fold\na,b,1,test,x\nb,c,0,val,y\na,c,0,test,x\n"
    found = pl.named(text.splitlines())
    assert found.split == ("test", "val", "test")
    assert found.fold is not None
    assert found.fold.tolist() == [0, 1, 0]
    assert found.take(torch.tensor([2, 0])).first == ("a", "a")
    assert found.names() == ("a", "b", "c")
    with pytest.raises(ValueError, match="line 3 of the pairs reads 'b,c,0'"):
        pl.named(["id_a,id_b,same,fold", "a,b,1,0", "b,c,0"])


def test_the_lists_of_lfw():
    found = pl.named(LFW.splitlines())
    assert found.first[:2] == ("Abel/Abel_0001.jpg", "Abel/Abel_0002.jpg")
    assert found.second[5] == "Dora/Dora_0010.jpg"
    assert found.second[2] == "Bea_B/Bea_B_0002.jpg"
    assert found.same.tolist() == [True, True, False, False] * 2
    assert found.fold is not None
    assert found.fold.tolist() == [0] * 4 + [1] * 4
    assert found.person["Dora/Dora_0010.jpg"] == "Dora"
    spaces = pl.named(LFW.replace("\t", "  ").splitlines())
    assert (spaces.first, spaces.second) == (found.first, found.second)


def test_lfws_lists_for_development_are_one_set():
    found = pl.named(["2", "Abel\t1\t4", "Cy\t1\t2", "Abel\t1\tCy\t2", "Abel\t3\tCy\t1"])
    assert found.fold is None
    assert found.same.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LFW.replace("2\t2\n", "2\t3\n"), "announces 12 pairs, and 8 lines follow"),
        ("10 300\n", "announces 6,000 pairs, and 0 lines follow"),
        (LFW.replace("Abel\t1\t4", "Abel\t1\tCy\t4"), "line 2 .* announces a pair of one person"),
        (LFW.replace("Cy\t2\tDora\t3", "Cy\t2\t3"), "line 9 .* announces a pair of two people"),
        (LFW.replace("Cy\t1\t2", "Cy\tone\t2"), "line 6 of the pairs reads .* `name 1 4` for one person"),
    ],
)
def test_a_list_of_lfw_that_does_not_read_is_one_sentence(text: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        pl.named(text.splitlines())


def test_a_heading_may_name_roles_and_groups():
    text = "id_a,id_b,same,role,group\na,b,1,Genuine,paper\nb,c,0,skilled,\na,c,0,random,pad + paper\n"
    found = pl.named(text.splitlines())
    assert found.role == ("genuine", "skilled", "random")
    assert found.group == ("paper", "", "pad + paper")
    assert found.take(torch.tensor([2])).role == ("random",)
    assert pl.named(["a,b,1,genuine"]).role is None  # without a heading nothing says so


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a,b,0,genuine", "line 2 of the pairs is genuine and different; genuine pairs are same"),
        ("a,b,1,skilled", "line 2 of the pairs is skilled and same"),
        ("a,b,1,", "line 2 of the pairs has no role; write genuine, random or skilled, or leave out the column"),
        ("a,b,1", "line 2 of the pairs reads 'a,b,1'"),
    ],
)
def test_a_role_that_contradicts_its_pair_is_one_sentence(row: str, sentence: str, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        pl.named(["id_a,id_b,same,role", row])
    many = "\n".join(f"a,b,1,x{i}" for i in range(1_001))
    with pytest.raises(ValueError, match="column role of the pairs has more values than are read: 1,001"):
        pl.named(f"id_a,id_b,same,role\n{many}".splitlines())


# Names as files have them, and worse: separators, quotes, formulas, marks of other scripts.
words = st.text(st.sampled_from("ab,;\"'=+-@ é猫/\t\n."), min_size=1, max_size=6)
rows_of = st.lists(
    st.tuples(words, words, st.booleans(), st.sampled_from(["random", "skilled", "screen"]), words), max_size=8
)


def refusal(call, *given) -> str:
    """The sentence of a ValueError, or ""."""
    try:
        call(*given)
    except ValueError as error:
        return str(error)
    return ""


@given(rows_of.filter(bool), st.booleans(), st.sampled_from([".csv", ".txt", ".parquet"]))
def test_what_is_written_is_read_back_or_refused(tmp_path_factory, rows, grouped, suffix):
    file = tmp_path_factory.mktemp("pairs") / f"pairs{suffix}"
    first, second, same, impostor, group = zip(*rows, strict=True)
    role = tuple("genuine" if one else kind for one, kind in zip(same, impostor, strict=True))
    pairs = pl.Named(first, second, torch.tensor(same), role=role, group=group if grouped else None)
    if refused := refusal(pl.write, file, pairs):
        assert suffix != ".parquet"
        assert "would not be read back" in refused
        assert not file.exists()
        return
    found = pl.read(file)
    assert (found.first, found.second, found.role, found.group) == (first, second, role, group if grouped else None)
    assert torch.equal(found.same, pairs.same)


@given(st.lists(st.text(st.sampled_from('ab,;"01 \t=sameid_role'), max_size=30), max_size=6))
def test_lines_are_pairs_or_one_sentence(lines):
    if refused := refusal(pl.named, lines):
        assert "\n" not in refused
        return
    found = pl.named(lines)
    assert len(found.first) == len(found.second) == len(found.same) > 0
