"""Meshes and what can be computed of them; knows no face."""
