"""Names taken apart: what they may have been, what of them is told, where they may lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimicme.pipeline.captures import references
from mimicme.pipeline.captures.references import References, spellings, told
from mimicme.pipeline.formats.mesh_file import decode_name
from mimicme.pipeline.sources import Sources, unchanged


@pytest.fixture
def names(tmp_path: Path) -> References:
    for name in ("S1/smile/scan.obj", "S1/smile/skin.png", "S1/textures/skin2.png", "S2/smile/far.png"):
        path = tmp_path / "captures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    return References(tmp_path / "captures/S1/smile/scan.obj", Sources(tmp_path / "captures"))


@pytest.mark.parametrize(
    ("written", "place", "code"),
    [
        ("skin.png", "S1/smile/skin.png", ""),
        ("../smile/SKIN.png", "S1/smile/skin.png", ""),
        ("../textures/skin2.png", "S1/textures/skin2.png", ""),
        ("/a/b/skin.png", "S1/smile/skin.png", "texture-relocated"),
        ("../../S2/smile/far.png", None, "texture-outside"),
        ("../../../outside.png", None, "texture-outside"),
        ("gone.png", None, "texture-missing"),
        ("", None, "texture-missing"),
    ],
)
def test_where_a_name_leads(
    names: References, tmp_path: Path, written: str, place: str | None, code: str
) -> None:
    found = names.find(written, "image")
    assert found.code == code and bool(found.sentence) == bool(code)
    assert found.path == (None if place is None else tmp_path / "captures" / place)


def test_a_mesh_at_the_top_of_the_captures_sees_nothing_above_them(tmp_path: Path) -> None:
    root = tmp_path / "captures"
    root.mkdir()
    (root / "S1.obj").write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "Other").mkdir()
    (tmp_path / "Other" / "outside.png").write_bytes(b"x")
    names = References(root / "S1.obj", Sources(root))
    for written in (
        "../outside.png",
        "../Outside.PNG",
        "../other/outside.png",
        str(tmp_path / "outside.png"),
    ):
        assert names.find(written, "image").path is None
    assert names.tiles("../out<UDIM>.png") == {}


def test_spellings_begin_with_the_name_and_have_no_double() -> None:
    assert spellings("skin.png") == ["skin.png"]
    assert spellings("a b.png") == ["a b.png", "a%20b.png"]
    for encoding in ("utf-8", "gb18030", "cp1252", "shift_jis"):
        name = "é.png" if encoding == "cp1252" else "顔.png"
        assert name in spellings(decode_name(name.encode(encoding)))
    many = spellings("Gesicht_é.png")
    assert many[0] == "Gesicht_é.png" and len(set(many)) == len(many)


def test_what_no_file_can_be_called_has_no_spelling() -> None:
    for name in ("a\0b.png", "x" * 5000, "x" * 256, "\ud800.png"):
        assert spellings(name) == []


def test_a_name_is_told_in_short_and_printable() -> None:
    assert told("skin.png") == "skin.png"
    assert told("a\x1b[31m\n\udcff.png") == "a?[31m??.png"
    assert len(told("x" * 100_000)) <= 80


def test_the_image_of_another_mesh_stays_so_whoever_comes(tmp_path: Path) -> None:
    for name in ("S1_0001.obj", "S2_0001.obj", "S1_0001_tex.png"):
        (tmp_path / name).write_bytes(b"x")
    sources = Sources(tmp_path)
    assert References(tmp_path / "S2_0001.obj", sources).images_beside().path is None
    (tmp_path / "S3_0001.obj").write_bytes(b"x")
    (tmp_path / "S3_0001_tex.png").write_bytes(b"x")
    assert unchanged(tmp_path, sources.digests, sources.stats_json())
    (tmp_path / "S1_0001.obj").unlink()  # and with it whose image it is
    assert not unchanged(tmp_path, sources.digests, sources.stats_json())


def test_a_folder_is_looked_through_once_and_not_once_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(300):
        (tmp_path / f"scan_{k:04d}.obj").write_bytes(b"x")
        (tmp_path / f"scan_{k:04d}.png").write_bytes(b"x")
    sources = Sources(tmp_path)
    asked: list[Path] = []
    monkeypatch.setattr(sources, "exists", lambda path: asked.append(path) or True)
    stems: list[str] = []
    monkeypatch.setattr(
        references, "stem", lambda name, plain=references.stem: stems.append(name) or plain(name)
    )
    for k in range(300):
        found = References(tmp_path / f"scan_{k:04d}.obj", sources).images_beside()
        assert found.path == tmp_path / f"scan_{k:04d}.png"
    assert len(asked) <= 600 and len(stems) <= 600
