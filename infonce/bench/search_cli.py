"""`infonce bench search` and `bench collections`: nearest neighbours in one process, and over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from infonce.bench.command import AsJson, Model, Output, Rounds, Seed, last_of, prepare, show
from infonce.bench.processes import check_linux
from infonce.busy import busy
from infonce.hub import MINILM
from infonce.index_config import IndexType
from infonce.sentences import sentences

search_app = typer.Typer()

_MEASURED_TYPES = tuple(one for one in IndexType if one is not IndexType.AUTO)

Vectors = Annotated[
    Path | None, typer.Argument(help="Vectors as .npy, or JSON Lines of texts to encode; synthetic if left out.")
]
Queries = Annotated[int, typer.Option(min=64, max=4_096, help="How many ask; taken out of the vectors.")]
Types = Annotated[
    list[IndexType] | None, typer.Option("--type", help="Of indexes that are weighed, may be repeated; all four.")
]


@search_app.command("search")
def bench_search(
    file: Vectors = None,
    model: Model = MINILM,
    vectors: Annotated[int, typer.Option(min=100, help="How many are searched at most.")] = 100_000,
    dimensions: Annotated[int, typer.Option(min=2, max=65_536, help="Of synthetic ones.")] = 384,
    queries: Queries = 256,
    types: Types = None,
    rounds: Rounds = 5,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Search the same vectors with VectorIndex, sentence-transformers' semantic_search, bare FAISS and hnswlib."""
    with sentences(), busy("Loading") as say:
        prepare(output)
        from infonce.bench.inputs import check_peer
        from infonce.bench.searching import Setting, measure
        from infonce.bench.vectors import Wanted, vectors_to_search

        check_peer()
        wanted = Wanted(file=file, model=model, count=vectors, dimensions=dimensions, num_queries=queries, seed=seed)
        setting = Setting(
            searched=vectors_to_search(wanted, say=say), rounds=rounds, seed=seed, types=types or _MEASURED_TYPES
        )
        report = last_of(measure(setting, say=say), output)
    show(report, as_json=as_json)


@search_app.command("collections")
def bench_collections(
    file: Vectors = None,
    model: Model = MINILM,
    vectors: Annotated[int, typer.Option(min=100, help="How many are stored at most.")] = 100_000,
    dimensions: Annotated[int, typer.Option(min=2, max=8_192, help="Of synthetic ones.")] = 384,
    queries: Queries = 256,
    written: Annotated[int, typer.Option(min=1, help="Documents that each way of writing stores a round.")] = 10_000,
    texts: Annotated[int, typer.Option(min=257, help="Texts that are embedded a round; 256 are no job.")] = 1_024,
    rounds: Rounds = 5,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write, open and ask a collection over HTTP, beside FAISS on the same index and hnswlib in this process."""
    with sentences(), busy("Loading") as say:
        check_linux()
        prepare(output)
        from infonce.bench.collecting import Setting, measure
        from infonce.bench.inputs import model_folder, some_texts
        from infonce.bench.vectors import Wanted, vectors_to_search

        wanted = Wanted(file=file, model=model, count=vectors, dimensions=dimensions, num_queries=queries, seed=seed)
        searched = vectors_to_search(wanted, say=say)
        setting = Setting(
            model=model_folder(model),
            searched=searched,
            texts=searched.texts or some_texts(None, 1_000, seed=seed),
            num_written=written,
            num_texts=texts,
            rounds=rounds,
            seed=seed,
        )
        setting.check()
        report = last_of(measure(setting, say=say), output)
    show(report, as_json=as_json)
