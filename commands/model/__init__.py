"""model: linear models of faces out of a release, and how good they are."""
