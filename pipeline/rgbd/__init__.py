"""Recordings of depth cameras: depth and colour pictures, described by one file a sequence, become meshes."""
