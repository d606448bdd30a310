"""Batches ahead of the steps that need them, drawn by threads.

Decoding and scaling leave Python's lock alone for most of their time, so threads do, and nothing
goes through shared memory between processes. What is drawn depends on (seed, batch, step) alone,
never on how many threads draw it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from anymask.train.batches import Batch, PhotoDrawer, StepKind, draw_batch
from anymask.train.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a step is, the same in all processes: none waits for a longer one."""

    step: int
    kind: StepKind
    rounds: int


def plan_of(config: TrainConfig, step: int) -> Plan:
    """By chance, from seed and step."""
    rng = np.random.default_rng((config.seed, step))
    shares = config.shares or (1.0,) * len(config.kinds)
    kind = config.kinds[int(rng.choice(len(config.kinds), p=_shares(shares)))]
    rounds = 1 + int(rng.choice(len(config.rounds), p=_shares(config.rounds)))
    return Plan(step=step, kind=kind, rounds=rounds)


def _shares(shares: Sequence[float]) -> np.ndarray:
    array: np.ndarray = np.array(shares) / sum(shares)
    return array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A batch, and the generator that drew it, for the clicks to come."""

    batch: Batch
    rng: np.random.Generator


class Feed:
    """The batches of one process, step by step. Use as a context.

    Parameters
    ----------
    drawer
        Draws views.
    config
        Says what is drawn.
    numbers
        Which of a step's batches are this process's.
    threads
        How many draw ahead; with 0 each batch is drawn when it is needed.
    """

    def __init__(
        self, drawer: PhotoDrawer, config: TrainConfig, numbers: Sequence[int], threads: int = 0
    ) -> None:
        self._drawer, self._config = drawer, config
        self._numbers, self._threads = tuple(numbers), threads
        self._pool = ThreadPoolExecutor(threads, "draw") if threads else None

    def __enter__(self) -> "Feed":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def draw(self, plan: Plan, number: int) -> Drawn:
        """One batch of a step."""
        rng = np.random.default_rng((self._config.seed, number, plan.step))
        return Drawn(batch=draw_batch(self._drawer, plan.kind, self._config.clicks, rng), rng=rng)

    def steps(self, first: int) -> Iterator[tuple[Plan, tuple[Drawn, ...]]]:
        """Plans and batches from a step on, to the run's end."""
        plans = (plan_of(self._config, step) for step in range(first, self._config.steps))
        if self._pool is None:
            for plan in plans:
                yield plan, tuple(self.draw(plan, number) for number in self._numbers)
            return
        waiting: deque[tuple[Plan, list[Future[Drawn]]]] = deque()
        ahead = 1 + self._threads // max(1, len(self._numbers))
        for plan in plans:
            waiting.append((plan, [self._pool.submit(self.draw, plan, n) for n in self._numbers]))
            if len(waiting) > ahead:
                done, futures = waiting.popleft()
                yield done, tuple(future.result() for future in futures)
        for done, futures in waiting:
            yield done, tuple(future.result() for future in futures)
