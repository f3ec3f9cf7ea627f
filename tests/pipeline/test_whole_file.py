"""Files that are there whole or not at all, also where there is no room for them."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from mimicme.pipeline.errors import OutputError, UsageError
from mimicme.pipeline.whole_file import (
    checked,
    refuse_input,
    refuse_unwritable,
    temporary_below,
    temporary_name,
    whole_file,
    with_check,
    write_whole,
)


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with contextlib.suppress(KeyError), whole_file(path) as temporary:
        temporary.write_text("after")
        raise KeyError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_what_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    path.chmod(0o640)
    write_whole(path, "after")
    assert path.read_text() == "after" and path.stat().st_mode & 0o777 == 0o640


def test_a_place_where_nothing_can_be_written_is_refused_and_others_are_left_as_they_are(
    tmp_path: Path,
) -> None:
    refuse_unwritable(tmp_path / "new" / "folders" / "a.h5")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"a\.h5: this file cannot be written; .*Name another"):
        refuse_unwritable(Path("/proc/a.h5"))
    (tmp_path / "a.h5").mkdir()
    with pytest.raises(UsageError, match="a folder is there"):
        refuse_unwritable(tmp_path / "a.h5")


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with (
        pytest.raises(OutputError, match=r"a\.txt: the file cannot be written; seen .*Make room"),
        whole_file(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), whole_file(path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_what_is_read_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a.txt")
    for name in ("a.txt", "link", "b/../a.txt"):
        with pytest.raises(UsageError, match="Name another file"):
            refuse_input(tmp_path / name, [tmp_path / "c.txt", tmp_path / "a.txt"])
    refuse_input(tmp_path / "b.txt", [tmp_path / "a.txt"])


@pytest.mark.parametrize("text", ["", "a\tb", '{"x": 1}', "n\udcffme"])
def test_a_line_with_its_digest_comes_back(text: str) -> None:
    line = with_check(text)
    assert line.endswith("\n") and checked(line) == text


@pytest.mark.parametrize(
    "line", ["", "text", "text\t", "other" + with_check("text"), with_check("text")[:-3]]
)
def test_a_damaged_line_does_not(line: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        checked(line)


def test_what_a_process_left_half_written_is_found_by_its_name(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "a" / "b", outside):
        folder.mkdir(parents=True)
    half = [temporary_name(folder / "x.h5") for folder in (inside, inside / "a" / "b")]
    others = [inside / name for name in ("x.h5", ".x.tmp", "x.12.tmp", ".x.h5.12.tmp.h5")]
    for path in (*half, *others, temporary_name(outside / "x.h5")):
        path.touch()
    (inside / "link").symlink_to(outside)
    found = [Path(folder, name) for folder, names in temporary_below(str(inside)) for name in names]
    assert sorted(found) == sorted(half)
    assert list(temporary_below(str(tmp_path / "not there"))) == []
