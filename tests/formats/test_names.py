"""Names of results never meet, and never lead out of their folder (rows O5 and O6)."""

import os
import string
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import DataError, OutputError
from anymask.formats.names import check_clashes, common_folder, inside, safe_relative


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "x/y/a.jpg",
        "zwölf Bären.png",
        "two\nlines.png",
        os.fsdecode(b"\xff\xfe.png"),
        "..a",
        "a..",
        "con-fused.jpg",
        "x" * 255,
        "1:30.png",
    ],
)
def test_i23_ordinary_and_strange_names_stay_as_they_are(name: str) -> None:
    assert str(safe_relative(name)) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a.jpg", "upwards"),
        ("x/../../a.jpg", "upwards"),
        ("..\\a.jpg", "upwards"),
        ("..", "upwards"),
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\a.jpg", "absolute"),
        ("c:a.jpg", "absolute"),
        ("a\0.jpg", "NUL"),
        ("", "empty"),
        ("x//a", "empty"),
        ("./a", "empty"),
        ("CON", "device"),
        ("con.jpg", "device"),
        ("x/Aux.tar.gz", "device"),
        ("lpt1", "device"),
        ("COM¹.png", "device"),
        ("nul .txt", "device"),
    ],
)
def test_o6_names_that_lead_elsewhere_are_refused(name: str, reason: str) -> None:
    with pytest.raises(OutputError, match=f"^name-unsafe: .*{reason}"):
        safe_relative(name)
    with pytest.raises(DataError):
        safe_relative(name, error=DataError)


def test_o6_names_too_long_with_their_ending_are_refused() -> None:
    assert safe_relative("ä" * 100, room=55)
    with pytest.raises(OutputError, match=r"^name-too-long: .*at most 199"):
        safe_relative("ä" * 100, room=56)
    with pytest.raises(OutputError, match=r"^name-too-long"):
        safe_relative("/".join(["x" * 200] * 30))


@given(st.lists(st.text(string.ascii_letters + "./\\\0:", max_size=8), max_size=6).map("/".join))
def test_o6_whatever_passes_stays_below_its_folder(name: str) -> None:
    try:
        relative = safe_relative(name)
    except OutputError:
        return
    root = Path("/somewhere/out")
    assert Path(os.path.normpath(root / relative)).is_relative_to(root)


def test_o6_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root, other = tmp_path / "out", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (root / "away").symlink_to(other)
    (root / "within").symlink_to(root)
    assert inside(root, PurePosixPath("x/y/a.png")) == root / "x/y/a.png"
    assert inside(root, PurePosixPath("within/a.png"))
    with pytest.raises(OutputError, match=r"^name-outside: .*away"):
        inside(root, PurePosixPath("away/a.png"))


@pytest.mark.parametrize(
    "names",
    [["a.jpg", "a.png"], ["x/a.jpg", "y/a.jpg"], ["a", "b", "c"], []],
    ids=["a.jpg a.png", "x/a y/a", "others", "none"],
)
def test_o5_different_names_do_not_clash(names: list[str]) -> None:
    check_clashes(names)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A.jpg", "a.jpg"),
        ("x/a", "X/a"),
        ("\u00e9.png", "e\u0301.png"),
        ("straße", "STRASSE"),
        ("a", "a"),
    ],
    ids=["capitals", "folder", "accents", "sharp s", "the same"],
)
def test_o5_a_clash_names_both(first: str, second: str) -> None:
    with pytest.raises(OutputError, match=r"^name-clash: ") as caught:
        check_clashes(["other", first, "more", second])
    assert repr(first) in str(caught.value)
    assert repr(second) in str(caught.value)


def test_o5_paths_below_their_common_folder_keep_them_apart(tmp_path: Path) -> None:
    assert common_folder([tmp_path / "x", tmp_path / "y"]) == tmp_path
    assert common_folder([tmp_path / "x" / ".." / "z"]) == tmp_path / "z"
    assert common_folder(["."]) == Path.cwd()
