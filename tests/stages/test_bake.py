"""The bake against closed forms: colours that must come back exactly, places that must stay empty."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shared_helpers import break_once

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture import baking as texture_module
from mimicme.pipeline.texture import raster as raster_module
from mimicme.pipeline.texture.baking import bake
from mimicme.pipeline.texture.inpainting import fill_holes
from mimicme.pipeline.texture.raster import rasterise
from mimicme.stages import bake as module
from mimicme.stages.bake import BakeSettings

N = 256
GAIN = (0.5, 1.0, 1.5)


def plane(n: int, side: float = 100.0):
    """A square of 2 n^2 triangles in z = 0, facing +z, and its coordinates in [0, 1]."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    uv = np.stack([x.ravel(), y.ravel()], 1)
    return np.c_[(uv - 0.5) * side, np.zeros(len(uv))], faces.astype(np.int32), uv


def template(n: int = 8, digest: str = "bake-test", side: float = 100.0) -> Template:
    vertices, faces, uv = plane(n, side)
    return Template(
        vertices, faces, uv, faces, ("a",), np.zeros((1, 3), np.int64), np.array([[1.0, 0, 0]]), digest=digest
    )


def scan(n: int = 5, side: float = 100.0, colors=None, z: float = 0.0) -> Mesh:
    vertices, faces, uv = plane(n, side)
    return Mesh(vertices + [0, 0, z], faces, uv, faces, colors)


def rotation(seed: int = 0):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * np.sign(np.linalg.det(q))


def checker(size: int = N, cell: int = 16):
    r, c = np.mgrid[:size, :size] // cell
    return np.where(((r + c) % 2)[..., None], [250, 20, 90], [10, 200, 30]).astype(np.uint8)


def ramp(size: int):
    """A colour that is affine in the image, steep enough to show a shift of a pixel."""
    r, c = np.mgrid[:size, :size]
    return np.stack([c, r, (r + c) / 2], -1) * (255 / (size - 1))


def edgeless(**given) -> BakeSettings:
    """Settings without a border: these scans end where the template does."""
    return BakeSettings(**{"border_mm": 0.0, **given})


def test_an_image_of_the_same_size_comes_back_exactly():
    image = checker()
    baked = bake(scan(), image, template().vertices, template(), edgeless(size=N))
    assert baked.share == 1
    assert (baked.texture == image).all()
    assert (baked.coverage == 255).all()


def test_an_affine_colour_is_reproduced_within_a_level_when_magnified():
    image = np.rint(ramp(128)).astype(np.uint8)
    baked = bake(scan(), image, template().vertices, template(), edgeless(size=512))
    at = np.clip((np.arange(512) + 0.5) / 4 - 0.5, 0, 127) * (255 / 127)
    rows, columns = np.meshgrid(at, at, indexing="ij")
    expected = np.stack([columns, rows, (rows + columns) / 2], -1)
    assert np.abs(baked.texture - expected).max() <= 1.5
    assert np.sqrt(((baked.texture - expected) ** 2).mean()) < 0.6


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_denser_image_is_averaged_over_the_texel(factor):
    rng = np.random.default_rng(factor)
    image = rng.integers(0, 256, (N * factor, N * factor, 3)).astype(np.uint8)
    mean = image.reshape(N, factor, N, factor, 3).mean((1, 3))
    baked = bake(scan(), image, template().vertices, template(), edgeless(size=N))
    error = np.sqrt(((baked.texture - mean) ** 2).mean())
    nearest = np.sqrt(((image[factor // 2 :: factor, factor // 2 :: factor] - mean) ** 2).mean())
    assert error < 4  # noise is the hardest image there is
    assert nearest > 10 * error


def test_vertex_colours_are_used_when_there_is_no_image():
    plain = scan(10)
    xy = (plain.vertices[:, :2] + 50) / 100
    colors = np.rint(np.c_[xy * 250, np.full(len(xy), 7)]).astype(np.uint8)
    colored = Mesh(plain.vertices, plain.faces, colors=colors)
    baked = bake(colored, None, template().vertices, template(), edgeless(size=N))
    at = (np.arange(N) + 0.5) / N * 250
    assert np.abs(baked.texture[..., 0] - at[None, :]).max() <= 1.01
    assert np.abs(baked.texture[..., 1] - at[::-1, None]).max() <= 1.01
    assert (baked.texture[..., 2] == 7).all()


def test_a_scan_without_colour_gives_nothing():
    plain = scan()
    assert bake(Mesh(plain.vertices, plain.faces), None, template().vertices, template(), edgeless()) is None


def test_a_rigid_motion_of_both_changes_nothing():
    image = checker()
    turn, shift = rotation(3), np.array([120.0, -40, 800])
    bent = scan(20)
    v = bent.vertices.copy()
    v[:, 2] = 10 * np.cos(v[:, 0] / 30)
    registered = template(16, "bake-test-16")
    w = registered.vertices.copy()
    w[:, 2] = 10 * np.cos(w[:, 0] / 30) + 0.3
    first = bake(bent.with_vertices(v), image, w, registered, edgeless(size=N))
    second = bake(
        bent.with_vertices(v @ turn.T + shift), image, w @ turn.T + shift, registered, edgeless(size=N)
    )
    assert abs(first.share - second.share) < 1e-3
    difference = np.abs(first.texture.astype(int) - second.texture.astype(int)).max(2)
    assert (difference > 2).mean() < 2e-3


def test_bands_and_chunks_give_identical_bytes(monkeypatch):
    image = checker(300, 7)
    lumpy = scan(17)
    lumpy = lumpy.with_vertices(
        lumpy.vertices + [0, 0, 0.3] * np.random.default_rng(1).normal(size=lumpy.vertices.shape)
    )
    whole = bake(lumpy, image, template().vertices, template(), edgeless(size=320))
    monkeypatch.setattr(raster_module, "CACHED_TEXELS", 320 * 24)
    monkeypatch.setattr(texture_module, "CHUNK", 1000)
    parts = bake(lumpy, image, template().vertices, template(), edgeless(size=320))
    assert whole.texture.tobytes() == parts.texture.tobytes()
    assert whole.coverage.tobytes() == parts.coverage.tobytes()


def test_the_seam_between_two_photographs_is_never_blended():
    # the left half of the surface lies in the right half of the image and the other way round
    vertices, faces, uv = plane(8)
    left = vertices[faces].mean(1)[:, 0] < 0
    both = np.concatenate([uv * [1, 1] + [0.5, 0], uv - [0.5, 0]])
    uv_faces = np.where(left[:, None], faces, faces + len(uv)).astype(np.int32)
    two = Mesh(vertices, faces, np.clip(both, 0, 1), uv_faces)
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, 256:] = [200, 0, 0]  # shown on the left
    image[:, :256] = [0, 0, 200]
    baked = bake(two, image, template().vertices, template(), edgeless(size=N))
    inner = baked.texture[4:-4]
    seen = np.unique(inner[:, 4:-4].reshape(-1, 3), axis=0)
    # within a pixel of the image's middle bilinear filtering may touch the other photograph; not more
    assert (inner[:, 8:126, 0] == 200).all()
    assert (inner[:, 130:-8, 2] == 200).all()
    assert len(seen) <= 4


def test_a_hole_is_marked_and_filled():
    full = scan(20)
    centre = full.vertices[full.faces].mean(1)
    gap = np.linalg.norm(centre[:, :2], axis=1) < 15
    holed = Mesh(full.vertices, full.faces[~gap], full.uv, full.uv_faces[~gap])
    image = np.full((64, 64, 3), 120, np.uint8)
    image[..., 2] = 30
    baked = bake(holed, image, template().vertices, template(), edgeless(size=N))
    r, c = np.mgrid[:N, :N]
    radius = np.hypot(r - 127.5, c - 127.5) * 100 / N
    assert (baked.coverage[radius < 8] == 0).all()
    assert (baked.coverage[radius > 20] > 0).all()
    assert (baked.texture == [120, 120, 30]).all()
    assert baked.share == pytest.approx(1 - gap.mean(), abs=0.02)
    empty = bake(holed, image, template().vertices, template(), edgeless(size=N, fill=False))
    assert (empty.texture[radius < 8] == 0).all()


@pytest.mark.parametrize("z", [-6.0, 6.0])
def test_a_scan_further_off_than_the_limit_gives_nothing(z):
    image = checker()
    near = bake(scan(z=z), image, template().vertices, template(), edgeless(size=N, max_distance_mm=8))
    far = bake(scan(z=z), image, template().vertices, template(), edgeless(size=N, max_distance_mm=4))
    assert near.share == 1
    assert (near.texture == image).all()
    assert 0 < near.coverage.max() < 128  # far, so of little confidence
    assert far.share == 0
    assert not far.coverage.any()


def test_what_is_hardly_sure_is_not_taken_for_seen():
    args = (scan(z=3.7), checker(), template().vertices, template())  # the limit is 4 mm: 0.075
    assert bake(*args, edgeless(size=N)).share == 0
    assert not bake(*args, edgeless(size=N)).coverage.any()
    taken = bake(*args, edgeless(size=N, min_confidence=0.07))
    assert taken.share == 1
    assert (taken.texture == checker()).all()


def test_a_surface_facing_the_other_way_gives_nothing():
    back = scan()
    back = Mesh(back.vertices, back.faces[:, ::-1], back.uv, back.uv_faces[:, ::-1])
    assert bake(back, checker(), template().vertices, template(), edgeless(size=N)).share == 0


def test_the_nearer_of_two_sheets_wins_whichever_side_it_is_on():
    low, high = scan(z=-0.5), scan(z=2.0)
    v = np.concatenate([low.vertices, high.vertices])
    f = np.concatenate([low.faces, high.faces + len(low.vertices)])
    uv = np.concatenate([low.uv * [0.45, 1], high.uv * [0.45, 1] + [0.55, 0]])
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = [0, 255, 0], [255, 0, 0]
    for mirror in (1, -1):
        both = Mesh(
            v * [1, 1, mirror],
            f if mirror == 1 else f[:, ::-1].copy(),
            uv,
            f if mirror == 1 else f[:, ::-1].copy(),
        )
        plane_like = template()
        faces = plane_like.faces if mirror == 1 else plane_like.faces[:, ::-1].copy()
        turned = Template(
            plane_like.vertices, faces, plane_like.uv, faces, ("a",), plane_like.landmark_vertices,
            plane_like.landmark_weights, digest=f"sheet{mirror}",
        )  # fmt: skip
        baked = bake(both, image, plane_like.vertices, turned, edgeless(size=N))
        assert baked.share == 1
        assert (baked.texture[..., 1] > 200).all()


def test_triangles_without_texture_of_their_own_give_no_colour():
    part = scan(10)
    uv = np.concatenate([part.uv, [[np.nan, np.nan]]])
    centre = part.vertices[part.faces].mean(1)
    bare = centre[:, 0] > 0
    uv_faces = np.where(bare[:, None], len(part.uv), part.uv_faces).astype(np.int32)
    baked = bake(
        Mesh(part.vertices, part.faces, uv, uv_faces),
        checker(),
        template().vertices,
        template(),
        edgeless(size=N),
    )
    assert baked.share == pytest.approx(0.5, abs=0.01)
    assert (baked.coverage[:, : N // 2 - 1] > 0).all()
    assert not baked.coverage[:, N // 2 + 1 :].any()


def test_triangles_their_camera_saw_edge_on_give_no_colour():
    steep = scan(10)
    v = steep.vertices.copy()
    right = v[:, 0] > 1
    v[right, 2] = -v[right, 0] * 20  # falls away at 87 degrees; the image still shows it from +z
    registered = template()
    w = registered.vertices.copy()
    on_right = w[:, 0] > 1
    w[on_right, 2] = -w[on_right, 0] * 20
    settings = edgeless(size=N, min_grazing_deg=8)
    baked = bake(steep.with_vertices(v), checker(), w, registered, settings)
    assert (baked.coverage[:, : N // 2 - 16] > 0).all()
    assert not baked.coverage[:, N // 2 + 32 :].any()
    settings = edgeless(size=N, min_grazing_deg=0, min_confidence=0)
    kept = bake(steep.with_vertices(v), checker(), w, registered, settings)
    assert kept.coverage[:, N // 2 + 32 : -16].any()


def test_a_registered_mesh_with_a_lost_vertex_still_bakes():
    registered = template()
    w = registered.vertices.copy()
    w[0] = np.nan
    baked = bake(scan(), checker(), w, registered, edgeless(size=N))
    assert 0.95 < baked.share < 1


def test_filling_a_ramp_is_smooth_and_keeps_what_is_known():
    size = 200
    image = np.rint(ramp(size)).astype(np.uint8)
    r, c = np.mgrid[:size, :size]
    known = np.hypot(r - 100, c - 90) > 20
    broken = np.where(known[..., None], image, 0).astype(np.uint8)
    fill_holes(broken, known)
    assert (broken[known] == image[known]).all()
    assert np.abs(broken.astype(int) - image)[~known].max() < 25
    steps = np.abs(np.diff(broken.astype(int), axis=0)).max()
    assert steps < 12


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (257, 256), (64, 1)])
def test_filling_any_shape_from_one_texel(shape):
    image = np.zeros((*shape, 3), np.uint8)
    known = np.zeros(shape, bool)
    known[-1, -1] = True
    image[-1, -1] = [9, 99, 199]
    fill_holes(image, known)
    assert (image == [9, 99, 199]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"size": 100}, {"size": 9000}, {"format": "gif"}, {"quality": 0}, {"max_distance_mm": 0.0},
     {"max_normal_angle_deg": 95.0}, {"min_grazing_deg": -1.0}, {"min_confidence": 1.0}, {"border_mm": -1.0},
     {"maps": "normal,bump"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BakeSettings(**wrong)


def test_what_is_not_known_is_named():
    with pytest.raises(ConfigError) as caught:
        BakeSettings(maps="normal, bump")
    assert (caught.value.where, caught.value.seen) == ("bake.maps", "'bump'")
    assert "position" in caught.value.expected
    with pytest.raises(ConfigError, match="format is not known") as caught:
        BakeSettings(format="gif")
    assert (caught.value.where, caught.value.seen) == ("bake.format", "'gif'")


def test_texels_outside_the_layout_are_not_covered():
    small = template(digest="bake-small")
    half = Template(
        small.vertices, small.faces, small.uv * 0.5 + 0.25, small.uv_faces, ("a",), small.landmark_vertices,
        small.landmark_weights, digest="bake-half",
    )  # fmt: skip
    baked = bake(scan(), checker(), half.vertices, half, edgeless(size=N))
    covered = np.zeros(N * N, bool)
    covered[rasterise(half.uv, half.uv_faces, N).texels] = True
    assert ((baked.coverage > 0).ravel() == covered).all()
    assert baked.share == 1
    assert (baked.texture[0, 0] > 0).any()  # the gutter is filled, too


def checkpoints(folder, scans, images, rejected=(), shape=None, registered=None):
    """Made-up ingest and refine checkpoints of one sequence, and the task that bakes it.

    The meshes are the template's own, or `registered` (V, 3) in every frame.
    """
    from mimicme.pipeline.checkpoint import writing
    from mimicme.pipeline.errors import FrameRejected
    from mimicme.pipeline.formats.image import encode
    from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
    from mimicme.pipeline.stage import Task
    from mimicme.pipeline.template import save_prepared

    shape = template() if shape is None else shape
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation(5), [3.0, 4.0, 500.0]
    save_prepared(shape, folder / "template.h5")
    with writing(folder / "ingest.h5", stage="ingest", item="s/q", made_by={}) as out:
        out.frames(range(len(scans)))
        for row, (mesh, image) in enumerate(zip(scans, images, strict=True)):
            out.put(row, "vertices", (mesh.vertices @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32))
            out.put(row, "faces", mesh.faces)
            if mesh.uv is not None:
                out.put(row, "uv", mesh.uv.astype(np.float32))
                out.put(row, "uv_faces", mesh.uv_faces)
            if mesh.colors is not None:
                out.put(row, "colors", mesh.colors)
            if image is not None:
                data = image if isinstance(image, bytes) else encode(image, "png")
                out.put(row, "image", np.frombuffer(data, np.uint8))
    with writing(folder / "refine.h5", stage="refine", item="s/q", made_by={}) as out:
        out.frames(range(len(scans)))
        vertices = out.rows("vertices", shape.vertices.shape, "f4", "mm")
        poses = out.rows("pose", (4, 4), "f8")
        out.rows("gain", (3,), "f4", "1")[:] = GAIN
        for row in range(len(scans)):
            if row in rejected:
                out.reject(row, FrameRejected("far-off", "it does not fit"))
                continue
            vertices[row], poses[row] = shape.vertices if registered is None else registered, pose
    item = Item("s", "q")
    frames = tuple(FrameSource(k, folder / f"{k}.obj") for k in range(len(scans)))
    return Task(
        Sequence(item, "q", "q", frames),
        edgeless(size=N),
        Captures(folder),
        {"ingest": folder / "ingest.h5", "refine": folder / "refine.h5"},
        None,
        folder / "template.h5",
    )


def test_the_stage_bakes_what_it_can_and_says_what_it_cannot(tmp_path):
    from mimicme.pipeline.checkpoint import Checkpoint, writing
    from mimicme.pipeline.formats.image import decode, decode_gray

    bare = scan()
    bare = Mesh(bare.vertices, bare.faces)
    task = checkpoints(
        tmp_path, [scan(), bare, scan(), scan()], [checker(), None, checker(), b"no image"], rejected=[2]
    )
    written = []
    for name in ("bake.h5", "again.h5"):
        with writing(tmp_path / name, stage="bake", item="s/q", made_by={}) as out:
            module.STAGE.compute(task, out)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with Checkpoint(tmp_path / "bake.h5") as baked:
        assert [s.ok for s in baked.statuses] == [True, True, False, True]
        assert [s.note for s in baked.statuses] == ["", "no-texture", "", "no-texture"]
        assert [baked.has(row, "texture") for row in range(4)] == [True, False, False, False]
        assert (baked.attrs["texture_format"], baked.attrs["texture_size"]) == ("png", N)
        texture = decode(baked.get(0, "texture").tobytes())
        # float32 vertices half a metre from the origin: a texel on an edge of the checker may tip
        assert (texture != checker()).any(2).mean() < 0.01
        assert decode_gray(baked.get(0, "coverage").tobytes()).min() > 200
        assert baked["quality/coverage"][0] == 1
        assert np.isnan(baked["quality/coverage"][1:]).all()


def test_without_an_image_that_can_be_read_vertex_colours_are_baked(tmp_path):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode, encode

    colored = scan(colors=np.tile(np.array([200, 150, 9], np.uint8), (36, 1)))
    task = checkpoints(tmp_path, [colored] * 4, [b"no image", encode(checker())[:200], None, checker()])
    with Checkpoint(stage_made(tmp_path, task)) as baked:
        assert [s.note for s in baked.statuses] == ["vertex-colours"] * 3 + [""]
        assert ["could not be read" in s.message for s in baked.statuses] == [True, True, False, False]
        for row in range(3):
            assert "made of its vertex colours" in baked.statuses[row].message
            assert (decode(baked.get(row, "texture").tobytes()) == [200, 150, 9]).all()
        assert (
            len(np.unique(decode(baked.get(3, "texture").tobytes()))) > 3
        )  # the image wins where there is one


def test_exposure_is_matched_only_when_asked(tmp_path):
    from dataclasses import replace

    from mimicme.pipeline.checkpoint import Checkpoint, writing
    from mimicme.pipeline.formats.image import decode

    task = checkpoints(tmp_path, [scan()], [np.full((N, N, 3), 100, np.uint8)])
    seen = {}
    for name, on in (("plain", False), ("matched", True)):
        chosen = replace(task, settings=edgeless(size=N, match_exposure=on))
        with writing(tmp_path / f"{name}.h5", stage="bake", item="s/q", made_by={}) as out:
            module.STAGE.compute(chosen, out)
        with Checkpoint(tmp_path / f"{name}.h5") as baked:
            seen[name] = decode(baked.get(0, "texture").tobytes())[N // 2, N // 2].tolist()
            assert ("quality/gain_red" in baked) == on
            if on:
                assert [baked[f"quality/gain_{c}"][0] for c in ("red", "green", "blue")] == list(GAIN)
    assert seen == {"plain": [100, 100, 100], "matched": [50, 100, 150]}


def test_one_frames_numbers_reject_that_frame_alone(tmp_path, monkeypatch):
    from mimicme.pipeline.checkpoint import Checkpoint, writing

    task = checkpoints(tmp_path, [scan(), scan()], [checker(), checker()])
    break_once(monkeypatch, module, "bake_source", "Singular matrix")
    with writing(tmp_path / "bake.h5", stage="bake", item="s/q", made_by={}) as out:
        module.STAGE.compute(task, out)
    with Checkpoint(tmp_path / "bake.h5") as baked:
        assert [s.reason for s in baked.statuses] == ["numerical-failure", ""]
        assert "Singular matrix" in baked.statuses[0].message
        assert [baked.has(row, "texture") for row in range(2)] == [False, True]


def stage_made(folder, task, name="bake.h5", **settings):
    """The stage's checkpoint for a task."""
    from dataclasses import replace

    from mimicme.pipeline.checkpoint import writing

    chosen = replace(task, settings=edgeless(size=N, **settings))
    with writing(folder / name, stage="bake", item="s/q", made_by={}) as out:
        module.STAGE.compute(chosen, out)
    return folder / name


def test_a_scan_that_refine_has_opened_gives_the_same_bytes_without_being_read_again(tmp_path, monkeypatch):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.scan import load_colored
    from mimicme.pipeline.texture.baking import open_source
    from mimicme.pipeline.texture.open_sources import OPEN_SOURCES

    task = checkpoints(tmp_path, [scan(), scan(20)], [checker(), checker()])
    read_here = stage_made(tmp_path, task, border_mm=1.5).read_bytes()
    with Checkpoint(task.inputs["ingest"]) as ingest:
        for row in range(2):
            mesh, image, _ = load_colored(ingest, row)
            source = open_source(mesh, image, texture_module.TextureOptions())
            OPEN_SOURCES.keep(ingest.path, row, source)
    monkeypatch.setattr("mimicme.pipeline.scan.load_colored", None)
    assert stage_made(tmp_path, task, "handed-on.h5", border_mm=1.5).read_bytes() == read_here


def holed(n: int = 20) -> Mesh:
    full = scan(n)
    gap = np.linalg.norm(full.vertices[full.faces].mean(1)[:, :2] - [20, 0], axis=1) < 12
    return Mesh(full.vertices, full.faces[~gap], full.uv, full.uv_faces[~gap])


def test_what_a_frame_does_not_show_comes_from_the_subjects_neutral(tmp_path):
    from dataclasses import replace

    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode, decode_gray

    image = checker()
    dim = (image * 0.8).astype(np.uint8)
    for name in ("n", "q"):
        (tmp_path / name).mkdir()
    # the neutral's first frame shows less than its second: the second lends
    neutral = checkpoints(tmp_path / "n", [holed(), scan()], [np.full_like(dim, 9), dim])
    lent = stage_made(tmp_path / "n", neutral)
    task = replace(checkpoints(tmp_path / "q", [holed()], [image]), neutral=lent)
    r, c = np.mgrid[:N, :N]
    gap = np.hypot(c - (20 + 50) / 100 * N, r - N / 2) < 8 * N / 100
    seen = {}
    for name, on in (("with", True), ("without", False)):
        with Checkpoint(stage_made(tmp_path / "q", task, f"{name}.h5", neutral_fill=on)) as baked:
            seen[name] = decode(baked.get(0, "texture").tobytes()).astype(int)
            assert not decode_gray(baked.get(0, "coverage").tobytes())[gap].any()
            assert baked["quality/coverage"][0] < 0.97
    # in the light of the frame itself, not of the neutral: a checker of another light, made even across the border
    assert np.abs(seen["with"] - image)[gap].mean() < 0.3 * np.abs(seen["without"] - image)[gap].mean()
    assert (seen["with"][~gap & (c < N // 2)] == seen["without"][~gap & (c < N // 2)]).all()


SKIN, LIP = (200, 150, 120), (160, 40, 40)
PIT_MM = 6.0


def mouth(deep_mm: float):
    """A template with a pit of 12 mm for a mouth, all landmarks in it, and the mesh of it that is so deep."""
    flat = template(50, "bake-mouth")
    vertices = flat.vertices.copy()
    of_pit = np.linalg.norm(vertices[:, :2], axis=1) < PIT_MM
    at = np.full((68, 3), np.flatnonzero(of_pit)[of_pit.sum() // 2])
    vertices[of_pit, 2] = -12.0
    names, weights = tuple(map(str, range(68))), np.tile([1.0, 0, 0], (68, 1))
    shape = Template(vertices, flat.faces, flat.uv, flat.faces, names, at, weights, digest="bake-mouth")
    mesh = vertices.copy()
    mesh[of_pit, 2] = -deep_mm
    return shape, mesh


def photograph():
    r, c = np.mgrid[:N, :N] - N / 2 + 0.5
    return np.where((np.hypot(r, c) < (PIT_MM + 1) / 100 * N)[..., None], LIP, SKIN).astype(np.uint8)


@pytest.mark.parametrize(
    ("neutral_mm", "frame_mm", "shows"), [(0.0, 5.0, "lip"), (12.0, 5.0, "skin"), (12.0, 12.0, "dark")]
)
def test_a_mouth_is_filled_by_how_open_it_is_in_the_neutral_and_in_the_frame(
    tmp_path, neutral_mm, frame_mm, shows
):
    """Scans that go on flat where the mesh is deep, and a head that lies as it likes: only how deep it is counts."""
    from dataclasses import replace

    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode

    made = {}
    for name, deep, image in (
        ("n", neutral_mm, photograph()),
        ("q", frame_mm, np.full((N, N, 3), SKIN, np.uint8)),
    ):
        (tmp_path / name).mkdir()
        shape, mesh = mouth(deep)
        task = checkpoints(tmp_path / name, [scan(50)], [image], shape=shape, registered=mesh)
        made[name] = stage_made(tmp_path / name, replace(task, neutral=made.get("n")))
    colours = {}
    for name in ("n", "q"):
        with Checkpoint(made[name]) as baked:
            assert baked.has(0, "opened") == (name == "n")
            middle = slice(N // 2 - 4, N // 2 + 4)
            colours[name] = decode(baked.get(0, "texture").tobytes())[middle, middle].astype(int)
    if shows == "dark":
        np.testing.assert_allclose(colours["q"], colours["n"], atol=1)
        assert colours["q"].max() < 0.7 * SKIN[0]
    elif shows == "lip":
        np.testing.assert_allclose(colours["q"], np.broadcast_to(LIP, colours["q"].shape), atol=3)
    else:
        hue = colours["q"].mean(axis=(0, 1))
        np.testing.assert_allclose(hue / hue[0], np.array(SKIN) / SKIN[0], atol=0.03)
        assert hue[0] > colours["n"][..., 0].mean() + 10


def test_a_neutral_without_texture_lends_nothing(tmp_path):
    from dataclasses import replace

    from mimicme.pipeline.checkpoint import Checkpoint

    for name in ("n", "q"):
        (tmp_path / name).mkdir()
    bare = Mesh(scan().vertices, scan().faces)
    lent = stage_made(tmp_path / "n", checkpoints(tmp_path / "n", [bare], [None]))
    task = replace(checkpoints(tmp_path / "q", [holed()], [checker()]), neutral=lent)
    with Checkpoint(stage_made(tmp_path / "q", task)) as baked:
        assert baked.has(0, "texture")
    assert module.STAGE.scope == "neutral"


def test_maps_are_written_when_asked_for_also_of_scans_without_colour(tmp_path):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode_deep, decode_gray
    from mimicme.pipeline.formats.map_coding import read_coding

    bare = scan(z=1.5)
    task = checkpoints(tmp_path, [scan(z=-0.75), Mesh(bare.vertices, bare.faces)], [checker(), None])
    with Checkpoint(stage_made(tmp_path, task, maps=" displacement,normal")) as baked:
        assert [s.note for s in baked.statuses] == ["", "no-texture"]
        assert [baked.has(row, "texture") for row in range(2)] == [True, False]
        code = read_coding(baked.attrs, "displacement_")
        for row, z in ((0, -0.75), (1, 1.5)):
            found = code.values(decode_deep(baked.get(row, "displacement").tobytes()))
            assert np.abs(found - z)[4:-4, 4:-4].max() < 2e-3
            assert not baked.has(row, "position")
            normal = read_coding(baked.attrs, "normal_").values(
                decode_deep(baked.get(row, "normal").tobytes())
            )
            assert np.abs(normal - [0, 0, 1])[4:-4, 4:-4].max() < 2e-3
            assert decode_gray(baked.get(row, "coverage").tobytes()).min() > 0
    with Checkpoint(stage_made(tmp_path, task, "plain.h5")) as baked:
        assert not baked.has(0, "normal")
        assert not baked.has(1, "coverage")
        assert not [name for name in baked.attrs if name.endswith("_value_scale")]


def test_the_light_that_is_taken_out_is_kept(tmp_path):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode

    image = np.full((N, N, 3), 120, np.uint8)
    task = checkpoints(tmp_path, [scan()], [image])
    with Checkpoint(stage_made(tmp_path, task, even_lighting=True)) as baked:
        light = [float(baked[f"quality/light_{k}"][0]) for k in range(9)]
        assert np.isfinite(light).all()
        # a plane has one normal: nothing to even, and its brightness stays
        assert np.abs(decode(baked.get(0, "texture").tobytes()).astype(int) - 120).max() <= 1
    with Checkpoint(stage_made(tmp_path, task, "plain.h5")) as baked:
        assert "quality/light_0" not in baked


def test_a_bent_surfaces_shade_goes_and_comes_back():
    from mimicme.pipeline.texture.delighting import shading_map

    shape, bent = template(16, "bake-bent"), scan(40)
    for mesh in (shape.vertices, bent.vertices):
        mesh[:, 2] = np.sqrt(90.0**2 - mesh[:, 0] ** 2 - mesh[:, 1] ** 2)
    x, y = np.meshgrid((np.arange(N) + 0.5) / N - 0.5, 0.5 - (np.arange(N) + 0.5) / N)
    shade = 1 + 0.35 * x / 0.9 + 0.2 * y / 0.9
    image = np.rint(130 * shade[..., None] * [1, 0.8, 0.7]).astype(np.uint8)
    plain = bake(bent, image, shape.vertices, shape, edgeless(size=N))
    even = bake(bent, image, shape.vertices, shape, edgeless(size=N, even_lighting=True))
    seen = plain.coverage > 0
    assert np.std(plain.texture[seen].astype(float), axis=0).max() > 12
    assert np.std(even.texture[seen].astype(float), axis=0).max() < 3
    again = even.texture * shading_map(even.light, shape.vertices, shape, N)[..., None]
    assert np.abs(again - plain.texture)[seen].max() <= 1.1


def test_tiles_of_a_template_each_show_their_own_part():
    from mimicme.pipeline.template import _own_uv

    shape = template(8, "bake-udim")
    # the left half of the sheet fills tile 1001, the right half 1002; the border's coordinates are shared
    uv, uv_faces, said = _own_uv(shape.uv * [2, 1], shape.uv_faces, np.ones(len(shape.faces), bool))
    assert "2 UDIM tile(s)" in said
    tiled = Template(
        shape.vertices, shape.faces, uv, uv_faces, ("a",), shape.landmark_vertices, shape.landmark_weights,
        digest="bake-udim",
    )  # fmt: skip
    assert rasterise(uv, uv_faces, N).overlaps == 0
    image = np.zeros((N, N, 3), np.uint8)
    image[:, : N // 2], image[:, N // 2 :] = [200, 10, 10], [10, 10, 200]
    baked = bake(scan(), image, shape.vertices, tiled, edgeless(size=N))
    h = N // 2  # two tiles lie in the lower row of two by two
    assert baked.share == 1
    assert (baked.coverage[h:] > 0).all()
    assert not baked.coverage[: h - 1].any()
    assert (baked.texture[h:, : h - 3] == [200, 10, 10]).all()
    assert (baked.texture[h:, h + 3 :] == [10, 10, 200]).all()


def test_an_unwrapped_layout_has_no_cameras():
    # columns of ever other width in the image: no photograph's scale, though one triangle in three is stretched
    vertices, faces, uv = plane(12)
    wide = np.cumsum(np.r_[0, np.tile([1, 1, 40], 4)])
    uv[:, 0] = np.interp(uv[:, 0], np.linspace(0, 1, 13), wide / wide[-1])
    settings = edgeless(size=N, min_grazing_deg=10)
    baked = bake(Mesh(vertices, faces, uv, faces), checker(), template().vertices, template(), settings)
    assert baked.share == 1
    assert (baked.coverage == 255).all()


def test_beside_what_is_no_skin_nothing_is_taken_from_the_scan(monkeypatch):
    from mimicme.pipeline.texture import baking

    seen = np.where(template().uv[:, 0] < 0.5, 0, 255).astype(np.uint8)
    wide = baking._no_skin(seen, template(), N)
    monkeypatch.setattr(baking, "BESIDE_HAIR", 0.0)
    narrow = baking._no_skin(seen, template(), N)
    assert set((wide.sum(axis=1) - narrow.sum(axis=1)).tolist()) == {round(0.015 * N) - 1}
    assert baking._no_skin(np.full_like(seen, 255), template(), N) is None


def test_what_is_no_skin_is_not_seen_and_filled(tmp_path):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode, decode_gray

    task = checkpoints(tmp_path, [scan(), scan()], [checker(), checker()])
    left = template().uv[:, 0] < 0.5
    with h5py.File(task.inputs["refine"], "r+") as file:
        seen = np.full((2, len(left)), 255, np.uint8)
        seen[1, left] = 0
        file.create_dataset("skin_seen", data=seen)
    with Checkpoint(stage_made(tmp_path, task)) as baked:
        whole, half = (decode_gray(baked.get(row, "coverage").tobytes()) > 0 for row in range(2))
        textures = [decode(baked.get(row, "texture").tobytes()) for row in range(2)]
        assert whole.all()
        assert not half[:, : int(0.35 * N)].any() and half[:, int(0.65 * N) :].all()
        np.testing.assert_array_equal(textures[1][half], textures[0][half])
        assert (textures[1][~half] != textures[0][~half]).any()  # what is there is filled, and not the scan's
        assert baked["quality/coverage"][1] == pytest.approx(half.mean(), abs=0.01)


def test_a_beard_is_seen_and_baked(tmp_path, monkeypatch):
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.formats.image import decode, decode_gray
    from mimicme.stages.bake.skin import Skin

    task = checkpoints(tmp_path, [scan(), scan()], [checker(), checker()])
    left = template().uv[:, 0] < 0.5
    with h5py.File(task.inputs["refine"], "r+") as file:
        seen = np.full((2, len(left)), 255, np.uint8)
        seen[1, left] = 0
        file.create_dataset("skin_seen", data=seen)
    face = Skin(template())
    assert face.bearded is None  # without landmarks nobody knows where one grows
    face.bearded = np.where(left, 1.0, 0.0)
    monkeypatch.setattr(module, "_skin", lambda key: face)
    with Checkpoint(stage_made(tmp_path, task)) as baked:
        bare, bearded = (decode(baked.get(row, "texture").tobytes()) for row in range(2))
        assert (decode_gray(baked.get(1, "coverage").tobytes()) > 0).all()
        np.testing.assert_array_equal(bearded, bare)
        np.testing.assert_array_equal(baked["quality/coverage"][:], 1)
