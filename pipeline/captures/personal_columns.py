"""Columns of a table of subjects that identify a person: a release is given away, and none of them ever enters it.

In the languages whose names of the other columns are read as well: English, German, French and Spanish.  A word too
many costs a column that can be renamed; one too few gives a person away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_ENGLISH = (
    *(
        "name",
        "names",
        "surname",
        "firstname",
        "lastname",
        "fullname",
        "forename",
        "initials",
        "email",
        "mail",
    ),
    *("phone", "telephone", "mobile", "address", "street", "postcode", "zip", "dob", "birthday", "birthdate"),
    *("born", "passport", "ssn", "contact", "signature", "mrn", "kin", "nickname", "username", "zipcode"),
    *("city", "town", "hometown", "residence", "birthplace", "fax", "cellphone", "iban"),
)
_GERMAN = (
    *(
        "vorname",
        "vornamen",
        "nachname",
        "nachnamen",
        "familienname",
        "zuname",
        "geburtsname",
        "rufname",
        "namen",
    ),
    *(
        "klarname",
        "initialen",
        "emailadresse",
        "mailadresse",
        "adresse",
        "anschrift",
        "wohnort",
        "wohnanschrift",
    ),
    *(
        "strasse",
        "hausnummer",
        "plz",
        "postleitzahl",
        "telefon",
        "telefonnummer",
        "telefonnr",
        "tel",
        "handy",
    ),
    *("handynummer", "mobil", "mobilnummer", "geburtsdatum", "geburtstag", "geboren", "gebdatum", "ausweis"),
    *("ausweisnummer", "personalausweis", "reisepass", "matrikelnummer", "versichertennummer", "kontakt"),
    *(
        "sozialversicherungsnummer",
        "unterschrift",
        "geb",
        "gebdat",
        "geburtsort",
        "ort",
        "stadt",
        "ledigname",
    ),
)
_FRENCH = (
    *("nom", "noms", "prenom", "prenoms", "initiales", "courriel", "adresse", "rue", "postal", "ville"),
    *("naissance", "naiss", "passeport", "signature", "surnom", "domicile", "portable"),
)
_SPANISH = (
    *("nombre", "nombres", "apellido", "apellidos", "iniciales", "correo", "telefono", "movil", "direccion"),
    *("calle", "nacimiento", "nac", "nacido", "nacida", "pasaporte", "dni", "contacto", "firma", "ciudad"),
    *("domicilio", "apodo", "celular", "curp"),
)
_WORDS = frozenset((*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH))
_PHRASES = (
    *(
        ("date", "of", "birth"),
        ("birth", "date"),
        ("birth", "day"),
        ("place", "of", "birth"),
        ("birth", "place"),
    ),
    *(("national", "id"), ("social", "security"), ("id", "number"), ("identity", "number"), ("id", "card")),
    *(("student", "id"), ("student", "number"), ("patient", "id"), ("patient", "number"), ("employee", "id")),
    *(("staff", "id"), ("user", "id"), ("login", "id"), ("hospital", "number"), ("hospital", "id")),
    *(("medical", "record"), ("insurance", "number"), ("license", "number"), ("licence", "number")),
    *(("account", "number"), ("nhs", "number"), ("carte", "identite"), ("ne", "le"), ("nee", "le")),
)
"""Words that identify a person side by side, and none of them alone."""
_BESIDE = frozenset(
    [word for phrase in _PHRASES for word in phrase if len(word) > 1]
    + [
        "first",
        "last",
        "family",
        "given",
        "full",
        "middle",
        "maiden",
        "birth",
        "legal",
        "real",
        "nick",
        "user",
    ]
    + [
        "patient",
        "patients",
        "patienten",
        "subject",
        "participant",
        "person",
        "proband",
        "probanden",
        "teilnehmer",
    ]
    + ["mother", "mothers", "father", "fathers", "parent", "guardian", "spouse", "child", "emergency", "next"]
    + ["home", "work", "cell", "private", "privat", "wohn", "heim", "haus", "post", "personal", "contact"]
    + [
        "number",
        "no",
        "nr",
        "nummer",
        "num",
        "numero",
        "code",
        "codes",
        "line",
        "dat",
        "datum",
        "tag",
        "kontakt",
    ]
    + ["geburts", "familien", "strassen", "notfall", "fecha", "lugar", "de", "del", "du", "la", "tutor"]
    + ["paciente", "participante", "famille", "jeune", "fille", "usuario", "madre", "padre"]
)
"""Words that stand in one with those of `_WORDS`, however they are written: `phonenumber`, `geburtsort`."""
_COUNTED = frozenset(
    ["frame", "image", "sequence", "scan", "prise", "capture", "pose", "point", "sommet", "triangle", "vue"]
    + [
        "camera",
        "photo",
        "trame",
        "annee",
        "jour",
        "mois",
        "seance",
        "session",
        "essai",
        "repetition",
        "expression",
    ]
    + ["enregistrement", "maillage", "texture", "repere"]
)
"""What a French `nombre` counts; in Spanish it is a name."""
_LONGEST = 60  # of a word that is taken apart


def is_personal(column: str) -> bool:
    """Whether a column identifies a person, as it is written or in small letters with `_` between words.

    Words end at capitals, digits and whatever is no letter (`DateOfBirth`, `Geb.-Datum`, `phone1`), and several may be
    written as one (`dateofbirth`); with accents or without.
    """
    words = _words(column)
    found = {word for k, word in enumerate(words) if word != "nombre" or not _counts(words[k + 1 :])}
    return (
        not _WORDS.isdisjoint(found)
        or _has_phrase(words)
        or any(map(_is_compound, found))
        or _is_together(words)
    )


def _words(column: str) -> list[str]:
    """The words of a column's name, in small letters without accents."""
    text = _without_accents(column.replace("iPhone", "iphone"))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return [word for word in re.split(r"[\W\d_]+", text.casefold()) if word]


def _has_phrase(words: Sequence[str]) -> bool:
    return any(tuple(words[k : k + len(phrase)]) == phrase for phrase in _PHRASES for k in range(len(words)))


def _counts(after: Sequence[str]) -> bool:
    """Whether a French `nombre` with these words after it is a number: `nombre de frames`, `nombre d'images`."""
    rest = [word for word in after if word not in ("de", "d", "des", "total")]
    return bool(rest) and (rest[0] in _COUNTED or rest[0].removesuffix("s") in _COUNTED)


def _is_together(words: Sequence[str]) -> bool:
    """Whether pieces of words are one that is known: `SurName`, `E-Mail`, `post code`, `Zip-Code`."""
    return any(first + second in _WORDS for first, second in zip(words, words[1:], strict=False))


def _is_compound(word: str) -> bool:
    """Whether a word is several that are known, written as one, and these identify a person."""
    return len(word) <= _LONGEST and any(
        not _WORDS.isdisjoint(parts) or _has_phrase(parts) for parts in _taken_apart(word)
    )


def _taken_apart(word: str) -> Iterator[tuple[str, ...]]:
    """Each way to take a word apart into known ones."""
    if not word:
        yield ()
    for end in range(2, len(word) + 1):
        if word[:end] in _WORDS or word[:end] in _BESIDE:
            for parts in _taken_apart(word[end:]):
                yield (word[:end], *parts)


def _without_accents(text: str) -> str:
    """`prénom` -> `prenom`, `straße` -> `strasse`."""
    apart = unicodedata.normalize("NFD", text.replace("ß", "ss"))
    return "".join(c for c in apart if not unicodedata.combining(c))
