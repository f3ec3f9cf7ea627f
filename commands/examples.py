"""Two examples for each command, which its `--help` ends with (a test reads them as the command line would)."""

from __future__ import annotations

from collections.abc import Mapping

_STAGE = ("mimicme {0} ws", "mimicme {0} ws --only 'S001/*' --force --jobs 4")

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "init": (
        "mimicme init ws --captures /data/captures --metadata subjects.csv --fps 60",
        "mimicme init ws --captures scans --layout '{subject}/{sequence}/{frame}.obj' --unit m --dry-run",
    ),
    "run": ("mimicme run ws --jobs 8", "mimicme run ws --only 'S001/*' --until register --dry-run"),
    "landmarks": (
        "mimicme landmarks ws --review",
        "mimicme landmarks ws --export ljson --export-to corrections --only S001/happiness",
    ),
    "pack": ("mimicme pack ws --output release.h5", "mimicme pack ws --set pack.shard=subject"),
    "stages": ("mimicme stages", "mimicme stages --names"),
    "settings": ("mimicme settings ws --section bake", "mimicme settings --markdown"),
    "plan": ("mimicme plan ws --workers 16", "mimicme plan ws --sample 20 --json"),
    "status": ("mimicme status ws --failed", "mimicme status ws --watch"),
    "verify": ("mimicme verify ws/release.h5", "mimicme verify ws/release.h5 --deep --absent S007"),
    "report": ("mimicme report ws", "mimicme report ws --jobs 4 --views 10 --output /tmp/report"),
    "view": (
        "mimicme view ws S001/happiness",
        "mimicme view ws/release.h5 S001/happiness --frames 5 --output face.html",
        "mimicme view face.h5 --components 5",
    ),
    "export": (
        "mimicme export ws/release.h5 meshes --format obj --only 'S001/*' --frames 0,10-12",
        "mimicme export ws/release.h5 arrays --format npz --space scan",
    ),
    "adopt": (
        "mimicme adopt registered release.h5 --template head.obj --align",
        "mimicme adopt coma coma.h5 --template flame.ply --layout coma --metadata people.csv --column subject=ID",
    ),
    "convert": (
        "mimicme convert ws/release.h5 flame.ply flame.h5",
        "mimicme convert ws/release.h5 head.obj /tmp/head-release.h5",
    ),
    "template check": (
        "mimicme template check head.obj",
        "mimicme template check head.obj --picture head.png --json",
    ),
    "template import": (
        "mimicme template import ict ICT-FaceKit templates",
        "mimicme template import flame head_template.obj templates --landmarks landmarks.npz",
    ),
    "synth": (
        "mimicme synth data --subjects 3 --sequences neutral,surprise",
        "mimicme synth judges --maker people --seed 7 --frames 25",
    ),
    "evaluate": (
        "mimicme evaluate ws/release.h5 --truth data",
        "mimicme evaluate ws/release.h5 --truth data --json",
    ),
    "model build": (
        "mimicme model build ws/release.h5 --output face.h5 --symmetric --pictures sheets",
        "mimicme model build a.h5 b.h5 --output face.h5 --rank 50 --mask face --split train",
    ),
    "model info": ("mimicme model info face.h5", "mimicme model info face.h5 --subject S001"),
    "model pictures": (
        "mimicme model pictures face.h5 sheets",
        "mimicme model pictures face.h5 sheets --release ws/release.h5",
    ),
    "model project": (
        "mimicme model project face.h5 ws/release.h5 --output weights.npz",
        "mimicme model project face.h5 ws/release.h5 --output one.npz --only 'S001/*'",
    ),
    "model reconstruct": (
        "mimicme model reconstruct face.h5 ws/release.h5 meshes --only 'S001/*'",
        "mimicme model reconstruct face.h5 ws/release.h5 meshes --format obj",
    ),
    "model sample": (
        "mimicme model sample face.h5 people --count 10",
        "mimicme model sample face.h5 people --neutral --seed 3 --format ply",
    ),
    "model interpolate": (
        "mimicme model interpolate face.h5 ws/release.h5 S001/neutral S001/happiness steps",
        "mimicme model interpolate face.h5 ws/release.h5 S001/neutral S002/neutral steps --steps 20",
    ),
    "model transfer": (
        "mimicme model transfer face.h5 ws/release.h5 --from S001/happiness --to S002 --output smile.glb",
        "mimicme model transfer face.h5 ws/release.h5 --from S001/anger/12 --to S002 --output anger.obj --detail",
    ),
    "model personal": (
        "mimicme model personal face.h5 ws/release.h5 S002 --output S002.glb",
        "mimicme model personal face.h5 ws/release.h5 S003 --output rigs/S003.glb",
    ),
    "model fit": (
        "mimicme model fit face.h5 scan.obj --output fitted",
        "mimicme model fit face.h5 a.ply b.ply --output fitted --unit m --at-rest",
    ),
    "model export": (
        "mimicme model export face.h5 face.glb --format glb --which arkit",
        "mimicme model export face.h5 face.mat --format mat --which identity",
    ),
    "model evaluate": (
        "mimicme model evaluate face.h5 ws/release.h5 --output figures",
        "mimicme model evaluate face.h5 ws/release.h5 --output figures --model identity --json",
    ),
    "model compare": (
        "mimicme model compare old.h5 new.h5 ws/release.h5 --output figures",
        "mimicme model compare old.h5 new.h5 ws/release.h5 --output figures --samples 200 --json",
    ),
    "experiment expressions": (
        "mimicme experiment expressions ws/release.h5 --output results",
        "mimicme experiment expressions ws/release.h5 --output results --folds 5 --json",
    ),
    "experiment gender": (
        "mimicme experiment gender ws/release.h5 --output results",
        "mimicme experiment gender ws/release.h5 --output results --by-split",
    ),
    "experiment age": (
        "mimicme experiment age ws/release.h5 --output results",
        "mimicme experiment age ws/release.h5 --output results --components 40 --seed 1",
    ),
    "experiment coma": (
        "mimicme experiment coma coma.h5 --output results",
        "mimicme experiment coma coma.h5 --output results --components 8 --json",
    ),
    "publish": (
        "mimicme publish ws/release.h5 public --title 'Faces of Exampleton' --author 'Doe, Jane'",
        "mimicme publish ws/release.h5 public --title Faces --author 'Doe, Jane' --for research --shard subject",
    ),
    "withdraw": (
        "mimicme withdraw ws S007 --also /data/models",
        "mimicme withdraw release.h5 S007",
    ),
    "demo": ("mimicme demo", "mimicme demo /tmp/demo --jobs 4"),
    "doctor": ("mimicme doctor", "mimicme doctor /data/ws --no-test"),
    "completion": (
        "mimicme completion bash > ~/.local/share/bash-completion/completions/mimicme",
        "mimicme completion fish > ~/.config/fish/completions/mimicme.fish",
    ),
}


def examples_of(command: str, stages: Mapping[str, str]) -> tuple[str, ...]:
    """The examples of a command by its words (`model build`); empty where there are none.

    Args:
        stages: names of the stages, whose commands are alike.
    """
    if command in EXAMPLES:
        return EXAMPLES[command]
    return tuple(line.format(command) for line in _STAGE) if command in stages else ()
