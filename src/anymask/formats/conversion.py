"""One set to another, picture by picture, with a count of what was converted and what was lost.

Everything that can be refused is refused before the first picture is read.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anymask.errors import DataError, ImageError, Note, OutputError
from anymask.formats import SetFormat
from anymask.formats.atomic import ensure_folder, exists, sweep, write_atomic
from anymask.formats.names import check_clashes
from anymask.formats.pictures import check_picture
from anymask.formats.records import (
    NO_CATEGORY,
    Category,
    Loss,
    PackedWriter,
    Record,
    RecordSet,
    SetWriter,
    WriteOptions,
)

OF_ONE_PICTURE = (DataError, ImageError)


@dataclass(slots=True)
class Counts:
    """What came of a conversion so far.

    Attributes
    ----------
    pictures, masks
        Written.
    skipped
        Pictures whose file was there.
    failed
        Pictures that could not be read or written.
    lost, said
        How often something was lost, or written in another way, by code.
    examples
        The first text of each code.
    """

    pictures: int = 0
    masks: int = 0
    skipped: int = 0
    failed: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, notes: Sequence[Note], where: str = "") -> None:
        """Count notes."""
        for note in notes:
            (self.lost if isinstance(note, Loss) else self.said)[note.code] += 1
            text = f"{where}: {note.text}" if where else note.text
            self.examples.setdefault(note.code, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A set, and how and where it is to be written.

    Attributes
    ----------
    data
        What is read.
    row
        The format that is written.
    root
        Where: a folder, or a file for formats of one file.
    strict
        What would be lost is an error, and ends the conversion.
    polygons
        Polygons where the format has a choice.
    pictures
        What becomes of the pictures: nothing, a copy, or a link to where they are.
    skip
        Pass over pictures whose file is there.
    """

    data: RecordSet
    row: SetFormat
    root: Path
    strict: bool = False
    polygons: bool = False
    pictures: Literal["", "copy", "link"] = ""
    skip: bool = False

    @property
    def single(self) -> bool:
        """Whether all pictures go into one file."""
        writer = self._writer(())
        return writer.path("a") == writer.path("b")

    def check(self) -> None:
        """Refuse what cannot be written; the folder is made, and swept.

        Raises
        ------
        DataError
            ``format-read-only``.
        OutputError
            ``pictures-needed``; ``name-clash``, ``name-unsafe``, ``name-too-long``,
            ``name-outside``; ``file-exists``; ``folder-read-only`` and others of `ensure_folder`.
        """
        writer = self._writer(())
        stems = [self.data.stem_of(image_id) for image_id in self.data.ids]
        if isinstance(writer, PackedWriter):
            if self.pictures != "copy":
                raise OutputError(
                    "pictures-needed",
                    "this file has its pictures inside: they must be copied",
                    where=str(self.root),
                    hint="pass --copy-images too, or name a folder for masks alone",
                )
            check_clashes([writer.member(stem) for stem in stems])
        paths = [writer.path(stem) for stem in (["a"] if self.single else stems)]
        check_clashes([str(path) for path in paths])
        for path in paths:
            if not self.skip and os.path.lexists(path):
                error = exists(path)
                raise OutputError(
                    error.code,
                    error.problem,
                    where=error.where,
                    hint="choose another place with -o, or pass --skip to make what is missing",
                )
        ensure_folder(writer.path("a").parent if self.single else self.root)
        if self.skip:  # an earlier run may have been killed
            files = (*paths, *(writer.picture_path(stem) for stem in stems))
            for folder in {file.parent for file in files}:
                if folder.is_dir():
                    sweep(folder)

    def run(
        self,
        progress: Callable[[int, int], None],
        failed: Callable[[str, Exception], None],
        stop: Callable[[], bool],
    ) -> Counts:
        """Convert; `check` comes before.

        Parameters
        ----------
        progress
            Is told how many pictures are done, and of how many.
        failed
            Is told the id of a picture and what is wrong with it; the others go on.
        stop
            Whether to end here. A format of one file is not written then.

        Raises
        ------
        DataError
            If strict, of the first picture that is wrong or would lose something.
        OutputError
            As `anymask.formats.atomic.write_atomic`.
        """
        counts = Counts()
        counts.note(self.data.notes)
        writer = self._writer(self._categories())
        ids = self.data.ids
        try:
            for i, image_id in enumerate(ids):
                progress(i, len(ids))
                if stop():
                    return counts
                if self.skip and os.path.lexists(writer.path(self.data.stem_of(image_id))):
                    counts.skipped += 1
                    continue
                try:
                    self._one(image_id, writer, counts)
                except OF_ONE_PICTURE as error:
                    if self.strict:
                        raise
                    counts.failed += 1
                    failed(image_id, error)
            if counts.pictures or not (counts.skipped or counts.failed):
                counts.note(writer.finish())
        finally:
            writer.close()
        return counts

    def _one(self, image_id: str, writer: SetWriter, counts: Counts) -> None:
        record = self.data.read(image_id)
        if self.pictures or record.image_path() is not None:
            check_picture(record)
        notes = list(record.notes)
        if self.pictures and not isinstance(writer, PackedWriter):
            notes += self._place(record, writer.picture_path(record.file_name))
        notes += writer.add(record)
        counts.note(notes, record.where)
        counts.pictures += 1
        counts.masks += len(record.annotations)

    def _place(self, record: Record, target: Path) -> tuple[Note, ...]:
        """Put the picture where it belongs; one that is there stays."""
        if not record.has_picture:
            return (Loss("picture-missing", f"{record.file_name} was not found"),)
        if os.path.lexists(target):
            if self.skip:
                return ()
            raise exists(target)
        path = record.image_path()
        if self.pictures == "copy" or path is None:
            write_atomic(target, record.image_bytes())
            copied = self.pictures == "link"
            return (Note("picture-copied", "there is no file to link to"),) if copied else ()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path.resolve())
        except OSError as error:
            raise OutputError(
                "link-failed",
                f"no link can be made ({error.strerror})",
                where=str(target),
                hint="copy the pictures instead",
            ) from error
        return ()

    def _writer(self, categories: Sequence[Category]) -> SetWriter:
        options = WriteOptions(
            strict=self.strict, categories=tuple(categories), polygons=self.polygons
        )
        return self.row.create(self.root, options)

    def _categories(self) -> tuple[Category, ...]:
        """As the set lists them; where it does not and they are needed, all masks are read."""
        if self.data.categories or not self.row.classes_first:
            return self.data.categories
        words: set[str] = set()
        for image_id in self.data.ids:
            try:
                found = self.data.read(image_id).annotations
            except OF_ONE_PICTURE:
                continue  # it is told of when its turn comes
            words |= {NO_CATEGORY if a.category is None else a.category for a in found}
        return tuple(Category(id=i, name=word) for i, word in enumerate(sorted(words)))
