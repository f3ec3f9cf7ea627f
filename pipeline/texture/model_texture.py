"""The texture of a model as a picture without holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.model_file import TextureModel
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import MIRROR_TOLERANCE
from mimicme.pipeline.texture.inpainting import fill_holes, fill_mirrored, mirror_error


def mean_texture(texture: TextureModel, template: Template) -> NDArray[np.uint8]:
    """(height, width, 3) the mean texture, without holes.

    The model leaves out pixels that too few subjects have (mouth, nostrils, hair; with few people much more): they
    get the colours of the face's other side where the layout is its own mirror image, else those from around.
    """
    picture = texture.image(texture.model.mean)
    pixels = np.zeros(texture.height * texture.width, bool)
    pixels[texture.pixels] = True
    known = pixels.reshape(picture.shape[:2])
    apart = mirror_error(template.uv, template.vertices, template.uv_faces, template.faces)
    (fill_mirrored if apart < MIRROR_TOLERANCE else fill_holes)(picture, known)
    return picture
