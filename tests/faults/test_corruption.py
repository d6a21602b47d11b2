"""Thousands of seeded mutations of an index, a model and a checkpoint: production's own doors refuse every one.

FAISS alone accepted three quarters of such files in silence, and safetensors all of those behind its header.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infonce.bm25 import Bm25Index
from infonce.checkpoint import Checkpoints, newest
from infonce.columns import Columns
from infonce.config import Precision, TrainConfig
from infonce.errors import IndexFault, ModelError
from infonce.hub import FoundModel, Source
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from infonce.train import train
from service.embedder import encoder_loader
from service.live_indexes import LiveIndexes
from service.store.errors import ArtifactCorrupt
from service.store.records import DEFAULT_PROJECT
from tests.factories import tiny_encoder, toy_pairs
from tests.faults.homes import Home
from tests.infonce.conftest import Watcher

SEED = 20_261_125
NUM_MUTATIONS = 1_000  # of each folder
TYPES = [kind for kind in IndexType if kind is not IndexType.AUTO]

Mutation = Callable[[random.Random, bytearray], bytearray]


def flip_bit(draw: random.Random, content: bytearray) -> bytearray:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def cut(draw: random.Random, content: bytearray) -> bytearray:
    return content[: draw.randrange(len(content))]


def zero_run(draw: random.Random, content: bytearray) -> bytearray:
    start = draw.randrange(len(content))
    length = min(draw.choice([1, 16, 512, 4_096]), len(content) - start)
    content[start : start + length] = bytes(length)
    return content


def huge_number(draw: random.Random, content: bytearray) -> bytearray:
    """A 64-bit number, most often near the head, where sizes stand."""
    start = draw.randrange(min(len(content), draw.choice([16, 128, len(content)])))
    value = draw.choice([0, 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1])
    content[start : start + 8] = value.to_bytes(8, "little")
    return content


def grow(draw: random.Random, content: bytearray) -> bytearray:
    return content + draw.randbytes(draw.randrange(1, 64))


MUTATIONS: tuple[Mutation, ...] = (flip_bit, cut, zero_run, huge_number, grow)


@contextmanager
def written(path: Path, content: bytes) -> Iterator[None]:
    """Inside, the file holds that."""
    sound = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(sound)


def accepted(
    folder: Path, opens: Callable[[], bool], *, seed: int = SEED, num_mutations: int = NUM_MUTATIONS
) -> list[str]:
    """The mutations with which the folder still opens; it opens without any, before and after."""
    draw, wrong, num = random.Random(seed), [], 0
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    assert opens()
    while num < num_mutations:
        path, mutate = draw.choice(files), draw.choice(MUTATIONS)
        sound = path.read_bytes()
        content = bytes(mutate(draw, bytearray(sound)))
        if content == sound:
            continue
        num += 1
        with written(path, content):
            if opens():
                wrong.append(f"{mutate.__name__} of {path.name}, number {num}")
    assert opens()
    print(f"seed {seed}: {num} mutations of {len(files)} files, {len(wrong)} accepted")
    return wrong


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.new(tmp_path / "home")
    yield home
    home.close()


def indexed(home: Home, count: int, *, dimension: int, config: IndexConfig) -> tuple[Path, Callable[[], bool]]:
    """The folder of an index with columns and words, and what says whether a gateway opens all of it."""
    names = [f"document {number}" for number in range(count)]

    def save(index: VectorIndex, folder: Path) -> None:
        columns = Columns.build([{"lang": "en" if row % 3 else "de", "page": row % 7} for row in range(count)])
        Main(index=index, columns=columns).save(folder)
        Bm25Index.build([f"text number {row} about {row % 11}" for row in range(count)]).save(folder / WORDS_FOLDER)

    collection = home.collection(dimension=dimension)
    version = home.index(collection, names, config=config, save=save)

    def opens() -> bool:
        try:
            served = LiveIndexes(home.database, home.artifacts).current(DEFAULT_PROJECT, collection.id)
            return served.words.of(served.live).main.count == served.live.count == count
        except (ArtifactCorrupt, IndexFault):
            return False

    return home.artifacts.collection_version_path(collection.id, str(version.folder)), opens


@pytest.mark.parametrize("type", TYPES)
def test_no_damaged_index_is_searched(home: Home, type: IndexType) -> None:
    folder, opens = indexed(home, 300, dimension=16, config=IndexConfig(type=type, exact_up_to=0))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"index.faiss", "ids", "manifest.json", "columns.npz", "checksums.json", "words/words.json"}
    assert ("approximate.faiss" in names) is (type is not IndexType.FLAT)
    assert accepted(folder, opens, num_mutations=400) == []


def test_no_damaged_index_of_a_real_size_is_searched(home: Home) -> None:
    config = IndexConfig(type=IndexType.IVF_SQ8, exact_up_to=0)
    folder, opens = indexed(home, 20_000, dimension=64, config=config)
    assert sum(path.stat().st_size for path in folder.rglob("*")) > 6_000_000
    assert accepted(folder, opens, num_mutations=60) == []


def test_no_damaged_model_is_loaded(home: Home, tmp_path: Path) -> None:
    record = home.model(tiny_encoder(tmp_path / "tiny").save)
    folder = home.artifacts.model_path(record.folder)
    load = encoder_loader(home.artifacts.verify, threads=1)

    def opens() -> bool:
        try:
            return bool(load(FoundModel(name=record.id, path=folder, source=Source.TUNED)).fingerprint())
        except (ArtifactCorrupt, ModelError):
            return False

    assert accepted(folder, opens) == []


def test_no_training_goes_on_from_a_damaged_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(folder=tmp_path / "checkpoints", every_seconds=0.0)
    config = TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-3, precision=Precision.FLOAT32)
    train(tiny_encoder(tmp_path / "tiny"), toy_pairs(16), config=config, progress=Watcher(), checkpoints=kept)
    *_, last = sorted(kept.folder.iterdir())

    def opens() -> bool:
        found = newest(kept)
        assert found is not None and found.step in (1, 2), "the one before is always there"
        return found.step == 2

    assert accepted(last, opens) == []
