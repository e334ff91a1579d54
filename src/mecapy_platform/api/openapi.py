"""Writes what the API publishes of itself: the OpenAPI document, and the schema of documents of workflows.

`python -m mecapy_platform.api.openapi docs/reference/openapi.json docs/reference/workflow.schema.json`.

Needs no service.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mecapy_platform.api.app import create_app
from mecapy_platform.api.context import ApiContext
from mecapy_platform.core.workflows.documents import document_schema
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.events.doorbell import Doorbell
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage


def document() -> str:
    """The document as text, the same for the same code."""
    settings = Settings.model_construct()
    database = Database(make_engine(settings.database_url))
    with TemporaryDirectory() as directory:
        storage = FilesystemStorage(Path(directory), base_url=settings.public_url, secret="")
        context = ApiContext(settings, database, storage, Doorbell(settings.database_url), hints=lambda: None)
        return json.dumps(create_app(context).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def workflow_schema() -> str:
    return json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n"


def main(path: Path, schema_path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(), "utf-8")
    schema_path.write_text(workflow_schema(), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
