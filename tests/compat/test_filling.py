"""Small holes and sprinkles are removed from logits as SAM 2's CUDA extension does it."""

import numpy as np
import pytest
import torch

from anymask.compat.sam2.filling import fill_small

PICTURES = {  # before, after; up to area 2; # object, o filled, x removed
    "a hole": ("#####|#.###|#####", "#####|#o###|#####"),
    "a hole of two, joined by a corner": ("####|#.##|##.#|####", "####|#o##|##o#|####"),
    "a hole of three stays": ("#####|#...#|#####", "#####|#...#|#####"),
    "one that touches the border counts": (".###|####|###.", "o###|####|###o"),
    "a sprinkle": (".....|.#...|.....", ".....|.x...|....."),
    "both, each told from the mask as it was": ("#.#|...|...", "x.x|...|..."),
    "nothing small": ("###..|###..", "###..|###.."),
}
VALUES = {"#": 1.5, ".": -2.0, "o": 10.5, "x": -9.5}  # the threshold is 0.5


def drawn(picture: str) -> torch.Tensor:
    return torch.tensor([[VALUES[c] for c in line] for line in picture.split("|")])


@pytest.mark.parametrize("name", PICTURES)
def test_small_components_of_either_kind(name):
    before, after = (drawn(picture) for picture in PICTURES[name])
    found = fill_small(before[None, None], 0.5, 2.0, 2.9)
    assert torch.equal(found[0, 0], after)


def test_each_kind_has_its_own_limit():
    before = drawn("#####|#.###|#####|.....|...#.|.....")
    holes = fill_small(before[None], 0.5, 1, 0)[0]
    assert holes[1, 1] == 10.5 and holes[4, 3] == 1.5
    sprinkles = fill_small(before[None], 0.5, 0, 1)[0]
    assert sprinkles[1, 1] == -2.0 and sprinkles[4, 3] == -9.5


def test_without_limits_the_same_comes_back():
    logits = torch.randn(2, 3, 5, 5)
    assert fill_small(logits, 0.0, 0.0, 0.0) is logits


def test_what_was_given_is_left_alone():
    logits = drawn("###|#.#|###")[None]
    fill_small(logits, 0.5, 1, 1)
    assert logits.min() == -2.0


def test_masks_are_mended_one_by_one():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 12, 12))).float()
    together = fill_small(logits, 0.0, 3, 3)
    alone = [fill_small(one[None, None], 0.0, 3, 3)[0, 0] for one in logits.flatten(0, 1)]
    assert torch.equal(together.flatten(0, 1), torch.stack(alone))
