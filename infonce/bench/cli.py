"""`infonce bench`: what this machine does, beside sentence-transformers where both can do it.

A user's mistake ends with one sentence on stderr and exit code 1. Torch is loaded by the command that needs it.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infonce.bench.peer import Peer
from infonce.bench.processes import check_linux
from infonce.busy import busy
from infonce.hub import MINILM
from infonce.sentences import sentences

if TYPE_CHECKING:
    from infonce.bench.contest import Entrant
    from infonce.bench.report import Report

bench_app = typer.Typer(help="Measure this machine, and compare with sentence-transformers.", no_args_is_help=True)

_WIDE = 200

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")]
Output = Annotated[Path | None, typer.Option(help="A folder for table, numbers and picture: .md, .json and .png.")]
Model = Annotated[str, typer.Option(help="A name, or a folder.")]
Rounds = Annotated[int, typer.Option(min=1, max=1_000, help="Of how many the median is taken; all take turns.")]
MaxLength = Annotated[int, typer.Option(min=4, max=32_768, help="Tokens of a text that are read.")]
Seed = Annotated[int, typer.Option(min=0, max=2**53, help="Of what is drawn.")]


@bench_app.command("train")
def bench_train(
    pairs_file: Annotated[Path | None, typer.Argument(metavar="[PAIRS]", help="Docstrings if left out.")] = None,
    model: Model = MINILM,
    pairs: Annotated[int, typer.Option(min=4, help="How many are drawn.")] = 256,
    batch_size: Annotated[int, typer.Option(min=2, max=65_536, help="Pairs a step.")] = 64,
    max_length: MaxLength = 256,
    rounds: Rounds = 5,
    peer: Annotated[list[Peer] | None, typer.Option(help="Their ways, may be repeated; all if left out.")] = None,
    dropout: Annotated[
        list[float] | None, typer.Option(min=0.0, max=0.9, help="Of ours, may be repeated; 0 and 0.1.")
    ] = None,
    bf16_pairs: Annotated[
        int | None, typer.Option(min=2, help="Their bf16 trains on the first batches with so many pairs alone.")
    ] = None,
    bf16_rounds: Annotated[int | None, typer.Option(min=1, help="And in so many rounds alone.")] = None,
    judge: Annotated[Path | None, typer.Option(help="A BEIR zip or folder on which both are evaluated.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, max=2**53, help="May be repeated: rounds take them in turn; 42.")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Train on the same batches with infonce and with sentence-transformers: speed, memory and quality."""
    with sentences(), busy("Reading the pairs") as say:
        check_linux()
        _prepare(output)
        from infonce.bench.contest import Setting, ours, theirs
        from infonce.bench.inputs import check_peer, model_folder, some_pairs
        from infonce.qrels import read_beir

        check_peer()
        judged = None if judge is None else read_beir(judge)
        seeds = tuple(seed or [42])
        setting = Setting(
            pairs=some_pairs(pairs_file, pairs, seed=seeds[0]),
            model=model_folder(model),
            batch_size=batch_size,
            max_length=max_length,
            seeds=seeds,
            rounds=rounds,
        )
        setting.check()
        rates = list(dict.fromkeys([0.0, 0.1] if dropout is None else dropout))
        steps = None if bf16_pairs is None or bf16_pairs >= len(setting.pairs) else -(-bf16_pairs // batch_size)
        limits = {Peer.BF16: (min(rounds, bf16_rounds or rounds), steps)}
        whole = rounds, None
        peers = [
            theirs(one, rounds=limits.get(one, whole)[0], num_steps=limits.get(one, whole)[1])
            for one in dict.fromkeys(peer or list(Peer))
        ]
        mine = [ours(rate, rounds=rounds) for rate in rates]
        mine.append(ours(rates[0], rounds=rounds, keeps_graphs=False))
        from infonce.bench.training import measure

        entrants = [one for both in _zipped(mine, peers) for one in both]
        report = _last(measure(setting, entrants, judged=judged, say=say), output)
    _print(report, as_json=as_json)


@bench_app.command("scale")
def bench_scale(
    sizes: Annotated[list[int] | None, typer.Option(min=4, help="Pairs, may be repeated; 1,000 to 50,000.")] = None,
    model: Model = MINILM,
    batch_size: Annotated[int, typer.Option(min=2, max=65_536, help="Pairs a step.")] = 8,
    steps: Annotated[int, typer.Option(min=2, help="How many are trained, whatever the size.")] = 200,
    rounds: Rounds = 3,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a pair costs in a small and in a large set, over as many steps of tiny texts."""
    with sentences(), busy("Loading") as say:
        check_linux()
        _prepare(output)
        from infonce.bench.inputs import model_folder
        from infonce.bench.scaling import Setting, measure

        setting = Setting(model=model_folder(model), batch_size=batch_size, steps=steps, seed=seed)
        setting.check(chosen := sizes or [1_000, 10_000, 50_000])
        report = _last(measure(setting, chosen, rounds=rounds, say=say), output)
    _print(report, as_json=as_json)


@bench_app.command("encode")
def bench_encode(
    file: Annotated[
        Path | None, typer.Argument(help="JSON Lines with text or positive; docstrings if left out.")
    ] = None,
    model: Model = MINILM,
    texts: Annotated[int, typer.Option(min=1, help="How many are drawn.")] = 2_000,
    max_length: Annotated[int | None, typer.Option(min=4, max=32_768, help="Tokens of a text; the model's.")] = None,
    rounds: Rounds = 5,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Encode the same texts in every precision and with sentence-transformers."""
    with sentences(), busy("Reading the texts") as say:
        _prepare(output)
        from infonce.bench.inputs import check_peer, model_folder, some_texts

        check_peer()
        drawn, folder = some_texts(file, texts, seed=seed), model_folder(model)
        say("Loading")
        from infonce.bench.encoding import Setting, measure

        setting = Setting(model=folder, texts=drawn, max_length=max_length, rounds=rounds)
        report = _last(measure(setting, say=say), output)
    _print(report, as_json=as_json)


@bench_app.command("embeddings")
def bench_embeddings(
    file: Annotated[
        Path | None, typer.Argument(help="JSON Lines with text or positive; docstrings if left out.")
    ] = None,
    model: Model = MINILM,
    callers: Annotated[int, typer.Option(min=1, max=1_000, help="Who ask at once, a text a call.")] = 64,
    calls: Annotated[int, typer.Option(min=2, max=2_048, help="For each length and round.")] = 512,
    tokens: Annotated[
        list[int] | None, typer.Option(min=3, max=8_192, help="Of a text, may be repeated; 15, 150.")
    ] = None,
    rounds: Rounds = 5,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure what of the library's speed a gateway serves to many callers at once, and what a look at a job takes."""
    with sentences(), busy("Reading the texts") as say:
        check_linux()
        _prepare(output)
        from infonce.bench.inputs import model_folder, some_texts
        from infonce.bench.serving import Setting, measure

        setting = Setting(
            model=model_folder(model),
            texts=some_texts(file, 500, seed=seed),
            lengths=tokens or [15, 150],
            callers=callers,
            calls=calls,
            rounds=rounds,
            seed=seed,
        )
        report = _last(measure(setting, say=say), output)
    _print(report, as_json=as_json)


@bench_app.command("search")
def bench_search(
    file: Annotated[
        Path | None, typer.Argument(help="Vectors as .npy, or JSON Lines of texts to encode; synthetic if left out.")
    ] = None,
    model: Model = MINILM,
    vectors: Annotated[int, typer.Option(min=100, help="How many are searched at most.")] = 100_000,
    dimensions: Annotated[int, typer.Option(min=2, max=65_536, help="Of synthetic ones.")] = 384,
    queries: Annotated[int, typer.Option(min=64, max=4_096, help="How many ask; taken out of the vectors.")] = 64,
    rounds: Rounds = 5,
    seed: Seed = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Search the same vectors with VectorIndex, sentence-transformers' semantic_search and bare FAISS."""
    with sentences(), busy("Loading") as say:
        _prepare(output)
        from infonce.bench.inputs import check_peer
        from infonce.bench.searching import measure
        from infonce.bench.vectors import Wanted, vectors_to_search

        check_peer()
        wanted = Wanted(file=file, model=model, count=vectors, dimensions=dimensions, num_queries=queries, seed=seed)
        report = _last(measure(vectors_to_search(wanted, say=say), rounds=rounds, say=say), output)
    _print(report, as_json=as_json)


@bench_app.command("loss")
def bench_loss(
    batch: Annotated[
        list[int] | None, typer.Option(min=2, max=131_072, help="A batch size, may be repeated; 1,024 to 65,536.")
    ] = None,
    dimensions: Annotated[int, typer.Option(min=1, max=65_536, help="Of the vectors.")] = 384,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of how many the median is taken.")] = 3,
    memory_limit_gb: Annotated[float, typer.Option(min=0.0, help="A dense loss beyond it is left out.")] = 8.0,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each batch size.")] = False,
) -> None:
    """Measure time and memory of the loss in tiles and as a whole matrix, forward and backward."""
    with sentences(), busy("Measuring") as say:
        check_linux()
        _prepare(output)
        from infonce.bench.loss_memory import BATCHES, measure, report_of

        batches, rows = batch or BATCHES, []
        for row in measure(batches, dimensions=dimensions, rounds=rounds, memory_limit_gb=memory_limit_gb):
            rows.append(row)
            say(f"Measured {len(rows)} of {len(batches)} batch sizes")
            report = _last([report_of(rows, dimensions=dimensions, rounds=rounds)], output)
    _print(report, as_json=as_json)


@bench_app.command("gradcache")
def bench_gradcache(
    batch: Annotated[int, typer.Option(min=2, max=1 << 16, help="Pairs in the batch.")] = 256,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Replayed where a chunk is encoded twice.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="The median of so many counts.")] = 3,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure a step of MiniLM with all, some and no graphs kept, against the undivided step."""
    with sentences(), busy("Measuring a step") as say:
        _prepare(output)
        from infonce.bench.gradcache import Setting, measure, report_of

        setting = Setting(batch_size=batch, dropout=dropout)
        rows = list(measure(setting, rounds=rounds, on_round=say))
        report = _last([report_of(rows, asdict(setting) | {"rounds": rounds})], output)
    _print(report, as_json=as_json)


def _zipped(mine: list["Entrant"], theirs: list["Entrant"]) -> Iterable[list["Entrant"]]:
    """Ours and theirs in turn, as long as there are both."""
    for place in range(max(len(mine), len(theirs))):
        yield [*mine[place : place + 1], *theirs[place : place + 1]]


def _prepare(output: Path | None) -> None:
    """The folder is there before an hour is spent, and nothing that is loaded looks at the network."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        from infonce.pictures import figure_of

        figure_of(1.0, 1.0)  # matplotlib is there as well
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def _last(reports: Iterable["Report"], output: Path | None) -> "Report":
    """The last of the reports; each was saved as soon as it was known, so that a run broken off leaves its rounds."""
    last = None
    for last in reports:
        if output is not None:
            last.save(output)
    assert last is not None, "every benchmark reports"
    return last


def _print(report: "Report", *, as_json: bool) -> None:
    if as_json:
        print("\n".join(report.lines()), flush=True)
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file has room for every column
        console = Console(width=_WIDE)
    for table in report.tables:
        console.print(table.rich())
    for note in report.notes:
        console.print(note, highlight=False)
