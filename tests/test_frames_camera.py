"""Cameras: frames with times, and what happens when one is lost (rows V12, V16)."""

import threading
import time

import numpy as np
import pytest

from anymask.errors import VideoError
from anymask.frames import Frames, open_frames
from anymask.frames_camera import Camera


class Fake:
    """A camera that gives so many frames each time it is opened, then fails."""

    def __init__(self, lives: list[int], *, hang: bool = False, sizes: list[int] | None = None):
        self.lives, self.hang, self.sizes = list(lives), hang, sizes or []
        self.opened = self.released = 0
        self.go_on = threading.Event()

    def connect(self) -> "Fake":
        self.opened += 1
        self.left = self.lives.pop(0) if self.lives else 0
        self.side = self.sizes.pop(0) if self.sizes else 32
        return self

    def read(self) -> tuple[bool, np.ndarray]:
        if self.left == 0:
            if self.hang:
                self.go_on.wait(20)
            return False, np.zeros((0, 0, 3), np.uint8)
        self.left -= 1
        pixels = np.zeros((24, self.side, 3), np.uint8)
        pixels[..., 0] = 200  # blue comes first
        return True, pixels

    def release(self) -> None:
        self.released += 1


def camera(fake: Fake, wait_s: float = 0.2, letterbox: bool = False) -> Frames:
    return Frames(Camera(fake.connect, "camera 0", wait_s=wait_s), letterbox=letterbox)


def test_v16_a_camera_gives_rgb_with_rising_times():
    fake = Fake([10])
    with camera(fake) as frames:
        found = [frames.read(i) for i in range(5)]
        assert found[0].shape == (24, 32, 3) and found[0][0, 0].tolist() == [0, 0, 200]
        times = [frames.facts(i).time_s for i in range(5)]
        assert times == sorted(times) and times[0] == 0
        assert not frames.rereads and frames.count is None
    time.sleep(0.05)
    assert fake.released == 1


@pytest.mark.parametrize("hang", [False, True], ids=["says so", "hangs"])
def test_v16_a_camera_that_drops_out_is_opened_again_and_no_frame_is_lost(hang: bool):
    fake = Fake([4, 0, 3], hang=hang)
    with camera(fake) as frames:
        assert len([frames.read(i) for i in range(7)]) == 7
        assert [note.code for note in frames.notes] == ["camera-reopened"]
        assert fake.opened == 3
        fake.go_on.set()


@pytest.mark.parametrize("hang", [False, True], ids=["says so", "hangs"])
def test_v16_a_lost_camera_is_an_error_after_three_more_tries_and_the_frames_stay(hang: bool):
    fake = Fake([6], hang=hang)
    results = []
    began = time.monotonic()
    with camera(fake) as frames:
        with pytest.raises(VideoError, match=r"^camera-lost: camera 0, frame 6: "):
            for pixels in frames:
                results.append(pixels)
        assert len(results) == 6 and fake.opened == 4
        fake.go_on.set()
    assert time.monotonic() - began < 0.2 * 4 + 1


def test_v16_a_camera_that_cannot_be_opened_is_an_error():
    def connect() -> Fake:
        raise OSError("busy")

    with pytest.raises(VideoError, match=r"^camera-lost"):
        Frames(Camera(connect, "camera 3", wait_s=0.05))


def test_v12_a_camera_of_another_size_after_it_came_back_is_an_error_or_fitted():
    with camera(Fake([2, 2], sizes=[32, 48])) as frames:
        frames.read(1)
        with pytest.raises(VideoError, match=r"^video-size: .*32x24 to 48x24"):
            frames.read(2)
    with camera(Fake([2, 2], sizes=[32, 48]), letterbox=True) as frames:
        assert [frames.read(i).shape for i in range(4)] == [(24, 32, 3)] * 4


def test_v16_the_number_of_no_camera_is_an_error_in_time():
    began = time.monotonic()
    with pytest.raises(VideoError, match=r"^camera-lost: camera 93"):
        open_frames(93)
    assert time.monotonic() - began < 20
