"""What `anymask everything` tells while it works: results, remarks, rate and time left."""

import time
from collections.abc import Callable
from pathlib import Path

from anymask.cli.common import Progress, line_of, say
from anymask.errors import AnymaskError, shown_text
from anymask.formats.run_folder import STATE
from anymask.formats.run_inputs import Item
from anymask.formats.run_items import Done

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


class Pace:
    """How fast items are done; the first one, which waits for the model, does not count.

    Parameters
    ----------
    clock
        Seconds that never jump; only tests give another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self.count = 0

    def tick(self) -> None:
        """One more is done."""
        self.count += 1
        if self._first is None:
            self._first = self._clock()

    @property
    def rate(self) -> float | None:
        """Items a second."""
        if self._first is None:
            return None
        some, since = (self.count - 1, self._first) if self.count > 1 else (1, self._began)
        return some / max(self._clock() - since, 1e-6)

    def left(self, count: int) -> str | None:
        """How long so many more take, for people."""
        return None if self.rate is None else duration(count / self.rate)


def duration(seconds: float) -> str:
    """A rough time for people.

    >>> duration(95), duration(3 * 3600 + 240)
    ('2 min', '3 h 4 min')
    """
    if seconds < _MINUTE_S:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR_S:
        return f"{round(seconds / _MINUTE_S)} min"
    if seconds < 2 * _DAY_S:
        hours, minutes = divmod(round(seconds / _MINUTE_S), 60)
        return f"{hours} h {minutes} min"
    return f"{round(seconds / _DAY_S)} days"


class Report:
    """Told of every picture.

    Parameters
    ----------
    root
        The run's folder.
    total
        Number of pictures.
    masks
        How many masks there are already.
    bar
        Where progress is shown; None for a single picture.
    quiet
        Nothing is for standard output.
    """

    def __init__(
        self, root: Path, total: int, masks: int, bar: Progress | None, *, quiet: bool
    ) -> None:
        self.root, self.total, self.bar, self.quiet = root, total, bar, quiet
        self.masks, self.passed = masks, 0
        self.pace = Pace()
        self._noted: set[str] = set()

    def kept(self, item: Item) -> None:
        """A picture was done before."""
        self.passed += 1
        self.note("skipped", "pictures that were done before are passed over")

    def done(self, item: Item, done: Done) -> None:
        """The files of a picture are in place."""
        self.passed += 1
        self.pace.tick()
        masks = done.facts.get("masks", 0)
        self.masks += masks
        for note in done.notes:
            self.note(note.code, note.text)
        if self.bar is None:
            say(f"{shown_text(item.name)}: {masks} mask{'s' * (masks != 1)}")
        first = done.files[0].path
        if not self.quiet and not first.startswith(f"{STATE}/"):
            print(shown_text(str(self.root / first)), flush=True)
        self._show()

    def failed(self, item: Item, error: AnymaskError) -> None:
        """A picture could not be done."""
        self.passed += 1
        line, name = line_of(error), shown_text(item.name)
        if self.bar is not None:  # a single picture's error is told at the end
            say(line if name in line else f"{line} (in {name})")
        self._show()

    def remark(self, text: str) -> None:
        """Something happened that needs no answer."""
        say(f"note: {shown_text(text)}")

    def note(self, code: str, text: str) -> None:
        """A note, once for each kind."""
        if code not in self._noted:
            self._noted.add(code)
            say(f"note: {code}: {shown_text(text)}")

    def _show(self) -> None:
        if self.bar is None:
            return
        detail = f"{self.masks} masks"
        rate, left = self.pace.rate, self.pace.left(self.total - self.passed)
        if rate is not None:
            detail += f", {rate:.2g} pictures/s" if rate < 10 else f", {rate:.0f} pictures/s"
            detail += f", {left} left" if self.passed < self.total else ""
        self.bar.show(self.passed, self.total, detail)
