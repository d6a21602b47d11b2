"""The command line: what needs no server, what speaks to one, and the service itself.

A user's mistake ends with one sentence on stderr and exit code 1, never with a traceback; docs/cli.md has all codes.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infonce.audit_command import audit_app
from infonce.bench.cli import bench_app
from infonce.busy import busy
from infonce.cli import plot_app
from infonce.command_options import WITHOUT_SERVER, AsJson
from infonce.embed_command import embed_app
from infonce.estimate_command import estimate_app
from infonce.evaluate_command import evaluate_app
from infonce.mine_command import mine_app
from infonce.report_command import report_app
from infonce.train_command import train_app
from service.console import DEFAULT_HOME, FAILED, INTERRUPTED, STACK, Home, sentences
from service.doctor_cli import doctor_app
from service.jobs_cli import jobs_app
from service.keys_cli import keys_app
from service.search_cli import search_app
from service.store.queue import QUEUES
from service.upkeep import upkeep_app

app = typer.Typer(
    help="Fine-tune embedding models with InfoNCE over REST, and serve what they find.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stack_app = typer.Typer()
AsListening = Annotated[bool, typer.Option("--json", help="Begin with one line: a JSON object with the url.")]


@stack_app.command(rich_help_panel=STACK)
def serve(
    home: Home = Path(DEFAULT_HOME),
    host: Annotated[
        str, typer.Option(help="Where to listen; another address than loopback needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
    as_json: AsListening = False,
) -> None:
    """Run broker, gateway and three workers in the foreground until Ctrl-C or SIGTERM."""
    from service.supervisor import Stack, StackSettings, interruptible

    stack = Stack(StackSettings(home=home.expanduser(), host=host, port=port, environment=os.environ))
    with sentences(), interruptible(stack):
        try:
            with busy("Starting"):
                stack.start()
            if as_json:
                print(json.dumps({"url": stack.url, "home": str(stack.home)}), flush=True)
            else:
                print(f"infonce listens on {stack.url} — API at {stack.url}/v1, its documentation at {stack.url}/docs")
                print(f"Everything is kept in {stack.home}, logs in {stack.home}/logs. Ctrl-C ends it.", flush=True)
            stack.watch()
        except KeyboardInterrupt:
            print("infonce ends …", file=sys.stderr if as_json else sys.stdout, flush=True)
        finally:
            stack.stop()


@stack_app.command(rich_help_panel=STACK)
def gateway(
    host: Annotated[str | None, typer.Option(help="INFONCE_HOST, or 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="INFONCE_PORT, or 8000; 0 takes a free one.")
    ] = None,
    as_json: AsListening = False,
) -> None:
    """Run the HTTP side alone, against INFONCE_DATABASE_URL, INFONCE_BROKER_URL and INFONCE_ARTIFACTS."""
    gc.disable()  # nothing that is imported is garbage, and to look for it takes a tenth of the start
    from infonce.logs import level_of, write_logs
    from service.gateway import run
    from service.settings import GatewaySettings

    gc.freeze()
    gc.enable()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each of the 40 threads that may search; embedding sets its own
    given = {"INFONCE_HOST": host, "INFONCE_PORT": None if port is None else str(port)}
    environment = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    with sentences():
        write_logs(sys.stderr, level=level_of(os.environ))
        run(GatewaySettings.from_env(environment), on_listening=lambda url: print(_listening(url, as_json), flush=True))


@stack_app.command(rich_help_panel=STACK)
def worker(
    queue: Annotated[str, typer.Option(help=f"One of {', '.join(QUEUES)}.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Begin with one line: a JSON object with queue and pid.")
    ] = False,
) -> None:
    """Run one worker; it takes one job at a time."""
    from infonce.logs import level_of
    from service.store.artifacts import Artifacts
    from service.store.database import Database
    from service.store.settings import StoreSettings
    from service.supervisor import absolute_paths, worker_command

    if queue not in QUEUES:
        raise typer.BadParameter(f"{queue!r} is no queue; there are {', '.join(QUEUES)}", param_hint="--queue")
    with sentences():  # said here in one sentence, where Celery would log a traceback and go on
        settings = StoreSettings.from_env(os.environ)
        settings.require_broker()
        level_of(os.environ)  # the worker's log begins later, where Celery would swallow the refusal
        Database.open(settings.database_url).close()
        Artifacts(settings.artifacts).prepare()
    os.environ.update(absolute_paths(os.environ))
    os.chdir(settings.artifacts)  # Celery imports from its folder first, and any folder may hold another `worker`
    from celery.__main__ import main as celery

    sys.argv = worker_command(queue)[2:]  # in this process: what the checks have imported is not imported again
    if as_json:
        print(json.dumps({"queue": queue, "pid": os.getpid()}), flush=True)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what Celery says of itself is no JSON
    celery()


@stack_app.command(rich_help_panel=WITHOUT_SERVER)
def migrate(as_json: AsJson = False) -> None:
    """Bring the database at INFONCE_DATABASE_URL to this version's schema."""
    from service.store import database
    from service.store.settings import StoreSettings
    from service.store.tables import SCHEMA_VERSION

    with sentences(), busy("Migrating"):
        database.migrate(StoreSettings.from_env(os.environ).database_url)
    told = "The database has this version's schema."
    print(json.dumps({"schema": SCHEMA_VERSION}) if as_json else told, flush=True)


@stack_app.command(rich_help_panel=STACK)
def demo(
    home: Home = Path(DEFAULT_HOME),
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data's order and of the training.")] = 42,
    as_json: AsJson = False,
) -> None:
    """See all of it at work on real text: data, training, evaluation, index and search, over HTTP, in minutes."""
    from service.demo import run
    from service.supervisor import Stack, StackSettings, interruptible

    stack = Stack(StackSettings(home=home.expanduser(), environment=os.environ))
    with sentences(), interruptible(stack):
        try:
            better = run(stack, seed=seed, keep=keep, aside=as_json)
        except KeyboardInterrupt:
            print("\nThe demo ends …", file=sys.stderr if as_json else sys.stdout, flush=True)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            stack.stop()
    if as_json:
        print(json.dumps({"better": better, "home": str(stack.home)}), flush=True)
    raise typer.Exit(0 if better else FAILED)


app.add_typer(train_app)
app.add_typer(evaluate_app)
app.add_typer(mine_app)
app.add_typer(audit_app)
app.add_typer(estimate_app)
app.add_typer(embed_app)
app.add_typer(report_app)
app.add_typer(plot_app, name="plot", rich_help_panel=WITHOUT_SERVER)
app.add_typer(bench_app, name="bench", rich_help_panel=WITHOUT_SERVER)
app.add_typer(doctor_app)
app.add_typer(upkeep_app)
app.add_typer(keys_app, name="keys", rich_help_panel=WITHOUT_SERVER)
app.add_typer(jobs_app)
app.add_typer(search_app)
app.add_typer(stack_app)


def _listening(url: str, as_json: bool) -> str:
    return json.dumps({"url": url}) if as_json else f"infonce listens on {url}"


def main() -> None:
    """The console script `infonce`."""
    app()


if __name__ == "__main__":
    main()
