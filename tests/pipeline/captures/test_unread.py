"""What lies among the captures and is not read is said once, with what to do."""

from __future__ import annotations

import numpy as np
import pytest
from shared_helpers import touch

from mimicme.pipeline.captures import unread
from mimicme.pipeline.captures.layouts import search
from mimicme.pipeline.captures.unread import remarks
from mimicme.pipeline.errors import InputError

ROWS = "".join(f"{k}.5 {k} -{k}\n" for k in range(68))


def said(root, word):
    return [m for m in search(root).messages if word in m]


def test_landmarks_in_files_that_are_not_read_are_told_in_one_sentence(tmp_path):
    names = [f"S1/a/{k}.obj" for k in range(4)]
    touch(
        tmp_path, *names, "S1/a/0.mat", "S1/a/1.lnd", "marks.csv", "S1/a/2_landmarks.json", "S1/a/notes.txt"
    )
    for k in range(3):
        (tmp_path / f"S1/a/{k}.txt").write_text(ROWS)
    (told,) = said(tmp_path, "look like landmarks")
    assert told.startswith("3 files ending in .txt, ")
    assert "1 in .mat" in told and "1 in .lnd" in told and "1 in .json" in told
    assert "save them as .ljson, .pts, " in told and told.count("for example") == 1
    assert told.endswith("a .txt of plain rows x y z is a .pts: rename it.")


@pytest.mark.parametrize(
    ("name", "content", "like"),
    [
        ("S1/a/0.txt", ROWS, True),
        ("S1/a/0_points.txt", "x y z\n" + ROWS, True),
        ("S1/a/0.dat", "\n".join(f"{k},{k}.0,2.5" for k in range(51)), True),
        ("S1/a/0.xml", "<dataset><image><part name='00' x='1' y='2'/></image></dataset>", True),
        ("S1/a/landmarks.txt", "", True),
        ("landmarks_all.xlsx", "", True),
        ("S1/a/other.txt", ROWS, False),  # beside no frame of its name
        ("S1/a/0.txt", "taken on a Tuesday\nby Ann\n", False),
        ("S1/a/0.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", False),
        ("S1/a/0.txt", "", False),
        ("S1/a/0.xml", "<camera><k>1</k></camera>", False),
        ("S1/a/0.csv", ROWS, False),  # is read
        ("S1/a/0.json", "{}", False),
    ],
)  # fmt: skip
def test_what_looks_like_landmarks(tmp_path, name, content, like):
    touch(tmp_path, "S1/a/0.obj", name)
    (tmp_path / name).write_text(content)
    assert bool(said(tmp_path, "like landmarks")) == like


def test_arrays_beside_frames(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S1/a/1.obj")
    np.save(tmp_path / "S1/a/0.npy", np.zeros((68, 3)))
    assert not said(tmp_path, ".npy")
    for k in range(2):
        np.save(tmp_path / f"S1/a/{k}.npy", np.zeros((48, 64), np.uint16))
    (told,) = said(tmp_path, ".npy")
    assert told.startswith("2 files ending in .npy beside frames are not read") and "(68, 3)" in told


def test_points_of_slicer_belong_to_their_frame(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S1/a/0.mrk.json", "S1/a/F.mrk.json", "S1/a/0.fcsv")
    (told,) = said(tmp_path, "belongs to no frame")
    assert "S1/a/F.mrk.json" in told


def test_other_kinds_are_told_by_kind(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S1/a/0.jpg", "people.xlsx", "S1/a/0_depth.png", "S1/a/0.exr", "S1/v.mp4")
    touch(tmp_path, "S1/w.AVI", "S1/a/0.pcd", "S1/scan.dcm", "S1/a/depths.txt")
    messages = search(tmp_path).messages[1:]
    assert len(messages) == 5
    for words in (
        "1 spreadsheet among the captures (people.xlsx): it is read only where --metadata",
        "1 point cloud (.pcd) is not read, for example 'S1/a/0.pcd'",
        "2 depth images (.exr, .png) are not read",
        "2 videos (.avi, .mp4) are not read",
        "1 volume (.dcm) is not read",
    ):
        assert sum(words in m for m in messages) == 1


def test_a_folder_without_meshes_says_what_is_there(tmp_path):
    with pytest.raises(InputError, match=r"2 point clouds \(\.pcd, \.xyz\) are not read"):
        search(touch(tmp_path, "S1/a/0.pcd", "S1/a/1.xyz"))


def test_saved_variables_and_poses_are_told(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "all.mat", "S1/a/1.rda", "S1/a/2.RData", "S1/a/0_RAW.pse")
    messages = search(tmp_path).messages
    for words in (
        "1 file of MATLAB (.mat) is not read, for example 'all.mat'; write scans as OBJ or PLY, landmarks as .csv",
        "2 files of R (.rda, .rdata) are not read, for example 'S1/a/1.rda'",
        "1 file (.pse) is not read, for example 'S1/a/0_RAW.pse'; they hold the poses",
    ):
        assert sum(words in m for m in messages) == 1, messages


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("1.OBJ", "1.pts", "1.PTS"), "S1/a/1.PTS beside 1.pts"),
        (("1.OBJ", "1.Pts", "1.PTS"), "S1/a/1.Pts beside 1.PTS"),
        (("1.obj", "1.pts", "1.PTS"), "S1/a/1.PTS beside 1.pts"),
        (("1.OBJ", "1.mrk.json", "1.MRK.JSON"), "S1/a/1.MRK.JSON beside 1.mrk.json"),
        (("1.OBJ", "1.PTS"), None),
        (("1.OBJ", "1.PTS", "1.pp"), None),
        (("1.obj", "1.PTS"), None),  # which nothing stands before: told as one whose ending is not looked for
    ],
)
def test_of_two_landmark_files_that_differ_by_their_letters_the_one_not_read_is_told(tmp_path, names, told):
    # by names alone: not every disk holds two that differ so
    paths = [f"S1/a/{name}" for name in names]
    found = remarks(tmp_path, paths, [path for path in paths if path.lower().endswith(".obj")])
    if told is None:
        assert not any("by the letters of the ending alone" in message for message in found)
        return
    assert found == [
        "1 landmark file differs from the one that is read by the letters of the ending alone, and is not used: "
        f"{told}. Keep the right one of the two."
    ]


def test_a_folder_of_landmarks_alone_says_what_they_lack(tmp_path):
    with pytest.raises(
        InputError, match=r"2 landmark files belong to no frame and are not used: F001/Angry/000\.bnd"
    ):
        search(touch(tmp_path, "F001/Angry/000.bnd", "F001/Angry/001.bndplus"))


def test_nothing_outside_the_captures_is_looked_at(tmp_path):
    root = touch(tmp_path / "captures", "S1/a/0.obj")
    (tmp_path / "secret.txt").write_text(ROWS)
    (root / "S1/a/0.txt").symlink_to(tmp_path / "secret.txt")
    assert not said(root, "like landmarks") and said(root, "leaves the capture folder")


def test_captures_that_are_still_packed(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S1/b/0.obj.gz", "S2.zip")
    (told,) = said(tmp_path, "unpack")
    assert told.startswith(
        "2 archive or compressed files (.gz, .zip) are not read, for example 'S1/b/0.obj.gz'"
    )
    (tmp_path / "S1/a/0.obj").unlink()
    with pytest.raises(InputError, match="unpack what is in it"):
        search(tmp_path)


def test_of_files_that_are_all_read_nothing_is_asked(tmp_path, monkeypatch):
    names = [f"S1/a/{k}.obj" for k in range(4)]
    monkeypatch.setattr(unread, "ending_of", lambda name: pytest.fail(f"{name} was looked at"))
    assert remarks(tmp_path, names, names) == []
