"""What is read from the source is what importing finds."""

import inspect
import subprocess
import sys

import pytest

from likewise import spec
from likewise.cli.catalog import members


@pytest.mark.parametrize("kind", spec.HOMES)
def test_the_source_says_what_importing_says(kind):
    imported = spec.homes(kind)
    assert list(members(kind)) == list(imported)
    for name, member in members(kind).items():
        assert member.doc == inspect.cleandoc(imported[name].__doc__ or "")
        assert list(member.keywords) == spec.keywords(imported[name])


def test_an_unknown_kind_is_one_sentence():
    with pytest.raises(spec.SpecError, match="no kind of thing named 'los'; did you mean loss"):
        members("los")


@pytest.mark.parametrize(
    "command", [("list", "losses"), ("explain", "triplet"), ("list", "recipes"), ("explain", "lr")]
)
def test_listing_and_explaining_import_no_torch(command):
    script = (
        "import sys; from likewise.cli import main; sys.argv = ['likewise', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True)
