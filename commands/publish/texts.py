"""What is written beside a published release for people: README, agreement, citation, datasheet, table of subjects."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mimicme.commands.publish.facts import Facts, bars, by_split, histogram
from mimicme.commands.publish.splits import NAMES
from mimicme.pipeline.errors import counted
from mimicme.pipeline.release import permitted

SUBJECT_COLUMNS = ("age", "gender", "ethnicity", "consent", "split", *permitted.COLUMNS.values())


@dataclass(frozen=True)
class Title:
    """What a data set is called, by whom, and under which terms.

    Attributes:
        authors: as `Family, Given`, or a name as it is written.
        date: YYYY-MM-DD.  licence, doi, url: empty where there is none.
    """

    title: str
    authors: tuple[str, ...]
    version: str
    date: str
    licence: str
    description: str = ""
    doi: str = ""
    url: str = ""


def subjects_csv(facts: Facts) -> str:
    """The table of subjects: pseudonym, what is said of them, frames."""
    kept = [n for n in dict.fromkeys(n for p in facts.people.values() for n in p) if n not in SUBJECT_COLUMNS]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    names = [*SUBJECT_COLUMNS, *sorted(kept)]
    out.writerow(["subject", *names, "frames_ok"])
    for subject, said in sorted(facts.people.items()):
        row = [said.get(name, "unknown") for name in names]
        out.writerow([subject, *row, facts.ok_by_subject.get(subject, 0)])
    return text.getvalue()


_TRAINING = """
A first training loop, which takes every face for its subject's shape and an expression's on top of it:

```python
mean = torch.as_tensor(release.template.vertices, dtype=torch.float32)
shapes = {name: torch.nn.Embedding(len(data.names[name]), mean.numel()) for name in ("subject", "expression")}
for shape in shapes.values():
    torch.nn.init.zeros_(shape.weight)  # mm, from the template
optimizer = torch.optim.SGD([shape.weight for shape in shapes.values()], lr=0.2)
for epoch in range(5):
    losses = []
    for batch in loader:
        offsets = (batch["vertices"] - mean).flatten(1) - sum(shape(batch[name]) for name, shape in shapes.items())
        optimizer.zero_grad()
        offsets.square().sum(dim=1).mean().backward()
        optimizer.step()
        losses.append(offsets.square().mean().item())
    print(f"epoch {epoch}: {(sum(losses) / len(losses)) ** 0.5:.3f} mm off")
```
"""


_BATCHES = """\
Batches for PyTorch (`pip install torch`):

```python
import torch
from torch.utils.data import DataLoader

data = release.as_torch(rows, fields=("vertices", "subject", "expression"))
loader = DataLoader(data, batch_size=8, shuffle=True, num_workers=2)
for batch in loader:
    batch["vertices"]  # (B, V, 3) float32, mm; +y up, +z out of the face
    break
```
"""

_WITH_H5PY = """\
With h5py alone:

```python
import h5py
import numpy as np

with h5py.File("release.h5") as index:
    template = index["template/vertices"][:]
    frames = index["index"][:]
    first = frames[frames["status"] == b"ok"][0]
    name = "release.h5"
    if "shards" in index:
        of_subject = index["shard_subjects"][:]
        number = of_subject["shard"][of_subject["subject"] == first["subject"]][0]
        name = index["shards"]["name"][number].decode()

with h5py.File(name) as file:
    stored = file["subjects"][first["subject"].decode()][first["sequence"].decode()]["vertices"]
    vertices = stored[first["row"]]
    if "value_scale" in stored.attrs:  # whole numbers, from the template's vertices
        vertices = template + np.float32(stored.attrs["value_scale"]) * vertices
    print(vertices.shape)
```

"""


_FORBIDS = re.compile(
    r"n['’]t\b|\b(?:no|not|never|nor|cannot|without|other than|prohibit\w*|forb[ia]d\w*|disallow\w*|refrain\w*"
    r"|restrict\w*|ban(?:s|ned)?|exclu[ds]\w*|except\w*|kein\w*|nicht|untersagt|verboten|ausgeschlossen)\b"
)
_TRAINS = re.compile(r"\btrain|machine[ -]learning|\blearn|\bai\b|\bmodels?\b|neural|\bmodell")
_SENTENCE_ENDS = re.compile(r"(?<!\.[a-z])\.(?=\s|$)|(?<!:)\n\s*\n")  # `e.g. ` ends none, nor does a line


def forbids_training(licence: str) -> bool:
    """Whether a sentence of a licence both forbids something and speaks of training: then somebody has to read it.

    `No commercial use; models may be trained` is two sentences, `not for training` is one, also over two lines; a list
    after a colon (`You may not: sell it; train models`) is one.  It knows English and German words alone: it takes
    more sentences for a ban than are one, and still can miss what is put in another way.
    """
    sentences = _SENTENCE_ENDS.split("\n".join(line.rstrip() for line in licence.casefold().splitlines()))
    parts = (part for one in sentences for part in ([one] if ":" in one else one.split(";")))
    return any(_FORBIDS.search(part) and _TRAINS.search(part) for part in parts)


def _splits(facts: Facts) -> str:
    """How the splits are to be used, those of them that there are."""
    how = "By subject, alike in age, gender and ethnicity."
    there = [name for name in NAMES if facts.count("split").get(name, 0)]
    none = [f"`{name}`" for name in NAMES if name not in there]
    if not none:
        return f"{how} Choose and tune on `train` and `val`; report on `test`."
    learnt = " and ".join(f"`{name}`" for name in there if name != "test")
    report = "; report on `test`" if "test" in there else ""
    tuned = f" Choose and tune on {learnt}{report}." if learnt else ""
    lacking = (
        f" Nobody is in {' or '.join(none)}: there are too few people, or the shares asked for none."
        + (
            ""
            if "test" in there
            else " So nothing here can be reported as tested on people who were not seen."
        )
    )
    return f"{how}{tuned}{lacking}"


def readme(title: Title, facts: Facts) -> str:
    """How to use what is there; its recipes work as they are written."""
    trained = [] if forbids_training(title.licence) else facts.permitting("training", "train")
    use = ', use="training"' if trained else ""
    held = "its shards, used by way of `release.h5`: keep all files in one folder"
    shards = f"\n| `release@*.h5` | {held} |" if facts.sharded else ""
    permits = "\n".join(
        f"| {use_} | `{column}` | {len(facts.permitting(use_))} of {len(facts.people)} |"
        for use_, column in permitted.COLUMNS.items()
    )
    counts = ", ".join(f"{facts.count('split').get(split, 0)} {split}" for split in NAMES)
    about = f"\n{title.description}\n" if title.description else ""
    return f"""# {title.title}
{about}
Version {title.version}, {title.date}. {len(facts.people)} subjects ({counts}), {facts.sequences} sequences,
{facts.ok} registered frames of {facts.n_vertices:,} vertices in full correspondence; {facts.frames - facts.ok} more
were rejected and stand there with their reason.

Who uses it accepts [AGREEMENT.txt](AGREEMENT.txt). Faces are personal data: nobody may try to find out who they are.

| file | what it is |
| --- | --- |
| `release.h5` | the release: template, registered frames, landmarks, textures, quality, indexes |{shards}
| `subjects.csv` | a line a subject: age, gender, ethnicity, split, permitted uses |
| `datasheet.md` | who is in it, what they show, how well it is registered |
| `croissant.json` | the same for machines (Croissant, JSON-LD) |
| `CITATION.cff`, `CITATION.bib` | how to cite it |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS` checks every file |

## Load it

With mimicme, which wrote it, in this folder (Python 3.11 or newer; in the folder of its source
`pip install '.[loaders]'` brings what follows, PyTorch too; with h5py alone it goes as the last recipe says):

```python
from mimicme.pipeline.release import Release

release = Release("release.h5")
rows = release.select(split="train", status="ok"{use})
data = release.as_arrays(rows, fields=("vertices", "expression"))
sample = data[0]
print(len(data), "frames;", sample["vertices"].shape, data.names["expression"][sample["expression"]])
```

{_BATCHES}{_TRAINING if trained else ""}
{_WITH_H5PY}## Permitted uses

Research, as the agreement says.

Every subject says what else is permitted. What is not plainly permitted is not.

| use | column | subjects |
| --- | --- | --- |
{permits}
{_warning(title, bool(trained))}
`research_only` is turned round: commercial use is permitted by those who have `no` there.
`Release.select(use="papers")` gives the rows of those who permit a use, and `mimicme export --for papers` keeps to it.

## Splits

{_splits(facts)}

## When somebody withdraws

New versions come without them, and the agreement asks you to delete what you have of them. `mimicme withdraw
release.h5 P...` takes a subject out of your copy; `mimicme verify release.h5 --absent P...` says whether anything is
left.
"""


def _warning(title: Title, trained: bool) -> str:
    """What is said of recipes that nobody, or nobody for sure, may train with; "" where somebody may."""
    if trained:
        return ""
    if forbids_training(title.licence):
        return (
            "\n**The licence speaks of training where it forbids something:** the recipes read the frames to look\n"
            "at; read it before you learn anything from them.\n"
        )
    return (
        "\n**Nobody in the split `train` permits that models are learnt from them:** the recipes read their\n"
        "frames to look at; do not train on them.\n"
    )


def agreement(title: Title) -> str:
    """The terms, where a lab brings none of its own."""
    licence = title.licence or "No licence is given beyond this agreement."
    return f"""AGREEMENT ON THE USE OF: {title.title}, version {title.version}

This is a draft that a lab gives to its own lawyers before it gives it to others; it is no legal advice.

Terms of the release: {licence}

Who receives the data set ("the recipient") agrees with who gives it ("the provider"):

1. Purpose. The data are used for research alone. A use that a column of subjects.csv names is permitted for those
   subjects who have a plain yes there ({", ".join(c for c in permitted.COLUMNS.values() if c != "research_only")}), and
   commercial use for those who have a plain no in research_only. An empty or unknown entry permits nothing.
2. Pictures. Meshes, textures and renderings are shown - in papers, talks, on pages - of those subjects alone who have
   a yes in may_appear_in_papers.
3. Identity. The recipient does not try to find out who a subject is, does not put the data together with others to that
   end, and does not use them to recognise, survey or rate people.
4. Passing on. The recipient passes on neither the data nor parts of them, nor models from which a subject's face can be
   brought back. Others ask the provider.
5. Safety. The data are kept where members of the recipient's group alone can read them.
6. Withdrawal. When the provider says that a subject has withdrawn, the recipient deletes all data of that subject, and
   what was derived from them and shows them, within 30 days, and says so.
7. Citation. Publications that use the data cite them as CITATION.cff says.
8. End. When the work is done, or this agreement is broken, the data are deleted.
9. No warranty. The data are given as they are.

Recipient (name, institution):

Date, signature:
"""


def citation_cff(title: Title) -> str:
    """CITATION.cff 1.2.0."""
    lines = [
        "cff-version: 1.2.0",
        "message: If you use this data set, please cite it as below.",
        "type: dataset",
        f"title: {_quoted(title.title)}",
        f"version: {_quoted(title.version)}",
        f"date-released: {_quoted(title.date)}",
        *([f"abstract: {_quoted(title.description)}"] if title.description else []),
        *([f"doi: {_quoted(title.doi)}"] if title.doi else []),
        *([f"url: {_quoted(title.url)}"] if title.url else []),
        "authors:",
    ]
    for author in title.authors:
        family, comma, given = (part.strip() for part in author.partition(","))
        if comma:
            lines += [f"  - family-names: {_quoted(family)}", f"    given-names: {_quoted(given)}"]
        else:
            lines.append(f"  - name: {_quoted(family)}")
    return "\n".join(lines) + "\n"


def bibtex(title: Title) -> str:
    """A BibTeX entry."""
    first = re.sub(r"[^A-Za-z]", "", title.authors[0].partition(",")[0]) or "dataset"
    fields: dict[str, str] = {
        "title": f"{{{_tex(title.title)}}}",
        "author": " and ".join(_tex(a) if "," in a else f"{{{_tex(a)}}}" for a in title.authors),
        "year": title.date[:4],
        "version": _tex(title.version),
        "note": "Data set",
        **({"doi": title.doi} if title.doi else {}),
        **({"url": title.url} if title.url else {}),
    }
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{first.lower()}{title.date[:4]},\n{body}\n}}\n"


def datasheet(title: Title, facts: Facts, how: dict[str, Any]) -> str:
    """Questions that who uses a data set has (after Gebru et al., Datasheets for Datasets, 2021), and histograms.

    Args:
        how: seed and shares of the splits, who was left out, versions of the stages, what changed by version.
    """
    table = ["| value | subjects | |", "| --- | --- | --- |"]
    parts = [f"# Datasheet: {title.title}, version {title.version}", "", "## Composition", ""]
    parts += [
        f"{counted(len(facts.people), 'subject')}, {counted(facts.sequences, 'sequence')}, "
        f"{counted(facts.frames, 'frame')}: {facts.ok} registered, {facts.frames - facts.ok} rejected. A frame "
        f"is a mesh of {counted(facts.n_vertices, 'vertex', 'vertices')} and "
        f"{counted(facts.n_triangles, 'triangle')} in millimetres, with landmarks, and a texture where there is one.",
        "",
        "Ids are pseudonyms (keyed hashes); names of sequences are their expressions. What else the table of subjects "
        f"had was left out: {how['dropped'] or 'nothing'}.",
        "",
        f"{counted(facts.alone, 'subject is', 'subjects are')} alone in their age band, gender and ethnicity, and the "
        "easier to recognise.",
        "",
    ]
    for column in ("age", "gender", "ethnicity"):
        parts += [f"### {column.capitalize()}", "", *table, *bars(facts.count(column)), ""]
    parts += ["### Expressions", "", "| value | registered frames | |", "| --- | --- | --- |"]
    parts += [*bars(facts.expressions), ""]
    parts += ["## Splits", "", f"| | {' | '.join(NAMES)} |", "| --- |" + " --- |" * len(NAMES)]
    total = [facts.count("split").get(split, 0) for split in NAMES]
    parts += [f"| subjects | {' | '.join(map(str, total))} |"]
    for column in ("age", "gender", "ethnicity"):
        for value, numbers in by_split(facts, column):
            parts.append(f"| {column} {value} | {' | '.join(map(str, numbers))} |")
    shares = ", ".join(f"{split} {share:.3g}" for split, share in how["shares"].items())
    parts += [
        "",
        f"By subject; stratified by age band, gender and ethnicity; {how['splits']} ({shares}).",
        "",
    ]
    parts += [
        "## Consent and uses",
        "",
        f"Left out for want of consent or use: {counted(how['left_out'], 'subject')}.",
        "",
    ]
    parts += ["| use | subjects who permit it |", "| --- | --- |"]
    parts += [f"| {use} | {len(facts.permitting(use))} |" for use in permitted.USES]
    parts += [
        "",
        "## Quality",
        "",
        "Of registered frames; the release's documentation says what the figures are.",
        "",
    ]
    parts += ["| figure | unit | 5 % | median | 95 % | frames |", "| --- | --- | --- | --- | --- | --- |"]
    for name, (values, unit) in facts.figures.items():
        low, middle, high = np.percentile(values, [5, 50, 95])
        parts.append(f"| `{name}` | {unit} | {low:.3g} | {middle:.3g} | {high:.3g} | {len(values)} |")
    for name, (values, unit) in facts.figures.items():
        parts += ["", f"### {name}, {unit}", "", "| value | frames | |", "| --- | --- | --- |"]
        parts += bars(histogram(values))
    if facts.reasons:
        parts += ["", "### Rejected frames", "", "| reason | frames | |", "| --- | --- | --- |"]
        parts += bars(facts.reasons)
    parts += ["", "## Collection and processing", ""]
    parts += [
        f"Scans were registered to one template with mimicme; stages and their versions: {how['stages']}.",
        "",
    ]
    parts += ["## Distribution and maintenance", ""]
    parts += [
        f"Terms: {title.licence or 'see AGREEMENT.txt'}. New versions come without those who have withdrawn; a subject "
        "keeps pseudonym and split in all of them.",
    ]
    if how["changes"]:
        parts += ["", "| version | what changed |", "| --- | --- |"]
        parts += [f"| {version} | {text.replace('|', '/')} |" for version, text in how["changes"]]
    return "\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    """A YAML scalar."""
    return json.dumps(text, ensure_ascii=False)


_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", **{c: f"\\{c}" for c in "&%$#_"}}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
