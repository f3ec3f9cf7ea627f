"""A small release whose linear model is known: what the tests of models and experiments measure against.

Every frame is template + identity + expression + noise, all of it returned as `KnownRelease`:

    vertices[s, f] = template + identity_coefs[s] @ identity_basis + expression_coefs[s, f] @ expression_basis + e

with |e| <= noise_mm in every coordinate.  Both bases are orthonormal; coefficients are lengths in mm (of the whole
shape, so a coefficient of 30 over 600 vertices moves them by about 1 mm).  A sequence runs neutral - apex -
neutral.  Age and gender follow from the first two identity coefficients, the texture from the expression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mimicme.pipeline.captures.expressions import LABELS
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.release.layout import quality_dtype
from mimicme.pipeline.release.writer import ReleaseWriter
from mimicme.pipeline.template import Template

EXPRESSIONS = ("anger", "happiness", "pout", "sadness", "surprise", "mouth_left")
IDENTITY_MM = (2.4, 1.8, 1.3, 0.9, 0.6)  # standard deviation, as root mean square over the vertices
TEXTURE_PX = 24

# where an expression moves the face: landmark, mm at the apex (x, y, z), reach in mm
_MOVES: dict[str, tuple[tuple[int, tuple[float, float, float], float], ...]] = {
    "anger": ((21, (3, -6, 1), 18), (22, (-3, -6, 1), 18), (51, (0, -2, 0), 12)),
    "happiness": ((48, (-6, 6, -2), 18), (54, (6, 6, -2), 18)),
    "pout": ((51, (0, 0, 7), 14), (57, (0, 0, 7), 14)),
    "sadness": ((48, (1, -6, 0), 16), (54, (-1, -6, 0), 16), (21, (0, 4, 0), 14), (22, (0, 4, 0), 14)),
    "surprise": ((8, (0, -12, -3), 40), (19, (0, 6, 0), 20), (24, (0, 6, 0), 20)),
    "mouth_left": ((48, (7, 0, 0), 20), (54, (7, 0, 1), 20)),
}


@dataclass(frozen=True)
class KnownRelease:
    """A release file and the truth about it.

    Attributes:
        path: the release.  template: (V, 3) vertices and 68 landmarks.
        identity_basis: (I, V, 3) and expression_basis: (E, V, 3), each orthonormal.
        identity_coefs: (I,) by subject.
        expression_coefs: (F, E) by item; zero in a neutral frame.
        amounts: (F,) by item: 0 neutral, 1 apex.
        rejected: (item, row) of the frames that were rejected.
        noise_mm: bound of the noise in a coordinate.
    """

    path: Path
    template: Template
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    noise_mm: float
    identity_coefs: dict[str, np.ndarray] = field(default_factory=dict)
    expression_coefs: dict[Item, np.ndarray] = field(default_factory=dict)
    amounts: dict[Item, np.ndarray] = field(default_factory=dict)
    rejected: list[tuple[Item, int]] = field(default_factory=list)

    def clean(self, item: Item) -> np.ndarray:
        """(F, V, 3) float64 mm, the frames of a sequence without noise."""
        neutral = self.template.vertices + np.tensordot(
            self.identity_coefs[item.subject], self.identity_basis, 1
        )
        return np.asarray(neutral + np.tensordot(self.expression_coefs[item], self.expression_basis, 1))


def write_known_release(
    path: Path,
    *,
    subjects: int = 14,
    expressions: tuple[str, ...] = EXPRESSIONS,
    frames: int = 5,
    noise_mm: float = 0.15,
    rejected: int = 3,
    seed: int = 0,
    columns: int = 22,
    texture: bool = True,
    still: bool = False,
) -> KnownRelease:
    """Write the release to `path` and return what is true about it.

    Args:
        frames: of an expression, odd: the apex is amid; `neutral` has one.
        rejected: frames, spread over the sequences, that have no vertices; never an apex, never a neutral.
        columns: of the face's grid; it has about 1.3 times as many rows.
        still: nobody moves, whatever the expression is called.
    """
    assert set(expressions) <= set(LABELS), "labels are MimicMe's"
    shape = face_template(columns)
    rng = np.random.default_rng(seed)
    known = KnownRelease(path, shape, _identity_basis(shape, rng), _expression_basis(shape), noise_mm)
    fields = np.array([apex_field(shape, e) for e in expressions])
    apexes = np.einsum("lvx,evx->le", fields, known.expression_basis)
    made_of = f"known {subjects} {expressions} {frames} {noise_mm} {rejected} {seed} {columns} {still}"
    with ReleaseWriter(
        path, created="2024-01-01T00:00:00Z", licence="", config="{}", fingerprint=made_of
    ) as out:
        out.template(shape)
        for s in range(subjects):
            subject = f"S{s:03d}"
            draws = np.clip(rng.standard_normal(len(IDENTITY_MM)), -2, 2)
            known.identity_coefs[subject] = draws * np.sqrt(len(shape.vertices)) * np.array(IDENTITY_MM)
            out.subject(
                subject,
                {
                    "age": int(np.clip(round(40 + 12 * draws[1] + rng.normal(scale=2)), 18, 80)),
                    "gender": "female" if draws[0] > 0 else "male",
                    "ethnicity": ("asian", "black", "white")[s % 3],
                    "consent": "yes",
                },
            )
            for label in sorted(("neutral", *expressions)):
                amounts = np.zeros(1)
                coefs = np.zeros((1, len(known.expression_basis)))
                if label != "neutral":
                    amounts = np.sin(np.pi * np.arange(frames) / max(frames - 1, 1)) ** 2
                    amounts[[0, -1]] = 0
                    strength = rng.uniform(0.75, 1.05)
                    own = apexes[expressions.index(label)]
                    own = own * strength + rng.normal(scale=0.06 * np.linalg.norm(own), size=own.shape)
                    coefs = amounts[:, None] * own * (not still)
                item = Item(subject, label)
                known.expression_coefs[item], known.amounts[item] = coefs, amounts
                unlucky = s % 2 == 1 and label == expressions[s % len(expressions)]
                lost = {max(frames // 2 - 1, 0)} if unlucky and len(known.rejected) < rejected else set[int]()
                known.rejected.extend((item, row) for row in sorted(lost))
                _write_sequence(out, known, item, lost, rng, texture)
    return known


def face_template(columns: int = 22) -> Template:
    """A face-like sheet with a nose: (V, 3) mm, 68 landmarks on vertices, one uv per vertex."""
    rows = round(columns * 1.3)
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows)))
    x, y = 160 * (u - 0.5), 200 * (v - 0.5)
    nose = 22 * np.exp(
        -((x / 11) ** 2) - (np.clip(y - 30, 0, None) / 8) ** 2 - (np.clip(y + 5, None, 0) / 9) ** 2
    )
    z = 60 - (x / 14) ** 2 - (y / 22) ** 2 + nose
    vertices = np.stack([x, y, z], axis=1)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + columns + 1, corner + columns
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    nearest = np.linalg.norm(vertices[None, :, :2] - landmark_places()[:, None], axis=2).argmin(axis=1)
    at = np.array([int(np.flatnonzero((faces == v).any(axis=1))[0]) for v in nearest])
    return Template(
        vertices=vertices,
        faces=faces,
        uv=0.05 + 0.9 * np.stack([u, v], 1),
        uv_faces=faces,
        landmark_names=tuple(IBUG68),
        landmark_vertices=faces[at].astype(np.int64),
        landmark_weights=(faces[at] == nearest[:, None]).astype(float),
        name="known",
        digest="1" * 64,
    )


def landmark_places() -> np.ndarray:
    """(68, 2) mm: where iBUG-68 lies on a face seen from the front; x < 0 is the subject's right."""
    turn = np.linspace(np.pi, 2 * np.pi, 17)
    jaw = np.stack([70 * np.cos(turn), 20 + 100 * np.sin(turn)], 1)
    brow = np.array([(-55, 44), (-45, 50), (-35, 52), (-25, 51), (-15, 47)])
    nose = [(0, 30), (0, 20), (0, 8), (0, -4), (-12, -14), (-6, -15), (0, -16), (6, -15), (12, -14)]
    eye = np.array([(-44, 30), (-37, 35), (-29, 35), (-21, 30), (-29, 27), (-37, 27)])
    lips = [(-25, -40), (-16, -34), (-7, -31), (0, -33), (7, -31), (16, -34)]
    lips += [(25, -40), (16, -48), (7, -52), (0, -53), (-7, -52), (-16, -48)]
    lips += [(-20, -40), (-8, -38), (0, -39), (8, -38), (20, -40), (8, -43), (0, -44), (-8, -43)]
    mirror = np.array([-1, 1])
    left_eye = (eye * mirror)[[3, 2, 1, 0, 5, 4]]
    return np.concatenate([jaw, brow, (brow * mirror)[::-1], nose, eye, left_eye, lips]).astype(float)


def apex_field(shape: Template, label: str) -> np.ndarray:
    """(V, 3) mm: how an expression at its apex moves the face."""
    points = shape.landmarks()
    moved = np.zeros_like(shape.vertices)
    for landmark, move, reach in _MOVES[label]:
        distance = np.linalg.norm(shape.vertices - points[landmark], axis=1)
        moved += np.exp(-((distance / reach) ** 2))[:, None] * np.array(move, float)
    return moved


def _expression_basis(shape: Template) -> np.ndarray:
    flat = np.array([apex_field(shape, e).ravel() for e in _MOVES])
    return np.asarray(np.linalg.qr(flat.T)[0].T.reshape(len(flat), -1, 3))


def _identity_basis(shape: Template, rng: np.random.Generator) -> np.ndarray:
    """Smooth random fields, orthonormal and apart from the expressions."""
    expression = _expression_basis(shape).reshape(len(_MOVES), -1)
    waves = []
    for _ in IDENTITY_MM:
        where = rng.normal(scale=1 / 60, size=(3, 3))
        waves.append(np.cos(shape.vertices @ where + rng.uniform(0, 6, 3)).ravel())
    flat = np.array(waves)
    flat -= flat @ expression.T @ expression
    return np.asarray(np.linalg.qr(flat.T)[0].T.reshape(len(flat), -1, 3))


def _write_sequence(
    out: ReleaseWriter,
    known: KnownRelease,
    item: Item,
    lost: set[int],
    rng: np.random.Generator,
    texture: bool,
) -> None:
    shape = known.template
    clean = known.clean(item)
    noisy = clean + rng.uniform(-known.noise_mm, known.noise_mm, clean.shape)
    n = len(clean)
    statuses = ["rejected" if row in lost else "ok" for row in range(n)]
    noisy[sorted(lost)] = np.nan
    sequence = out.sequence(
        item,
        name=item.sequence,
        expression=item.sequence,
        fps=60.0,
        file_from_scan=np.eye(4),
        numbers=np.arange(n),
        statuses=statuses,
    )
    sequence.array("vertices", noisy.astype(np.float32))
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[sorted(lost)] = np.nan
    sequence.array("pose", poses)
    marks = np.array([shape.landmarks(v) for v in noisy])
    marks += rng.normal(scale=0.3, size=marks.shape)
    present = np.isfinite(marks).all(axis=2)
    sequence.array("landmarks", marks.astype(np.float32))
    sequence.array("landmark_source", np.where(present, 3, 0).astype(np.uint8))
    sequence.array("landmark_confidence", present.astype(np.float32))
    images = [_picture(known, item, row, rng) if texture and row not in lost else b"" for row in range(n)]
    whole = encode(np.full((TEXTURE_PX, TEXTURE_PX), 255, np.uint8), "png")
    covers = [whole if image else b"" for image in images]
    for name, data in (("texture", images), ("coverage", covers)):
        sequence.images(name, [len(d) for d in data], "png")
        for row, encoded in enumerate(data):
            sequence.put_image(name, row, np.frombuffer(encoded, np.uint8))
    table = np.zeros(n, quality_dtype([]))
    table["status"] = [s.encode() for s in statuses]
    table["reason"] = [b"register-misfit" if row in lost else b"" for row in range(n)]
    for name in ("s2m_median", "s2m_p95", "landmark_error"):
        table[name] = [np.nan if row in lost else 0.2 for row in range(n)]
    words = ["the fitted surface does not reach the scan" if row in lost else "" for row in range(n)]
    sequence.quality(table, dict.fromkeys(("s2m_median", "s2m_p95", "landmark_error"), "mm"), words)


def _picture(known: KnownRelease, item: Item, row: int, rng: np.random.Generator) -> bytes:
    """A texture that darkens where the expression moves the skin, on a tone of the subject's own."""
    tone = 120 + 40 * np.tanh(known.identity_coefs[item.subject][2] / 30)
    moved = np.linalg.norm(np.tensordot(known.expression_coefs[item][row], known.expression_basis, 1), axis=1)
    image = np.full((TEXTURE_PX, TEXTURE_PX, 3), tone)
    at = np.clip((known.template.uv * TEXTURE_PX).astype(int), 0, TEXTURE_PX - 1)
    darker = np.zeros((TEXTURE_PX, TEXTURE_PX))
    np.maximum.at(darker, (TEXTURE_PX - 1 - at[:, 1], at[:, 0]), moved)
    image -= 6 * darker[:, :, None]
    image += rng.normal(scale=4, size=image.shape)
    return encode(np.clip(image, 0, 255).astype(np.uint8), "png")
