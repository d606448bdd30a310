"""A photo encoded as any kind of file, and the notes of what was read of it."""

import io

import pytest
from PIL import Image

from anymask.errors import ImageError
from anymask.image import load_image
from conftest import PHOTOS


def codes(picture):
    return {note.code for note in picture.notes}


def refusal(source, **how):
    """The error that a source raises which is no picture."""
    one_line = r"\A[^\n]*\Z"  # no assert: those of this module are gone under python -O
    with pytest.raises(ImageError, match=one_line) as caught:
        load_image(source, **how)
    return caught.value


def encoded(picture, kind, **how):
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def photo(size=(96, 64)):
    return Image.open(PHOTOS / "dog.png").convert("RGB").resize(size)
