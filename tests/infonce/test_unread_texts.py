"""Pairs of which the model's tokenizer reads nothing are left out, counted and said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infonce.batches import PairTable
from infonce.config import Attention, EncoderConfig, Precision, Prompts, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.pairs import Pair
from infonce.train import train
from tests.factories import tiny_model, toy_pairs
from tests.infonce.conftest import Watcher

NOTHING = "\u3000\u3000"  # white space to this tokenizer
BROKEN = [Pair(NOTHING, "red cat"), Pair("red cat", NOTHING), Pair("blue dog", "dog", (NOTHING, "bird", NOTHING))]


@pytest.mark.parametrize("prompts", [Prompts(), Prompts(query="red: ", document="tree: ")])
def test_what_reads_as_nothing_is_left_out_and_counted(prompts: Prompts, tmp_path: Path, watcher: Watcher) -> None:
    model = tiny_model(tmp_path / "m")
    spoilt, sound = (Encoder.load(model, EncoderConfig(prompts=prompts, max_seq_length=32)) for _ in range(2))
    same = {
        "precision": Precision.FLOAT32,
        "attention": Attention.FUSED,
        "max_chunk_tokens": 1024,
    }
    config = TrainConfig(n_epochs=1, batch_size=4, learning_rate=1e-3, seed=3, **same)
    result = train(spoilt, [*BROKEN, *toy_pairs(9)], config=config, progress=watcher)
    assert watcher.lost == (2, 2) and result.num_pairs == 10
    other = Watcher()
    train(sound, [Pair("blue dog", "dog", ("bird",)), *toy_pairs(9)], config=config, progress=other)
    assert other.lost == (0, 0)
    assert [record.loss for record in watcher.steps] == pytest.approx([record.loss for record in other.steps])


def test_too_few_pairs_that_can_be_read_are_refused(encoder: Encoder, watcher: Watcher) -> None:
    with pytest.raises(ConfigError, match="there are 1 training pairs"):
        train(encoder, BROKEN, config=TrainConfig(), progress=watcher)


def test_a_batch_that_was_to_hold_all_pairs_holds_those_that_can_be_read(encoder: Encoder, watcher: Watcher) -> None:
    config = TrainConfig(n_epochs=1, batch_size=12, learning_rate=1e-3)
    result = train(encoder, [*BROKEN, *toy_pairs(9)], config=config, progress=watcher)
    assert (result.config.batch_size, len(result.curve), watcher.lost) == (10, 1, (2, 2))
    with pytest.raises(ConfigError, match="batch_size is 13 and there are 10 pairs"):
        train(encoder, [*BROKEN, *toy_pairs(9)], config=replace(config, batch_size=13), progress=watcher)


def test_a_table_without_some_rows_is_the_table_of_the_other_pairs() -> None:
    pairs = toy_pairs(12, negatives=3)
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=3)
    gone = np.zeros(len(table.rows), dtype=bool)
    gone[[table.anchors[2], table.positives[5], table.negatives[0]]] = True
    left = table.without(anchors=gone, documents=gone)
    texts = set(np.flatnonzero(gone))
    kept = [p for n, p in enumerate(pairs) if table.anchors[n] not in texts and table.positives[n] not in texts]
    names = np.array(table.rows)
    assert list(zip(names[left.anchors], names[left.positives], strict=True)) == [(p.anchor, p.positive) for p in kept]
    expected = [[t for t in p.negatives if table.rows.index(t) not in texts] for p in kept]
    found = [list(names[left._negatives_of(place)]) for place in range(len(left))]
    assert found == expected
