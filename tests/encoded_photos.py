"""A photo encoded as any kind of file, and the notes of what was read of it."""

import io

from PIL import Image

from conftest import PHOTOS


def codes(picture):
    return {note.code for note in picture.notes}


def encoded(picture, kind, **how):
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def photo(size=(96, 64)):
    return Image.open(PHOTOS / "dog.png").convert("RGB").resize(size)
