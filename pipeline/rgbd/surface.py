"""A depth picture -> the surface it shows: what of it is the head, where it is cut, how far it is smoothed.

Neighbouring pixels lie on one surface where their depths differ by no more than a surface would that is seen at
`GRAZING_DEG`, and by what noise adds.  So the bound grows with the distance, as a pixel does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import components
from mimicme.pipeline.rgbd.camera import Camera
from mimicme.pipeline.rgbd.depth_image import DepthPicture

REASON = "depth-empty"
GRAZING_DEG = 78.0
NOISE_JUMP = 4.0
"""Standard deviations of the noise that two neighbours may differ by on top."""
HEAD_MM = 80.0
"""Width and height that a piece must have at least to be the head."""
NEAR_HEAD_MM = 200.0
"""Pieces whose middle is so near to the head's belong to it: an ear behind a cheek, a cheek behind the nose."""
SMALLEST_PIECE = 40
FINEST_MM = 0.8
"""Pixels that lie closer are joined: a face has 100,000 of these."""
NORMAL_ERROR = 0.08
"""Standard deviation of the slope that smoothing leaves of the noise: normals within about 5 degrees."""
MOST_SMOOTHING_MM = 3.0
TRUSTED_PX = 3
"""Pixels from a border or a jump of depth within which no colour is taken."""


@dataclass(frozen=True)
class DepthSurface:
    """The head in a depth picture.

    Attributes:
        camera: whose pixels these are: the depth camera, with fewer of them where it has more than a scan needs.
        depth: (height, width) mm, smoothed; NaN outside the head.
        rays: (height, width, 3) as of `Camera.rays`.
        faces: (t, 3) indices of pixels, row by row, counter-clockwise seen by the camera.
        trusted: (height, width) away from borders and jumps of depth.
        noise_mm: standard deviation of what neighbouring pixels do not have in common.
        smoothed_mm: standard deviation of the window that it was smoothed with; 0: not at all.
        pitch_mm: from one pixel to the next at the head.
    """

    camera: Camera
    depth: Floats
    rays: Floats
    faces: Ints
    trusted: Bools
    noise_mm: float
    smoothed_mm: float
    pitch_mm: float

    @property
    def points(self) -> Floats:
        """(height * width, 3) mm in the camera's axes; NaN outside the head."""
        return np.asarray(self.rays * self.depth[:, :, None]).reshape(-1, 3)


def find_surface(
    picture: DepthPicture, camera: Camera, near_mm: float, far_mm: float, name: str
) -> DepthSurface:
    """The head's surface in a depth picture.

    Args:
        near_mm, far_mm: what is nearer or farther is left out.
        name: of the picture, for errors.

    Raises:
        FrameRejected: `depth-empty` - nothing of a head's size lies between these.
    """
    with np.errstate(invalid="ignore"):
        depth = np.where((picture.mm >= near_mm) & (picture.mm <= far_mm), picture.mm, np.nan)
    depth, camera = coarser(depth, camera)
    rays = camera.rays()
    depth[np.isnan(rays).any(axis=2)] = np.nan
    focal = (camera.fx + camera.fy) / 2
    noise = noise_of(depth, picture.step_mm)
    faces = _triangles(depth, focal, noise)
    faces = faces[_of_head(rays, depth, faces, name)]
    inside = np.zeros(depth.size, bool)
    inside[faces] = True
    depth[~inside.reshape(depth.shape)] = np.nan
    pitch = float(np.nanmedian(depth)) / focal
    window = smoothing_mm(noise, pitch)
    box = _box(depth)
    depth[box] = smoothed(depth[box], window / pitch, focal, noise)
    return DepthSurface(camera, depth, rays, faces, _trusted(depth, faces), noise, window, pitch)


def coarser(depth: Floats, camera: Camera) -> tuple[Floats, Camera]:
    """The depth with so few pixels that those on what is nearest are not finer than `FINEST_MM`: the lower median of
    square blocks, which is always a depth that was measured."""
    known = depth[np.isfinite(depth)]
    # most of a picture may be a wall
    pitch = float(np.percentile(known, 10)) * 2 / (camera.fx + camera.fy) if len(known) else np.inf
    by = int(min(FINEST_MM / pitch, min(depth.shape) // 16))
    if by < 2:
        return depth, camera
    height, width = depth.shape[0] // by, depth.shape[1] // by
    blocks = depth[: height * by, : width * by].reshape(height, by, width, by)
    blocks = np.sort(blocks.transpose(0, 2, 1, 3).reshape(height, width, by * by), axis=2)
    count = np.isfinite(blocks).sum(axis=2)
    middle = np.take_along_axis(blocks, np.maximum((count - 1) // 2, 0)[..., None], axis=2)[..., 0]
    middle[2 * count < by * by] = np.nan
    return middle, Camera(
        width,
        height,
        camera.fx / by,
        camera.fy / by,
        (camera.cx + 0.5) / by - 0.5,
        (camera.cy + 0.5) / by - 0.5,
        camera.distortion,
    )


def _box(depth: Floats) -> tuple[slice, slice]:
    """The part of a picture that holds anything."""
    there = np.isfinite(depth)
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def noise_of(depth: Floats, step_mm: float = 0.0) -> float:
    """Standard deviation, mm, of what neighbouring pixels do not have in common: by second differences along rows.

    At least what rounding to steps of `step_mm` adds.
    """
    second = depth[:, :-2] - 2 * depth[:, 1:-1] + depth[:, 2:]
    second = np.abs(second[np.isfinite(second)])
    found = 1.4826 * float(np.median(second)) / np.sqrt(6) if len(second) else 0.0
    return float(max(found, step_mm / np.sqrt(12)))


def smoothing_mm(noise_mm: float, pitch_mm: float) -> float:
    """Standard deviation of the Gaussian that leaves slopes uncertain by `NORMAL_ERROR`.

    White noise of standard deviation s at a pitch p has slopes of s p / (sqrt(8 pi) w^2) after a Gaussian w.
    """
    window = np.sqrt(noise_mm * pitch_mm / (np.sqrt(8 * np.pi) * NORMAL_ERROR))
    return float(min(window, MOST_SMOOTHING_MM)) if window > 0.3 * pitch_mm else 0.0


def jump_mm(depth: Floats, focal: float, noise_mm: float, pixels: float = 1.0) -> Floats:
    """By how much depths may differ so many pixels apart on one surface."""
    slope = np.tan(np.radians(GRAZING_DEG))
    return np.asarray(slope * pixels * depth / focal + NOISE_JUMP * noise_mm)


def smoothed(depth: Floats, window_px: float, focal: float, noise_mm: float) -> Floats:
    """The depth after a Gaussian within one surface, applied twice so that curved places keep their height (twicing:
    Tukey 1977); NaN stays."""
    if window_px <= 0:
        return depth
    once = _averaged(depth, depth, window_px, focal, noise_mm)
    return np.asarray(2 * once - _averaged(once, depth, window_px, focal, noise_mm))


def _averaged(values: Floats, depth: Floats, window_px: float, focal: float, noise_mm: float) -> Floats:
    reach = max(1, int(np.ceil(2.5 * window_px)))
    total, weight = np.zeros_like(values), np.zeros_like(values)
    height, width = values.shape
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            w = float(np.exp(-(dx * dx + dy * dy) / (2 * window_px**2)))
            if w < 0.02:
                continue
            here = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
            there = (slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx)))
            limit = jump_mm(depth[here], focal, noise_mm, max(1.0, float(np.hypot(dx, dy))))
            with np.errstate(invalid="ignore"):
                one = np.abs(depth[there] - depth[here]) <= limit
            total[here] += np.where(one, w * np.nan_to_num(values[there]), 0)
            weight[here] += np.where(one, w, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight)


def _triangles(depth: Floats, focal: float, noise_mm: float) -> Ints:
    """(t, 3) of every square of four pixels, along the diagonal with the smaller step; not across jumps."""
    height, width = depth.shape
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    flat = depth.ravel()
    with np.errstate(invalid="ignore"):
        falling = np.abs(flat[a] - flat[d])
        rising = np.abs(flat[b] - flat[c])
    # a diagonal with an end that was not measured is none
    use_falling = np.nan_to_num(falling, nan=np.inf) <= np.nan_to_num(rising, nan=np.inf)
    # y points down and z away: a, c, b is counter-clockwise for the camera
    first = np.where(use_falling[..., None], np.stack([a, c, d], -1), np.stack([a, c, b], -1))
    second = np.where(use_falling[..., None], np.stack([a, d, b], -1), np.stack([b, c, d], -1))
    faces = np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
    corner = flat[faces]
    with np.errstate(invalid="ignore"):
        nearest = corner.min(axis=1)
        one = np.ptp(corner, axis=1) <= jump_mm(nearest, focal, noise_mm)
    return np.asarray(faces[one], np.int32)


def _of_head(rays: Floats, depth: Floats, faces: Ints, name: str) -> Bools:
    """(t,) True for triangles of the nearest piece that is as large as a face, and of those around it."""
    points = (rays * depth[:, :, None]).reshape(-1, 3)
    used, where = np.unique(faces, return_inverse=True)
    if not len(used):
        raise _nothing(name, "no two neighbouring pixels of one surface")
    local = np.asarray(where.reshape(-1, 3), np.int32)
    count, piece = components(local, len(used))
    places = points[used]
    order = np.argsort(piece, kind="stable")
    starts = np.searchsorted(piece[order], np.arange(count + 1))
    sizes = np.diff(starts)
    middles: dict[int, Floats] = {}
    candidates = []
    for k in map(int, np.flatnonzero(sizes >= SMALLEST_PIECE)):
        own = places[order[starts[k] : starts[k + 1]]]
        middles[k] = np.median(own, axis=0)
        low, high = np.percentile(own[:, :2], [2, 98], axis=0)
        if (high - low).min() >= HEAD_MM:
            candidates.append(k)
    if not candidates:
        widest = sizes.max(initial=0)
        raise _nothing(name, f"the largest piece has {widest:,} pixels and is less than {HEAD_MM:g} mm wide")
    head = min(candidates, key=lambda k: float(middles[k][2]))
    keep = np.zeros(count, bool)
    for k, middle in middles.items():
        near = float(np.linalg.norm(middle - middles[head])) <= NEAR_HEAD_MM
        # a larger one as wide as a head is what the head leans on
        keep[k] = k == head or (near and (k not in candidates or sizes[k] < sizes[head]))
    return np.asarray(keep[piece[local[:, 0]]])


def _nothing(name: str, seen: str) -> FrameRejected:
    return FrameRejected(
        REASON,
        "there is no head in the depth picture",
        where=name,
        seen=seen,
        expected=f"a piece of at least {HEAD_MM:g} x {HEAD_MM:g} mm between near_mm and far_mm",
        todo="Correct unit_mm, near_mm or far_mm in rgbd.toml; or there is nobody in this frame.",
    )


def _trusted(depth: Floats, faces: Ints) -> Bools:
    """Pixels whose neighbourhood is whole: every square of pixels around has its triangles."""
    from scipy.ndimage import binary_erosion

    corners = np.bincount(faces.ravel(), minlength=depth.size).reshape(depth.shape)
    # inside a net each pixel has 4 to 8 corners of triangles; two by each square but at a cut
    squares = np.zeros((depth.shape[0] - 1, depth.shape[1] - 1), np.int8)
    low = faces.min(axis=1)
    row, column = np.divmod(low, depth.shape[1])
    # the least index of `b, c, d` is the square's right upper pixel
    column = column - (np.sort(faces, axis=1)[:, 1] - low == depth.shape[1] - 1)
    np.add.at(squares, (row, column), 1)
    whole = squares == 2
    inside = np.zeros(depth.shape, bool)
    inside[1:-1, 1:-1] = whole[:-1, :-1] & whole[:-1, 1:] & whole[1:, :-1] & whole[1:, 1:]
    inside &= corners > 0
    return np.asarray(binary_erosion(inside, np.ones((3, 3), bool), iterations=TRUSTED_PX - 1))
