"""SAM2VideoPredictor: a state a video, prompts on its frames, propagation.

Official names, arguments, defaults and results; see `tests/compat/test_sam2_video_goldens.py`.
Where the official code fails by accident, this one does what was meant.
"""

from collections.abc import Hashable, Iterator
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anymask.compat.pointing import pointed
from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.sam2.video_options import VideoOptions
from anymask.compat.sam2.video_state import VideoState
from anymask.errors import VideoError
from anymask.frames import open_frames
from anymask.model import Model
from anymask.model_video import video_spec
from anymask.predict.video_asked import fitted
from anymask.predict.video_tracks import Corrections
from anymask.predict.video_work import Points, Shape

Answer = tuple[int, list[Hashable], Float[Tensor, "N 1 H W"]]
_NOT_A_VIDEO = {"video-kind", "video-not", "video-url", "video-special"}


class SAM2VideoPredictor(SAM2Base):
    """Follows objects through videos.

    Parameters
    ----------
    model
        From `anymask.load`; most come by `build_sam2_video_predictor`.
    options
        Official settings.
    corrections
        What becomes of a prompt on a frame that was followed before, where the options do not say;
        see `anymask.predict.video_tracks.Following`.
    """

    def __init__(
        self,
        model: Model,
        options: VideoOptions | None = None,
        corrections: Corrections = "lost",
    ) -> None:
        super().__init__(model)
        self.options = VideoOptions() if options is None else options
        self.corrections = corrections

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> "SAM2VideoPredictor":
        """A predictor of a model on Hugging Face; see `build_sam2_video_predictor_hf`."""
        from anymask.compat.sam2.build_sam import build_sam2_video_predictor_hf

        return build_sam2_video_predictor_hf(model_id, **kwargs)

    def init_state(
        self,
        video_path: str | PathLike[str],
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> VideoState:
        """Open a video: a file, or a folder of pictures.

        The three settings are taken, and not needed: frames are read when they are looked at.

        Raises
        ------
        NotImplementedError
            It is no video.
        RuntimeError
            It cannot be read, or has no frames.
        """
        try:
            frames = open_frames(video_path)
        except VideoError as error:
            kind = NotImplementedError if error.code in _NOT_A_VIDEO else RuntimeError
            raise kind(str(error)) from error
        spec = video_spec(self.model.variant)
        return VideoState(self.model, frames, self.options.following(spec, self.corrections))

    def add_new_points_or_box(
        self,
        inference_state: VideoState,
        frame_idx: int,
        obj_id: Hashable,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Answer:
        """Point at an object on a frame.

        Parameters
        ----------
        points, labels
            (N, 2) px and (N,): 1 on the object, 0 off it.
        clear_old_points
            False adds to the points that were given on this frame before.
        normalize_coords
            False where coordinates are in 0..1 already.
        box
            (4,) x0, y0, x1, y1.

        Returns
        -------
        tuple
            The frame's index, all ids, logits of all objects at the video's size.

        Raises
        ------
        ValueError
            Points without labels, neither points nor a box, or a box beside old points.
        IndexError
            There is no such frame.
        """
        if (points is None) != (labels is None):
            raise ValueError("points and labels come together")
        if points is None and box is None:
            raise ValueError("points or a box are wanted")
        if box is not None and not clear_old_points:
            raise ValueError("a box stands before all points: give it with clear_old_points=True")
        state, number = inference_state, inference_state.number(obj_id)
        xy, kinds = _as_points(points, labels, box)
        if normalize_coords:
            height, width = state.frames.size
            xy = xy / torch.tensor([width, height])
        key = (number, frame_idx)
        if not clear_old_points and key in state.points:
            xy = torch.cat([state.points[key][0], xy])
            kinds = torch.cat([state.points[key][1], kinds])
        state.points[key] = xy, kinds
        state.masked.discard(key)
        places, known = pointed(state.unit, state.spec, xy[None], kinds[None], None, 1)
        asked = Points(points=places[0], labels=known[0], clear=len(xy) > 1)
        return self._prompted(state, number, frame_idx, asked)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Answer:
        """The older name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: VideoState, frame_idx: int, obj_id: Hashable, mask: Any
    ) -> Answer:
        """Give the mask (H, W) of an object on a frame as it stands.

        Raises
        ------
        AssertionError
            It has not two dimensions.
        IndexError
            There is no such frame.
        """
        state, number = inference_state, inference_state.number(obj_id)
        bits = torch.as_tensor(mask).to(torch.bool)
        if bits.ndim != 2:
            raise AssertionError(f"a mask is (H, W), not {tuple(bits.shape)}")
        key = (number, frame_idx)
        state.points.pop(key, None)
        state.masked.add(key)
        asked = Shape(bits=fitted(bits.cpu(), state.work.frame))
        return self._prompted(state, number, frame_idx, asked)

    @torch.inference_mode()
    def propagate_in_video_preflight(self, inference_state: VideoState) -> None:
        """Take up all prompts; `propagate_in_video` begins so.

        Raises
        ------
        RuntimeError
            There is no object, or one that was never pointed at.
        """
        state, tracks = inference_state, inference_state.engine.tracks
        if not tracks:
            raise RuntimeError("there are no objects: point at one first")
        fresh = {frame for track in tracks.values() for frame in track.waiting}
        state.engine.take_up()
        if self.options.clear_non_cond_mem_around_input:
            for frame in fresh:
                state.drop_around(frame)
        for obj_id, number in state.numbers.items():
            if not tracks[number].prompted:
                raise RuntimeError(f"the object {obj_id!r} was not pointed at: do that first")

    @torch.inference_mode()
    def propagate_in_video(
        self,
        inference_state: VideoState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Answer]:
        """Follow all objects from frame to frame.

        Parameters
        ----------
        start_frame_idx
            None begins at the first prompted frame.
        max_frame_num_to_track
            How many frames after the first one; None goes to the end.
        reverse
            Go back in time.

        Yields
        ------
        tuple
            The frame's index, all ids, logits of all objects at the video's size.

        Raises
        ------
        RuntimeError
            As `propagate_in_video_preflight`.
        """
        state, engine = inference_state, inference_state.engine
        self.propagate_in_video_preflight(state)
        ids = state.ids
        if start_frame_idx is None:
            start_frame_idx = min(f for t in engine.tracks.values() for f in t.prompted)
        far = state.count if max_frame_num_to_track is None else max_frame_num_to_track
        if not reverse:
            order = range(start_frame_idx, min(start_frame_idx + far, state.count - 1) + 1)
        elif start_frame_idx > 0:
            order = range(start_frame_idx, max(start_frame_idx - far, 0) - 1, -1)
        else:
            order = range(0)
        for frame in order:
            state.reader.towards(-1 if reverse else 1)
            prompted = any(frame in track.prompted for track in engine.tracks.values())
            if prompted and self.options.clear_non_cond_mem_around_input:
                state.drop_around(frame)
            engine.pass_over(frame, reverse=reverse)
            yield frame, ids, state.logits(frame, self.options.non_overlap_masks)

    def clear_all_prompts_in_frame(
        self,
        inference_state: VideoState,
        frame_idx: int,
        obj_id: Hashable,
        need_output: bool = True,
    ) -> Answer | None:
        """Take back what was pointed at on a frame; what was found there stays as if followed."""
        state, number = inference_state, inference_state.number(obj_id)
        state.points.pop((number, frame_idx), None)
        state.masked.discard((number, frame_idx))
        state.engine.clear(number, frame_idx)
        return self._answer(state, frame_idx) if need_output else None

    def reset_state(self, inference_state: VideoState) -> None:
        """Forget all objects of a video."""
        inference_state.reset()

    def remove_object(
        self,
        inference_state: VideoState,
        obj_id: Hashable,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[Hashable], list[tuple[int, Float[Tensor, "N 1 H W"]]]]:
        """Forget an object; the rest is as if it had never been.

        Returns
        -------
        tuple
            The ids that are left; index and logits of the frames on which it was pointed at.

        Raises
        ------
        RuntimeError
            There is no such object, and `strict` is on.
        """
        state = inference_state
        if obj_id not in state.numbers:
            if strict:
                raise RuntimeError(f"there is no object {obj_id!r}; there are {state.ids}")
            return state.ids, []
        if len(state.numbers) == 1:
            state.reset()
            return state.ids, []
        frames = state.asked_on(state.numbers[obj_id])
        state.remove(obj_id)
        if not need_output:
            return state.ids, []
        return state.ids, [(at, self._answer(state, at)[2]) for at in sorted(frames)]

    @torch.inference_mode()
    def _prompted(
        self, state: VideoState, number: int, frame: int, asked: Points | Shape
    ) -> Answer:
        if not 0 <= frame < state.count:
            raise IndexError(f"there are {state.count} frames, and none of index {frame}")
        state.reader.towards(None)
        state.engine.prompt(number, frame, asked)
        return self._answer(state, frame)

    def _answer(self, state: VideoState, frame: int) -> Answer:
        return frame, state.ids, state.logits(frame, self.options.non_overlap_masks)


def _as_points(points: Any, labels: Any, box: Any) -> tuple[Tensor, Tensor]:
    """Points (N, 2) and labels (N,), those of a box's corners first."""
    xy, kinds = torch.zeros(0, 2), torch.zeros(0)
    if points is not None:
        xy = torch.as_tensor(points, dtype=torch.float32).cpu().reshape(-1, 2)
        kinds = torch.as_tensor(labels, dtype=torch.float32).cpu().reshape(-1)
    if box is not None:
        corners = torch.as_tensor(box, dtype=torch.float32).cpu().reshape(2, 2)
        xy, kinds = torch.cat([corners, xy]), torch.cat([torch.tensor([2.0, 3.0]), kinds])
    return xy, kinds
