"""The cache of features: hits, damage, bounds, and several processes in one folder."""

import multiprocessing
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import picture, small_model

from anymask.errors import AnymaskWarning
from anymask.frame import Frame
from anymask.model import Model
from anymask.predict.cache import EmbeddingCache, code_version
from anymask.predict.image import ImagePredictor


def features(number):
    """Two maps that tell their number."""
    return torch.full((1, 4, 9, 9), float(number)), torch.full((1, 2, 3), -float(number))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


SIZE_OF_ONE = 3000  # bytes, at least, of an entry with one set of these features


@pytest.fixture
def encoded(monkeypatch):
    """How often the network encoded something."""
    calls, encode = [], Model.encode

    def counted(self, pixels):
        calls.append(pixels.shape)
        return encode(self, pixels)

    monkeypatch.setattr(Model, "encode", counted)
    return calls


@pytest.mark.parametrize("kind", ["sam", "nano"])
def test_the_second_encoding_of_an_image_comes_from_the_cache(tmp_path, encoded, kind):
    plain = ImagePredictor(small_model(kind)).encode(picture())
    for _ in range(3):  # new objects, as in new processes
        kept = ImagePredictor(small_model(kind), cache=EmbeddingCache(tmp_path)).encode(picture())
        assert same(kept.features, plain.features) and kept.frame == plain.frame
        assert np.array_equal(kept.pixels, plain.pixels)
    assert len(encoded) == 2


def test_another_image_model_or_code_is_another_entry(tmp_path, monkeypatch):
    cache, model = EmbeddingCache(tmp_path), small_model("sam")
    pixels = picture()
    frame = Frame.fit(pixels.shape[:2], model.variant.spec)
    changed = np.array(pixels)
    changed[0, 0, 0] ^= 1
    keys = {
        cache.key(pixels, frame, model),
        cache.key(changed, frame, model),
        cache.key(pixels.reshape(30, 80, 3), frame, model),
        cache.key(pixels, Frame.fit(pixels.shape[:2], model.variant.spec, 32), model),
        cache.key(pixels, frame, small_model("sam", seed=1)),
        cache.key(pixels, frame, small_model("nano")),
    }
    monkeypatch.setattr("anymask.predict.cache.code_version", lambda: "another")
    keys.add(cache.key(pixels, frame, model))
    assert len(keys) == 7
    assert cache.key(pixels, frame, model) == cache.key(pixels.copy(), frame, model)


def test_the_code_has_a_version_of_its_own():
    assert len(code_version()) == 64 and code_version() == code_version()


def test_an_entry_is_dropped_and_made_again_when_it_is_damaged(tmp_path, encoded):
    cache = EmbeddingCache(tmp_path)
    predictor = ImagePredictor(small_model("sam"), cache=cache)
    whole = predictor.encode(picture())
    (entry,) = tmp_path.iterdir()
    good = entry.read_bytes()
    for damaged in (b"", good[:-1], good[:200], bytes(len(good)), good[:-9] + bytes(9)):
        entry.write_bytes(damaged)
        assert cache.get(entry.stem) is None and not entry.exists()
        assert same(predictor.encode(picture()).features, whole.features)
        assert len(entry.read_bytes()) == len(good)
    assert len(encoded) == 6


@settings(max_examples=20)
@given(uses=st.lists(st.integers(0, 5), min_size=6, max_size=30))
def test_the_entries_used_last_stay_and_their_bytes_are_bounded(tmp_path_factory, uses):
    folder = tmp_path_factory.mktemp("cache")
    cache = EmbeddingCache(folder, max_bytes=1)
    cache.put("x", features(0))
    assert list(folder.iterdir()) == []  # larger than the whole cache
    cache = EmbeddingCache(folder)
    cache.put("size", features(0))
    size = cache._path("size").stat().st_size
    cache._path("size").unlink()
    cache.max_bytes = 3 * size + 100
    order = []
    for clock, number in enumerate(uses):
        if cache.get(str(number)) is None:
            cache.put(str(number), features(number))
        os.utime(cache._path(str(number)), (clock, clock))  # clocks are coarse
        order = [n for n in order if n != number] + [number]
        order = order[-3:]
        kept = {path.stem for path in folder.iterdir()}
        assert kept == {str(n) for n in order}
        assert sum(path.stat().st_size for path in folder.iterdir()) <= cache.max_bytes


def test_parts_of_processes_that_died_are_swept_and_fresh_ones_left(tmp_path):
    old, fresh, other = tmp_path / ".a.part", tmp_path / ".b.part", tmp_path / "notes.txt"
    for path in (old, fresh, other):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    EmbeddingCache(tmp_path, max_bytes=10_000).put("k", features(1))
    assert {path.name for path in tmp_path.iterdir()} == {".b.part", "notes.txt", "k.safetensors"}


def test_o03_a_cache_that_cannot_be_written_is_noted_and_the_work_goes_on(tmp_path):
    import anymask.errors

    anymask.errors._warned.clear()
    (tmp_path / "file").write_bytes(b"")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    predictor = ImagePredictor(small_model("sam"), cache=cache)
    with pytest.warns(AnymaskWarning, match="embedding-not-kept"):
        embedding = predictor.encode(picture())
    assert [note.code for note in embedding.notes] == ["embedding-not-kept"]
    assert same(embedding.features, ImagePredictor(small_model("sam")).encode(picture()).features)


def work(folder, seed, failures):
    """One of several processes: take, check, and keep features in a cache with room for five."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    cache = EmbeddingCache(folder, max_bytes=5 * 2 * SIZE_OF_ONE)
    for _ in range(150):
        number = int(rng.integers(12))
        found = cache.get(f"{number}")
        if found is None:
            cache.put(f"{number}", features(number))
        elif not same(found, features(number)):
            failures.put(number)
        if rng.random() < 0.05:  # a disk that lies
            path = cache._path(f"{number}")
            path.write_bytes(b"broken")


def test_four_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    workers = [context.Process(target=work, args=(tmp_path, s, failures)) for s in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert failures.empty()
    cache = EmbeddingCache(tmp_path, max_bytes=5 * 2 * SIZE_OF_ONE)
    cache.put("last", features(1))
    assert not list(tmp_path.glob("*.part"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= cache.max_bytes
