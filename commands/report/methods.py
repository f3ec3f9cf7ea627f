"""The methods paragraph of a paper, from what was done: counts, settings and versions of the last run, with citations.

It says what the stages did to these captures, and nothing that they did not do: a stage that is switched off, or points
that no detector found, are not in it.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mimicme.commands.report import citations
from mimicme.commands.report.citations import Citation
from mimicme.commands.report.records import REVIEWED, FrameRecord, ItemRecord
from mimicme.pipeline.captures.expressions import LABELS
from mimicme.pipeline.config import settings_record
from mimicme.pipeline.errors import counted, listed
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace

_NAMED = ("mimicme", "numpy", "scipy", "open3d", "opencv-python-headless", "menpo", "menpo3d")
"""Packages whose versions a paper names."""


@dataclass(frozen=True)
class Difference:
    """A setting that is not as it comes: `section.key`, its value and the default, as text."""

    name: str
    value: str
    default: str


@dataclass(frozen=True)
class Methods:
    """What can be pasted: paragraphs of text, BibTeX; and the settings that differ from their defaults."""

    paragraphs: Sequence[str]
    bibtex: str
    differences: Sequence[Difference]
    ran: bool


def methods(workspace: Workspace, records: Iterable[ItemRecord], stages: Iterable[Stage]) -> Methods:
    """The methods paragraph of a workspace, as far as it was run.

    Args:
        stages: all of them, in order of the flow.
    """
    records, stages = list(records), list(stages)
    runs = workspace.runs()
    config = _toml(runs[-1] / "config.toml") if runs else {}
    versions = _json(runs[-1] / "versions.json") if runs else {}
    used: list[Citation] = []

    def cite(*cited: Citation) -> str:
        used.extend(one for one in cited if one not in used)
        return f"({'; '.join(one.said for one in cited)})"

    paragraphs = [
        " ".join(sentence for sentence in part if sentence)
        for part in (
            _data(records, versions, cite),
            _registration(workspace, records, config, cite),
            _outcome(records),
        )
    ]
    return Methods(
        [paragraph for paragraph in paragraphs if paragraph],
        "\n\n".join(one.bibtex for one in used),
        differences(config, stages),
        bool(runs),
    )


def _data(records: Sequence[ItemRecord], versions: Mapping[str, Any], cite: Any) -> list[str]:
    frames = sum(len(record.frames) for record in records)
    subjects = len({record.item.subject for record in records})
    packages = versions.get("packages", {})
    named = [f"{name} {packages[name]}" for name in _NAMED if name in packages]
    program = (
        f"{named[0]} (Python {versions.get('python', '?')}; {', '.join(named[1:])})" if named else "mimicme"
    )
    labels = Counter(record.expression for record in records)
    return [
        f"We processed {counted(frames, 'scan')} in {counted(len(records), 'sequence')} of "
        f"{counted(subjects, 'subject')} with {program}, which follows the pipeline of MimicMe "
        f"{cite(citations.MIMICME)}.",
        _labelled(labels),
    ]


def _labelled(labels: Mapping[str, int]) -> str:
    """The expressions that this program knows by name; a sequence's own name may tell who it is of."""
    known = sorted(label for label in labels if label in LABELS)
    others = sum(count for label, count in labels.items() if label not in LABELS)
    said = f"The sequences are labelled {listed(known, 8)}" if known else ""
    if others:
        words = f"{counted(others, 'sequence')} with words of {'its' if others == 1 else 'their'} own"
        said = f"{said}, and {words}" if said else f"There {'is' if others == 1 else 'are'} {words}"
    return f"{said}." if said else ""


def _registration(
    workspace: Workspace, records: Sequence[ItemRecord], config: Mapping[str, Any], cite: Any
) -> list[str]:
    said = []
    frames = [frame for record in records for frame in record.frames]

    def setting(stage: str, name: str) -> Any:
        return config.get(stage, {}).get(name)

    seen = {name for frame in frames for name in frame.quality}
    if "scan_vertices" in seen:
        typical = float(
            np.median([f.quality["scan_vertices"] for f in frames if "scan_vertices" in f.quality])
        )
        said.append(
            f"Scans (median {typical:,.0f} vertices) were cleaned and brought to millimetres with +y up."
        )
    said += _landmarks(frames, cite)
    if "align_landmark_residual" in seen:
        by_surface = [frame.by_surface for frame in frames if frame.by_surface is not None]
        refined = sum(by_surface)
        on = "" if refined == len(by_surface) else f" on {refined:,} of {len(by_surface):,} scans"
        few = setting("align", "few_landmarks")
        why = f", where fewer than {few} landmarks were trusted," if few and on else ""
        said.append(
            "Each scan was rigidly aligned with the template by a consensus of the landmarks "
            f"{cite(citations.FISCHLER, citations.UMEYAMA)}"
            + (f";{on}{why} the pose was refined on the surface {cite(citations.BESL)}." if refined else ".")
        )
    if "s2m_median" in seen:
        template, softest = _template(workspace), setting("register", "stiffness_end")
        said.append(
            f"The template{template} was registered to every scan by non-rigid ICP {cite(citations.AMBERG)} with "
            f"point-to-plane distances {cite(citations.CHEN)}, from coarse to fine, stiffness down to {softest}; "
            "frames start from the frame before and from the subject's own registered neutral, and the head's motion "
            f"is stabilised on the skull {cite(citations.BEELER)}."
        )
    if setting("repass", "enabled"):
        said.append(
            "A second pass was begun from a linear space of expressions learnt of the other subjects."
        )
    if "drift" in seen:
        said.append(
            "Vertices were then moved along the surface until textures agreed with the subject's reference texture by "
            f"optical flow {cite(citations.LUCAS)}{_but_not(frames, 'drift')}."
        )
    if "coverage" in seen:
        size = setting("bake", "size")
        said.append(
            f"Textures were baked into the template's layout at {size} x {size} texels{_but_not(frames, 'coverage')}."
        )
    return said


def _landmarks(frames: Sequence[FrameRecord], cite: Any) -> list[str]:
    """Where the landmarks came from, and whether all of them are there."""
    marks = [(one.given, one.found) for one in frames if one.given is not None and one.found is not None]
    if not marks:
        return []
    total, by_file = len(marks), sum(given > 0 for given, _ in marks)
    by_detector = sum(found > 0 for _, found in marks)
    ways = []
    if by_file:
        ways.append("given by hand or by file" + ("" if by_file == total else f" on {by_file:,} scans"))
    if by_detector:
        on = "" if by_detector == total else f" on {by_detector:,} scans"
        ways.append(
            f"found in rendered views by MediaPipe's networks {cite(citations.KARTYNNIK)} and a consensus of these "
            f"{cite(citations.PAULSEN)}{on}"
        )
    if not ways:
        return []
    cited = cite(citations.SAGONAS)
    complete = sum(given + found == N_LANDMARKS for given, found in marks)
    if complete == total:
        on = " on every scan" if len(ways) == 1 else f", together all on each of {total:,} scans"
        return [f"{N_LANDMARKS} landmarks {cited} were {' and '.join(ways)}{on}."]
    fewer = [given + found for given, found in marks if given + found < N_LANDMARKS]
    counts = f"{min(fewer)} to {max(fewer)}" if min(fewer) < max(fewer) else f"{fewer[0]}"
    there = (
        f"all of them on {complete:,} of {total:,} scans, {counts} on the others"
        if complete
        else f"{counts} on each scan"
    )
    return [f"Landmarks of a set of {N_LANDMARKS} {cited} were {' and '.join(ways)}: {there}."]


def _but_not(frames: Sequence[FrameRecord], figure: str) -> str:
    """Of how many of the frames that are registered and in use something was not done, as the end of a sentence."""
    registered = [one for one in frames if one.ok and "s2m_median" in one.quality]
    without = sum(figure not in one.quality for one in registered)
    if not without:
        return ""
    return f"; not so on {without:,} of {counted(len(registered), 'registered scan')}"


def _template(workspace: Workspace) -> str:
    from mimicme.pipeline.template import load_prepared

    if not workspace.template.is_file():
        return ""
    template = load_prepared(workspace.template)
    return f" ({counted(len(template.vertices), 'vertex', 'vertices')})"


def _outcome(records: Sequence[ItemRecord]) -> list[str]:
    frames = [frame for record in records for frame in record.frames]
    if not frames:
        return []
    lost = Counter(frame.reason for frame in frames if not frame.ok)
    by_person = lost.pop(REVIEWED, 0)
    rejected = sum(lost.values())
    said = [
        f"{counted(rejected, 'scan')} of {len(frames):,} ({rejected / len(frames):.1%}) "
        f"{'was' if rejected == 1 else 'were'} rejected"
    ]
    said[0] += f" ({', '.join(f'{code}: {count}' for code, count in lost.most_common())})." if lost else "."
    if by_person:
        said.append(
            f"{counted(by_person, 'more scan was', 'more scans were')} left out after being looked at."
        )
    for name, words in (
        (
            "s2m_median",
            "The median distance from scan to registered surface is {:.2f} mm in the median over scans.",
        ),
        ("expected_error", "The expected correspondence error is {:.2f} mm in the median over scans."),
    ):
        values = [frame.quality[name] for frame in frames if frame.ok and name in frame.quality]
        if values:
            said.append(words.format(float(np.median(values))))
    return said


def differences(config: Mapping[str, Any], stages: Iterable[Stage]) -> list[Difference]:
    """The stages' settings of a run that are not as they come.

    Args:
        config: of the run, sections by name.
    """
    found = []
    for stage in stages:
        default = settings_record(stage.settings())
        for key, value in config.get(stage.name, {}).items():
            if key in default and _text(value) != _text(default[key]):
                found.append(Difference(f"{stage.name}.{key}", _text(value), _text(default[key])))
    return found


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value) if not isinstance(value, str) else value


def _toml(path: Any) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _json(path: Any) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
