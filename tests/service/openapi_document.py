"""The OpenAPI document as it is frozen beside this file; `python -m tests.service.openapi_document` renews it."""

import json
import tempfile
from pathlib import Path

from infonce.hub import Hub
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store.database import migrate, sqlite_url
from service.store.settings import StoreSettings

FROZEN = Path(__file__).parent / "openapi.json"


def normalised(document: object) -> str:
    """Equal documents are equal texts, whatever the order of their keys."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def current() -> str:
    """What a gateway of this version answers."""
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder) / "store.db")
        migrate(url)
        store = StoreSettings(database_url=url, artifacts=Path(folder) / "artifacts")
        app = create_app(
            GatewaySettings(store=store, hub=Hub()), Seams(ring=lambda job, queue: None, ping=lambda: True)
        )
        try:
            return normalised(app.openapi())
        finally:
            app.state.wiring.database.close()


if __name__ == "__main__":
    FROZEN.write_text(current(), encoding="utf-8")
