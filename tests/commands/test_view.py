"""The viewer: what is packed is what was given, the page is whole, and the server does nothing that it is not to."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from shared_helpers import SMALL, mimicme_here

from mimicme.commands.view import (
    chosen_rows,
    library,
    make_server,
    open_source,
    place_of,
    sources,
    view_file,
    way_in,
)
from mimicme.commands.view.corrections import GivenPoints
from mimicme.commands.view.page import common, policy, render_page
from mimicme.commands.view.payload import Part, pack, unpack
from mimicme.commands.view.scene import (
    NO_ERROR,
    STEP_MM,
    FrameData,
    Scene,
    ShapeGroup,
    thinned,
    vertex_colors,
)
from mimicme.commands.view.server import MAX_BODY, ViewServer
from mimicme.commands.view.sources import FrameEntry, SequenceEntry, Source
from mimicme.pipeline.errors import InputError, MissingDependencyError, UsageError
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.items import FrameSource, Item
from mimicme.pipeline.landmarks import DETECTED, MANUAL
from mimicme.pipeline.model_file import Blendshapes, FaceModel, read_model, write_model
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.review import Review, read_corrections
from mimicme.pipeline.sources import Sources
from mimicme.pipeline.template import Template
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.landmarks.unedited_points import read_found


@pytest.fixture(scope="module")
def template(small_face: Template) -> Template:
    return small_face


@pytest.fixture
def base(small_workspace: Path) -> Path:
    """A workspace of S000: neutral and surprise in three frames, worked up; read only."""
    return small_workspace


def opened(place: Path) -> Source:
    return open_source(place, STAGES, Workspace.open)


# -- arrays


def test_what_is_packed_is_unpacked() -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "u1": rng.integers(0, 256, 7).astype(np.uint8),
        "i2": rng.integers(-32768, 32768, (5, 3)).astype(np.int16),
        "u2": rng.integers(0, 65536, (4, 2)).astype(np.uint16),
        "u4": rng.integers(0, 2**32, (9, 3)).astype(np.uint32),
        "f4": rng.normal(size=(3, 3)).astype(np.float32),
        "empty": np.zeros((0, 3), np.uint32),
    }
    for differences, planes in ((False, False), (True, False), (False, True), (True, True)):
        parts = {name: Part(a, differences and a.dtype.kind in "iu", planes) for name, a in arrays.items()}
        packed = pack(parts, {"said": "ä </script>"})
        assert packed == pack(parts, {"said": "ä </script>"})
        found, about = unpack(packed)
        assert about == {"said": "ä </script>"}
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_the_template_is_drawn_corner_by_corner(template: Template) -> None:
    scene = Scene(template)
    found, about = unpack(scene.template_payload())
    assert about["step_mm"] == STEP_MM
    points = found["rest"] * STEP_MM + scene.middle
    drawn = found["vertex"][found["faces"]]
    np.testing.assert_array_equal(drawn, template.faces)
    np.testing.assert_allclose(points, template.vertices, atol=STEP_MM)
    np.testing.assert_allclose(found["uv"][found["faces"]] / 65535, template.uv[template.uv_faces], atol=1e-4)


def test_a_frame_is_within_half_a_step_and_its_error_is_the_distance(template: Template) -> None:
    scene = Scene(template)
    # a registered mesh 0.5 mm off a flat scan before it, and another part of it far off any scan
    flat = template.vertices.copy()
    flat[:, 2] = 0.5
    flat[0] = (0.0, 0.0, 50.0)
    wide = 500.0
    scan = Mesh(
        np.array([[-wide, -wide, 0], [wide, -wide, 0], [0, wide, 0.0]]), np.array([[0, 1, 2]], np.int32)
    )
    pose = np.eye(4)
    pose[:3, 3] = (10.0, 20.0, 30.0)
    moved = scan.with_vertices(scan.vertices + pose[:3, 3])
    found, _ = unpack(scene.frame_payload(FrameData(vertices=flat, scan=moved, pose=pose)))
    rest = unpack(scene.template_payload())[0]["rest"]
    points = (rest.view(np.uint16) + found["mesh"]).view(np.int16) * STEP_MM + scene.middle
    np.testing.assert_allclose(points, flat, atol=STEP_MM / 2 + 1e-9)
    assert found["errors"][0] == NO_ERROR and set(found["errors"][1:].tolist()) == {25}
    np.testing.assert_allclose(found["scan"] * STEP_MM + scene.middle, scan.vertices, atol=STEP_MM)


def test_scans_are_thinned_out_with_their_colours() -> None:
    side = 60
    y, x = np.mgrid[0:side, 0:side]
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1).astype(float)
    first = (y[:-1, :-1] * side + x[:-1, :-1]).ravel()
    faces = np.concatenate(
        [
            np.stack([first, first + 1, first + side], 1),
            np.stack([first + 1, first + side + 1, first + side], 1),
        ]
    ).astype(np.int32)
    uv = vertices[:, :2] / (side - 1)
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = (10, 200, 30)  # row 0 is v = 1
    scan = Mesh(vertices, faces, uv, faces)
    colors = vertex_colors(scan, image)
    assert colors is not None
    assert colors[side * (side - 1)].tolist() == [10, 200, 30] and not colors[0].any()
    thin = thinned(Mesh(vertices, faces), colors, 900)
    assert 500 < len(thin.vertices) < 1000 and thin.colors is not None
    upper_left = (thin.vertices[:, 0] < 20) & (thin.vertices[:, 1] > 40)
    assert np.abs(thin.colors[upper_left].astype(int) - (10, 200, 30)).max() <= 1
    assert vertex_colors(Mesh(vertices, faces), None) is None


def test_frames_are_chosen_evenly_among_those_that_are_ok() -> None:
    frames = [FrameEntry(n, ok=n not in (0, 5)) for n in range(21)]
    entry = SequenceEntry(Item("S", "q"), "smile", frames)
    assert chosen_rows(entry, 3) == [1, 11, 20]
    assert chosen_rows(entry, 1) == [1]
    assert len(chosen_rows(entry, 100)) == 19
    for frame in frames:
        frame.ok = False
    assert chosen_rows(entry, 2) == [0, 20]


# -- the library


def test_three_js_comes_out_of_the_wheel_alone() -> None:
    script = library.three_js()
    assert "SPDX-License-Identifier: MIT" in script[:200]
    # what follows in trimesh's page is its own viewer
    assert "GLTFLoader" not in script and "</script" not in script and len(script.splitlines()) == 6


def test_without_it_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "viewer.zip", "w") as archive:
        archive.writestr(library.NAME, "<script>/** other library */\n!function(){}</script>")
    assert library.read_script(tmp_path / "viewer.zip") == ""
    (tmp_path / "broken.zip").write_bytes(b"PK")
    assert library.read_script(tmp_path / "broken.zip") == ""
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError, match="three.js, which comes with trimesh; that is not installed"
    ):
        library.three_js()


# -- the page


def test_what_strangers_say_is_data_in_the_page() -> None:
    evil = "</script><script>alert(1)</script><!--"
    given = {**common(False), "place": 0, "review": False, "sequence": {"name": evil}}
    page = render_page(evil, given, {"frame-0": b"\0"})
    assert "<script>alert" not in page and page.count("<script") == 4
    data = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert data is not None and json.loads(data[1])["sequence"]["name"] == evil
    assert "<!--" not in page.replace("&lt;!--", "")[: page.index("Three.js")]


def test_its_policy_lets_its_own_scripts_run_alone() -> None:
    page = render_page("t", {**common(False)}, {})
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"sha256-{digest}" in page
    assert "connect-src &#39;none&#39;" in page and "unsafe" not in page[: page.index("<style>")]
    assert "connect-src 'self'" in policy("a", "b", "c", server=True)


# -- files


def test_a_workspaces_sequence_as_a_file(base: Path, tmp_path: Path) -> None:
    said = mimicme_here(
        "view", base, "S000/surprise", "--scans", "--frames", 2, "--output", tmp_path / "v.html"
    )
    assert "S000/surprise, 2 frames" in said.stdout
    page = (tmp_path / "v.html").read_text()
    payload = re.search(r'id="frame-1">(.*?)</script>', page, re.S)
    assert payload is not None and 'id="frame-2"' not in page
    found, _ = unpack(base64.b64decode(payload[1]))
    assert {"mesh", "errors", "picture", "landmarks", "scan", "scan_colors", "scan_errors"} <= set(found)
    assert found["picture"][:2].tobytes() == b"\xff\xd8"
    assert 1 <= np.median(found["errors"]) < 25  # 0.02 to 0.5 mm: the captures are synthetic
    data = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert data is not None
    frames = json.loads(data[1])["sequence"]["frames"]
    assert [frame["number"] for frame in frames] == [0, 2]
    assert next(iter(frames[0]["figures"])) == "expected_error"
    # the same without what was asked for beyond the rest
    view_file(opened(base), 1, tmp_path / "less.html")
    assert 'id="frame-2"' in (tmp_path / "less.html").read_text()
    assert (tmp_path / "less.html").stat().st_size > 1000
    # what is there stays, unless it is said otherwise
    (tmp_path / "less.html").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        view_file(opened(base), 1, tmp_path / "less.html")
    assert (tmp_path / "less.html").read_text() == "mine"
    mimicme_here(
        "view", base, "S000/surprise", "--frames", 1, "--output", tmp_path / "less.html", "--overwrite"
    )
    assert 'id="frame-0"' in (tmp_path / "less.html").read_text()
    (tmp_path / "mine.h5").write_bytes(b"\x89HDF")
    with pytest.raises(UsageError, match="there already"):  # a release, say
        view_file(opened(base), 1, tmp_path / "mine.h5", 1, overwrite=True)
    assert (tmp_path / "mine.h5").read_bytes() == b"\x89HDF"


def test_a_page_of_a_workspace_is_for_a_use_its_table_permits(base: Path, tmp_path: Path) -> None:
    workspace, table = tmp_path / "ws", tmp_path / "people.csv"
    shutil.copytree(base, workspace)
    settings = workspace / "mimicme.toml"
    before, section, after = settings.read_text().partition("\n[metadata]\n")
    after, changed = re.subn(r'^file = ".*"$', f'file = "{table}"', after, count=1, flags=re.MULTILINE)
    assert changed
    settings.write_text(before + section + after)
    page = "view", workspace, "S000/surprise", "--frames", 1, "--output", tmp_path / "page.html"
    for permits, use in (("yes", "papers"), ("no", "papers"), ("no", "")):
        table.write_text(f"subject,consent,may_appear_in_papers\nS000,yes,{permits}\n")
        said = mimicme_here(*page, *(["--for", use] if use else []), code=0 if permits == "yes" else 2).stderr
        if permits == "no":
            assert ("does not plainly permit" if use else "--for research|papers") in said
        assert (tmp_path / "page.html").exists() == (permits == "yes")
        (tmp_path / "page.html").unlink(missing_ok=True)


def test_a_release_has_meshes_textures_and_landmarks(base: Path, tmp_path: Path) -> None:
    source = opened(base / "release.h5")
    assert not source.reviewed and [str(item) for item in source.items] == ["S000/neutral", "S000/surprise"]
    frame = source.frame(1, 2)
    assert frame.vertices is not None and frame.texture is not None and frame.scan is None
    entry = source.sequence(1)
    assert entry.units["expected_error"] == "mm" and entry.frames[2].figures["expected_error"] > 0
    assert "correspondence" in entry.meanings["expected_error"]
    assert view_file(source, 1, tmp_path / "r.html") == 3


def test_who_took_consent_back_since_is_not_shown(base: Path, tmp_path: Path) -> None:
    """Of a release in the folder of its workspace, whose table refuses its one subject since it was packed."""
    folder = tmp_path / "ws"
    (folder / "captures").mkdir(parents=True)
    shutil.copy(base / "release.h5", folder / "release.h5")
    (folder / "people.csv").write_text("subject,consent\nS000,withdrawn\n")
    (folder / "mimicme.toml").write_text('[captures]\nroot = "captures"\n[metadata]\nfile = "people.csv"\n')
    page = "view", folder / "release.h5", "S000/surprise", "--frames", 1, "--output", tmp_path / "page.html"
    said = mimicme_here(*page, code=2).stderr
    assert "keeps all of these subjects out" in said and f"`mimicme run {folder}`" in said
    assert not (tmp_path / "page.html").exists()
    (folder / "people.csv").write_text("subject,consent\nS000,yes\n")
    mimicme_here(*page)
    (folder / "people.csv").unlink()  # nobody can say
    with pytest.raises(InputError):
        opened(folder / "release.h5")


def test_a_sequence_that_is_not_there_is_said(base: Path) -> None:
    source = opened(base)
    assert place_of(source, None) == 0 and place_of(source, "S000/surprise") == 1
    assert place_of(source, "S000") == 0
    with pytest.raises(UsageError, match=r"no sequence 'S000/suprise'; expected .*'S000/surprise'"):
        place_of(source, "S000/suprise")


def test_a_sequence_may_be_named_as_its_folder_is() -> None:
    class Named:
        items = (Item("Proband_11__w_", "ruhig"), Item("Proband_11__w_", "lacheln"))

    assert place_of(Named(), "Proband 11 (w)/lächeln") == 1  # type: ignore[arg-type]
    assert place_of(Named(), "Proband 11 (w)") == 0  # type: ignore[arg-type]


# -- the server


@pytest.fixture
def server(base: Path, tmp_path: Path) -> Iterator[ViewServer]:
    shutil.copytree(base, tmp_path / "ws")
    made = make_server(opened(tmp_path / "ws"), 1)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()
    shutil.rmtree(tmp_path / "ws")


def asked(
    server: ViewServer,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    **changed: str | None,
) -> tuple[int, bytes]:
    """Status and content; `changed` headers replace the right ones, None leaves one out."""
    right: dict[str, str | None] = {"Host": server.host, "X-Token": server.token}
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    if data is not None:
        right |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    right |= {name.replace("_", "-"): value for name, value in changed.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest("GET" if data is None else "POST", path, skip_host=True, skip_accept_encoding=True)
    for name, value in right.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(data)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def version_and_frame(server: ViewServer, known: str = "") -> tuple[int, str, bytes]:
    """Status, version and content of the frame that `FRAME` names."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    headers = {"X-Token": server.token, **({"If-None-Match": known} if known else {})}
    connection.request("GET", f"/frame/{FRAME['place']}/{FRAME['row']}", headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers["ETag"], answer.read()
    connection.close()
    return found


def contents(server: ViewServer, root: Path) -> dict[str, str]:
    """Digests of everything in the workspace."""
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


FRAME = {"place": 1, "row": 2, "item": "S000/surprise", "number": 2}
BAD = {**FRAME, "verdict": "bad", "reason": "drifted cheek"}


def test_a_verdict_is_written_and_nothing_else(server: ViewServer, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    before = contents(server, root)
    status, said = asked(server, "/verdict", BAD)
    assert status == 200
    frame = json.loads(said)["frames"][2]
    assert (frame["verdict"], frame["reason"]) == ({"good": False, "reason": "drifted cheek"}, "review")
    after = contents(server, root)
    assert set(after) - set(before) == {"review.csv"} and all(after[name] == before[name] for name in before)
    text = (root / "review.csv").read_text()
    assert text == "subject,sequence,frame,verdict,reason\nS000,surprise,2,bad,drifted cheek\n"
    # a line by hand meanwhile stays
    (root / "review.csv").write_text(text + "S000,neutral,*,good,\n")
    assert (
        asked(server, "/verdict", {**BAD, "row": None, "number": None, "verdict": "good", "reason": ""})[0]
        == 200
    )
    assert asked(server, "/verdict", {**BAD, "verdict": "none", "reason": ""})[0] == 200
    lines = Review.read(root / "review.csv").lines
    assert {(str(item), n): line.verdict.good for (item, n), line in lines.items()} == {
        ("S000/neutral", None): True, ("S000/surprise", None): True,
    }  # fmt: skip


def test_it_shows_what_it_was_asked_for(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, page = asked(server, f"/?token={server.token}", X_Token=None)
    assert status == 200 and server.token.encode() in page and b"connect-src &#39;self&#39;" in page
    assert unpack(asked(server, "/template")[1])[0]["faces"].shape[1] == 3
    assert json.loads(asked(server, "/sequence/1")[1])["name"] == "S000/surprise"
    assert "scan" in unpack(asked(server, "/frame/1/2")[1])[0]


@pytest.mark.parametrize(
    ("path", "changed", "status"),
    [
        ("/", {}, 403),
        ("/?token=x", {}, 403),
        ("/sequence/0", {"X_Token": None}, 403),
        ("/sequence/0", {"X_Token": "ä"}, 403),
        ("/sequence/0", {"Host": "localhost.example:1"}, 403),
        ("/sequence/0", {"Host": "127.0.0.1"}, 403),
        ("/sequence/0", {"Host": None}, 403),
        ("/sequence/0", {"Origin": "http://evil.example"}, 403),
        ("/sequence/9", {}, 404),
        ("/frame/1/9", {}, 404),
        ("/frame/9/0", {}, 404),
        ("/frame/1/-1", {}, 404),
        ("/sequence/../../etc/passwd", {}, 404),
        ("/frame/1/%2e%2e", {}, 404),
        ("/mimicme.toml", {}, 404),
    ],
)
def test_what_it_is_not_to_show_is_refused(
    server: ViewServer, path: str, changed: dict[str, str | None], status: int
) -> None:
    assert asked(server, path, **changed)[0] == status


@pytest.mark.parametrize(
    ("body", "changed", "status"),
    [
        (BAD, {"X_Token": None}, 403),
        (BAD, {"Origin": "null"}, 403),
        (BAD, {"Content_Type": "text/plain"}, 415),
        (BAD, {"Content_Length": None}, 413),
        (BAD, {"Content_Length": str(MAX_BODY + 1)}, 413),
        (BAD, {"Content_Length": "1" * 5000}, 413),
        (b"{", {}, 400),
        (b"[" * 16_000, {}, 400),
        ([], {}, 400),
        ({**BAD, "more": 1}, {}, 400),
        ({**BAD, "place": "S000/../../x"}, {}, 400),
        ({**BAD, "place": True}, {}, 400),
        ({**BAD, "place": None}, {}, 400),
        ({**BAD, "row": -1}, {}, 400),
        ({**BAD, "row": 1.0}, {}, 400),
        ({**BAD, "verdict": "awful"}, {}, 400),
        ({**BAD, "reason": 7}, {}, 400),
        ({**BAD, "reason": "two\nlines"}, {}, 422),
        ({**BAD, "reason": "x" * 201}, {}, 422),
        ({**BAD, "place": 9}, {}, 404),
        ({**BAD, "row": 9}, {}, 404),
        ({**BAD, "item": "S000/neutral"}, {}, 409),
        ({**BAD, "number": 1}, {}, 409),
        ({**BAD, "row": None}, {}, 409),
    ],
)
def test_what_it_is_not_to_write_is_refused(
    server: ViewServer, tmp_path: Path, body: Any, changed: dict[str, str | None], status: int
) -> None:
    assert asked(server, "/verdict", body, **changed)[0] == status
    assert not (tmp_path / "ws" / "review.csv").exists()
    assert asked(server, "/sequence/0")[0] == 200  # and goes on


def test_a_frame_is_shown_anew_when_its_checkpoint_is(server: ViewServer, tmp_path: Path) -> None:
    status, version, first = version_and_frame(server)
    assert status == 200 and json.loads(asked(server, "/sequence/1")[1])["version"] == version
    assert version_and_frame(server, version) == (304, version, b"")
    # as a run does it: another file takes the place of the old one; its fingerprint may well be the same
    path = Workspace.open(tmp_path / "ws").checkpoint("refine", Item("S000", "surprise"))
    shutil.copy(path, path.with_name("new"))
    with h5py.File(path.with_name("new"), "r+") as made:
        made["vertices"][2] = made["vertices"][2] + np.float32(3.0)
    path.with_name("new").replace(path)
    status, newer, second = version_and_frame(server, version)
    assert status == 200 and newer != version
    change = unpack(second)[0]["mesh"].view(np.int16) - unpack(first)[0]["mesh"].view(np.int16)
    np.testing.assert_allclose(change, 3.0 / STEP_MM, atol=1)  # both were rounded to a step
    # without an answer of the browser's either
    assert version_and_frame(server)[2] == second


def test_what_is_older_than_what_it_is_made_from_is_said(server: ViewServer, tmp_path: Path) -> None:
    def remark() -> str:
        return str(json.loads(asked(server, "/sequence/1")[1])["remark"])

    assert remark() == ""
    assert asked(server, "/landmarks", {**FRAME, "moved": [[30, 0.0, 0.0, 60.0]]})[0] == 200
    assert remark().startswith("The landmarks of frame 2 were corrected since.")
    assert asked(server, "/landmarks", {**FRAME, "moved": []})[0] == 200
    assert remark() == ""
    path = Workspace.open(tmp_path / "ws").checkpoint("landmarks", Item("S000", "surprise"))
    with h5py.File(path, "r+") as made:
        made.attrs["fingerprint"] = "0" * 64
        del made.attrs["sha256"]  # as a program wrote it before attributes had a digest
    assert remark().startswith("landmarks was made again after align.")


def test_a_template_that_is_prepared_anew_ends_what_is_shown(server: ViewServer, tmp_path: Path) -> None:
    path = Workspace.open(tmp_path / "ws").template
    shutil.copy(path, path.with_name("new"))
    path.with_name("new").replace(path)
    status, said = asked(server, "/frame/1/2")
    assert status == 422 and b"begin it again" in said


# -- models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, template: Template) -> Path:
    """A model file: two blendshapes, three components of identity."""
    rng = np.random.default_rng(5)
    count = len(template.vertices)
    deltas = rng.normal(size=(2, count, 3)).astype(np.float32)
    identity = LinearModel(
        template.vertices.astype(np.float32) + 1,
        rng.normal(size=(3, count, 3)).astype(np.float32),
        np.array([9.0, 4.0, 1.0]),
        20.0,
        np.ones(count),
        7,
        "identity",
    )
    shapes = Blendshapes(("smile", "<b>pout"), deltas, np.array([4, 1], np.int32), {"<b>pout": "mirrored"})
    path = tmp_path_factory.mktemp("model") / "face.h5"
    write_model(path, FaceModel(template, {"identity": identity}, shapes))
    return path


def test_the_shapes_of_a_model_are_its_blendshapes_and_components(model: Path) -> None:
    source = open_source(model, STAGES, Workspace.open, 2)
    read = read_model(model)
    named, components = source.shapes
    assert (named.names, named.notes) == (("smile", "<b>pout"), ("of 4 subjects", "of 1 subject, mirrored"))
    assert (named.least, named.most, components.least, components.most) == (0.0, 1.5, -3.0, 3.0)
    assert components.names == ("1", "2") and components.notes[0] == "45.0% of the variance"
    # one standard deviation of a component is its slider at 1
    identity = read.models["identity"]
    one = identity.decode(np.array([[0.0, 2.0, 0.0]]))[0] - identity.mean
    np.testing.assert_allclose(components.deltas[1], one, atol=1e-4)
    scene = Scene(source.template)
    packed, about = unpack(scene.shapes_payload(source.shapes))
    deltas = packed["deltas"].transpose(0, 2, 1) * np.array(about["steps_mm"])[:, None, None]
    expected = np.concatenate([named.deltas, components.deltas])
    assert deltas.shape == expected.shape and np.abs(deltas - expected).max() <= STEP_MM / 2 + 1e-5
    frame = source.frame(0, 0)
    assert frame.vertices is not None
    np.testing.assert_allclose(frame.vertices, identity.mean, atol=1e-5)


def test_large_shapes_keep_their_ends(template: Template) -> None:
    deltas = np.zeros((1, len(template.vertices), 3), np.float32)
    deltas[0, 3] = (2000.0, -1000.0, 0.01)
    group = ShapeGroup("t", ("far",), ("",), 0.0, 1.0, "", False, deltas)
    packed, about = unpack(Scene(template).shapes_payload([group]))
    found = packed["deltas"][0, :, 3] * about["steps_mm"][0]
    np.testing.assert_allclose(found, deltas[0, 3], atol=about["steps_mm"][0])


def test_a_model_as_a_file_and_over_the_server(model: Path, tmp_path: Path) -> None:
    said = mimicme_here("view", model, "--components", 1, "--output", tmp_path / "m.html").stdout
    assert "mean face, 3 sliders" in said
    page = (tmp_path / "m.html").read_text()
    assert 'id="shapes-data"' in page and "<b>pout" not in page and "face.h5: mimicme view" in page
    made = make_server(open_source(model, STAGES, Workspace.open), 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        assert unpack(asked(made, "/shapes")[1])[0]["deltas"].shape[0] == 5
        assert "mesh" in unpack(asked(made, "/frame/0/0")[1])[0]
        assert asked(made, "/verdict", {**BAD, "place": 0, "item": "model/face"})[0] == 403
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def test_only_a_model_has_shapes(server: ViewServer) -> None:
    assert asked(server, "/shapes")[0] == 404


# -- landmarks


def test_points_that_nobody_moved_stay_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(scale=70, size=(68, 3))
    points[5] = np.nan
    found = np.where(np.arange(68)[:, None] < 40, points, np.nan)
    given = GivenPoints(points, found, np.full(68, 0.5))
    moved = given.moved({7: np.array([1.0, 2.0, 3.0]), 50: np.zeros(3), 5: np.ones(3)})
    path = tmp_path / "corrections" / "S1" / "smile" / "3.ljson"
    moved.write(path)
    (correction,) = read_corrections(tmp_path / "corrections")[0].values()
    again = GivenPoints.of_correction(correction)
    np.testing.assert_allclose(again.points, moved.points, atol=1e-4)
    expected = [DETECTED] * 40 + [MANUAL] * 28
    expected[5] = expected[7] = MANUAL
    assert again.sources.tolist() == expected == moved.sources.tolist()
    # what the stage reads
    frame = FrameSource(3, tmp_path / "captures" / "3.obj", correction=correction)
    unmoved, confidence = read_found(frame, Sources(tmp_path)) or (points, points)
    assert np.isnan(unmoved[[5, 7, 50]]).all() and confidence.tolist() == [0.5] * 68
    np.testing.assert_allclose(unmoved[8], points[8], atol=1e-4)
    # moved again, from what is there
    once_more = again.moved({9: np.zeros(3)})
    assert once_more.sources[[5, 7, 9]].tolist() == [MANUAL] * 3 and once_more.sources[8] == DETECTED


def test_corrections_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "corrections").mkdir()
    (tmp_path / "corrections" / "S1").symlink_to(tmp_path / "elsewhere")
    given = GivenPoints(np.zeros((68, 3)), np.full((68, 3), np.nan), np.zeros(68))
    with pytest.raises(UsageError, match="through a link"):
        given.write(tmp_path / "corrections" / "S1" / "smile" / "3.ljson")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_is_taken_back_through_a_link(server: ViewServer, tmp_path: Path) -> None:
    away = tmp_path / "away"
    (away / "surprise").mkdir(parents=True)
    for ending in (".ljson", ".found"):
        (away / "surprise" / f"2{ending}").write_text("another's")
    (tmp_path / "ws" / "corrections").mkdir()
    (tmp_path / "ws" / "corrections" / "S000").symlink_to(away)
    status, said = asked(server, "/landmarks", {**FRAME, "moved": []})
    assert status == 422 and b"through a link" in said
    assert len(list((away / "surprise").iterdir())) == 2


def test_a_point_that_is_moved_lands_on_the_scan_and_counts(
    server: ViewServer, base: Path, tmp_path: Path
) -> None:
    root = tmp_path / "ws"
    before = contents(server, root)
    frame, _ = unpack(asked(server, "/frame/1/2")[1])
    assert set(frame["given_sources"].tolist()) == {MANUAL}
    target = frame["given"][30] + (4.0, 0.0, 3.0)  # beside the surface
    status, _ = asked(server, "/landmarks", {**FRAME, "moved": [[30, *target.tolist()]]})
    assert status == 200
    after = contents(server, root)
    assert set(after) - set(before) == {f"corrections/S000/surprise/2{e}" for e in (".ljson", ".found")}
    assert all(after[name] == before[name] for name in before)
    shown, _ = unpack(asked(server, "/frame/1/2")[1])
    step = np.linalg.norm(shown["given"] - frame["given"], axis=1)
    assert 2 < step[30] < 6 and np.delete(step, 30).max() < 0.01
    mimicme_here("run", root, "--until", "landmarks", "--jobs", 0, *SMALL)
    with Workspace.open(root).read(LandmarksCheckpoint, Item("S000", "surprise")) as landmarks:
        stage = landmarks.points(2)
    with Workspace.open(base).read(LandmarksCheckpoint, Item("S000", "surprise")) as old:
        moved = np.linalg.norm(stage - old.points(2), axis=1)
    assert 2 < moved[30] < 6 and np.delete(moved, 30).max() < 0.01
    # a second one keeps the first
    assert asked(server, "/landmarks", {**FRAME, "moved": [[8, *target.tolist()]]})[0] == 200
    twice, _ = unpack(asked(server, "/frame/1/2")[1])
    np.testing.assert_allclose(twice["given"][30], shown["given"][30], atol=0.01)
    assert asked(server, "/landmarks", {**FRAME, "moved": []})[0] == 200
    assert not list((root / "corrections").rglob("*.*"))


def test_a_scan_without_a_pose_is_shown_as_it_lies_and_corrected(base: Path, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    shutil.copytree(base, root, ignore=shutil.ignore_patterns(*(s.name for s in STAGES[2:]), "release.h5"))
    source = opened(root)
    frame = source.frame(1, 0)
    assert (
        frame.pose is None and frame.vertices is None and frame.scan is not None and frame.given is not None
    )
    scene = Scene(source.template)
    found, _ = unpack(scene.frame_payload(frame))
    assert {"scan", "given"} <= set(found) and not {"mesh", "errors", "landmarks"} & set(found)
    middle = (found["scan"].max(0) + found["scan"].min(0)) / 2 * STEP_MM
    assert np.abs(middle).max() < 1.0  # mm, after the scan was thinned
    source.correct(1, 0, {30: frame.given[30] + 5.0})
    again = source.frame(1, 0)
    assert again.given is not None
    moved = np.linalg.norm(again.given - frame.given, axis=1)
    assert moved[30] == pytest.approx(np.sqrt(75), abs=0.01) and np.delete(moved, 30).max() < 0.01
    # before landmarks there is nothing to correct
    shutil.rmtree(root / "landmarks")
    assert source.frame(1, 1).given is None
    with pytest.raises(UsageError, match="S000/surprise frame 1: the frame has no scan"):
        source.correct(1, 1, {30: np.zeros(3)})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (FRAME, 400),
        ({**FRAME, "row": None, "moved": []}, 400),
        ({**FRAME, "moved": [[68, 0, 0, 0]]}, 400),
        ({**FRAME, "moved": [[-1, 0, 0, 0]]}, 400),
        ({**FRAME, "moved": [[True, 0, 0, 0]]}, 400),
        ({**FRAME, "moved": [["../x", 0, 0, 0]]}, 400),
        ({**FRAME, "moved": [[0, 0, 0]]}, 400),
        ({**FRAME, "moved": [[0, 0, 0, "1"]]}, 400),
        ({**FRAME, "moved": [[0, 0, 0, 1e9]]}, 400),
        (b'{"place": 1, "row": 2, "item": "S000/surprise", "number": 2, "moved": [[0, 0, 0, NaN]]}', 400),
        ({**FRAME, "moved": [[0, 0, 0, 0]] * 69}, 400),
        ({**FRAME, "place": 9, "moved": [[0, 0, 0, 0]]}, 404),
        ({**FRAME, "row": 9, "moved": [[0, 0, 0, 0]]}, 404),
        ({**FRAME, "row": 9, "moved": []}, 404),
        ({**FRAME, "item": "S000/neutral", "moved": []}, 409),
        ({**FRAME, "number": 1, "moved": []}, 409),
    ],
)
def test_points_that_are_none_are_refused(server: ViewServer, tmp_path: Path, body: Any, status: int) -> None:
    assert asked(server, "/landmarks", body)[0] == status
    assert not (tmp_path / "ws" / "corrections").exists()


def test_the_way_in_is_for_this_user_alone(server: ViewServer) -> None:
    with way_in(server) as page:
        assert server.url in page.read_text() and page.parent.stat().st_mode & 0o077 == 0
    assert not page.exists()


def test_a_broken_review_is_said_and_left_as_it_is(server: ViewServer, tmp_path: Path) -> None:
    path = tmp_path / "ws" / "review.csv"
    path.write_text("subject,sequence,frame,verdict,reason\nS000,surprise,1,awful,\n")
    status, said = asked(server, "/verdict", BAD)
    assert status == 422 and b"line 2: the verdict is not known" in said
    assert "awful" in path.read_text()


def test_no_verdict_is_written_on_a_sequence_that_cannot_be_read(server: ViewServer, tmp_path: Path) -> None:
    Workspace.open(tmp_path / "ws").checkpoint("landmarks", Item("S000", "surprise")).write_bytes(b"broken")
    assert asked(server, "/verdict", BAD)[0] == 422
    assert not (tmp_path / "ws" / "review.csv").exists()


@pytest.mark.parametrize("error", [OSError("a chunk is damaged"), RuntimeError("a chunk is damaged")])
def test_a_damaged_checkpoint_is_said(
    server: ViewServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> FrameData:
        raise error

    monkeypatch.setattr(sources, "read_frame", broken)
    status, said = asked(server, "/frame/1/2")
    assert status == 422 and b"S000/surprise frame 2" in said and b"a chunk is damaged" in said


def test_whatever_fails_is_answered(server: ViewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(place: int) -> SequenceEntry:
        raise RuntimeError("of all things")

    monkeypatch.setattr(server.source, "sequence", broken)
    status, said = asked(server, "/sequence/1")
    assert status == 500 and b"of all things" in said


def test_a_release_is_not_reviewed(base: Path) -> None:
    with make_server(opened(base / "release.h5"), 0) as server:
        threading.Thread(target=server.handle_request).start()
        assert asked(server, "/verdict", BAD)[0] == 403


def test_a_port_that_is_taken_is_said(base: Path) -> None:
    source = opened(base)
    with make_server(source, 0) as first, pytest.raises(UsageError, match="--port"):
        make_server(source, 0, port=first.server_port)
