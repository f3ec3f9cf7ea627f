from __future__ import annotations

from pathlib import Path

import pytest
from rgbd_files import ball_recording, recipe
from shared_helpers import touch

from mimicme.pipeline.captures.catalogue import Catalogue, build
from mimicme.pipeline.captures.layouts import search
from mimicme.pipeline.errors import ConfigError, InputError


def recording(folder: Path, *frames: str, text: str | None = None) -> None:
    """Empty pictures under these names: they are not looked into before they are read."""
    touch(folder, *(f"depth/{frame}.png" for frame in frames), *(f"color/{frame}.png" for frame in frames))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rgbd.toml").write_text(text or recipe(), encoding="utf-8")


def said(catalogue: Catalogue) -> str:
    return "\n".join(catalogue.messages)


def test_a_folder_of_recordings_is_known_by_its_descriptions(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "01_neutral", "0001", "0002", "0004")
    recording(tmp_path / "S2" / "smile", "frame_7")
    catalogue = build(tmp_path)
    assert [str(s.item) for s in catalogue.sequences] == ["S1/01_neutral", "S2/smile"]
    first = catalogue.sequences[0]
    assert [f.number for f in first.frames] == [1, 2, 4] and first.expression == "neutral"
    assert first.frames[2].path == tmp_path / "S1/01_neutral/depth/0004.png"
    assert first.frames[2].recipe == tmp_path / "S1/01_neutral/rgbd.toml"
    assert "2 rgbd.toml describe recordings" in said(catalogue) and "frame 3 is missing" in said(catalogue)
    assert "not read" not in said(catalogue)  # depth images are, here


def test_one_folder_a_subject(tmp_path: Path) -> None:
    recording(tmp_path / "S1", "0001")
    (sequence,) = build(tmp_path).sequences
    assert str(sequence.item) == "S1/scan"


def test_a_layout_can_be_named_or_given(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1")
    recording(tmp_path / "site" / "S2" / "b", "1")
    assert [f.subject for f in search(tmp_path, "rgbd").found] == ["S1"]
    found = search(tmp_path, "*/{subject}/{sequence}/rgbd.toml")
    assert [f.subject for f in found.found] == ["S2"]
    assert any("1 rgbd.toml left out" in message for message in found.messages)
    with pytest.raises(ConfigError):
        search(tmp_path, "{sequence}/rgbd.toml")
    with pytest.raises(ConfigError):
        search(tmp_path, "{subject}/{frame}/rgbd.toml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no rgbd\.toml fits"):
        search(tmp_path / "empty", "rgbd")


def test_too_deep_is_said_with_a_layout(tmp_path: Path) -> None:
    recording(tmp_path / "x" / "y" / "S1" / "a", "1")
    with pytest.raises(InputError, match=r"--layout '\*/\{subject\}/\{sequence\}/rgbd\.toml'"):
        search(tmp_path)


def test_meshes_beside_recordings_are_not_left_out_unasked(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1")
    touch(tmp_path, "S2/b/0001.obj")
    with pytest.raises(InputError, match="meshes outside their folders.*--layout: rgbd"):
        build(tmp_path)
    assert "1 mesh file left out, for example 'S2/b/0001.obj'" in said(build(tmp_path, "rgbd"))
    with_layout = build(tmp_path, "3dmd")
    assert [str(s.item) for s in with_layout.sequences] == ["S2/b"]


def test_a_description_that_is_wrong_costs_its_sequence(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1")
    recording(tmp_path / "S1" / "b", "1", text=recipe().replace("fx = 150.0", ""))
    recording(tmp_path / "S1" / "c")
    catalogue = build(tmp_path)
    assert [str(s.item) for s in catalogue.sequences] == ["S1/a"]
    assert "S1/b/rgbd.toml: `depth.fx` is missing" in said(catalogue)
    assert "1 others like it" in said(catalogue)
    (tmp_path / "S1" / "a" / "rgbd.toml").write_text("")
    with pytest.raises(InputError, match="no recording can be used"):
        build(tmp_path)


def test_what_lies_below_a_wrong_description_is_remarked_on_all_the_same(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1")
    recording(tmp_path / "S1" / "b", "1", text=recipe().replace("fx = 150.0", ""))
    touch(tmp_path, "S1/b/take.bag")
    touch(tmp_path, "S1/a/other.bag")
    text = said(build(tmp_path))
    assert "S1/b/rgbd.toml: `depth.fx` is missing" in text
    assert "1 video (.bag) is not read, for example 'S1/b/take.bag'" in text
    assert "depth image" not in text  # the first sentence says why these are not


def test_time_stamps_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "S1" / "a"
    recording(folder, "0001", "0002", "0003", text=recipe('times = "times.csv"'))
    times = folder / "times.csv"
    times.write_text("frame,seconds\n1,10.0\n2,10.0333\n3,10.0667\n")
    catalogue = build(tmp_path)
    (sequence,) = catalogue.sequences
    assert sequence.times(float("nan")) == pytest.approx((0, 0.0333, 0.0667))
    assert sequence.named_fps == pytest.approx(30, abs=0.1)
    times.write_text("0001 5\n0002 6\n")
    catalogue = build(tmp_path)
    assert "1 of its frames have no time stamp, for example '0003'" in said(catalogue)
    times.write_text("1,3\n2,2\n3,4\n")
    assert "do not grow" in said(build(tmp_path))
    times.write_text("7,3\n8,4\n")
    assert "name none of its frames" in said(build(tmp_path))
    times.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        build(tmp_path)


def test_times_in_the_names_of_the_pictures(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1769864400.000", "1769864400.033", "1769864400.067")
    (sequence,) = build(tmp_path).sequences
    assert sequence.times(float("nan")) == pytest.approx((0, 0.033, 0.067))


def test_nothing_outside_the_captures_is_listed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    recording(outside, "1")
    inside = tmp_path / "captures" / "S1" / "a"
    inside.mkdir(parents=True)
    (inside / "depth").symlink_to(outside / "depth")
    (inside / "rgbd.toml").write_text(recipe())
    with pytest.raises(InputError, match="leaves the capture folder"):
        build(tmp_path / "captures")
    (inside / "depth").unlink()
    (inside / "depth").mkdir()
    (inside / "depth" / "1.png").symlink_to(outside / "depth" / "1.png")
    with pytest.raises(InputError, match="names no depth picture"):
        build(tmp_path / "captures")


def test_two_pictures_of_one_number_are_one_frame_with_a_duplicate(tmp_path: Path) -> None:
    recording(tmp_path / "S1" / "a", "1", "001", "2")
    (sequence,) = build(tmp_path).sequences
    assert [len(f.duplicates) for f in sequence.frames] == [1, 0]


def test_a_recording_that_can_be_read(tmp_path: Path) -> None:
    ball_recording(tmp_path / "S1" / "a", frames=2)
    assert build(tmp_path).frame_count == 2
