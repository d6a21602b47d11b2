"""The encoder of a job, its vectors kept between jobs; and the threads that it computes with."""

from pathlib import Path

import faiss
import torch

from infonce.calibrate import fastest_serving
from infonce.config import Precision
from infonce.device import resolve_device
from infonce.encoder import Encoder
from infonce.vectors import CachedEncoder, folder_of
from worker.jobs.watching import Pace
from worker.progress import Progress


def use_threads(num_threads: int) -> None:
    """Torch and faiss compute with that many threads; each brings an OpenMP of its own."""
    torch.set_num_threads(num_threads)
    faiss.omp_set_num_threads(num_threads)


def gpus_of(device: str) -> list[str]:
    """The names, the same for every process of this machine, of the GPUs that a device setting lets torch see."""
    if resolve_device(device).type != "cuda":
        return []
    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]


def cached(encoder: Encoder, root: Path, *, precision: Precision, progress: Progress) -> CachedEncoder:
    """The encoder, asked only for texts that no job has embedded with the same weights and precision before."""
    stop, on_block = progress.stop_requested, Pace(progress).tell
    return CachedEncoder.of(encoder, root, precision=precision, stop=stop, on_block=on_block)


def serving_precision(encoder: Encoder, root: Path, *, wanted: Precision) -> Precision:
    """What is wanted; `auto` is the precision in which most vectors of this encoder are kept, else the fastest here.

    A machine that is busy with something else may measure another one than an hour before; what was computed then is
    as good, and computing all of it again is not faster.
    """
    if wanted is not Precision.AUTO:
        return wanted
    kept = {precision: _num_bytes(folder_of(encoder, root, precision=precision)) for precision in Precision}
    most = max(kept, key=lambda precision: kept[precision])
    return most if kept[most] else fastest_serving(encoder)[0]


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
