"""What clicks look like: contact sheets of the worst, the best and random masks of each set.

Asks: on which objects does a click succeed, on which does it fail? One sheet a set, as
``OUT/<set>.png``: a row each for the worst, the best and random masks. On a tile the model's mask
is blue, the true outline white, a positive click green, a negative one red; below it stand the
IoU, the photo's id and the mask's id.

    python benchmarks/clicks_on_photos.py SET.tar... --n 6 --seed 0 --out DIR
"""

import argparse
import textwrap
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import anymask
from anymask.evaluate.interactive import Predictor, Target, click_rounds, masks_of_record
from anymask.formats.records import Record
from anymask.formats.sa1b import Sa1bSet, open_sa1b, split_of

TILE = 288  # px
TEXT = 34  # px below a tile
BLUE, WHITE, BLACK = (40, 110, 255), (255, 255, 255), (0, 0, 0)
GREEN, RED = (0, 220, 60), (255, 40, 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mask that was clicked."""

    image_id: str
    place: int  # among the masks of its photo that take part
    iou: float


def cases_of(predictor: Predictor, record: Record, clicks: int) -> list[Case]:
    """The IoU of every mask of a photo after so many clicks."""
    targets = [Target.of(annotation) for annotation in masks_of_record(record)]
    if not targets:
        return []
    *_, rounds = click_rounds(predictor, predictor.encode(record.pixels()), targets, clicks)
    return [
        Case(image_id=record.image_id, place=place, iou=target.iou(state.mask))
        for place, (target, state) in enumerate(zip(targets, rounds, strict=True))
    ]


def tile(predictor: Predictor, record: Record, place: int, clicks: int) -> np.ndarray:
    """A picture of one case, (TILE + TEXT, TILE, 3) uint8 RGB."""
    pixels = record.pixels()
    targets = [Target.of(annotation) for annotation in masks_of_record(record)]
    *_, rounds = click_rounds(predictor, predictor.encode(pixels), targets, clicks)
    target, state = targets[place], rounds[place]
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(pixels, size, interpolation=how)
    mask = cv2.resize(state.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    truth = cv2.resize(target.truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture[mask] = (0.5 * picture[mask] + 0.5 * np.array(BLUE)).astype(np.uint8)
    outline, _ = cv2.findContours(truth, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, BLACK, 3, cv2.LINE_AA)
    cv2.drawContours(picture, outline, -1, WHITE, 1, cv2.LINE_AA)
    for (x, y), label in zip(state.points, state.labels, strict=True):
        spot = (int((x + 0.5) * scale), int((y + 0.5) * scale))
        cv2.circle(picture, spot, 6, BLACK, -1, cv2.LINE_AA)
        cv2.circle(picture, spot, 4, GREEN if label else RED, -1, cv2.LINE_AA)
    whole = np.full((TILE + TEXT, TILE, 3), 32, np.uint8)
    whole[: size[1], : size[0]] = picture
    words = f"{target.iou(state.mask):.2f}  {record.image_id}  {target.annotation.id}"
    words += f"  {target.annotation.category or ''}"
    for line, text in enumerate(textwrap.wrap(words, 38)[:2]):
        spot = (4, TILE + 13 + 15 * line)
        cv2.putText(whole, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)
    return whole


def sheet(
    predictor: Predictor, data: Sa1bSet, ids: list[str], *, n: int, seed: int, clicks: int
) -> tuple[np.ndarray, list[Case]] | None:
    """The contact sheet of a set and all its cases, worst first; None for a set without masks."""
    cases = [case for image_id in ids for case in cases_of(predictor, data.read(image_id), clicks)]
    if not cases:
        return None
    cases.sort(key=lambda case: (case.iou, case.image_id, case.place))
    chance = np.random.default_rng(seed).permutation(len(cases))[:n]
    rows = (cases[:n], cases[::-1][:n], [cases[i] for i in chance])
    drawn = np.zeros((3 * (TILE + TEXT), n * TILE, 3), np.uint8)
    for y, row in enumerate(rows):
        for x, case in enumerate(row):
            part = tile(predictor, data.read(case.image_id), case.place, clicks)
            drawn[y * (TILE + TEXT) :, x * TILE :][: TILE + TEXT, :TILE] = part
    return drawn, cases


def main() -> None:
    """Draw a sheet for each set and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, help="folders or tars in SA-1B's layout")
    parser.add_argument("--n", type=int, default=6, help="masks a row")
    parser.add_argument("--seed", type=int, default=0, help="of the random row")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--clicks", type=int, default=1)
    parser.add_argument("--split", choices=("val", "all"), default="val")
    parser.add_argument("--limit", type=int, help="at most so many photos a set")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    predictor = anymask.ImagePredictor(anymask.load(given.model, checkpoint=given.checkpoint))
    for path in given.sets:
        data = open_sa1b(path)
        ids = [i for i in data.ids if given.split == "all" or split_of(i) == given.split]
        made = sheet(
            predictor, data, ids[: given.limit], n=given.n, seed=given.seed, clicks=given.clicks
        )
        if made is None:
            print(f"{data.name}: no masks in this split")
            continue
        drawn, cases = made
        target = given.out / f"{data.name}.png"
        target.write_bytes(cv2.imencode(".png", drawn[:, :, ::-1])[1].tobytes())
        ious = np.array([case.iou for case in cases])
        print(
            f"{target}: {len(cases)} masks, mean IoU {ious.mean():.3f}, "
            f"below 0.5: {(ious < 0.5).mean():.0%}"
        )


if __name__ == "__main__":
    main()
