"""What a training run on videos is told; read as `anymask.train.config` reads others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anymask.train.config import build, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """AdamW and its schedule: warm up, hold, fall to nothing in a line.

    Attributes
    ----------
    lr
        Learning rate.
    warmup
        Steps.
    hold
        Share of all steps after which the rate falls.
    decay
        Weight decay.
    clip
        Largest norm of the gradient.
    ema
        Decay of the averaged weights.
    """

    lr: float = 1e-3
    warmup: int = 100
    hold: float = 0.5
    decay: float = 1e-3
    clip: float = 1.0
    ema: float = 0.995

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        start = self.hold * steps
        down = 1.0 if step < start else max(0.0, (steps - step) / max(1.0, steps - start))
        return self.lr * up * down


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleKind:
    """One way to fill a step.

    Attributes
    ----------
    made_up
        Motion made of still photos, not a real clip.
    height, width
        Of the frames, px; multiples of 32.
    frames
        How many; the mask of the first is given.
    objects
        At most.
    """

    made_up: bool
    height: int
    width: int
    frames: int
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """A run that teaches nano's memory; all else of nano stays as it is.

    Attributes
    ----------
    clips
        Folder of tars in DAVIS layout.
    held_out
        Clips that are never trained on, by name.
    photos
        Folders or tars of still photos with masks.
    weights
        Files of nano's own weights in place of the bundled one. Of several each sample takes one by
        chance, so that the memory goes with all of them; judged is with the first.
    out
        Folder of the run.
    steps
        Length of the run.
    seed
        Of everything random.
    rows
        Of the temporal table.
    samples
        Samples a step.
    kinds
        Ways to fill a sample, and `shares`, how often each comes up.
    rough_start
        Share of samples whose first mask is not exact.
    drift
        Share of the memories of every other sample that are damaged, as those of a long clip are.
    start
        Memory's weights to begin with, or None to begin with plain matching.
    save_every, judge_every
        Steps between checkpoints, and between looks at the clips that are held out.
    """

    clips: str
    held_out: tuple[str, ...]
    photos: tuple[str, ...]
    weights: tuple[str, ...] = ()
    out: str
    steps: int
    seed: int = 0
    rows: int = 4
    samples: int = 2
    kinds: tuple[SampleKind, ...]
    shares: tuple[float, ...]
    rough_start: float = 0.25
    drift: float = 0.5
    start: str | None = None
    pace: Pace = field(default_factory=Pace)
    save_every: int = 100
    judge_every: int = 500


def about_videos(path: Path, changes: Sequence[str] = ()) -> bool:
    """Whether a config is one of these: it names clips.

    Raises
    ------
    DataError
        As `anymask.train.config.read_table`.
    """
    return "clips" in read_table(path, changes)


def read_video_config(path: Path, changes: Sequence[str] = ()) -> VideoConfig:
    """The config in a TOML file, with changes such as ``pace.lr=1e-3`` on top.

    Raises
    ------
    DataError
        ``config-missing``, ``config-broken``, ``config-key``, ``config-value``.
    """
    built = build(VideoConfig, read_table(path, changes), "")
    assert isinstance(built, VideoConfig)  # build returns what it was asked for
    return built
