"""Whose an image is, by its name and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimicme.pipeline.captures.texture_search import images_elsewhere, mesh_names
from mimicme.pipeline.sources import Sources


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
