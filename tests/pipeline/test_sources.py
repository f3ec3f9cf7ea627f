"""Raw files are confined to the capture folder and remembered by the names they were asked for by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.sources import Sources, unchanged

TIME = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`S1/scan.obj` is a link to `raw/a.obj`; `raw/b.obj` has its size and time."""
    for name in ("raw/a.obj", "raw/b.obj", "S1/other.obj"):
        path = tmp_path / "captures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name[-5:])
        os.utime(path, TIME)
    (tmp_path / "captures/S1/scan.obj").symlink_to("../raw/a.obj")
    (tmp_path / "elsewhere.obj").write_text("b.obj")
    return tmp_path / "captures"


def same(root: Path, sources: Sources) -> bool:
    return unchanged(root, sources.digests, sources.stats_json())


def retarget(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def test_a_file_is_remembered_by_the_name_of_its_link(root: Path) -> None:
    sources = Sources(root)
    assert sources.read(root / "S1/../S1/scan.obj") == b"a.obj"
    assert list(sources.digests) == ["S1/scan.obj"]
    assert same(root, sources)


@pytest.mark.parametrize("target", ["../raw/b.obj", "../raw/gone.obj", "../../elsewhere.obj"])
def test_a_link_that_leads_elsewhere_is_noticed(root: Path, target: str) -> None:
    sources = Sources(root)
    sources.read(root / "S1/scan.obj")
    retarget(root / "S1/scan.obj", target)
    assert not same(root, sources)
    retarget(root / "S1/scan.obj", "../raw/a.obj")
    assert same(root, sources)


def test_a_link_of_a_folder_is_noticed_too(root: Path) -> None:
    (root / "S2").symlink_to("raw")
    sources = Sources(root)
    sources.read(root / "S2/b.obj")
    assert not sources.exists(root / "S2/../S1/b.obj")  # of the link's target: captures/S1
    assert same(root, sources)
    retarget(root / "S2", "S1")
    assert not same(root, sources)


def test_a_root_that_is_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    sources = Sources(tmp_path / "link")
    sources.read(tmp_path / "link/S1/scan.obj")
    assert list(sources.digests) == ["S1/scan.obj"]
    assert same(root, sources)
    assert same(tmp_path / "link", sources)


def test_a_link_that_left_the_captures_is_looked_at_again(root: Path) -> None:
    retarget(root / "S1/scan.obj", "../../elsewhere.obj")
    sources = Sources(root)
    with pytest.raises(FrameRejected, match="leaves the capture folder"):
        sources.read(root / "S1/scan.obj")
    assert same(root, sources)
    retarget(root / "S1/scan.obj", "../raw/a.obj")
    assert not same(root, sources)


def test_what_is_absent_is_remembered(root: Path) -> None:
    sources = Sources(root)
    assert not sources.exists(root / "S1/scan.pts")
    assert not sources.exists(root / "raw")  # a folder is no file
    assert same(root, sources)
    (root / "S1/scan.pts").write_text("")
    assert not same(root, sources)


def test_a_touched_file_is_the_same_and_a_changed_one_is_not(root: Path) -> None:
    sources = Sources(root)
    sources.read(root / "S1/other.obj")
    os.utime(root / "S1/other.obj")
    assert same(root, sources)
    (root / "S1/other.obj").write_text("OTHER")
    assert not same(root, sources)


def test_names_in_a_folder_are_remembered(root: Path) -> None:
    sources = Sources(root)
    assert sources.names(root / "raw", "*.obj") == ("a.obj", "b.obj")
    assert sources.names(root / "raw", "a.*/[c]*") == ("a.obj",)
    assert sources.names(root / "gone", "*") == ()
    assert list(sources.digests) == ["raw//*.obj", "raw//a.*/[c]*", "gone//*"]
    assert same(root, sources)
    (root / "raw/a.txt").write_text("")
    assert not same(root, sources)
    (root / "raw/a.txt").unlink()
    assert same(root, sources)
    (root / "raw/B.obj").write_text("")
    assert not same(root, sources)


def test_names_of_a_folder_outside_are_not_told(root: Path) -> None:
    (root / "out").symlink_to(root.parent)
    sources = Sources(root)
    for folder in (root / "out", root.parent, root / "S1/../.."):
        with pytest.raises(FrameRejected, match="leaves the capture folder"):
            sources.names(folder, "*")
    assert same(root, sources)


def test_only_regular_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.obj")
    sources = Sources(root)
    for name in ("pipe.obj", "raw"):
        with pytest.raises(InputError, match="no regular file"):
            sources.read(root / name)
    assert same(root, sources)


def test_a_file_that_changes_while_it_is_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "S1/other.obj"
    real = os.fstat
    times = iter(range(100))

    def growing(handle: int) -> os.stat_result:
        with open(path, "a") as more:
            more.write("x" * (1 + next(times)))
        return real(handle)

    monkeypatch.setattr(os, "fstat", growing)
    sources = Sources(root)
    with pytest.raises(InputError, match="changes while it is read"):
        sources.read(path)
    monkeypatch.undo()
    assert not same(root, sources)
    assert sources.read(path).startswith(b"r.obj")


def test_names_in_folders_below_are_remembered(root: Path) -> None:
    (root / "raw/deep/er").mkdir(parents=True)
    (root / "raw/deep/er/C.OBJ").write_text("")
    (root / "raw/.hidden").mkdir()
    (root / "raw/.hidden/d.obj").write_text("")
    (root / "raw/loop").symlink_to(root)
    sources = Sources(root)
    found = sources.names_among(root / "raw", ["a.obj", "c.obj", "d.obj"], below=True)
    assert found == ("a.obj", "deep/er/C.OBJ")
    assert list(sources.digests) == ["raw//**/a.obj/c.obj/d.obj"]
    (root / "raw/deep/e.obj").write_text("")
    assert same(root, sources)
    (root / "raw/deep/d.obj").write_text("")
    assert not same(root, sources)


def test_a_folder_with_too_many_names_below_tells_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimicme.pipeline.sources._MOST_NAMES", 1)
    assert Sources(root).names_among(root / "raw", ["a.obj"], below=True) == ()
