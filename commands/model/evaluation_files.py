"""The files that `model evaluate` and `model compare` leave: JSON, tables and plots; and the lines they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model.measured import Comparison, ModelMeasures
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.plots import Curve, bar_chart, curve_panels, make_folder, write_table
from mimicme.pipeline.whole_file import write_whole

DEFINITIONS = {
    "compactness": "share of the variance in the first k components (Davies et al. 2002; Booth et al. 2018); "
    "interval: jackknife over subjects",
    "generalisation": "mean distance per vertex, mm, of a left-out subject's shapes to their best reconstruction with "
    "k components of the model of all other subjects (Davies et al. 2002, with whole subjects left out; distance as "
    "in Booth et al. 2018); interval: bootstrap over subjects",
    "specificity": "mean distance per vertex, mm, of random shapes of the model to the nearest real one "
    "(Davies et al. 2002; Styner et al. 2003); interval: 1.96 standard errors over the draws",
    "reconstruction": "as generalisation, by the model as it is, over shapes it may have been made from; "
    "interval: bootstrap over subjects",
    "held_out": "the reconstruction of those subjects that the model was not made of (Booth et al. 2018); "
    "interval: bootstrap over subjects",
}


def _band(band: Floats) -> dict[str, list[float | None]]:
    def plain(values: Floats) -> list[float | None]:
        return [round(float(v), 6) if np.isfinite(v) else None for v in values]

    return dict(zip(("value", "low", "high"), map(plain, band), strict=True))


def model_record(m: ModelMeasures, seed: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "shapes": m.shapes,
        "subjects": len(m.subjects),
        "made_of_this_release": m.own,
        "components": m.ranks.tolist(),
        "compactness": _band(m.compactness),
        "specificity_mm": _band(m.specificity),
        "reconstruction_mm": {r: _band(m.reconstruction(q, seed)) for q, r in enumerate(m.regions)},
        "held_out_subjects": int((~m.seen).sum()),
        "held_out_mm": None,
        "generalisation_mm": None,
        "findings": m.findings,
    }
    if m.held_out() is not None:
        regions = enumerate(m.regions)
        record["held_out_mm"] = {r: _band(b) for q, r in regions if (b := m.held_out(q, seed)) is not None}
    if m.unseen is not None:
        record["generalisation_mm"] = {r: _band(m.unseen.curve(q, seed)) for q, r in enumerate(m.regions)}
        record["variance_outside_basis"] = round(m.left_out, 9)
    return record


def comparison_record(c: Comparison, seed: int) -> dict[str, Any]:
    return {
        "first": model_record(c.first, seed),
        "second": model_record(c.second, seed),
        "components": ["all" if k < 0 else k for k in c.ranks.tolist()],
        "second_minus_first_mm": {r: _band(c.difference[:, :, q]) for q, r in enumerate(c.first.regions)},
    }


def write_evaluation(
    output: Path, measured: Mapping[str, ModelMeasures], record: dict[str, Any], seed: int
) -> None:
    make_folder(output)
    write_whole(output / "evaluation.json", json.dumps(record, indent=1).encode())
    write_table(
        output / "compactness.csv",
        ("model", "components", "share", "low", "high"),
        (row for name, m in measured.items() for row in _rows((name,), m.ranks, m.compactness)),
    )
    write_table(
        output / "specificity.csv",
        ("model", "components", "mm", "low", "high"),
        (row for name, m in measured.items() for row in _rows((name,), m.ranks, m.specificity)),
    )
    header = ("model", "region", "components", "mm", "low", "high")
    unseen = {name: m.unseen for name, m in measured.items() if m.unseen is not None}
    write_table(
        output / "generalisation.csv",
        header,
        (
            r
            for n, u in unseen.items()
            for q, a in enumerate(u.regions)
            for r in _rows((n, a), u.ranks, u.curve(q, seed))
        ),
    )
    write_table(
        output / "reconstruction.csv",
        header,
        (
            row
            for name, m in measured.items()
            for q, region in enumerate(m.regions)
            for row in _rows((name, region), m.ranks, m.reconstruction(q, seed))
        ),
    )
    write_table(
        output / "subjects.csv",
        ("model", "subject", "in_the_model", "unseen_mm", "by_the_model_mm"),
        (row for name, m in measured.items() for row in _subject_rows(name, m)),
    )
    _plots(output, measured, seed)


def _subject_rows(name: str, m: ModelMeasures) -> Iterable[tuple[Any, ...]]:
    unseen = m.unseen.errors[:, -1, 0] if m.unseen is not None else np.full(len(m.subjects), np.nan)
    known = ("yes" if seen else "no" for seen in m.seen)
    return zip([name] * len(m.subjects), m.subjects, known, unseen, m.errors[:, -1, 0], strict=True)


def _rows(first: tuple[str, ...], ranks: NDArray[np.int64], band: Floats) -> Iterable[tuple[Any, ...]]:
    for k, rank in enumerate(ranks.tolist()):
        yield (*first, rank, *band[:, k])


def _plots(output: Path, measured: Mapping[str, ModelMeasures], seed: int) -> None:
    k = "components"
    titles = {name: f"{name} ({m.shapes} shapes, {len(m.subjects)} subjects)" for name, m in measured.items()}
    curve_panels(
        output / "compactness.png",
        {titles[n]: [Curve("", m.ranks, m.compactness)] for n, m in measured.items()},
        k,
        "share of variance",
        top=1.02,
    )
    # how well a model rebuilds the people it was made of says nothing of others: not drawn alone under this name
    panels = {titles[n]: c for n, m in measured.items() if len(c := _error_curves(m, seed)) > 1}
    _panels_or_none(output / "generalisation.png", panels, "mm per vertex")
    curve_panels(
        output / "specificity.png",
        {titles[n]: [Curve("", m.ranks, m.specificity)] for n, m in measured.items()},
        k,
        "mm per vertex to the nearest real shape",
    )
    regions = next(iter(measured.values())).regions
    bars = {}
    for name, m in measured.items():
        if m.regions == regions:
            each = [
                (m.unseen.curve(q, seed) if m.unseen else m.reconstruction(q, seed))[:, -1]
                for q in range(len(regions))
            ]
            bars[f"{name}, {'unseen subjects' if m.unseen else 'the model as it is'}"] = np.stack(
                each, axis=1
            )
    bar_chart(output / "regions.png", regions, bars, "mm per vertex, all components")


def _panels_or_none(
    path: Path, panels: Mapping[str, list[Curve]], ylabel: str, top: float | None = None
) -> None:
    """Panels of curves over components; without any no file, not even an earlier one."""
    if panels:
        curve_panels(path, panels, "components", ylabel, top=top)
    else:
        path.unlink(missing_ok=True)


def _error_curves(m: ModelMeasures, seed: int) -> list[Curve]:
    found = [Curve("unseen subjects", m.ranks, m.unseen.curve(0, seed))] if m.unseen is not None else []
    others = m.held_out(0, seed)
    if others is not None:
        found.append(Curve("the model, people it was not made of", m.ranks, others))
    return [*found, Curve("the model as it is", m.ranks, m.reconstruction(0, seed))]


def write_comparison(
    output: Path, labels: tuple[str, str], done: Mapping[str, Comparison], record: dict[str, Any], seed: int
) -> None:
    make_folder(output)
    write_whole(output / "comparison.json", json.dumps(record, indent=1).encode())
    rows = []
    for name, c in done.items():
        for q, region in enumerate(c.first.regions):
            for k, rank in enumerate(c.ranks.tolist()):
                rows.append((name, region, "all" if rank < 0 else rank, *c.difference[:, k, q]))
    write_table(
        output / "difference.csv",
        ("model", "region", "components", "second_minus_first_mm", "low", "high"),
        rows,
    )
    measures = []
    for name, c in done.items():
        for label, m in zip(labels, (c.first, c.second), strict=True):
            for what, band in (("compactness", m.compactness), ("specificity", m.specificity)):
                measures += list(_rows((name, label, what), m.ranks, band))
            measures += list(_rows((name, label, "reconstruction"), m.ranks, m.reconstruction(0, seed)))
            if m.unseen is not None:
                measures += list(_rows((name, label, "generalisation"), m.ranks, m.unseen.curve(0, seed)))
    write_table(
        output / "measures.csv", ("model", "file", "measure", "components", "value", "low", "high"), measures
    )
    plotted: dict[str, tuple[Callable[[ModelMeasures], Floats | None], str, float | None]] = {
        "compactness": (lambda m: m.compactness, "share of variance", 1.02),
        "generalisation": (
            lambda m: m.unseen.curve(0, seed) if m.unseen else None,
            "mm per vertex, unseen subjects",
            None,
        ),
        "specificity": (lambda m: m.specificity, "mm per vertex to the nearest real shape", None),
        "reconstruction": (lambda m: m.reconstruction(0, seed), "mm per vertex", None),
    }
    for what, (band_of, ylabel, top) in plotted.items():
        panels = {}
        for name, c in done.items():
            both = zip(labels, (c.first, c.second), strict=True)
            found = [Curve(label, m.ranks, b) for label, m in both if (b := band_of(m)) is not None]
            if found:
                panels[name] = found
        _panels_or_none(output / f"{what}.png", panels, ylabel, top)


def summary(record: Mapping[str, Any]) -> list[str]:
    """Lines to print of what `evaluate` returned."""
    columns = {
        "shapes": 8,
        "subjects": 10,
        "components": 12,
        "variance": 10,
        "unseen mm": 11,
        "random mm": 11,
    }
    lines = [f"{'model':<12}" + "".join(f"{name:>{width}}" for name, width in columns.items())]
    for name, m in record["models"].items():
        unseen = m["generalisation_mm"]
        error = f"{unseen['all']['value'][-1]:.3f}" if unseen else "-"
        lines.append(
            f"{name:<12}{m['shapes']:>8}{m['subjects']:>10}{m['components'][-1]:>12}{m['compactness']['value'][-1]:>10.3f}"
            f"{error:>11}{m['specificity_mm']['value'][-1]:>11.3f}"
        )
    return [*lines, *(f"{name}: {said}" for name, m in record["models"].items() for said in m["findings"])]


def comparison_summary(record: Mapping[str, Any]) -> list[str]:
    """Lines to print of what `compare` returned."""
    lines = []
    for name, c in record["models"].items():
        d = c["second_minus_first_mm"]["all"]
        interval = f" ({d['low'][-1]:+.3f} to {d['high'][-1]:+.3f})" if d["low"][-1] is not None else ""
        lines.append(
            f"{name}, all components: {record['second']} reconstructs {d['value'][-1]:+.3f} mm{interval} "
            f"against {record['first']}"
        )
    return lines
