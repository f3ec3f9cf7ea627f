"""Rendered views of a scan for the networks, and the way back from the points detected in a view to the scan's surface:
along rays, to the depth that the network expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.drawing.zbuffer import Fronts, fronts, interpolated
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.geometry.mesh import Mesh, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, eye_distance
from mimicme.stages.landmarks.mediapipe_points import ibug_from_mediapipe
from mimicme.stages.landmarks.networks import FACE_SIDE, POINT_SIDE, PictureNetworks
from mimicme.stages.landmarks.pose import head_pose

# What the picture for the points is wide where nothing is known of the face: of an adult's of average proportions 200
# cuts wide-open jaws, 260 is less exact.
FACE_MM = 230.0
# What it is wide of a face that is known, see `face_width`: shares of the distance of its eyes and of the height from
# its mouth to its eyes; and bounds, in shares of `FACE_MM`.  Such that a face of average proportions (62 and 70 mm)
# keeps the above.  8 people of `synth`, heights of 38 to 101 mm, in pictures of 130 to 340 mm: the shortest is drawn
# right in those of 4 to 4.5 times its height, the longest in those of 3 to 3.4.
EYES_SHARE, HEIGHT_SHARE = 1.3, 2.1
NARROWEST, WIDEST = 0.6, 1.6
DISTANCE_MM = 800.0
TRIANGLES_A_RAY = 6.0  # drawn in the time of a ray: 0.4 million triangles and 256 x 256 rays take 26 ms each
SKIN = np.array([235.0, 181.0, 152.0], np.float32)  # of scans without colour
UNTEXTURED = np.array([150.0, 130.0, 120.0], np.float32)  # of triangles without a place in the texture
SMOOTHING_MM = 3.0  # of the normals of bare scans: a scanner's noise is no skin
KEY = np.array([-0.3, 0.6, 0.74])  # from where bare scans are lit
# A closed mouth is a line that fades towards its corners: without colours light that grazes it ends it 3 to 7 mm too
# early, with colours networks still end it 1 mm too early.  A second picture has dark creases (and soft light, where
# there are no colours), and only the ends of the mouth are taken from it: elsewhere dark creases mislead (the fold
# below the lower lip is taken for the lip's edge).
CREASE_MM = 8.0  # a crease is what lies behind its surroundings of this width (standard deviation)
CREASE_PER_MM = 0.45  # how much darker per mm behind them
DEEPEST_MM = 4.0
MOUTH_ENDS = np.array([61, 291, 78, 308])  # MediaPipe's outer and inner corners
FILLED_MM = 4.0  # half the width of the widest hole that is painted over in a picture
# So far from a place with a colour a surface without one is painted over.  A depth camera's has none within three of
# its pixels of a border: 3.6 mm at arm's length with a phone's 320 across.
COLOURED_IN_MM = 6.0
# How far the colours laid there run into each other, and how much darker they are: such places lie in folds, below
# lips and nose.  In 6 depth recordings of 3 people of `synth` points were 2.8 mm off as bright as their surroundings,
# 2.2 so, and 2.4 with 0.7.
RUN_MM, IN_SHADE = 1.3, 0.85
# The same of holes in cheeks, forehead and chin, and how far from eyes and mouth they lie.  A hole of 15 mm in a cheek
# takes nose and lips 2 mm along; one in place of an eye or a mouth shows where that is.
SKIN_FILLED_MM, APART_MM = 14.0, 8.0
# from a picture and where it is taken from to the picture painted
Paint = Callable[[NDArray[np.float32], Camera], NDArray[np.float32]]
MAX_OFF_MM = 15.0  # a surface further from the face's depth is not the face
EXPECTED_MM = 3.0  # of two surfaces around a point, how much nearer the expected depth one has to be to win


class Scene:
    """A scan made ready to be rendered from many sides.

    Args:
        mesh: scan frame, mm, +y up.
        image: its texture (h, w, 3) uint8, or None.

    Attributes:
        textured: whether it has colours of its own.
        centre: (3,) mm; `surface` and `vertices` are relative to it, because Open3D keeps float32.
    """

    def __init__(self, mesh: Mesh, image: NDArray[np.uint8] | None) -> None:
        self.mesh = mesh
        self.centre = np.median(mesh.vertices, axis=0)
        self.vertices = mesh.vertices - self.centre
        self.surface = Surface(self.vertices, mesh.faces)
        self.normals, self._areas = triangle_normals(self.vertices, mesh.faces)
        self._image: NDArray[np.uint8] | None = None
        # whether all of its surface has a place in the texture: then no pixel is asked for one
        self._all_coloured = mesh.uv is None or bool(np.isfinite(mesh.uv).all())
        self._last_seen: tuple[Camera, Fronts] | None = None
        self._colors: Floats | None = None
        if image is not None and mesh.uv is not None:
            self._image = self._shrunk(image)
        elif mesh.colors is not None:
            self._colors = mesh.colors.astype(np.float64)
        self.textured = self._image is not None or self._colors is not None
        self._shading = None if self.textured else _smooth_normals(self.vertices, mesh.faces)

    def picture(self, camera: Camera) -> NDArray[np.float32]:
        """(height, width, 3) RGB in [0, 255]; black where no front of a triangle is seen, but
        for narrow holes of textured scans, which are painted over.

        A back is never seen: an open shell would show a face from behind.
        """
        return self.pictures(camera, creases=False)[0]

    def shown(self, camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`picture`, and the depth (height, width) of the scan in it, mm towards the camera; NaN where it shows no
        scan: black, or painted over."""
        seen = self._seen(camera)
        return _inpainted(self._holes(seen, camera), self._plain(seen, camera)), self._depths(seen, camera)

    def coloured(self, camera: Camera) -> Bools:
        """(height, width) where `shown` shows the scan in colours of its own: not painted over, not `UNTEXTURED`."""
        seen = self._seen(camera)
        front = seen.front.copy()
        front[seen.front] = self._has_color(seen)
        return np.asarray(front.reshape(camera.size))

    def depths(self, camera: Camera) -> NDArray[np.float32]:
        """The depth that `shown` gives, without a picture."""
        return self._depths(self._seen(camera), camera)

    def pictures(
        self, camera: Camera, creases: bool = True, paint: Paint | None = None, marks: Floats | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """`picture`, and the same view with dark creases, for `MOUTH_ENDS`.

        Args:
            creases: whether the second one is wanted.
            paint: lays colours over what is seen, before creases are darkened.
            marks: (68, 3) mm about where the face's landmarks are: then wide holes apart from eyes and mouth are
                painted over, too.
        """
        seen = self._seen(camera)
        holes = self._holes(seen, camera, marks)
        plain = self._plain(seen, camera)
        if paint is not None:
            plain = paint(plain, camera)
        finished = _inpainted(holes, plain)
        if not creases:
            return finished, None
        if paint is None and not self.textured:
            plain = _picture_of(seen, self._lit(seen, camera, ambient=0.5, head=0.3, key=0.2), camera)
        return finished, _inpainted(holes, plain * self._darkness(seen, camera)[..., None])

    def _holes(self, seen: Fronts, camera: Camera, marks: Floats | None = None) -> Bools | None:
        """(height, width) what is painted over in a picture, if anything; marks: see `pictures`."""
        if not self.textured:  # on bare scans holes help more than they harm: they show where the eyes are
            return None
        empty, per_mm = ~seen.front.reshape(camera.size), camera.pixels_per_mm
        if marks is None:
            return _narrow_holes(empty, FILLED_MM * per_mm)
        return _narrow_holes(
            empty, FILLED_MM * per_mm, SKIN_FILLED_MM * per_mm, _eyes_and_mouth(camera, marks)
        )

    def _seen(self, camera: Camera) -> Fronts:
        """What is seen; drawn once for all that is asked of the same camera, one after the other."""
        if self._last_seen is None or self._last_seen[0] is not camera:
            self._last_seen = camera, self._drawn(camera)
        return self._last_seen[1]

    def _drawn(self, camera: Camera) -> Fronts:
        height, width = camera.size
        if len(self.mesh.faces) > TRIANGLES_A_RAY * height * width:
            return self._cast(camera)
        return fronts(self.vertices, self.mesh.faces, camera, self.centre)

    def _cast(self, camera: Camera) -> Fronts:
        """What `fronts` gives, by rays: in time that hardly grows with the triangles."""
        origins, directions = camera.rays()
        hits = self.surface.cast(origins - self.centre, directions)
        front = np.asarray(hits.hit & (np.einsum("kx,kx->k", self.normals[hits.triangles], directions) < 0))
        triangles, weights = hits.triangles[front].astype(np.int32), hits.weights[front]
        places = np.einsum("kc,kcx->kx", weights, self.vertices[self.mesh.faces[triangles]])
        return Fronts(front, triangles, weights, camera.depth(places + self.centre))

    def _plain(self, seen: Fronts, camera: Camera) -> NDArray[np.float32]:
        """(height, width, 3) what is seen; what has no colour of its own is coloured in from what is near."""
        plain = _picture_of(seen, self._color(seen, camera), camera)
        own = self._has_color(seen)
        if own.all():
            return plain
        known, bare = (np.zeros(len(seen.front), bool) for _ in range(2))
        known[seen.front], bare[seen.front] = own, ~own
        return _coloured_in(
            plain, known.reshape(camera.size), bare.reshape(camera.size), camera.pixels_per_mm
        )

    def _has_color(self, seen: Fronts) -> Bools:
        """(k,) which of what is seen has a colour of its own, or is lit as a scan without colours."""
        if self._image is None or self._all_coloured:
            return np.ones(len(seen.triangles), bool)
        assert self.mesh.uv is not None and self.mesh.uv_faces is not None
        return np.asarray(np.isfinite(interpolated(seen, self.mesh.uv_faces, self.mesh.uv)).all(axis=1))

    def _color(self, seen: Fronts, camera: Camera) -> NDArray[np.float32]:
        if self._image is not None:
            assert self.mesh.uv is not None and self.mesh.uv_faces is not None
            return _sample(self._image, interpolated(seen, self.mesh.uv_faces, self.mesh.uv))
        if self._colors is not None:
            return interpolated(seen, self.mesh.faces, self._colors).astype(np.float32)
        return self._lit(seen, camera, ambient=0.15, head=0.35, key=0.5)

    def _lit(
        self, seen: Fronts, camera: Camera, ambient: float, head: float, key: float
    ) -> NDArray[np.float32]:
        """Colours (k, 3) of bare skin: light from everywhere, from the camera and from `KEY`."""
        assert self._shading is not None
        normals = interpolated(seen, self.mesh.faces, self._shading)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        local = normals @ camera.axes.T
        light = ambient + head * np.abs(local[:, 2]) + key * np.maximum(local @ KEY, 0)
        return np.clip(light[:, None].astype(np.float32) * SKIN, 0, 255)

    def _darkness(self, seen: Fronts, camera: Camera) -> NDArray[np.float32]:
        """(height, width) factors, 1 and less, the further a place lies behind what is around it.

        Unsharp masking of the depth buffer (Luft, Colditz and Deussen 2006), its dark half.
        """
        cv2 = opencv()
        there, plane = (np.zeros(camera.size, np.float32) for _ in range(2))
        there.ravel()[seen.front], plane.ravel()[seen.front] = 1, seen.depth
        width = CREASE_MM * camera.pixels_per_mm
        around, share = (cv2.GaussianBlur(x, (0, 0), width) for x in (plane, there))
        behind = np.where(there > 0, around / np.maximum(share, 1e-3) - plane, 0)
        return np.asarray(np.exp(-CREASE_PER_MM * np.clip(behind, 0, DEEPEST_MM)), np.float32)

    def _depths(self, seen: Fronts, camera: Camera) -> NDArray[np.float32]:
        depth = np.full(camera.size, np.nan, np.float32)
        depth.ravel()[seen.front] = seen.depth
        return depth

    def _shrunk(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The texture with texels no finer than half a pixel of the pictures: finer ones only flicker."""
        height, width = image.shape[:2]
        factor = texels_too_many(self.mesh, (height, width), self._areas)
        if factor > 1:
            cv2 = opencv()
            size = (max(1, width // factor), max(1, height // factor))
            image = cv2.resize(image[..., :3], size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[..., :3])


def texels_too_many(mesh: Mesh, size: tuple[int, int], areas: Floats | None = None) -> int:
    """How many times fewer texels each way of a mesh's texture of (height, width) leave it two a pixel of the pictures.

    Args:
        areas: (t,) mm^2 of its triangles, where they are known.
    """
    uv, uv_faces = mesh.uv, mesh.uv_faces
    if uv is None or uv_faces is None:
        return 1
    if areas is None:
        areas = triangle_normals(mesh.vertices, mesh.faces)[1]
    u, v = (np.take(np.ascontiguousarray(x), uv_faces.T) for x in uv.T)
    share = np.abs((u[1] - u[0]) * (v[2] - v[0]) - (v[1] - v[0]) * (u[2] - u[0])) / 2
    known = np.isfinite(share) & (areas > 0)
    if not known.any():
        return 1
    per_mm = float(np.sqrt(np.median(share[known] * size[0] * size[1] / areas[known])))
    return int(max(1, per_mm // (2 * POINT_SIDE / FACE_MM)))


def _picture_of(seen: Fronts, colors: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """(height, width, 3) picture of the colours (k, 3) of what is seen; black elsewhere."""
    out = np.zeros((len(seen.front), 3), np.float32)
    out[seen.front] = colors
    return out.reshape(*camera.size, 3)


def _coloured_in(
    picture: NDArray[np.float32], known: Bools, bare: Bools, pixels_per_mm: float
) -> NDArray[np.float32]:
    """The picture with `bare` pixels (height, width) in the colours of the `known` ones nearest to them, in shade.

    The networks take the rim without colours of a hole for what has such a colour: the one below a lip, which a camera
    that looks from above does not see into, for teeth, and draw the mouth around them.
    """
    if not known.any():
        return picture
    cv2 = opencv()
    distance, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(label.max()) + 1, 3), np.float32)
    colours[label[known]] = picture[known]
    near = bare & (distance <= COLOURED_IN_MM * pixels_per_mm)
    out = picture.copy()
    out[near] = colours[label[near]]
    there = (known | near).astype(np.float32)
    run, share = (
        cv2.GaussianBlur(x, (0, 0), RUN_MM * pixels_per_mm) for x in (out * there[..., None], there)
    )
    out[near] = IN_SHADE * run[near] / share[near][:, None]
    return out


def _eyes_and_mouth(camera: Camera, marks: Floats) -> Bools:
    """(height, width) what lies within `APART_MM` of eyes and mouth of landmarks (68, 3) mm; all of it where they are
    not known."""
    cv2 = opencv()
    out = np.zeros(camera.size, np.uint8)
    for group in ("left_eye", "right_eye", "mouth"):
        part = camera.project(marks[GROUPS[group]])
        if not np.isfinite(part).all():
            return np.ones(camera.size, bool)
        cv2.fillConvexPoly(out, cv2.convexHull(np.rint(part).astype(np.int32)), 1)
    size = 2 * round(APART_MM * camera.pixels_per_mm) + 1
    return np.asarray(cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0)


def _narrow_holes(
    empty: Bools, radius_px: float, skin_radius_px: float = 0.0, features: Bools | None = None
) -> Bools | None:
    """(height, width) the narrow holes of a picture, None when there are none.

    The networks have never seen a face with holes: black rings around the eyes, where scanners see no lashes, move
    the lids by a millimetre, and a hole in a lip moves the lip.  What touches the border of the picture is no
    hole, and what is wider stays black: an eye that is missing would be painted shut, an open mouth too.

    Args:
        empty: (height, width) where nothing of the scan is seen.
        radius_px: of the largest disc that fits into a narrow hole.
        skin_radius_px: the same of holes that do not touch features, (height, width) True there.
    """
    cv2 = opencv()
    missing = np.asarray(empty).astype(np.uint8)
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(missing, connectivity=4)
    height, width = missing.shape
    left, top, wide, high = boxes[:, :4].T
    narrow = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    narrow[0] = False  # what is not empty
    if not narrow.any():
        return None
    depth = cv2.distanceTransform(missing, cv2.DIST_L2, 3)
    wide = _named(parts[depth > radius_px], len(narrow))
    if features is not None:
        wide &= _named(parts[features | (depth > skin_radius_px)], len(narrow))
    narrow[wide] = False
    return np.asarray(narrow[parts])


def _named(numbers: NDArray[np.int32], count: int) -> Bools:
    """(count,) which numbers below `count` are among some (k,)."""
    out = np.zeros(count, bool)
    out[numbers] = True
    return out


def _inpainted(holes: Bools | None, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture with holes (height, width) inpainted from their borders (Telea 2004)."""
    if holes is None:
        return picture
    cv2 = opencv()
    shown = np.clip(picture, 0, 255).astype(np.uint8)
    filled = cv2.inpaint(shown, holes.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    out = picture.copy()
    out[holes] = filled[holes]
    return out


def _sample(image: NDArray[np.uint8], uv: Floats) -> NDArray[np.float32]:
    """Bilinear samples (k, 3) at uv (k, 2), v up; `UNTEXTURED` where uv is NaN."""
    cv2 = opencv()
    height, width = image.shape[:2]
    u, v = np.ascontiguousarray(uv.T)
    known = np.isfinite(u + v)
    if not known.all():
        u, v = np.where(known, u, 0.0), np.where(known, v, 0.0)
    x = (u * width - 0.5).astype(np.float32)
    y = ((1 - v) * height - 0.5).astype(np.float32)
    out = np.empty((len(uv), 3), np.float32)
    step = 16_384  # cv2.remap takes at most 32,767 columns
    for k in range(0, len(uv), step):
        part = slice(k, k + step)
        out[part] = cv2.remap(
            image, x[None, part], y[None, part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )[0]
    out[~known] = UNTEXTURED
    return out


def _smooth_normals(vertices: Floats, faces: NDArray[np.int32]) -> Floats:
    """(n, 3) normals, averaged over about `SMOOTHING_MM` around; on coarse scans not at all."""
    from scipy import sparse

    n = len(vertices)
    i = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    j = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]])
    i, j = np.r_[i, j], np.r_[j, i]
    length = np.linalg.norm(vertices[j] - vertices[i], axis=1)
    near = sparse.csr_matrix((np.ones(len(i)), (i, j)), shape=(n, n)) + sparse.identity(n)
    near = sparse.diags(1 / np.asarray(near.sum(axis=1)).ravel()) @ near
    rounds = int(np.clip((SMOOTHING_MM / max(float(np.median(length)), 1e-9)) ** 2, 0, 12))
    normals = vertex_normals(vertices, faces)
    for _ in range(rounds):
        normals = near @ normals
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return np.asarray(normals)


# ------------------------------------------------------------------------------------------------ cameras


def turned(axes: Floats, yaw_deg: float, pitch_deg: float) -> Floats:
    """(3, 3) rows right, up, towards the camera, after walking around a head whose axes are the rows given.

    Positive yaw walks to the subject's left, positive pitch upwards.
    """
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    return np.asarray(np.stack([right, np.cross(towards, right), towards]) @ axes)


def head_camera(
    pose: Floats, yaw_deg: float = 0.0, pitch_deg: float = 0.0, width_mm: float = FACE_MM
) -> Camera:
    """The camera for the point network that frames a head with the pose (4, 4), head -> scan, mm, see `face_width`."""
    axes = pose[:3, :3].T
    target = pose[:3, 3] - 5.0 * axes[1]
    size = (POINT_SIDE, POINT_SIDE)
    return Camera(target, turned(axes, yaw_deg, pitch_deg), POINT_SIDE / width_mm, size, DISTANCE_MM)


def face_width(points: Floats) -> float:
    """How wide a picture, mm, of a face with 478 points (478, 3) has to be for the point network.

    The network draws an average face where the picture's scale hides the true one: of a short face in a picture for
    an average one the mouth came out 7 mm too low, of a long one 14 mm too high.  What it draws in that picture still
    tells the right scale better, and that is where a few rounds end.
    """
    marks = ibug_from_mediapipe(points)
    eyes = marks[GROUPS["left_eye"]].mean(axis=0), marks[GROUPS["right_eye"]].mean(axis=0)
    height = float(np.linalg.norm((eyes[0] + eyes[1]) / 2 - marks[GROUPS["mouth"]].mean(axis=0)))
    width = EYES_SHARE * eye_distance(marks) + HEIGHT_SHARE * height
    return float(np.clip(width, NARROWEST * FACE_MM, WIDEST * FACE_MM))


def box_camera(camera: Camera, centre_px: Floats, side_px: float, roll_deg: float) -> Camera:
    """The camera for the point network that frames what the face detector found in another camera's picture."""
    off = (centre_px - FACE_SIDE / 2) / camera.pixels_per_mm
    roll = np.radians(roll_deg)
    right, up, towards = camera.axes
    axes = np.stack(
        [right * np.cos(roll) - up * np.sin(roll), up * np.cos(roll) + right * np.sin(roll), towards]
    )
    target = camera.target + off[0] * right - off[1] * up
    scale = POINT_SIDE / (1.5 * side_px / camera.pixels_per_mm)
    return Camera(target, axes, scale, (POINT_SIDE, POINT_SIDE), camera.distance_mm)


# ------------------------------------------------------------------------------------------------ one view


_RING_RADIUS_MM = 1.4


def _ring() -> tuple[Floats, Floats]:
    """Where the rays around a point go, (r, 2) mm in the picture, and their weights (r,), which sum to 1."""
    angles = np.radians(np.arange(0, 360, 60))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    places = np.concatenate([np.zeros((1, 2)), _RING_RADIUS_MM * circle])
    weights = np.exp(-(places**2).sum(axis=1) / (2 * _RING_RADIUS_MM**2))
    return places, weights / weights.sum()


_RING_MM, _RING_WEIGHTS = _ring()


@dataclass(frozen=True)
class View:
    """One rendered view, and the points that the network detected in it.

    Attributes:
        picture_points: (478, 3) px.
        presence: logit that there is a face.
        points: (478, 3) mm, scan frame: on the scan, or at the depth the network expects where the ray misses
            it or meets something that is not the face (the far side of a hole).
        seen: (478,) True where the point is on the scan.
        cosine: (478,) between the ray and the surface there; 0 where not seen.
        misfit_mm: median difference between the depth of the scan and the one the network expects.
    """

    picture_points: Floats
    presence: float
    points: Floats
    seen: Bools
    cosine: Floats
    misfit_mm: float

    @cached_property
    def pose(self) -> Floats:
        """(4, 4) of the head as this view alone has it, head -> scan."""
        return head_pose(self.points, 0.02 + self.cosine**2)

    @cached_property
    def width_mm(self) -> float:
        """How wide the picture of this face should be."""
        return face_width(self.points)


def detect_points(
    scene: Scene,
    camera: Camera,
    networks: PictureNetworks,
    creases: bool = False,
    paint: Paint | None = None,
    marks: Floats | None = None,
) -> View:
    """Render a view, detect the points of a face in it, and lift them to the scan.

    Args:
        creases: take the ends of the mouth from a second picture with dark creases.
        paint: lays colours over what is seen.
        marks: (68, 3) mm about where the face's landmarks are, see `Scene.pictures`.
    """
    picture, creased = scene.pictures(camera, creases, paint, marks)
    found, presence = networks.points(picture)
    if creased is not None:
        found[MOUTH_ENDS] = networks.points(creased)[0][MOUTH_ENDS]
    origins, rays = rays_through(camera, found[:, :2])
    near = _around(scene, camera, found[:, :2])
    hit, cosine = near.share > 0.5, near.cosine
    expected = -found[:, 2] / camera.pixels_per_mm
    middle = _weighted(near.depth, near.weights)
    slope, offset = _fit_depth(expected, middle, np.where(hit, np.clip(cosine, 0, 1), 0.0))
    expected = slope * expected + offset
    # of the surfaces around a point the one counts that lies where the face is expected: the lip, not the throat
    likely = near.weights / (1 + ((near.depth - expected[:, None]) / EXPECTED_MM) ** 2) ** 2
    depth = _weighted(near.depth, likely)
    misfit = np.abs(depth - expected)
    seen = hit & (misfit < MAX_OFF_MM)
    # faded, not switched: a switch would let a point jump when the camera moves a little
    trust = near.share * np.clip(2 - 2 * misfit / MAX_OFF_MM, 0, 1)
    along = (expected + trust * (depth - expected) - camera.depth(origins)) / (rays @ camera.axes[2])
    return View(
        found,
        presence,
        origins + along[:, None] * rays,
        np.asarray(seen),
        np.where(seen, cosine, 0.0),
        float(np.median(misfit[hit])) if hit.any() else np.inf,
    )


class _Around(NamedTuple):
    """The surface around points of a picture: depth, weights (k, r) of the rays around each point, weight 0 where none
    meets the front of a triangle; share (k,) of the weight that does; cosine (k,) between rays and surface."""

    depth: Floats
    weights: Floats
    share: Floats
    cosine: Floats


def _around(scene: Scene, camera: Camera, pixels: Floats) -> _Around:
    """What rays around picture points (k, 2) meet: a single one jumps where surfaces lie behind each other."""
    k, r = len(pixels), len(_RING_MM)
    origins, rays = rays_through(
        camera, (pixels[:, None] + _RING_MM * camera.pixels_per_mm).reshape(k * r, 2)
    )
    hits = scene.surface.cast(origins - scene.centre, rays)
    corners = np.take(scene.vertices, np.take(scene.mesh.faces, hits.triangles, axis=0), axis=0)
    depth = camera.depth(np.einsum("kc,kcx->kx", hits.weights, corners) + scene.centre)
    cosine = -np.einsum("kx,kx->k", np.take(scene.normals, hits.triangles, axis=0), rays)
    front = np.clip((cosine - 0.05) / 0.1, 0, 1) * hits.hit
    weights = front.reshape(k, r) * _RING_WEIGHTS
    depth = np.where(front > 0, depth, 0.0).reshape(k, r)
    return _Around(depth, weights, weights.sum(axis=1), _weighted(cosine.reshape(k, r), weights))


def _weighted(values: Floats, weights: Floats) -> Floats:
    """(k,) weighted means of values (k, r); 0 where nothing has a weight."""
    return np.asarray((values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12))


def rays_through(camera: Camera, pixels: Floats) -> tuple[Floats, Floats]:
    """Origins and unit directions (k, 3) of a pinhole camera's rays through picture points (k, 2), px."""
    half = np.array([camera.size[1], camera.size[0]]) / 2
    plane = (pixels - half) * [1.0, -1.0] / camera.pixels_per_mm @ camera.axes[:2]
    rays = plane / camera.distance_mm - camera.axes[2]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.broadcast_to(camera.eye, rays.shape), rays


def _fit_depth(expected: Floats, depth: Floats, weights: Floats) -> tuple[float, float]:
    """Slope and offset of depth against what the network expects, robustly (Geman-McClure, 6 mm)."""
    used = weights > 0
    if not used.any():
        return 1.0, 0.0
    slope, offset = 1.0, float(np.median((depth - expected)[used]))
    for _ in range(8):
        w = weights / (1 + ((depth - slope * expected - offset) / 6.0) ** 2) ** 2
        w = w / w.sum()
        e, d = w @ expected, w @ depth
        slope = float(
            np.clip((w * (expected - e)) @ (depth - d) / max(w @ (expected - e) ** 2, 1e-9), 0.5, 1.8)
        )
        offset = float(d - slope * e)
    return slope, offset
