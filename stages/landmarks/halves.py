"""A face of which a scanner took one side is completed by its mirror image, and looked at as a whole one.

The networks know whole faces: of half a face they miss points by a centimetre, or see none.  Faces are nearly
symmetric, so that what is missing is shown by its mirror image; only points on the scan itself are kept.

Where the middle of the face is the networks see no better than to 3 mm and 7 degrees there.  The surface says it:
across the middle of a symmetric surface its depth is an even function.  In slices from forehead to chin, an even
polynomial is fitted to the depth within `BESIDE_MM` of the middle; offset and turn of the middle are those that leave
the least (variable projection: Golub and Pereyra 1973).  Of degree 4 it bends too little beside the ridge of a nose:
where one side alone is seen the middle came out 1.6 mm inside of it, of 28 halves, whose mean error equals this bias.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import Mesh, inverse, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.landmarks.views import View

# Share of the 478 points that a frontal view sees of each side, further from the middle than this: of `synth`'s whole
# faces 0.91 and more, of halves 0.0 and 0.85 to 0.96, of halves with 20 mm of the other side 0.31 to 0.37.
MIDDLE_MM = 8.0
MISSING, THERE = 0.5, 0.75
BESIDE_MM = 12.0  # around the middle: the ridge of the nose and the beginning of its sides, half of the mouth
EVEN = (2, 4, 6)  # powers of the distance from the middle, in `BESIDE_MM`
SLICE_MM, TOP_MM, BOTTOM_MM = 8.0, 72.0, -88.0  # in the head's axes, from hair to chin
STEP_MM = 1.5
LEAST_IN_SLICE = 24
# A depth further from the even polynomial than this counts less: nostrils, a mole, a mouth that is drawn to one side.
OFF_MM = 0.5
ROUNDS = 8
# Of offset (mm), yaw and roll (sines): how far off the networks have them, in units of what a slice's depth is off by;
# what is corrected at most; and what is nothing.
PRIOR = np.array([4.0, 0.03, 0.02])
MOST, SETTLED = np.array([8.0, 0.25, 0.15]), np.array([0.02, 0.0005, 0.0005])
SAME_MM = 0.7  # mirrored vertices closer to the scan show what it has itself
RIM_MM = 2.0  # a landmark further from the scan lies on the mirror image


def missing_side(view: View) -> int:
    """Which side of a face a frontal view of it does not see: 1 the subject's left, -1 the right, 0 neither."""
    across = (view.points - view.pose[:3, 3]) @ view.pose[:3, 0]
    sides = across > MIDDLE_MM, across < -MIDDLE_MM
    if not all(side.any() for side in sides):  # points beside the head's pose: no face as it is drawn
        return 0
    left, right = (float(view.seen[side].mean()) for side in sides)
    if left < MISSING and right > THERE:
        return 1
    return -1 if right < MISSING and left > THERE else 0


def middle_of(surface: Surface, centre: Floats, pose: Floats) -> Floats:
    """(4, 4) the pose of a head, turned and shifted so that its yz plane is the middle of the face's surface.

    Args:
        surface: of the scan, its vertices relative to centre (3,).
        pose: (4, 4) about where the head is, head -> scan, mm.
    """
    moves, there = np.zeros(3), pose
    for _ in range(ROUNDS):
        places = _depths(surface, centre, there)
        if places is None:
            return there
        step = _even(*places, moves)
        moves = np.clip(moves + step, -MOST, MOST)
        there = pose @ _moved(*moves)
        if (np.abs(step) < SETTLED).all():
            break
    return there


def _moved(offset: float, yaw: float, roll: float) -> Floats:
    """(4, 4) a plane x = 0 shifted along its normal by mm, and turned (sines)."""
    x = np.array([1.0, roll, yaw])
    x /= np.linalg.norm(x)
    z = np.array([0.0, 0.0, 1.0]) - x[2] * x
    z /= np.linalg.norm(z)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = np.stack([x, np.cross(z, x), z], axis=1), x * offset
    return motion


def _depths(surface: Surface, centre: Floats, pose: Floats) -> tuple[Floats, Floats, Floats] | None:
    """What rays from before the face meet beside its middle: x, y, z (k,) in the head's axes; None: too little."""
    x, y = np.meshgrid(
        np.arange(-BESIDE_MM, BESIDE_MM + 1e-9, STEP_MM), np.arange(BOTTOM_MM, TOP_MM, STEP_MM)
    )
    from_ = np.stack([x.ravel(), y.ravel(), np.full(x.size, 150.0)], axis=1)
    hits = surface.cast(transform(pose, from_) - centre, np.broadcast_to(-pose[:3, 2], from_.shape))
    there = np.asarray(hits.hit)
    if there.sum() < 4 * LEAST_IN_SLICE:
        return None
    return from_[there, 0], from_[there, 1], from_[there, 2] - np.asarray(hits.distances)[there]


def _even(x: Floats, y: Floats, z: Floats, before: Floats) -> Floats:
    """(3,) offset (mm), yaw and roll (sines) of the plane across which depths z at (x, y) are even."""
    near = np.abs(z - np.median(z)) < 60
    x, y, z = x[near], y[near], z[near]
    slices = np.floor((y - BOTTOM_MM) / SLICE_MM).astype(int)
    rows = [k for s in np.unique(slices) if len(k := np.flatnonzero(slices == s)) >= LEAST_IN_SLICE]
    weights = np.ones(len(x))
    step = np.zeros(3)
    for _ in range(6):
        residuals, columns = [], []
        for k in rows:
            s = (x[k] + step[2] * y[k] + step[1] * z[k] - step[0]) / BESIDE_MM
            depth = z[k] - step[1] * x[k]
            beside = y[k] - y[k].mean()
            basis = np.stack([np.ones(len(k)), beside, *(s**power for power in EVEN)], axis=1)
            root = np.sqrt(weights[k])[:, None]
            q, _ = np.linalg.qr(basis * root)
            fit = q @ (q.T @ (depth * root[:, 0]))
            coefficients = np.linalg.lstsq(basis * root, depth * root[:, 0], rcond=None)[0]
            slope = (
                np.stack([power * s ** (power - 1) for power in EVEN], axis=1) @ coefficients[2:]
            ) / BESIDE_MM
            # d residual / d (offset, yaw, roll), its part within the basis taken off (Kaufman 1975)
            change = np.stack([slope, -x[k] - slope * z[k], -slope * y[k]], axis=1) * root
            columns.append(change - q @ (q.T @ change))
            residuals.append(depth * root[:, 0] - fit)
        if not rows:
            return np.zeros(3)
        a, r = np.concatenate(columns), np.concatenate(residuals)
        prior = np.diag(PRIOR**-2.0)
        step = step - np.linalg.solve(a.T @ a + prior, a.T @ r + prior @ (before + step))
        step = np.clip(step, -MOST, MOST)
        where = np.concatenate(rows)
        weights[where] = 1 / (1 + (r / np.sqrt(weights[where]) / OFF_MM) ** 2) ** 2
    return step


def completed(mesh: Mesh, surface: Surface, centre: Floats, pose: Floats) -> Mesh:
    """A scan with its mirror image across the middle of its head (pose: (4, 4), head -> scan) where it has nothing."""
    across = pose @ np.diag([-1.0, 1.0, 1.0, 1.0]) @ inverse(pose)
    mirrored = transform(across, mesh.vertices)
    missing = surface.distance(mirrored - centre) > SAME_MM
    new = missing[mesh.faces].any(axis=1)
    uv_faces, colors = mesh.uv_faces, mesh.colors
    return Mesh(
        np.concatenate([mesh.vertices, mirrored]),
        np.concatenate([mesh.faces, mesh.faces[new][:, ::-1] + len(mirrored)]).astype(np.int32),
        mesh.uv,
        None if uv_faces is None else np.concatenate([uv_faces, uv_faces[new][:, ::-1]]),
        colors=None if colors is None else np.concatenate([colors, colors]),
    )
