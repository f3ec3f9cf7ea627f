"""Columns of a table of subjects that identify a person: a release is given away, and none of them ever enters it.

In the languages whose names of the other columns are read as well: English, German, French and Spanish.  A word too
many costs a column that can be renamed; one too few gives a person away.
"""

from __future__ import annotations

import unicodedata

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
    *("born", "passport", "ssn", "contact", "signature"),
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
    *("sozialversicherungsnummer", "unterschrift"),
)
_FRENCH = (
    *("nom", "noms", "prenom", "prenoms", "initiales", "courriel", "adresse", "rue", "postal", "ville"),
    *("naissance", "passeport", "signature"),
)
_SPANISH = (
    *("nombre", "nombres", "apellido", "apellidos", "iniciales", "correo", "telefono", "movil", "direccion"),
    *("calle", "nacimiento", "pasaporte", "dni", "contacto", "firma"),
)
_WORDS = frozenset((*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH))
_COLUMNS = frozenset({"date_of_birth", "birth_date", "national_id", "social_security", "id_number"})


def is_personal(column: str) -> bool:
    """Whether a column, in small letters with `_` between words, identifies a person; with accents or without."""
    bare = _without_accents(column)
    return bare in _COLUMNS or not _WORDS.isdisjoint(bare.split("_"))


def _without_accents(text: str) -> str:
    """`prénom` -> `prenom`, `straße` -> `strasse`."""
    apart = unicodedata.normalize("NFD", text.replace("ß", "ss"))
    return "".join(c for c in apart if not unicodedata.combining(c))
