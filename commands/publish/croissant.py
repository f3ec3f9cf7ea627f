"""The description of a published release for machines: Croissant 1.0 (MLCommons), JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mimicme.commands.publish.texts import Title

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FORMATS = {".h5": "application/x-hdf5", ".csv": "text/csv", ".md": "text/markdown", ".txt": "text/plain"}
_SUBJECTS = "subjects.csv"


def croissant(
    title: Title, files: Mapping[str, tuple[int, str]], columns: Mapping[str, str], cite_as: str
) -> str:
    """The description.

    Args:
        files: size and SHA-256 by name.
        columns: of `subjects.csv`, what each is.
        cite_as: a BibTeX entry.
    """
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title.title,
        "description": title.description or title.title,
        "license": title.licence or "AGREEMENT.txt",
        "version": title.version,
        "datePublished": title.date,
        "citeAs": cite_as,
        "creator": [_creator(author) for author in title.authors],
        **({"url": title.url} if title.url else {}),
        **({"identifier": title.doi} if title.doi else {}),
        "distribution": [_file(name, *said) for name, said in sorted(files.items())],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "subjects",
                "name": "subjects",
                "description": "Subjects by pseudonym, with their split and what they permit.",
                "key": {"@id": "subjects/subject"},
                "field": [_field(name, what) for name, what in columns.items()],
            }
        ],
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _creator(author: str) -> dict[str, str]:
    family, comma, given = (part.strip() for part in author.partition(","))
    return {"@type": "Person" if comma else "Organization", "name": f"{given} {family}" if comma else family}


def _file(name: str, size: int, sha256: str) -> dict[str, str]:
    ending = name[name.rfind(".") :] if "." in name else ""
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": _FORMATS.get(ending, "text/plain"),
        "sha256": sha256,
    }


def _field(name: str, what: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"subjects/{name}",
        "name": name,
        "description": what,
        "dataType": "sc:Integer" if name == "frames_ok" else "sc:Text",
        "source": {"fileObject": {"@id": _SUBJECTS}, "extract": {"column": name}},
    }
