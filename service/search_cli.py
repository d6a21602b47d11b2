"""`infonce models | collections | search`: what a gateway has to offer, and what it finds."""

import sys
from typing import Annotated

import typer

from infonce.busy import busy
from infonce.command_options import AsJson
from infonce.fusion import FusionMethod
from infonce.phrases import day
from service.console import WITH_SERVER
from service.remote import DEFAULT_URL, Labels, Url, connected, labels_of, printed, printed_list

search_app = typer.Typer()


@search_app.command("models", rich_help_panel=WITH_SERVER)
def show_models(metadata: Labels = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List base models and tuned ones."""
    from service.remote_view import show_table

    with connected(url) as client, busy("Asking"):
        found = client.models(metadata=labels_of(metadata))
    if as_json:
        printed_list([*found])
        return
    rows = [(model.id, model.kind, model.dimensions, model.max_tokens, model.parent) for model in found]
    show_table(("model", "kind", "dimensions", "tokens", "made of"), rows)


@search_app.command("collections", rich_help_panel=WITH_SERVER)
def show_collections(metadata: Labels = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List collections: how many documents each has, and how many of them cannot be found yet."""
    from service.remote_view import show_table

    with connected(url) as client, busy("Asking"):
        found = list(client.collections(metadata=labels_of(metadata)))
    if as_json:
        printed_list([*found])
        return
    rows = [(one.name, one.model, f"{one.count:,}", f"{one.pending:,}", day(one.created_at)) for one in found]
    show_table(("collection", "model", "documents", "pending", "made"), rows)


@search_app.command(rich_help_panel=WITH_SERVER)
def search(
    collection: Annotated[str, typer.Argument(help="Its name, or its id.")],
    text: Annotated[str, typer.Argument(help="What is looked for.")],
    k: Annotated[int, typer.Option("--k", min=1, max=1_000, help="How many documents.")] = 10,
    hybrid: Annotated[
        FusionMethod | None, typer.Option(help="Look by words too, and join both by their ranks or by their scores.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="Of the vectors in `--hybrid weighted`, 0 to 1; the server's if left out.")
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(help='Whose metadata counts: {"type": "eq", "key": "lang", "value": "en"}, as JSON.'),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the documents of a collection that are nearest to a text."""
    from service.order_options import query_of
    from service.remote_view import show_table, text_of

    with connected(url) as client, busy("Searching"):  # the first one waits until the model is loaded
        asked = query_of(text, k=k, hybrid=hybrid, weight=weight, filter=filter)
        found = client.ask(collection, asked)
    for warning in found.warnings:
        print(f"infonce: {warning}", file=sys.stderr, flush=True)
    if as_json:
        printed(found)
        return
    if found.pending:
        print(f"{found.pending:,} documents cannot be found yet.", flush=True)
    show_table(("score", "id", "text"), [(f"{hit.score:.3f}", hit.id, text_of(hit.text)) for hit in found.hits])
