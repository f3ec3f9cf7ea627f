"""Whose an image is, by its name and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimicme.pipeline.captures.texture_search import MeshesBeside, images_elsewhere, mesh_names
from mimicme.pipeline.sources import Sources, unchanged


@pytest.mark.parametrize(
    ("meshes", "own", "image", "anothers"),
    [
        (("scan_0001.obj",), "scan_0001", "tex_0002", False),
        (("scan_0001.obj", "scan_0002.obj"), "scan_0001", "tex_0002", True),
        (("scan_0001.obj", "scan_0002.obj"), "scan_0001", "tex_1", False),
        (("scan_0001.obj", "scan_0002.obj"), "scan_0001", "texture", False),
        (("scan_0001.obj", "scan_0002.obj"), "scan_0001", "tex_0007", True),
        (("s001_0001.obj", "s001_0002.obj"), "s001_0002", "tex_0001", True),
        (("s001_0001.obj", "s001_0002.obj"), "s001_0002", "s001_skin", False),
        (("0001_v2.obj", "0002_v2.obj"), "0001_v2", "tex_0002", True),
        (("0001_v2.obj", "0002_v2.obj"), "0001_v2", "tex_v2", False),
        (("smile.obj", "smile_wide.obj"), "smile", "smile_wide_tex", True),
        (("smile.obj", "smile_wide.obj"), "smile_wide", "smile_wide_tex", False),
        (("smile.obj", "neutral.obj"), "smile", "tex_neutral", True),
        (("smile.obj", "neutral.obj"), "smile", "neutraltex", True),
    ],
)
def test_another_meshs_name_or_number(meshes: tuple[str, ...], own: str, image: str, anothers: bool) -> None:
    assert mesh_names(meshes).is_anothers(image, own) is anothers


@pytest.mark.parametrize(
    ("mesh", "name", "own", "others"),
    [
        # below the mesh's folder
        ("S1/smile/0001.obj", "0001.jpg", ["S1/smile/tex/0001.jpg"], []),
        ("S1/smile/0001.obj", "0001.jpg", ["S1/smile/a/b/0001.jpg"], ["S1/smile/masks/0001.jpg"]),
        ("S1/smile/0001.obj S1/smile/0002.obj", "skin.jpg", ["S1/smile/tex/0001/skin.jpg"],
         ["S1/smile/tex/0002/skin.jpg"]),
        ("S1/smile/0001.obj S1/smile/0002.obj", "0001.jpg", ["S1/smile/tex_2k/0001.jpg"], []),
        ("S1/neutral.obj S1/smile/0001.obj", "skin.jpg", [], ["S1/smile/skin.jpg"]),
        ("S1/neutral.obj S1/smile/0001.stl", "skin.jpg", [], ["S1/smile/skin.jpg"]),
        ("S1.obj textures/S2/0001.obj", "skin.jpg", [], ["textures/skin.jpg"]),
        ("S1.obj S2.obj", "s1.jpg", ["textures/S1.jpg"], []),
        # above it
        ("S1/smile/0001.obj", "0001.jpg", ["S1/0001.jpg"], []),
        ("S1/smile/0001.obj S1/neutral/0001.obj", "0001.jpg", [], ["S1/0001.jpg"]),
        ("S1/smile/0001.obj S1/neutral/0001.obj", "S1_skin.jpg", ["S1/S1_skin.jpg"], []),
        ("S1/smile/0001.obj S1/neutral.obj", "skin.jpg", [], ["S1/skin.jpg"]),
        ("S1/smile/0001.obj S2/smile/0001.obj", "skin.jpg", [], ["skin.jpg"]),
        # beside it
        ("S1/smile/obj/0001.obj", "0001.jpg", ["S1/smile/tex/0001.jpg"], []),
        ("S1/smile/obj/0001.obj", "0001.jpg", [], ["S1/smile/other/0001.jpg"]),
        ("S1/smile/0001.obj S1/neutral/0001.obj", "0001.jpg", [], ["S1/textures/0001.jpg"]),
        ("S1/smile/0001.obj S1/neutral/0001.obj", "skin.jpg", ["S1/textures/skin.jpg"], []),
        ("S1/0001.obj", "0001.jpg", [], []),
        # in a parallel tree
        ("S1/obj/smile/0001.obj S1/obj/neutral/0001.obj", "0001.jpg", [], ["S1/images/smile/0001.jpg"]),
        ("S1/obj/smile/0001.obj S1/obj/neutral/0001.obj", "0001.jpg", [],
         ["S1/images/obj/smile/0001.jpg", "S1/images/neutral/0001.jpg"]),
        ("obj/S1/0001.obj obj/S2/0001.obj", "0001.jpg", [], ["images/S1/0001.jpg"]),
    ],
)  # fmt: skip
def test_where_else_an_image_lies(
    tmp_path: Path, mesh: str, name: str, own: list[str], others: list[str]
) -> None:
    for place in (*mesh.split(), *own, *others, "S3/textures/" + name):
        path = tmp_path / "captures" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / name).write_bytes(b"x")
    first = tmp_path / "captures" / mesh.split()[0]
    found = images_elsewhere(first, [name], Sources(tmp_path / "captures"))
    assert (found.own, found.others) == (own, others)


def _write(root: Path, *places: str) -> None:
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(b"x")


@pytest.mark.parametrize("most", [200_000, 5])
def test_among_too_many_names_others_may_have_meshes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("mimicme.pipeline.sources._MOST_NAMES", most)
    people = ["data/S1/smile/0001.obj", "data/S2/smile/0001.obj"]
    _write(tmp_path, *people, "data/textures/0001.jpg", "data/textures/S1.jpg")
    for mesh in people:
        found = images_elsewhere(tmp_path / mesh, ["0001.jpg"], Sources(tmp_path))
        assert (found.own, found.others) == ([], ["data/textures/0001.jpg"])
    assert images_elsewhere(tmp_path / people[0], ["S1.jpg"], Sources(tmp_path)).own == [
        "data/textures/S1.jpg"
    ]


@pytest.mark.parametrize(
    ("place", "image", "name"),
    [
        ("data/{}/smile/0001.obj", "data/textures/{}.jpg", "{}.jpg"),
        ("data/{}/smile/0001.obj", "data/{}/textures/0001.jpg", "0001.jpg"),
        ("data/{}_smile/0001.obj", "data/{}_smile/tex/0001.jpg", "0001.jpg"),
        ("data/{}_smile/0001.obj", "data/images/{}_smile/0001.jpg", "0001.jpg"),  # told alone
        ("{}_0001.obj", "textures/{}_0001_tex.jpg", "{}_0001_tex.jpg"),
        ("{}_0001.obj", "textures_2k/{}_0001_tex.jpg", "{}_0001_tex.jpg"),
        ("{}_0001.obj", "textures/{}.jpg", "{}.jpg"),
        ("data/{}_0001.obj", "data/tex/{}_0001_tex.jpg", "{}_0001_tex.jpg"),
    ],
)
def test_people_who_come_later_change_nothing(tmp_path: Path, place: str, image: str, name: str) -> None:
    for person in ("S1", "S2"):
        _write(tmp_path, place.format(person), image.format(person))
    mesh, names = tmp_path / place.format("S1"), [name.format("S1")]
    sources = Sources(tmp_path)
    before = images_elsewhere(mesh, names, sources)
    assert image.format("S1") in (before.own + before.others)
    _write(tmp_path, place.format("S3"), image.format("S3"))
    assert unchanged(tmp_path, sources.digests, sources.stats_json())
    assert images_elsewhere(mesh, names, Sources(tmp_path)).own == before.own
    if before.own:
        (tmp_path / image.format("S1")).unlink()
        assert not unchanged(tmp_path, sources.digests, sources.stats_json())


@pytest.mark.parametrize("later", ["S2/smile/0001.obj", "textures/0001.obj"])
def test_a_mesh_that_makes_an_image_anothers_is_noticed(tmp_path: Path, later: str) -> None:
    _write(tmp_path, "data/S1/smile/0001.obj", "data/textures/0001.jpg")
    sources = Sources(tmp_path)
    mesh = tmp_path / "data/S1/smile/0001.obj"
    assert images_elsewhere(mesh, ["0001.jpg"], sources).own == ["data/textures/0001.jpg"]
    _write(tmp_path, f"data/{later}")
    assert not unchanged(tmp_path, sources.digests, sources.stats_json())
    assert images_elsewhere(mesh, ["0001.jpg"], Sources(tmp_path)).own == []


@pytest.mark.parametrize(
    ("name", "own", "anothers"),
    [
        ("s1_0001_tex", True, False),
        ("s1_0001_wide_tex", False, True),
        ("s1_0001_2", False, True),
        ("tex_s2_0001", False, True),
        ("tex_2k", False, True),
        ("skin", False, False),
    ],
)
def test_no_more_meshes_are_asked_for_than_an_answer_takes(
    tmp_path: Path, name: str, own: bool, anothers: bool
) -> None:
    meshes = ("S1_0001.obj", "S1_0001_wide.obj", "S2_0001.obj")
    _write(tmp_path, *meshes)
    sources = Sources(tmp_path)
    beside = MeshesBeside(tmp_path, "s1_0001", sources)
    assert (beside.is_own(name), beside.is_anothers(name)) == (own, anothers)
    assert mesh_names(meshes).is_anothers(name, "s1_0001") is anothers
    _write(tmp_path, "S3_0001.obj")
    asked_all = name in ("s1_0001_2", "tex_2k") or name == "skin"
    assert unchanged(tmp_path, sources.digests, sources.stats_json()) is not asked_all
