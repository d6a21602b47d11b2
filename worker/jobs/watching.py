"""What mining and evaluating tell while they work, in the words of a job."""

import time
from collections.abc import Mapping

from service.store.records import Phase
from worker.progress import Progress


class Watching:
    """A `Watch` of the library's that passes everything on; parts without a phase of their own are loading."""

    def __init__(self, progress: Progress, *, phases: Mapping[str, Phase], embedding: Phase) -> None:
        self._progress = progress
        self._phases = phases
        self._embedding = embedding
        self._now = Phase.LOADING  # which the job has told of itself
        self._count = (0, 0)  # the newest done and total
        self._began = time.monotonic()

    def phase(self, name: str) -> None:
        """The parent knows what begins; what is worked on behind the first word is an event."""
        word, _, subject = name.partition(" ")
        self._enter(self._phases.get(word, Phase.LOADING))
        if subject:
            self._progress.event("info", word, message=f"{word.capitalize()} {subject}.", data={"model": subject})

    def embedded(self, done: int, total: int) -> None:
        """The parent knows how many of the unknown texts are embedded."""
        self._enter(self._embedding)
        self._tell(done, total)

    def searched(self, done: int, total: int) -> None:
        """The parent knows how many queries were searched."""
        self._enter(Phase.MINING)
        self._tell(done, total)

    def stop_requested(self) -> bool:
        """Whether the job has to stop."""
        return self._progress.stop_requested()

    def _enter(self, phase: Phase) -> None:
        if phase is not self._now:
            self._now = phase
            self._count, self._began = (0, 0), time.monotonic()
            self._progress.phase(phase)

    def _tell(self, done: int, total: int) -> None:
        before, of = self._count
        if total != of or done < before:  # another run of texts
            self._began, before = time.monotonic(), 0
        self._count = (done, total)
        values = {"step": done, "total_steps": total, "percent": 100 * done / total}
        elapsed = time.monotonic() - self._began
        eta = {"eta_seconds": elapsed / done * (total - done)} if before else {}  # the first one has no beginning
        self._progress.step({**values, **eta})
