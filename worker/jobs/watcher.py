"""What a training loop tells, in the words of a job."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from infonce.groups import Groups
from infonce.precision import Choice
from infonce.records import StepRecord
from service.store.records import Phase
from worker.jobs.watching import Pace
from worker.progress import Progress


class Watcher:
    """What the training loop tells, in the words of a job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._pace = Pace(progress)

    def step(self, record: StepRecord) -> None:
        """The parent knows of the step."""
        self._progress.step({**asdict(record), "percent": 100 * record.step / record.total_steps})

    def measured(self, choice: Choice) -> None:
        """The parent knows what this machine computes fastest, and by what times."""
        chosen = {"precision": choice.precision.value, "attention": choice.attention.value}
        self._progress.resolved(chosen)
        message = f"This machine is fastest with {choice.precision.value} and {choice.attention.value} attention."
        self._progress.event("info", "measured", message=message, data={**chosen, "seconds": choice.seconds})

    def resumed(self, step: int) -> None:
        """The parent knows from where an earlier attempt's work goes on."""
        message = f"An earlier attempt had made {step} steps and saved them; the training goes on from there."
        self._progress.event("info", "resumed", message=message, data={"step": step})

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """The parent knows what is left out, and why."""
        reason = "the model's tokenizer makes nothing of a text of theirs"
        message = f"Left out are {num_pairs} pairs and {num_negatives} negatives: {reason}."
        data = {"pairs": num_pairs, "negatives": num_negatives}
        self._progress.event("warn", "dropped", message=message, data=data)

    def joined(self, groups: Groups) -> None:
        """The parent knows what hangs together."""
        said = str(groups)
        self._progress.event("info", "groups", message=f"{said[0].upper()}{said[1:]}.", data=groups.to_dict())

    def mining(self, step: int) -> None:
        """The parent knows that hard negatives are looked for."""
        self._progress.phase(Phase.MINING)
        self._pace.begin()

    def embedded(self, done: int, total: int) -> None:
        """The parent knows how many of the texts among which they are looked for are embedded."""
        self._pace.tell(done, total)

    def mined(self, step: int, counts: Mapping[str, Any]) -> None:
        """The parent knows what was found, and that the training goes on."""
        message = f"After {step} steps {counts['mined']} hard negatives were found for {counts['queries']} queries"
        message += f", none for {counts['queries_without']}."
        if counts["without_room"]:
            message += f" {counts['without_room']} times a pair had max_per_query already and took none."
        self._progress.event("info", "mined", message=message, data={"step": step, **counts})
        self._progress.phase(Phase.TRAINING)

    def judged(self, step: int, metric: str, *, metrics: Mapping[str, float]) -> None:
        """The parent knows how good the model is by now."""
        message = f"After {step} steps {metric} is {metrics[metric]:.3f}."
        self._progress.event("info", "judged", message=message, data={"step": step, "metrics": dict(metrics)})

    def saved(self, step: int) -> None:
        """The parent knows how far the job has come for good."""
        self._progress.saved(step)

    def damaged(self, step: int) -> None:
        """The parent knows that steps are made again, and why."""
        message = f"The checkpoint of step {step} is damaged or of another version and is not used."
        self._progress.event("warn", "checkpoint_corrupt", message=message, data={"step": step})

    def elsewhere(self, difference: str) -> None:
        """The parent knows that the run goes on otherwise than it began."""
        message = f"This is not what the training began on, {difference}; its last bits may differ."
        data = {"reason": "machine", "difference": difference}
        self._progress.event("warn", "resume_not_bit_exact", message=message, data=data)

    def halved(self, max_chunk_tokens: int) -> None:
        """The parent knows that the run goes on otherwise than it began."""
        message = f"Memory did not suffice; from here on a chunk has {max_chunk_tokens} tokens, which rounds otherwise."
        data = {"reason": "out_of_memory", "max_chunk_tokens": max_chunk_tokens}
        self._progress.event("warn", "resume_not_bit_exact", message=message, data=data)

    def unsaved(self, reason: str) -> None:
        """The parent knows that the job would begin further back if it were broken off now."""
        message = f"A checkpoint could not be written ({reason}); the training goes on and tries again."
        self._progress.event("warn", "unsaved", message=message, data={"reason": reason})

    def stop_requested(self) -> bool:
        """Whether the job has to stop."""
        return self._progress.stop_requested()
