"""Frames are read ahead in the order of travel, one at a time, and none more than is wanted."""

import threading
import time

import numpy as np
import pytest

from anymask.errors import VideoError
from anymask.frames import Frames
from anymask.predict.video_source import FileReader, Pushed


class Listed:
    """Frames that note in which order, and in which thread, they are read."""

    def __init__(self, count, known=True):
        self.where, self.expected, self.rate, self.time_base, self.names = (None,) * 5
        self.rereads, self.notes = True, {}
        self.count = count if known else None
        self._count, self.order, self.threads, self.busy = count, [], set(), 0
        self.slow, self.bad = 0.0, None

    def get(self, index):
        from anymask.frames_source import EndOfFrames

        if index >= self._count:
            raise EndOfFrames
        self.busy += 1
        assert self.busy == 1, "two threads read at once"
        time.sleep(self.slow)
        self.busy -= 1
        self.order.append(index)
        self.threads.add(threading.current_thread().name.split("_")[0])
        if index == self.bad:
            raise VideoError("video-truncated", "the file ends here")
        return np.full((4, 6, 3), index, np.uint8)

    def facts(self, index):
        return None

    def count_to(self, limit):
        return self._count

    def close(self):
        pass


def reader_of(source) -> FileReader:
    return FileReader(Frames(source, letterbox=False, start=0, stop=None, step=1))


@pytest.mark.parametrize("known", [True, False])
def test_a_pass_reads_each_frame_once_and_in_order(known):
    source = Listed(12, known)
    source.slow = 0.002
    reader = reader_of(source)
    reader.towards(1)
    for index in range(12):
        assert reader.has(index)
        assert (reader.read(index) == index).all()
    assert not reader.has(12)
    reader.close()
    assert source.order == list(range(12))
    assert "anymask-frames" in source.threads


def test_going_back_reads_ahead_backwards():
    source = Listed(9)
    reader = reader_of(source)
    reader.towards(-1)
    assert [int(reader.read(i)[0, 0, 0]) for i in range(8, -1, -1)] == list(range(8, -1, -1))
    reader.close()
    assert source.order[1:10] == list(range(8, -1, -1))[:9]


def test_without_a_direction_nothing_is_read_ahead():
    source = Listed(9)
    reader = reader_of(source)
    for index in (5, 2, 7):
        reader.read(index)
    time.sleep(0.02)
    reader.close()
    assert source.order == [0, 5, 2, 7]


def test_an_error_ahead_is_told_when_its_frame_is_wanted_and_not_before():
    source = Listed(9)
    source.bad = 3
    reader = reader_of(source)
    reader.towards(1)
    for index in range(3):
        reader.read(index)
    with pytest.raises(VideoError, match="video-truncated"):
        reader.read(3)
    reader.close()


def test_close_stops_the_thread():
    before = set(threading.enumerate())
    source = Listed(9)
    reader = reader_of(source)
    reader.towards(1)
    reader.read(0)
    reader.close()
    assert set(threading.enumerate()) <= before
    reader.close()


def test_frames_that_are_handed_in_are_kept_while_they_are_new():
    pushed = Pushed()
    pushed.push(np.zeros((4, 6, 3), np.uint8))
    reader = reader_of(pushed)
    for index in range(1, 9):
        assert not reader.has(index)
        pushed.push(np.full((4, 6, 3), index, np.uint8))
        assert reader.has(index) and (reader.read(index) == index).all()
    with pytest.raises(VideoError, match="frame-gone"):
        reader.read(0)
