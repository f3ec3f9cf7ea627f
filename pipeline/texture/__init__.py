"""The texture of a registered mesh, from the scan it was fitted to."""
