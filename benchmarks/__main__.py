"""Speed and accuracy of mimicme, measured on this machine, next to its peers.

    python benchmarks [accuracy] [chain] [workers] [register] [robust] [expected] [growth] [stages] [bake] [pca]
                      [reading] [loading] [packing] [again] [simulation] [standing] [night] [invariance] [field] [still]
                      [rgbd] [seeded] [heads]
                      [--captures DIR] [--trials N] [--output DIR] ...

`make bench` runs all of them.  They stand on what `mimicme synth` makes and on the scan that menpo3d installs;
--captures takes another folder of captures with truth.  Tables are printed; the same in JSON, and the pictures, go to
--output.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named; 0, or 2 when one cannot run."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy, whose libraries read them once
    options = _options(arguments)
    from mimicme.pipeline.errors import MimicmeError

    try:
        for name in options.names:
            print(f"\n== {name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}", flush=True)
            _save(options.output / f"{name}.json", {"machine": _machine(), **BENCHMARKS[name](options)})
    except MimicmeError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def _accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run against the truth, next to the stored figures (expected.json): what moved by more than 5 %?"""
    import accuracy

    captures = _captures(options)
    name = options.name or (options.captures.name if options.captures else "synth")
    return accuracy.run(captures, name, options.landmarks, options.jobs, options.store, _work(options), _say)


def _chain(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds a frame of every stage over short sequences, and the night that follows; --before: another code's."""
    import chain

    made = options.captures
    if made is None:
        made = chain.made_captures(options.build, options.people, options.sequences, options.length, _say)
    found = chain.run(made, options.before, options.landmarks, _work(options), _say)
    if options.peer_frames:
        import chain_peers
        import environment

        peers = environment.peers(options.build)
        found["peers"] = chain_peers.run(
            made, options.peer_frames, peers, _work(options), options.timeout, _say
        )
    return found


def _workers(options: argparse.Namespace) -> dict[str, Any]:
    """Two workers of one run beside two runs that know nothing of each other: what does working together cost?"""
    import chain
    import workers

    made = options.captures
    if made is None:
        made = chain.made_captures(options.build, 2, options.sequences, options.length, _say)
    return workers.run(made, _work(options), _say)


def _register(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy and CPU seconds on one core, next to menpo3d, trimesh, a landmark spline and a rigid fit."""
    import environment
    import registration

    peers = environment.Peers(None, False, False, False, ("the peers were left out (--alone)",))
    if not options.alone:
        peers = environment.peers(options.build)
    settings = []
    if "james" in options.on:
        settings.append(registration.james_setting())
    if "captures" in options.on:
        settings.append(registration.captures_setting(_captures(options)))
    picture = options.output / "register.png"
    return registration.run(settings, peers, _work(options), options.slow, options.timeout, picture, _say)


def _robust(options: argparse.Namespace) -> dict[str, Any]:
    """Trials on spoiled captures: is `ok` close to the truth, and do the reported figures tell?"""
    import robust

    return robust.run(_captures(options), options.trials, options.damage, _say)


def _expected(options: argparse.Namespace) -> dict[str, Any]:
    """Is `expected_error` right?  Learnt on `synth` and --captures, judged on `synth --maker people`."""
    import expected_error
    from cases import Captures, judges, synthetic

    teachers = [synthetic(options.build, _say)]
    teachers += [Captures(options.captures)] if options.captures else []
    return expected_error.run(teachers, judges(options.build, _say), options.trials, _work(options), _say)


def _growth(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds against the template's size, 1,000 to 100,000 vertices."""
    import growth

    return growth.run(_work(options), _say)


def _stages(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds a frame and peak memory of every stage."""
    import costs

    return costs.run(_captures(options), _work(options), _say)


def _bake(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of the bake, next to a straightforward one, and of the refinement."""
    import baking

    return baking.run(_captures(options), say=_say)


def _pca(options: argparse.Namespace) -> dict[str, Any]:
    """Principal components out of core, next to scikit-learn and menpo (--frames 20000: the promised size)."""
    import pca

    methods = pca.METHODS[:2] if options.alone else pca.METHODS
    return pca.run(_work(options), options.frames, options.vertices, options.rank, methods, _say)


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds to read a scan of 100,000 vertices, next to trimesh, Open3D and pymeshlab where installed."""
    import reading

    return reading.run(_work(options), _say)


def _loading(options: argparse.Namespace) -> dict[str, Any]:
    """What a release's encodings take and cost, and frames a second of a shuffled loader beside .npy files."""
    import loading

    return loading.run(options.release, _work(options), _say)


def _packing(options: argparse.Namespace) -> dict[str, Any]:
    """MB/s and memory of a large release in shards, and what one more subject touches (--workspace, --frames)."""
    import packing

    return packing.run(options.workspace, options.frames, _work(options), _say)


def _again(options: argparse.Namespace) -> dict[str, Any]:
    """What `init`, `run` and `status` cost where 10,000 frames are made already."""
    import again

    return again.run(_work(options), options.shape, _say)


def _simulation(options: argparse.Namespace) -> dict[str, Any]:
    """The real runner over --scale sequences of stages that only wait, fail, die and hang: is nothing lost or idle?"""
    import simulation

    return simulation.run(options.scale, options.workers, options.item_s, options.bare, _work(options), _say)


def _standing(options: argparse.Namespace) -> dict[str, Any]:
    """What `status` and a run with nothing to do cost of --scale sequences (MimicMe: 94000)."""
    import standing

    return standing.run(options.scale, _work(options), _say)


def _night(options: argparse.Namespace) -> dict[str, Any]:
    """--night-frames frames through the whole run, unattended: were the cores busy to the end, is the release good?"""
    import night

    return night.run(options.night_frames, options.jobs, options.build, _work(options), _say)


def _invariance(options: argparse.Namespace) -> dict[str, Any]:
    """The same captures with reversed triangles, other axes and other units: are the vertices the same?"""
    import invariance

    return invariance.run(_captures(options), _work(options), _say)


def _field(options: argparse.Namespace) -> dict[str, Any]:
    """Small inputs from public bug reports: how many come out right?"""
    import field

    return field.run(options.field, _work(options) / "field", options.case, _say)


def _still(options: argparse.Namespace) -> dict[str, Any]:
    """Heads before a noisy depth camera: does a still one stay still, and a smile keep its amplitude?"""
    import still

    return still.run(options.people, options.still_frames, _work(options), _say)


def _seeded(options: argparse.Namespace) -> dict[str, Any]:
    """Bad results hidden among 100 good sequences: is each on the report's first page, with the right reason?"""
    import seeded

    return seeded.run(options.build, options.seeds, _work(options), options.jobs, _say)


def _rgbd(options: argparse.Namespace) -> dict[str, Any]:
    """Recordings of a depth camera through the whole run: the true surface, a smile, a head that is still."""
    import rgbd

    frames = options.rgbd_frames
    return rgbd.run(options.people, frames, options.still_frames, _work(options), _say)


def _heads(options: argparse.Namespace) -> dict[str, Any]:
    """Ears, and people in groups by age, scanner and hair, with the jaw's points and without."""
    import heads

    return heads.run(options.people, options.seeds, _work(options), _say)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "accuracy": _accuracy,
    "chain": _chain,
    "workers": _workers,
    "register": _register,
    "robust": _robust,
    "expected": _expected,
    "growth": _growth,
    "stages": _stages,
    "bake": _bake,
    "pca": _pca,
    "reading": _reading,
    "loading": _loading,
    "packing": _packing,
    "again": _again,
    "simulation": _simulation,
    "standing": _standing,
    "night": _night,
    "invariance": _invariance,
    "field": _field,
    "still": _still,
    "seeded": _seeded,
    "rgbd": _rgbd,
    "heads": _heads,
}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks", description="Speed and accuracy, measured on this machine."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--captures", type=Path, help="captures with truth; by default some are made, once")
    parser.add_argument(
        "--build", type=Path, default=ROOT / ".build", help="where they and the peers are kept"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / ".build" / "bench", help="for tables and pictures"
    )
    parser.add_argument(
        "--name", help="of `accuracy`: of the captures, under which figures are stored; their folder's"
    )
    parser.add_argument(
        "--landmarks", choices=("given", "found"), default="given",
        help="of `accuracy` and `chain`: those beside the frames, or these left out and found",
    )  # fmt: skip
    parser.add_argument(
        "--store", action="store_true", help="of `accuracy`: these are the figures to expect from now on"
    )
    parser.add_argument("--before", type=Path, help="of `chain`: another checkout, run beside this one")
    parser.add_argument(
        "--peer-frames",
        type=int,
        default=0,
        help="of `chain`: frames that the peers' chain does beside it (a minute each)",
    )
    parser.add_argument(
        "--people",
        type=int,
        default=3,
        help="of `chain`, `still`, `rgbd` and `heads`, of those that are made",
    )
    parser.add_argument("--sequences", type=int, default=20, help="of `chain` and `workers`: of each")
    parser.add_argument(
        "--length", type=int, default=3, help="of `chain`, `workers`: frames of a sequence, odd"
    )
    parser.add_argument(
        "--still-frames", type=int, default=61, help="of `still` and of the still head of `rgbd`, odd"
    )
    parser.add_argument("--rgbd-frames", type=int, default=13, help="of `rgbd`: frames of a sequence, odd")
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        default=[],
        metavar="FRAMESxLENGTH",
        help="of `again`: as 30000x3, in place of its own; repeatable",
    )
    parser.add_argument(
        "--scale", type=int, default=500, help="of `simulation`, `standing`: sequences (MimicMe: 94000)"
    )
    parser.add_argument(
        "--workers", type=int, default=8, help="of `simulation`: workers, most of them asleep"
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="of `simulation`: checkpoints hold a made-up summary alone, for the largest scales",
    )
    parser.add_argument("--item-s", type=float, default=0.2, help="of `simulation`: seconds of an item")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="of `seeded` and `heads`: a trial of each"
    )
    parser.add_argument(
        "--jobs", type=int, help="of `accuracy`, `seeded` and `night`: sequences side by side"
    )
    parser.add_argument("--night-frames", type=int, default=2_000, help="of `night`")
    parser.add_argument(
        "--field", type=Path, help="of `field`: the folder of cases, which is no part of this"
    )
    parser.add_argument(
        "--release",
        type=Path,
        action="append",
        default=[],
        help="of `loading`: one with textures; or several",
    )
    parser.add_argument("--workspace", type=Path, help="of `packing`: one whose checkpoints are all there")
    parser.add_argument("--case", action="append", default=[], help="of `field`: only this")
    parser.add_argument(
        "--trials", type=int, default=40, help="of `robust` (the promise is about 200), and of `expected`"
    )
    parser.add_argument(
        "--damage", action="append", default=[], help="of `robust`: only this; half+coarse is both"
    )
    parser.add_argument(
        "--on", choices=("james", "captures"), action="append", help="of `register`: only these"
    )
    parser.add_argument("--alone", action="store_true", help="`register` and `pca` without the peers")
    parser.add_argument("--frames", type=int, default=2_000, help="of `pca` and `packing`")
    parser.add_argument("--vertices", type=int, default=53_349, help="of `pca`")
    parser.add_argument("--rank", type=int, default=100, help="of `pca`")
    parser.add_argument("--slow", action="store_true", help="`register`: trimesh on large templates too")
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="of `register` and `chain`: seconds for a peer on a case"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.trials < 1:
        parser.error(f"--trials is at least 1, not {options.trials}")
    from damage import DAMAGES

    wrong = [kind for kind in options.damage if not set(kind.split("+")) <= set(DAMAGES)]
    if wrong:
        parser.error(f"no such damage: {', '.join(wrong)}; there are {', '.join(DAMAGES)}")
    options.on = options.on or ["james", "captures"]
    if "field" in options.names and not options.field:
        parser.error("field needs --field DIR, the folder of cases")
    if "loading" in options.names and not options.release:
        parser.error("loading needs --release FILE, as `make demo` leaves one")
    if "packing" in options.names and not options.workspace:
        parser.error("packing needs --workspace DIR, as `make demo` leaves one: demo/synthetic/workspace")
    options.names = options.names or [
        name
        for name in BENCHMARKS
        if name
        not in (
            "expected",
            "field",
            "heads",
            "loading",
            "night",
            "packing",
            "rgbd",
            "seeded",
            "still",
            "workers",
        )
    ]
    return options


def _shape(text: str) -> tuple[int, int]:
    frames, _, length = text.partition("x")
    return int(frames), int(length)


def _captures(options: argparse.Namespace) -> Any:
    from cases import Captures, synthetic

    return Captures(options.captures) if options.captures else synthetic(options.build, _say)


def _work(options: argparse.Namespace) -> Path:
    folder: Path = options.build / "bench-work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _machine() -> dict[str, Any]:
    import numpy
    import scipy

    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
    }


def _save(path: Path, record: dict[str, Any]) -> None:
    """NaN, which JSON lacks, becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"saved: {path}", flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
