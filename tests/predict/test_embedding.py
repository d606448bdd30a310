"""Embeddings on disk: the same bits come back, and damage is never taken for an embedding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import picture, small_model

from anymask.errors import DataError, Note, OutputError
from anymask.image import Picture
from anymask.predict.embedding import seal, unseal
from anymask.predict.image import ImageEmbedding, ImagePredictor


@pytest.fixture(params=("sam", "nano"), scope="module")
def predictor(request):
    return ImagePredictor(small_model(request.param))


@pytest.fixture(scope="module")
def embedding(predictor):
    notes = (Note("image-16bit", 'odd "text" \u2026\n'),)
    with pytest.warns(UserWarning, match="image-16bit"):
        return predictor.encode(Picture(pixels=picture(), notes=notes))


@pytest.fixture(autouse=True)
def every_note_warns():
    import anymask.errors

    anymask.errors._warned.clear()


@pytest.fixture(scope="module")
def saved(embedding, tmp_path_factory):
    path = tmp_path_factory.mktemp("embeddings") / "photo.safetensors"
    embedding.save(path)
    return path


def test_what_was_saved_comes_back_bit_for_bit(predictor, embedding, saved):
    back = ImageEmbedding.load(saved)
    assert back.frame == embedding.frame and back.size == embedding.size
    assert (back.variant, back.fingerprint) == (embedding.variant, embedding.fingerprint)
    assert back.notes == embedding.notes
    assert np.array_equal(back.pixels, embedding.pixels) and not back.pixels.flags.writeable
    for a, b in zip(back.features, embedding.features, strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype and a.stride() == b.stride()
    asked = {"points": [(9, 9)], "boxes": (3, 3, 30, 30)}
    one, other = predictor.predict(embedding, **asked), predictor.predict(back, **asked)
    assert np.array_equal(one.logits, other.logits) and one.notes == other.notes


def test_half_precision_features_come_back_as_they_are(tmp_path, embedding):
    half = ImageEmbedding(
        features=tuple(f.to(torch.bfloat16) for f in embedding.features),
        frame=embedding.frame,
        pixels=embedding.pixels,
        variant=embedding.variant,
        fingerprint="f" * 64,
    )
    half.save(tmp_path / "half")
    for a, b in zip(ImageEmbedding.load(tmp_path / "half").features, half.features, strict=True):
        assert a.dtype == torch.bfloat16 and torch.equal(a, b)


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_c02_a_cut_or_changed_file_is_never_an_embedding(saved, tmp_path_factory, share, flip):
    data = saved.read_bytes()
    at = int(share * len(data))
    damaged = tmp_path_factory.mktemp("damaged") / "x"
    for content in (data[:at], data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]):
        damaged.write_bytes(content)
        with pytest.raises(DataError) as caught:
            ImageEmbedding.load(damaged)
        assert caught.value.code == "embedding-broken" and str(damaged) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"\xff" * 99, b"\x02" + bytes(7) + b"{}"]
)
def test_c02_another_file_is_no_embedding(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="embedding-broken"):
        ImageEmbedding.load(tmp_path / "x")


def test_another_version_of_the_format_is_refused(tmp_path, monkeypatch, embedding):
    monkeypatch.setattr("anymask.predict.embedding.FORMAT", "0")
    embedding.save(tmp_path / "old")
    monkeypatch.undo()
    with pytest.raises(DataError, match="embedding-broken"):
        ImageEmbedding.load(tmp_path / "old")


def test_i12_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="embedding-missing") as caught:
            ImageEmbedding.load(path)
        assert caught.value.where == str(path)


def test_o02_an_old_file_is_kept_unless_told_otherwise(tmp_path, embedding):
    path = tmp_path / "deep" / "er" / "x"
    embedding.save(path)
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="file-exists"):
        embedding.save(path)
    assert path.read_bytes() == b"mine"
    embedding.save(path, overwrite=True)
    assert ImageEmbedding.load(path).frame == embedding.frame


def test_o04_a_failing_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, embedding):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        embedding.save(path, overwrite=True)
    assert caught.value.code == "write-failed"
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and path.read_bytes() == b"old"


@given(text=st.text(max_size=80), values=st.lists(st.floats(width=32), max_size=9))
def test_a_seal_keeps_tensors_and_facts(text, values):
    tensor = torch.tensor(values, dtype=torch.float32)
    tensors, facts = unseal(seal({"a": tensor}, {"text": text}))
    assert facts["text"] == text
    assert tensors["a"].numpy().tobytes() == tensor.numpy().tobytes()
