"""The checks by name: what each promises of a release, and what to do where it does not hold.

A finding has the name of the check that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

AGAIN = "Copy it again, with what lies beside it; if it is your own, pack it again."
STRANGE = "Do not use it. If it is your own, pack it again with this version; else ask who made it."

LOOK = "Look at it; the release can be used."
"""Of a warning, whatever made it."""


class Check(NamedTuple):
    """What holds in a release, and what to do where it does not."""

    promise: str
    todo: str


CHECKS: Mapping[str, Check] = {
    "file": Check("It is an HDF5 file, and HDF5 can read it to its end.", AGAIN),
    "structure": Check(
        "Links, types, filters, sizes and chunks are those of a release, so that all of it may be read.",
        STRANGE,
    ),
    "root": Check("The root says schema, licence, units, time and settings.", STRANGE),
    "template": Check(
        "The template is a mesh with a layout and landmarks; all indices are in range.", STRANGE
    ),
    "subjects": Check(
        "Every subject has its attributes, and a consent that is no refusal.",
        "Correct the table of subjects and pack again; who refuses: `mimicme withdraw`.",
    ),
    "sequences": Check("Every sequence has its attributes and all its fields, of one length.", STRANGE),
    "fields": Check("A dataset has the type, shape, unit and filters that the layout gives it.", STRANGE),
    "chunks": Check(
        "Every chunk can be read and fits its checksum.", AGAIN + " Other frames can still be read."
    ),
    "digests": Check("What no checksum covers is as it was written (SHA-256).", AGAIN),
    "beside": Check("The whole file is the one that the `.sha256` beside it is of.", "Copy both again."),
    "frames": Check("The numbers of a sequence's frames rise.", STRANGE),
    "times": Check("The times of a sequence begin with 0 and do not fall.", STRANGE),
    "quality": Check(
        "Every frame is ok or rejected, with a reason, and its figures are none that cannot be.", STRANGE
    ),
    "vertices": Check(
        "Vertices are a face in mm where the frame is ok, and NaN where it is rejected.", STRANGE
    ),
    "poses": Check("Poses are rigid and mirror nothing.", STRANGE),
    "landmarks": Check(
        "A landmark has a place exactly where it has a source; confidences are shares.", STRANGE
    ),
    "images": Check("Images are whole PNG, JPEG or WebP; rejected frames have none.", AGAIN),
    "maps": Check("Maps say what their numbers mean: unit, step and the value of 0.", STRANGE),
    "index": Check("The indexes list exactly the frames and sequences that there are.", STRANGE),
    "shards": Check(
        "Every shard is there, and is the one that the index names.",
        "Copy all files of the release into one folder; if it is your own, pack it again.",
    ),
    "pages": Check(
        "The pages beside a published release are those that it was published with.",
        "Publish again, or copy the folder again.",
    ),
    "absent": Check(
        "Of who is to be absent nothing may be left: no name, text or chunk (`--absent`).",
        "Withdraw them (`mimicme withdraw`), or delete what is named.",
    ),
}
