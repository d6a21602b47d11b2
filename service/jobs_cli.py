"""`infonce submit | jobs | watch | cancel | pause | resume`: trainings and other jobs of a gateway, from a terminal."""

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infonce.busy import busy
from infonce.command_options import AsJson
from service.console import FAILED, INTERRUPTED, WITH_SERVER
from service.remote import DEFAULT_URL, Labels, Url, connected, labels_of, printed, printed_list

if TYPE_CHECKING:
    from service.client import Client
    from service.client_sent import Purpose
    from service.schemas.job_answers import FineTuningJob, Job

jobs_app = typer.Typer()
JobId = Annotated[str, typer.Argument(help="The job's id, as `infonce jobs` shows it.")]


@jobs_app.command(rich_help_panel=WITH_SERVER)
def submit(
    pairs: Annotated[Path, typer.Argument(help="Pairs, in any format that a training reads.")],
    model: Annotated[str, typer.Option(help="The base model, by a name that `infonce models` shows.")],
    suffix: Annotated[str | None, typer.Option(help="A word of the tuned model's name.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pairs; chosen if left out.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step; chosen if left out.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak; chosen if left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of order, split and dropout.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other hyperparameter, as NAME=JSON; may be repeated.")
    ] = None,
    held_out: Annotated[float | None, typer.Option(help="The share of pairs to judge by; 0 for none.")] = None,
    judged: Annotated[Path | None, typer.Option(help="Judgements to judge by: a BEIR zip.")] = None,
    mapping: Annotated[
        str | None, typer.Option(help='Where other fields hold the pairs: {"anchor": "q", "positive": "a"}, as JSON.')
    ] = None,
    deploy: Annotated[str | None, typer.Option(help="The collection that serves the model, if it is better.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Documents that are put into that collection.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="A label, as NAME=TEXT; may be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Upload pairs and order a training."""
    from infonce.dialects import FieldMapping
    from service.order_options import Order

    with connected(url) as client:
        order = Order(
            model=model,
            suffix=suffix,
            seed=seed,
            hyperparameters={"n_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
            settings=settings or [],
            held_out=held_out,
            deploy=deploy,
            metadata=metadata or [],
        )
        order.check(has_corpus=corpus is not None)
        fields = None if mapping is None else FieldMapping.from_json(mapping).to_dict()
        training_file = _uploaded(client, pairs, mapping=fields)
        judged_file = None if judged is None else _uploaded(client, judged, purpose="eval")
        corpus_file = None if corpus is None else _uploaded(client, corpus, purpose="corpus")
        with busy("Ordering"):
            job = client.create_job(order.body(training_file, judged=judged_file, corpus=corpus_file))
        if wait:
            _followed(client, job.id, as_json=as_json)
        elif as_json:
            printed(job)
        else:
            print(f"{job.id} waits for a worker; `infonce watch {job.id}` follows it.", flush=True)


@jobs_app.command("jobs", rich_help_panel=WITH_SERVER)
def show_jobs(
    id: Annotated[str | None, typer.Argument(help="One job; the newest ones if left out.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    metadata: Labels = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs of every kind, or show one."""
    from service.remote_view import ending_of, job_row, show_table

    with connected(url) as client, busy("Asking"):
        found = None if id is None else _one(client, id)
        newest = [] if id is not None else list(islice(client.jobs(metadata=labels_of(metadata)), limit))
    if found is not None:
        printed(found) if as_json else print(ending_of(found), flush=True)
    elif as_json:
        printed_list([*newest])
    else:
        show_table(("id", "kind", "status", "phase", "done", "made"), [job_row(job) for job in newest])


@jobs_app.command(rich_help_panel=WITH_SERVER)
def watch(id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Follow a job to its end; exit code 1 if it does not succeed. Ctrl-C ends the watching, not the job."""
    with connected(url) as client:
        _followed(client, id, as_json=as_json)


@jobs_app.command(rich_help_panel=WITH_SERVER)
def cancel(
    id: JobId,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Of a training: end it after the step in hand, and publish its best.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """End a job: at once while it waits, at its next chunk while it runs."""
    _wished(url, lambda client: client.keep_best(id) if keep_best else client.cancel(id), as_json=as_json)


@jobs_app.command(rich_help_panel=WITH_SERVER)
def pause(id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Pause a job after its last finished step; nothing of it is lost."""
    _wished(url, lambda client: client.pause_any(id), as_json=as_json)


@jobs_app.command(rich_help_panel=WITH_SERVER)
def resume(id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    _wished(url, lambda client: client.resume_any(id), as_json=as_json)


def _uploaded(
    client: "Client", path: Path, *, purpose: "Purpose" = "fine-tune", mapping: dict[str, Any] | None = None
) -> str:
    """The id of the uploaded file; a bar shows how much of it was sent."""
    from service.remote_view import uploading

    with uploading(path.name, path.stat().st_size) as sent:
        return client.upload(path, purpose, mapping=mapping, on_bytes=sent).id


def _one(client: "Client", id: str) -> "Job | FineTuningJob":
    """The job, with all that is known of it if it is a training."""
    return client.job(id) if id.startswith("ftjob-") else client.any_job(id)


def _followed(client: "Client", id: str, *, as_json: bool) -> None:
    """The job has ended and was told; the process ends with 1 if it did not succeed, with 130 if nobody waits."""
    from service.remote_view import ending_of, following

    try:
        with following() as bar:
            client.wait(id, on_progress=bar.show)
    except KeyboardInterrupt:
        print(f"infonce: {id} goes on; `infonce watch {id}` follows it again", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED) from None
    ended = _one(client, id)
    printed(ended) if as_json else print(ending_of(ended), flush=True)
    if ended.status != "succeeded":
        raise typer.Exit(FAILED)


def _wished(url: str, wish: "Callable[[Client], Job | FineTuningJob]", *, as_json: bool) -> None:
    from service.remote_view import ending_of

    with connected(url) as client, busy("Asking"):
        job = wish(client)
    printed(job) if as_json else print(ending_of(job), flush=True)
