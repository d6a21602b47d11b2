"""A child whose training is a chain of hashes: seconds of work, checkpoints, and one right result, bit for bit.

It is the real child process in all but its body: order, stop flag, lifeline and messages are `worker.child`'s.
"""

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infonce.errors import Stopped
from service.store.records import Phase
from worker.child import main
from worker.progress import Progress

NUM_STEPS = 30
STEP_SECONDS = 0.07
STEPS_BETWEEN = 4
"""Two checkpoints."""
RESULT = "model.safetensors"


def expected(text: bytes) -> str:
    """The result of an undisturbed run over a training file of that content."""
    link = hashlib.sha256(text).hexdigest()
    for step in range(1, NUM_STEPS + 1):
        link = _next(link, step)
    return link


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The last link lies in staging."""
    progress.phase(Phase.TRAINING)
    own = Path(order["checkpoints"])
    text = Path(order["training_file"]["path"]).read_bytes()
    step, link = _newest([own, *map(Path, order["inherited"])], progress) or (0, hashlib.sha256(text).hexdigest())
    saved = step
    if step:
        progress.event("info", "resumed", message=f"It goes on after step {step}.", data={"step": step})
    while step < NUM_STEPS:
        time.sleep(STEP_SECONDS)  # the work of a step: faults have to find it under way
        if progress.stop_requested():
            if step > saved:
                _save(own, step, link=link)
                progress.saved(step)
            raise Stopped("as asked")
        step, link = step + 1, _next(link, step + 1)
        progress.step({"step": step, "total_steps": NUM_STEPS})
        if step - saved >= STEPS_BETWEEN:
            _save(own, step, link=link)
            progress.saved(step)
            saved = step
    (Path(order["staging"]) / RESULT).write_text(link)
    sizes = {"dimensions": 1, "max_tokens": 1, "trained_tokens": NUM_STEPS}
    return {**sizes, "fingerprint": link, "summary": {"metric": "ndcg@10", "evaluations": [], "verdict": None}}


def checkpoint_files(folder: Path) -> list[Path]:
    """What a run has saved in this folder, the newest first."""
    return sorted(folder.glob("step-*.json"), reverse=True)


def _next(link: str, step: int) -> str:
    return hashlib.sha256(f"{link} {step}".encode()).hexdigest()


def _save(folder: Path, step: int, *, link: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "unfinished"
    unfinished.write_text(json.dumps({"step": step, "link": link, "check": _next(link, -step)}))
    unfinished.rename(folder / f"step-{step:09d}.json")
    for old in checkpoint_files(folder)[2:]:
        old.unlink()


def _newest(folders: list[Path], progress: Progress) -> tuple[int, str] | None:
    """Step and link of the newest checkpoint that is whole."""
    found = sorted((path for folder in folders for path in checkpoint_files(folder)), key=lambda p: p.name)
    for path in reversed(found):
        try:
            saved = json.loads(path.read_text())
        except (OSError, ValueError):
            saved = {}
        if saved and saved["check"] == _next(saved["link"], -saved["step"]):
            return saved["step"], saved["link"]
        progress.event("warn", "checkpoint_corrupt", message=f"{path.name} is damaged and is not used.")
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), body=run)
