"""Which columns of a table of subjects identify a person."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.personal_columns import is_personal


@pytest.mark.parametrize(
    "column",
    [
        *("name", "full_name", "e_mail", "date_of_birth", "id_number"),
        *("vorname", "nachname", "geburtsdatum", "telefon", "plz", "straße", "strasse"),
        *("prénom", "prenom", "date_de_naissance", "nom_de_famille"),
        *("apellidos", "dirección", "teléfono", "fecha_de_nacimiento"),
    ],
)
def test_what_identifies_a_person(column: str) -> None:
    assert is_personal(column)


@pytest.mark.parametrize(
    "column", ["age", "alter", "größe", "gerät", "site", "kamera", "expression", "device_id", "skin", "land"]
)
def test_what_does_not(column: str) -> None:
    assert not is_personal(column)
