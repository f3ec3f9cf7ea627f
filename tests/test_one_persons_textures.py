"""What is missing of one person's captures is that person's: through the command line nobody else is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shared_helpers import mimicme_here

PEOPLE = ("S000", "S001")
FLAT, DEEP = "{subject}_{sequence}_{frame}.obj", "data/{subject}/{sequence}/{frame}.obj"


def _mesh(path: Path, captured: Path, image: str, with_materials: bool = True) -> None:
    """A capture of its own under another name, whose material file names an image as another machine has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = captured.read_text().replace(f"mtllib {captured.stem}.mtl", f"mtllib {path.stem}.mtl")
    path.write_text(text)
    shutil.copyfile(captured.with_suffix(".ljson"), path.with_suffix(".ljson"))
    if with_materials:
        path.with_suffix(".mtl").write_text(f"newmtl texture\nmap_Kd {image}\n")


@pytest.mark.parametrize(
    ("layout", "mesh", "image", "named"),
    [
        # everybody in one folder, as scanners export, with the folders of the scanner's disk in the names
        (FLAT, "{}_neutral_0000.obj", "{}_neutral_0000.jpg", "C:\\scans\\{}_neutral_0000.jpg"),
        # images in a folder of their own
        (FLAT, "{}_neutral_0000.obj", "textures/{}_neutral_0000.jpg", "{}_neutral_0000.jpg"),
        # all below one folder
        (DEEP, "data/{}/neutral/0000.obj", "data/{}/neutral/tex/0000.jpg", "0000.jpg"),
        (DEEP, "data/{}/neutral/0000.obj", "data/textures/{}.jpg", "{}.jpg"),
        # a folder for each sequence
        ("data/{subject}_{sequence}/{frame}.obj", "data/{}_neutral/0000.obj", "data/{}_neutral/tex/0000.jpg",
         "0000.jpg"),
        # images that are not called quite as the meshes
        (FLAT, "{}_neutral_0000.obj", "textures/{}_neutral_0000_tex.jpg", "{}_neutral_0000_tex.jpg"),
        # nobody's image is there
        (DEEP, "data/{}/neutral/0000.obj", "", "{}.jpg"),
    ],
)  # fmt: skip
def test_a_new_person_without_a_material_file_makes_nobody_anew(
    tmp_path: Path, small_captures: Path, small_template: Path, layout: str, mesh: str, image: str, named: str
) -> None:
    captured = small_captures / "captures" / "S000" / "neutral" / "0000.obj"
    captures = tmp_path / "captures"

    def add(person: str, with_materials: bool = True) -> None:
        _mesh(captures / mesh.format(person), captured, named.format(person), with_materials)
        if image:
            (captures / image.format(person)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(captured.with_suffix(".jpg"), captures / image.format(person))

    for person in PEOPLE:
        add(person)
    where = ("--captures", captures, "--layout", layout, "--template", small_template)
    mimicme_here("init", tmp_path / "ws", *where)
    mimicme_here("run", tmp_path / "ws", "--jobs", 0, "--until", "ingest")
    add("S002", with_materials=False)
    told = mimicme_here("run", tmp_path / "ws", "--until", "ingest", "--dry-run").stdout
    assert "ingest: 1 of 3 would run, 2 are current" in told
    mimicme_here("run", tmp_path / "ws", "--jobs", 0, "--until", "ingest")
    if image:  # and what is another person's own is noticed
        (captures / image.format("S001")).unlink()
        told = mimicme_here("run", tmp_path / "ws", "--until", "ingest", "--dry-run").stdout
        assert "ingest: 1 of 3 would run, 2 are current" in told
        assert "[S001/neutral]" in told
