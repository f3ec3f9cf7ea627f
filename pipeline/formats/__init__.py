"""Files of meshes, images and maps."""
