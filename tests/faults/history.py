"""Whether what happened to the jobs of a run was right, judged by their events and by what was published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.store.errors import ArtifactCorrupt
from service.store.records import EventRecord, JobRecord, JobStatus, ModelRecord
from tests.faults.stack import ENDED, Stack

ENDINGS = {"finished": JobStatus.SUCCEEDED, "failed": JobStatus.FAILED, "cancelled": JobStatus.CANCELLED}
"""The type of the event with which a job ends, and how it stands afterwards."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How many jobs went wrong, each kind with what was found."""

    lost: tuple[str, ...]
    """Not ended, failed, or cancelled though nobody wished it."""
    doubled: tuple[str, ...]
    """Ended twice, published twice, or written to by an attempt after another was claimed."""
    different: tuple[str, ...]
    """With another result than that of an undisturbed run, or a damaged one."""
    num_attempts: int
    num_resumed: int
    num_fenced: int
    """Attempts that were given up for silent, whose owner could go on writing."""

    @property
    def is_right(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.doubled or self.different)


Expected = Callable[[bytes], str]


def judge(stack: Stack, *, doomed: Sequence[str], read: Callable[[Path], str], expected: Expected) -> Verdict:
    """The verdict: `read` takes a published folder to its result, `expected` a training file's content to the right."""
    jobs, models = stack.jobs(), stack.models()
    histories = {job.id: stack.events(job.id) for job in jobs}
    every = [event for history in histories.values() for event in history]
    different = [
        f"{model.job_id}: {found!r} instead of {right!r}"
        for model in models
        for right in [expected(_content(stack, next(job for job in jobs if job.id == model.job_id)))]
        if (found := _result(stack, model, read)) != right
    ]
    return Verdict(
        lost=tuple(line for job in jobs for line in _lost(job, job.id in doomed)),
        doubled=tuple(line for job in jobs for line in _doubled(job, histories[job.id], models=models)),
        different=tuple(different),
        num_attempts=sum(event.type == "claimed" for event in every),
        num_resumed=sum(event.type == "resumed" for event in every),
        num_fenced=sum("fell silent" in event.message for event in every),
    )


def _lost(job: JobRecord, may_be_cancelled: bool) -> list[str]:
    if job.status not in ENDED:
        return [f"{job.id} is {job.status} at the end"]
    if job.status is JobStatus.FAILED or (job.status is JobStatus.CANCELLED and not may_be_cancelled):
        return [f"{job.id} is {job.status}: {job.error}"]
    return []


def _doubled(job: JobRecord, history: Sequence[EventRecord], *, models: Sequence[ModelRecord]) -> list[str]:
    """What shows that more than one attempt had its way."""
    found = []
    endings = [event.type for event in history if event.type in ENDINGS]
    if job.status in ENDED and [ENDINGS[type] for type in endings] != [job.status]:
        found.append(f"{job.id} is {job.status} and ended by {endings}")
    if history and history[-1].type not in ENDINGS and job.status in ENDED:
        found.append(f"{job.id} had ended and then met {history[-1].type}")
    claims = [event.attempt for event in history if event.type == "claimed"]
    if claims != list(range(1, job.attempt + 1)):
        found.append(f"{job.id} was claimed as {claims} and stands at attempt {job.attempt}")
    writers = [event.attempt for event in history]
    if writers != sorted(writers):
        found.append(f"{job.id}: an attempt wrote after a later one was claimed: {writers}")
    published = [model.id for model in models if model.job_id == job.id]
    wanted = [job.result["model"]] if job.status is JobStatus.SUCCEEDED else []
    if published != wanted:
        found.append(f"{job.id} is {job.status}, says {wanted} and published {published}")
    return found


def _content(stack: Stack, job: JobRecord) -> bytes:
    return stack.artifacts.file_path(job.spec["training_file"]).read_bytes()


def _result(stack: Stack, model: ModelRecord, read: Callable[[Path], str]) -> str:
    """What was published, if it is whole."""
    folder = stack.artifacts.model_path(model.folder)
    try:
        stack.artifacts.verify(folder)
    except ArtifactCorrupt as error:
        return str(error)
    return read(folder)
