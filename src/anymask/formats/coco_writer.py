"""Writing COCO's data sets: pictures come in any order, one by one, and become one JSON.

The same pictures give the same bytes whatever their order: they are sorted by name, and nothing
tells of the time. Until `finish` they wait in a file without a name, which goes with the process.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from anymask.errors import Note, OutputError
from anymask.formats.atomic import write_atomic
from anymask.formats.checks import parse_json, plain, to_json
from anymask.formats.coco_masks import segmentation_of
from anymask.formats.facts import facts_to_row
from anymask.formats.file_sets import placed
from anymask.formats.records import (
    NO_CATEGORY,
    Annotation,
    Category,
    Record,
    WriteOptions,
)
from anymask.formats.sa1b import parse_record


class CocoWriter:
    """One JSON of many pictures; use it as a context.

    Parameters
    ----------
    path
        The JSON.
    categories
        Those that are known beforehand keep their numbers; others get the next ones, by name.
    polygons
        Write polygons where a mask has no hole.
    overwrite
        Replace a file that is there.
    """

    def __init__(
        self,
        path: Path,
        *,
        categories: Sequence[Category] = (),
        polygons: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.target, self.polygons, self.overwrite = path, polygons, overwrite
        self._known = {category.id: category for category in categories}
        self._places: dict[str, tuple[int, int]] = {}  # file name -> byte and length of its JSON
        self._names: set[str] = set()  # categories that are not known beforehand
        self._ids, self._image_ids = _Ids(), _Ids()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "CocoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was not written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def path(self, stem: str) -> Path:
        """The JSON, for every picture."""
        return self.target

    def picture_path(self, file_name: str) -> Path:
        """Where a picture goes if it is wanted beside the JSON."""
        return placed(self.target.parent / "images", file_name)

    def add(self, record: Record) -> tuple[Note, ...]:
        """One picture.

        Raises
        ------
        OutputError
            ``picture-twice``: a picture of that name is there.
        """
        name = record.file_name
        if name in self._places:
            raise OutputError("picture-twice", "two pictures have one name", given=name)
        if self._file is None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self.target.parent)  # noqa: SIM115 - `close`
        notes, rows = [], []
        for annotation in record.annotations:
            word = NO_CATEGORY if annotation.category is None else annotation.category
            known = self._known.get(annotation.category_id or 0)
            if known is not None and known.name == word:
                number = known.id
            else:
                number = None
                self._names.add(word)
            if annotation.category is None:
                said = f"{name}: id {annotation.id}: called {NO_CATEGORY!r}"
                notes.append(Note("category-added", said))
            self._ids.append(annotation.id)
            rows.append([annotation.id, word, number, row_of(annotation, self.polygons)])
        self._image_ids.append(record.image_id)
        text = to_json([*record.size, record.image_id, rows])
        self._places[name] = (self._file.seek(0, 2), len(text))
        self._file.write(text)
        return tuple(notes)

    def add_json(self, text: bytes, file_name: str) -> tuple[Note, ...]:
        """One picture as `anymask.formats.sa1b.generated_json` gives it; errors as in `add`."""
        size, annotations, notes = parse_record(parse_json(text, file_name), file_name)
        record = Record(
            image_id=file_name,
            file_name=file_name,
            size=size,
            annotations=annotations,
            where=file_name,
        )
        return (*notes, *self.add(record))

    def finish(self) -> tuple[Note, ...]:
        """Write the JSON; ids stay where they are numbers and all different.

        Raises
        ------
        OutputError
            As `anymask.formats.atomic.write_atomic`.
        """
        keep = not self._ids.broken
        write_atomic(self.target, lambda file: self._write(file, keep), overwrite=self.overwrite)
        self.close()
        if keep or not self._ids.given:
            return ()
        return (Note("ids-renumbered", "annotations are numbered anew, from 1"),)

    def _write(self, file: IO[bytes], keep: bool) -> None:
        head = {"info": {"description": "masks written by anymask"}, "licenses": []}
        file.write(to_json(head)[:-1] + b', "images": [')
        between = b"\n"
        for image_id, name, (height, width, *_) in self._pictures():
            row = {"id": image_id, "width": width, "height": height, "file_name": name}
            file.write(between + to_json(row))
            between = b",\n"
        file.write(b'], "annotations": [')
        categories = self._categories()
        numbers = {category.name: category.id for category in reversed(categories)}
        count, between = 0, b"\n"
        for image_id, _, (*_, rows) in self._pictures():
            for stated, word, number, row in rows:
                count += 1
                ids = {
                    "id": int(stated) if keep else count,
                    "image_id": image_id,
                    "category_id": numbers[word] if number is None else number,
                }
                file.write(between + to_json(ids | row))
                between = b",\n"
        file.write(
            b'], "categories": ' + to_json([_category(each) for each in categories]) + b"}\n"
        )

    def _pictures(self) -> Iterator[tuple[int, str, list[Any]]]:
        """Id, name and content of every picture, by name."""
        for count, name in enumerate(sorted(self._places), start=1):
            start, length = self._places[name]
            if self._file is not None:
                self._file.seek(start)
                content = json.loads(self._file.read(length))
                yield (count if self._image_ids.broken else int(content[2])), name, content

    def _categories(self) -> list[Category]:
        """Those that were known, then the others by name."""
        known = list(self._known.values())
        new = sorted(self._names - {category.name for category in known})
        first = max([0, *self._known]) + 1
        return known + [Category(id=i, name=name) for i, name in enumerate(new, start=first)]


def writer(root: Path, options: WriteOptions) -> CocoWriter:
    """A JSON of that name, or ``annotations.json`` in a folder."""
    path = root if root.suffix.lower() == ".json" else root / "annotations.json"
    return CocoWriter(path, categories=options.categories, polygons=options.polygons)


def row_of(annotation: Annotation, polygons: bool) -> dict[str, object]:
    """An annotation of COCO's without its ids."""
    row: dict[str, object] = {
        "segmentation": segmentation_of(annotation.rle, polygons and not annotation.iscrowd),
        "area": plain(annotation.area),
        "bbox": [plain(v) for v in annotation.bbox],
        "iscrowd": int(annotation.iscrowd),
        **facts_to_row(annotation),
    }
    if annotation.ignore is not None:
        row["ignore_region"] = annotation.ignore
    return row


def _category(category: Category) -> dict[str, object]:
    row: dict[str, object] = {"id": category.id, "name": category.name}
    if category.supercategory is not None:
        row["supercategory"] = category.supercategory
    return row


class _Ids:
    """Whether ids can stay: whole numbers, all different."""

    def __init__(self) -> None:
        self.broken, self.given = False, 0
        self._seen: set[int] = set()

    def append(self, value: int | str) -> None:
        self.given += 1
        if self.broken:
            return
        text = str(value)
        whole = text.isascii() and text.isdigit() and str(int(text[:18])) == text
        self.broken = not whole or int(text) in self._seen
        if self.broken:
            self._seen.clear()
        else:
            self._seen.add(int(text))
