"""From what a command line asks of a video to a run: checks, the manifest, the model."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anymask import __version__
from anymask.cli.common import importing, say
from anymask.cli.track_asked import AskedObject
from anymask.cli.track_run import Taken, TrackRun, content_of
from anymask.errors import AnymaskWarning, PromptError

if TYPE_CHECKING:
    from anymask.formats.track_folder import TrackFolder
    from anymask.frames import Frames
    from anymask.model import Model
    from anymask.predict.video_follow import Follower
    from anymask.predict.video_found import Looker


class Asked(Protocol):
    """What is to be followed."""

    def label(self, object_id: int, name: str | None) -> str:
        """What people read for an object."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """For the manifest; JSON."""
        ...

    def check(self, frames: "Frames") -> None:
        """Refuse what does not fit the frames."""
        ...

    def follower(self, model: "Model", frames: "Frames", stack: ExitStack) -> "Follower":
        """Who follows it; sessions are closed by the stack."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """Objects that the command line points at.

    Attributes
    ----------
    objects
        With prompts on frames of the whole video.
    taken
        Which frames are taken.
    """

    objects: Sequence[AskedObject]
    taken: Taken

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "objects": [
                {"name": one.name, "prompts": [prompt.settings for prompt in one.prompts]}
                for one in self.objects
            ]
        }

    @property
    def numbers(self) -> list[int]:
        """Of the objects in label maps: their names where all are numbers, else 1, 2 ..."""
        names = [one.name for one in self.objects]
        if all(name.isascii() and name.isdigit() and 0 < int(name) < 255 for name in names):
            return [int(name) for name in names]
        return list(range(1, len(names) + 1))

    @staticmethod
    def label(object_id: int, name: str | None) -> str:
        return name or str(object_id)

    def check(self, frames: "Frames") -> None:
        for one in self.objects:
            for prompt in one.prompts:
                index = self.index(prompt.frame)
                if frames.count is not None and index >= frames.count:
                    raise PromptError(
                        "prompt-frame",
                        f"the frames that are taken end with {self.taken.number(frames.count - 1)}",
                        given=prompt.frame,
                        where=f"object {one.name}",
                    )
                prompt.check(frames.size)

    def index(self, number: int | None) -> int:
        """The place of a frame among those that are taken; None is the first.

        Raises
        ------
        PromptError
            ``prompt-frame``: it is not taken.
        """
        if number is None:
            return 0
        index, rest = divmod(number - self.taken.start, self.taken.every)
        if index < 0 or rest or (self.taken.stop is not None and number >= self.taken.stop):
            near = self.taken.number(max(0, index))
            raise PromptError(
                "prompt-frame",
                "somebody points at a frame that is not taken",
                given=number,
                hint=f"--start, --stop and --every say which are; {near} is one",
            )
        return index

    def follower(self, model: "Model", frames: "Frames", stack: ExitStack) -> "Follower":
        from anymask.predict.video import VideoPredictor
        from anymask.predict.video_follow import PointedAt, PointedFollower

        session = stack.enter_context(VideoPredictor(model).start(frames))
        objects = [
            PointedAt(
                object_id=number,
                name=one.name,
                prompts=tuple(
                    (self.index(prompt.frame), part)
                    for prompt in one.prompts
                    for part in prompt.parts
                ),
            )
            for number, one in zip(self.numbers, self.objects, strict=True)
        ]
        return PointedFollower(session, objects, reverse=self.taken.reverse)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Objects that somebody finds now and then.

    Attributes
    ----------
    settings
        For the manifest.
    look_every, most
        See `anymask.predict.video_found.FoundSettings`.
    looker
        Makes who finds them, of the model.
    """

    settings: Mapping[str, Any]
    look_every: int
    most: int
    looker: "Callable[[Model], Looker]"

    @classmethod
    def words(
        cls,
        text: Sequence[str],
        detector: str,
        weights: Path | None,
        device: str,
        look_every: int,
        most: int,
    ) -> "Found":
        """What words name.

        Raises
        ------
        PromptError
            Words that cannot be asked, or an unknown detector.
        """
        from anymask.cli.segment_text import WordsRequest

        request = WordsRequest.parse(text, detector, weights, None, device)

        def looker(model: "Model") -> "Looker":
            from anymask.cli.segment_text import load_words
            from anymask.predict.image import ImagePredictor
            from anymask.predict.video_text import TextLooker

            words = load_words(ImagePredictor(model), request.detector, weights, device)
            words.check(request.phrases)
            return TextLooker(words=words, phrases=request.phrases)

        settings = {
            "text": list(request.phrases),
            "detector": request.detector,
            "look_every": look_every,
            "most": most,
        }
        return cls(settings=settings, look_every=look_every, most=most, looker=looker)

    @classmethod
    def everything(cls, options: Mapping[str, Any], look_every: int, most: int) -> "Found":
        """Whatever there is; options as `anymask.MaskGenerator` takes them."""

        def looker(model: "Model") -> "Looker":
            from anymask.predict.everything import MaskGenerator
            from anymask.predict.video_everything import EverythingLooker

            return EverythingLooker(generator=MaskGenerator(model, **options))

        settings = {**options, "look_every": look_every, "most": most}
        settings.pop("memory_mb", None)  # how many points are decoded at once
        return cls(settings=settings, look_every=look_every, most=most, looker=looker)

    @staticmethod
    def label(object_id: int, name: str | None) -> str:
        """Several may have one name."""
        return f"{name} {object_id}" if name else str(object_id)

    def check(self, frames: "Frames") -> None:
        """Nothing depends on the frames."""

    def follower(self, model: "Model", frames: "Frames", stack: ExitStack) -> "Follower":
        from anymask.predict.video import VideoPredictor
        from anymask.predict.video_follow import FoundFollower
        from anymask.predict.video_found import FoundSettings

        looker = self.looker(model)
        session = stack.enter_context(VideoPredictor(model).start(frames))
        settings = FoundSettings(every=self.look_every, most=self.most)
        return FoundFollower(session, frames, looker, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run to be started.

    Attributes
    ----------
    video, output, kind
        What, where to, and which command.
    taken
        Which frames.
    asked
        What is followed.
    model, checkpoint, device
        As `anymask.load` takes them; no model: what the checkpoint is.
    overlay, overwrite, as_json
        As the command has them.
    """

    video: str
    output: Path | None
    kind: str
    taken: Taken
    asked: Asked
    model: str | None
    checkpoint: Path | None
    device: str
    overlay: bool = True
    overwrite: bool = False
    as_json: bool = False

    def run(self) -> int:
        """All frames; the exit code."""
        from anymask.variants import variant

        if self.model is not None and variant(self.model).video is None:  # or an unknown one
            from anymask.model_video import video_spec

            video_spec(variant(self.model))  # says what is wrong
        run = TrackRun(
            video=self.video,
            folder=None if self.output is None else self._folder,
            taken=self.taken,
            check=self.asked.check,
            follow=self._follow,
            label=self.asked.label,
            overlay=self.overlay,
            as_json=self.as_json,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnymaskWarning)  # the same notes are printed here
            return run.all()

    def _follow(self, frames: "Frames", stack: ExitStack) -> "Follower":
        """The slow part: torch is imported here."""
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep, not spin
        model = load_model(self.model, self.checkpoint, self.device)
        for note in model.notes:
            say(f"note: {note}")
        return self.asked.follower(model, frames, stack)

    def _folder(self) -> "TrackFolder":
        """The folder of the results, not yet entered."""
        from anymask.cli.everything_run import weights_of
        from anymask.formats.run_manifest import Plan
        from anymask.formats.track_folder import TrackFolder

        assert self.output is not None
        settings = {
            "model": self.model,
            "weights": weights_of(self.model, self.checkpoint),
            **self.asked.settings,
            **self.taken.settings,
            "overlay": self.overlay,
        }
        plan = Plan(
            kind=self.kind,
            version=__version__,
            settings=settings,
            machine={"device": self.device},
            memory_mb=0,
        )
        path = Path(self.video)
        name = path.resolve().name
        return TrackFolder(
            self.output, plan=plan, video=(name, content_of(path)), overwrite=self.overwrite
        )


def load_model(name: str | None, checkpoint: Path | None, device: str) -> "Model":
    """A model; tests give another."""
    with importing():
        from anymask.model import load

    if name is None:
        return load(checkpoint=checkpoint, device=device)
    return load(name, checkpoint=checkpoint, device=device)
