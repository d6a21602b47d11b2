"""What mining and evaluating tell while they work, in the words of a job."""

import time
from collections.abc import Callable, Mapping

from service.store.records import Phase
from worker.progress import Progress


class Pace:
    """Tells how far one run of texts or queries after another is, and how long the rest of it will take.

    Another run begins where the total changes or the count does not grow, at the last word that was said. Its first
    part may have waited for something else, a model say: once there are two, that one is left out of the pace.
    """

    def __init__(self, progress: Progress, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self._last = (0, 0, clock())  # what was said: done, total, and when
        self._began = (0, clock())  # from where, and from when on, the pace is taken

    def begin(self) -> None:
        """What follows is another run, and begins now."""
        self._last = (0, 0, self._clock())

    def tell(self, done: int, total: int) -> None:
        """The parent knows that so many are done."""
        before, of, at = self._last
        now = self._clock()
        if total != of or done <= before:
            self._began = (0, at)
        elif self._began[0] == 0:
            self._began = (before, at)
        self._last = (done, total, now)
        start, since = self._began
        eta_seconds = (now - since) / (done - start) * (total - done)
        values = {"step": done, "total_steps": total, "percent": 100 * done / total, "eta_seconds": eta_seconds}
        self._progress.step(values)


class Watching:
    """A `Watch` of the library's that passes everything on; parts without a phase of their own are loading."""

    def __init__(self, progress: Progress, *, phases: Mapping[str, Phase], embedding: Phase) -> None:
        self._progress = progress
        self._phases = phases
        self._embedding = embedding
        self._now = Phase.LOADING  # which the job has told of itself
        self._pace = Pace(progress)

    def phase(self, name: str) -> None:
        """The parent knows what begins; what is worked on behind the first word is an event."""
        word, _, subject = name.partition(" ")
        self._pace.begin()
        self._enter(self._phases.get(word, Phase.LOADING))
        if subject:
            self._progress.event("info", word, message=f"{word.capitalize()} {subject}.", data={"model": subject})

    def embedded(self, done: int, total: int) -> None:
        """The parent knows how many of the unknown texts are embedded."""
        self._enter(self._embedding)
        self._pace.tell(done, total)

    def searched(self, done: int, total: int) -> None:
        """The parent knows how many queries were searched."""
        self._enter(Phase.MINING)
        self._pace.tell(done, total)

    def stop_requested(self) -> bool:
        """Whether the job has to stop."""
        return self._progress.stop_requested()

    def _enter(self, phase: Phase) -> None:
        if phase is not self._now:
            self._now = phase
            self._progress.phase(phase)
