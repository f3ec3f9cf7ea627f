"""Finding captures by pattern."""

from __future__ import annotations

import pytest
from shared_helpers import touch

from mimicme.pipeline.captures.frame_order import frame_number
from mimicme.pipeline.captures.layouts import LAYOUTS, safe_glob, safe_name, search
from mimicme.pipeline.errors import ConfigError, InputError


def found(root, layout=""):
    return [(f.subject, f.sequence, f.number, f.relative) for f in search(root, layout).found]


@pytest.mark.parametrize(
    ("layout", "name", "expected"),
    [
        ("{subject}/{sequence}/{frame}.obj", "S1/smile/0012.obj", ("S1", "smile", 12)),
        ("{subject}/{sequence}/{frame}.obj", "S1/smile/take2_frame003.obj", ("S1", "smile", 3)),
        ("{subject}/{sequence}/{frame}.obj", "S1/smile/neutral.OBJ", ("S1", "smile", 0)),
        ("3dmd", "S1/smile/x.000123.ply", ("S1", "smile", 123)),
        ("bu4dfe", "F001/Angry/007.obj", ("F001", "Angry", 7)),
        ("bu4dfe", "F001/Angry/007.wrl", ("F001", "Angry", 7)),
        ("{subject}/{frame}.stl", "S1/04.STL", ("S1", "scan", 4)),
        ("3dmd", "S1/a/1.vtk", ("S1", "a", 1)),
        ("d3dfacs", "Ann/1+2+4/mesh_010.obj", ("Ann", "1+2+4", 10)),
        ("coma", "FaceTalk_1/bareteeth/bareteeth.000044.ply", ("FaceTalk_1", "bareteeth", 44)),
        ("voca", "FaceTalk_1/sentence01/sentence01.000044.ply", ("FaceTalk_1", "sentence01", 44)),
        ("famos", "FaMoS_subject_002/anger/anger.000001.obj", ("FaMoS_subject_002", "anger", 1)),
        ("bp4d", "F001/T1/0012.obj", ("F001", "T1", 12)),
        ("4DFAB", "001/smile/0012.obj", ("001", "smile", 12)),
        ("bu3dfe", "F0001/F0001_AN01WH_F3D.obj", ("F0001", "AN01WH", 0)),
        ("bu3dfe", "M0044/M0044_NE00AM_F3D.wrl", ("M0044", "NE00AM", 0)),
        ("facescape", "12/models_reg/1_neutral.obj", ("12", "1_neutral", 0)),
        ("headspace", "00012/140626111542.obj", ("00012", "140626111542", 0)),
        ("flat", "james.obj", ("james", "scan", 0)),
        ("{subject}_{sequence}_{frame}.{ext}", "S1_smile_04.ply", ("S1", "smile", 4)),
        ("raw/*/{subject}-{sequence}/{frame}.obj", "raw/day 1/S1-smile/04.obj", ("S1", "smile", 4)),
        ("{subject}/{frame}.obj", "S1/04.obj", ("S1", "scan", 4)),
    ],
)
def test_patterns(tmp_path, layout, name, expected):
    touch(tmp_path, name)
    assert found(tmp_path, layout) == [(*expected, name)]


def test_every_named_layout_is_usable(tmp_path):
    for name in LAYOUTS:
        with pytest.raises(InputError):
            search(tmp_path, name)  # the folder is empty; the layout itself is fine


@pytest.mark.parametrize("layout", ["3dmdd", "{sequence}/{frame}.obj", "{subject}/{x}.obj", "/{subject}.obj"])
def test_wrong_layouts(tmp_path, layout):
    touch(tmp_path, "S1/a/1.obj")
    with pytest.raises(ConfigError, match="captures.layout"):
        search(tmp_path, layout)


@pytest.mark.parametrize("layout", ["{subject}/../{frame}.obj", "{subject}/{frame}.jpg", "{subject}/{frame"])
def test_patterns_that_leave_or_name_no_mesh(tmp_path, layout):
    touch(tmp_path, "S1/a/1.obj")
    with pytest.raises(ConfigError):
        search(tmp_path, layout)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["S1/a/0.obj", "S1/b/0.ply"], "{subject}/{sequence}/{frame}.{ext}"),
        (["ann.obj", "bob.ply"], "{subject}.{ext}"),
        (["S1/000.obj", "S1/001.obj"], "{subject}/{frame}.{ext}"),
        (["S1/smile.obj", "S1/neutral.obj"], "{subject}/{sequence}.{ext}"),
        (["S1/smile_10K.obj", "S1/neutral_10K.obj"], "{subject}/{sequence}.{ext}"),
        (["F01/F01_AN01WH_F3D.obj", "F01/F01_HA02WH_F3D.obj"], "{subject}/{subject}_{sequence}_F3D.{ext}"),
        (["1/models_reg/1_neutral.obj", "1/models_reg/2_smile.obj"], "{subject}/models_reg/{sequence}.{ext}"),
    ],
)
def test_detection_says_what_it_chose(tmp_path, names, pattern):
    result = search(touch(tmp_path, *names))
    assert result.pattern == pattern
    assert result.messages[0].startswith(f"Layout '{pattern}', because")
    assert len(result.found) == len(names)


def test_too_deep_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(InputError, match="--layout"):
        search(touch(tmp_path, "a/b/c/d/1.obj"))


def test_files_in_sessions_are_an_error_that_says_what_each_layout_would_take_for_the_subject(tmp_path):
    root = touch(tmp_path, "Proband 7/Sitzung-2/lächeln/0.obj", "Proband 7/Sitzung-2/lächeln/1.obj")
    with pytest.raises(InputError) as caught:
        search(root)
    said = str(caught.value)
    assert "--layout '{subject}/*/{sequence}/{frame}.{ext}' takes 'Proband 7' for one" in said
    assert "--layout '*/{subject}/{sequence}/{frame}.{ext}' takes 'Sitzung-2'" in said
    found = search(root, "{subject}/*/{sequence}/{frame}.{ext}").found
    assert {(one.subject, one.sequence) for one in found} == {("Proband 7", "lächeln")}


def test_misfits_are_counted(tmp_path):
    result = search(touch(tmp_path, "S1/a/0.obj", "S1/a/1.obj", "template.obj"))
    assert len(result.found) == 2
    assert any("1 mesh file does not fit" in m and "template.obj" in m for m in result.messages)


def test_glb_files_are_captures(tmp_path):
    assert found(touch(tmp_path, "S1/a/0.glb", "S1/a/1.GLB")) == [
        ("S1", "a", 0, "S1/a/0.glb"),
        ("S1", "a", 1, "S1/a/1.GLB"),
    ]
    assert len(found(tmp_path, "{subject}/{sequence}/{frame}.glb")) == 2


def test_meshes_of_other_formats_are_reported(tmp_path):
    result = search(
        touch(tmp_path, "S1/a/0.obj", "S1/a/0.jpg", "S1/b/0.tsb", "S1/b/1.TSB", "S1/c/0.fbx", "S1/c/tsb")
    )
    assert [f.relative for f in result.found] == ["S1/a/0.obj"]
    assert [m for m in result.messages if "not read" in m] == [
        "1 file ends in .fbx, which is not read, for example 'S1/c/0.fbx'; "
        "export such meshes as OBJ, PLY, GLB or glTF, with Blender, say.",
        "2 files end in .tsb, which is not read, for example 'S1/b/0.tsb'; "
        "export such meshes as OBJ, PLY, GLB or glTF, with 3dMD's own program.",
    ]
    with pytest.raises(InputError, match=r"1 file ends in \.off"):
        search(touch(tmp_path / "off", "S1/a/0.off"))


def test_a_scanners_own_files_beside_their_exports_are_not_spoken_of(tmp_path):
    result = search(touch(tmp_path, "S1/a/0.obj", "S1/a/0.tsb", "S1/a/1.obj", "S1/a/1.TSB", "S1/a/2.tsb"))
    (said,) = [m for m in result.messages if "not read" in m]
    assert said.startswith("1 file ends in .tsb, which is not read, for example 'S1/a/2.tsb'")


def test_the_scans_of_bu3dfe_are_told_from_the_uncut_ones_beside_them(tmp_path):
    for code in ("AN01WH", "NE00WH"):
        files = (f"F0001_{code}_{end}" for end in ("F3D.wrl", "RAW.wrl", "F3D.bnd", "RAW.pse", "F2D.bmp"))
        touch(tmp_path, *(f"F0001/{file}" for file in files))
    result = search(tmp_path)
    assert [(f.subject, f.sequence) for f in result.found] == [("F0001", "AN01WH"), ("F0001", "NE00WH")]
    assert result.messages[0].endswith("2 of 4 mesh files are named as in bu3dfe.")
    (told,) = [m for m in result.messages if "do not fit" in m]
    assert told.startswith("2 mesh files do not fit") and "_RAW.wrl" in told


def test_a_sequence_keeps_to_one_kind_of_meshes(tmp_path):
    """What was read before other formats were is read as before."""
    names = [
        "S1/a/1.obj",
        "S1/a/1.stl",
        "S1/a/2.ply",
        "S1/a/mean.STL",
        "S1/b/1.wrl",
        "S1/b/1.vtk",
        "S1/c/1.stl",
    ]
    touch(tmp_path, *names)
    assert [name for *_, name in found(tmp_path)] == ["S1/a/1.obj", "S1/a/2.ply", "S1/b/1.wrl", "S1/c/1.stl"]
    (told,) = [m for m in search(tmp_path).messages if "left out" in m]
    assert told.startswith("3 mesh files (.stl, .vtk) are left out, for example 'S1/a/1.stl': ")
    taken = found(tmp_path, "{subject}/{sequence}/{frame}.stl")
    assert [name for *_, name in taken] == ["S1/a/1.stl", "S1/a/mean.STL", "S1/c/1.stl"]


def test_landmark_files_beside_no_frame_are_told(tmp_path):
    beside = ("S1/a/0.obj", "S1/a/0.ljson", "S1/a/0.pts", "S1/b/1.v2.PLY", "S1/b/1.v2.lm3")
    others = ("people.csv", "S1/notes.json", "S1/a/0.txt")
    assert not [m for m in search(touch(tmp_path, *beside, *others)).messages if "landmark" in m]
    touch(tmp_path, "S1/a/0_landmarks.ljson")
    (told,) = [m for m in search(tmp_path).messages if "landmark" in m]
    assert told.startswith("1 landmark file belongs to no frame and is not used: S1/a/0_landmarks.ljson. ")
    # another folder, another number, beside a mesh that is not read; capitals, which are read where the mesh has them
    touch(tmp_path, "S1/marks/0.pp", "S1/a/1.bnd", "S1/b/1.v2.PTS", "S1/c/0.fbx", "S1/c/0.pts", "S1/a/0.BND")
    capitals, told = [m for m in search(tmp_path).messages if "landmark" in m]
    assert capitals.startswith(
        "1 landmark file lies beside a frame, but for the letters of the ending, and is not"
    )
    assert capitals.endswith(": S1/a/0.BND. Write the ending in small letters.")
    assert told.startswith(
        "4 landmark files belong to no frame and are not used: "
        "S1/a/0_landmarks.ljson, S1/a/1.bnd, S1/c/0.pts and 1 more. "
    )


def test_nothing_fits(tmp_path):
    with pytest.raises(InputError, match="none of the 1 mesh files fits"):
        search(touch(tmp_path, "S1.obj"), "bu4dfe")
    with pytest.raises(InputError, match="not there"):
        search(tmp_path / "absent")


def test_links_that_leave_are_not_followed(tmp_path):
    root = touch(tmp_path / "captures", "S1/a/0.obj")
    outside = touch(tmp_path / "outside", "b/0.obj", "1.obj")
    (root / "S1/a/1.obj").symlink_to(outside / "1.obj")
    (root / "S2").symlink_to(outside)
    (root / "S1/again").symlink_to(root / "S1")  # a loop
    (root / "S1/a/2.obj").symlink_to(root / "S1/a/0.obj")  # stays inside
    result = search(root)
    assert [f.relative for f in result.found] == ["S1/a/0.obj", "S1/a/2.obj"]
    assert sum("leaves the capture folder" in m for m in result.messages) == 2


def test_hidden_files_and_workspaces_are_left_out(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S1/a/._0.obj", ".trash/a/0.obj", "work/mimicme.toml", "work/x/0.obj")
    result = search(tmp_path)
    assert [f.relative for f in result.found] == ["S1/a/0.obj"]
    assert any("work: left out, it is a workspace" in m for m in result.messages)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0012", 12), ("a1b22c", 22), ("none", 0), ("", 0), ("x-3", 3), ("9" * 40, 10**18 - 1)],
)
def test_frame_number(text, number):
    assert frame_number(text) == number


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("S001", "S001"),
        ("AU 1+2", "AU_1+2"),
        ("Jürgen", "Jurgen"),
        ("中", "u4e2d"),
        (".hidden", "_hidden"),
        ("a;b'c\\d", "a_b_c_d"),
        ("..", "_."),
    ],
)
def test_safe_name(name, safe):
    assert safe_name(name) == safe
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("glob", "safe"),
    [
        ("S001/*", "S001/*"),
        ("Proband 7/lächeln", "Proband_7/lacheln"),
        ("Proband */l?cheln", "Proband_*/l?cheln"),
        ("*/[ab] x", "*/[ab]_x"),
        ("Proband 7", "Proband_7"),
        ("S001/", "S001/"),
        ("..", "_."),
    ],
)
def test_a_glob_is_spelled_as_names_are(glob, safe):
    assert safe_glob(glob) == safe and safe_glob(safe) == safe


def test_long_names_stay_apart():
    one, two = safe_name("x" * 200 + "1"), safe_name("x" * 200 + "2")
    assert one != two
    assert len(one) == 100


def test_of_many_files_the_same_names_are_kept_once(tmp_path):
    """Of a large database they would be a sixth of what is kept of its captures."""
    touch(tmp_path, *(f"S{s}x/ser{e}/frame{k}.obj" for s in range(2) for e in range(2) for k in range(3)))
    found = search(tmp_path).found
    assert len(found) == 12
    assert len({id(one.subject) for one in found}) == 2
    assert len({id(one.sequence) for one in found}) == 2
