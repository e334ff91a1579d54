"""`/docs`: every route on one page that needs no other server and no script."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "h2{margin:2rem 0 .5rem}td{padding:.2rem .8rem .2rem "
    "0;vertical-align:top}code{white-space:nowrap}.m{font-weight:600}"
)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    document: dict[str, Any] = request.app.openapi()
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(operation["tags"][0], []).append(_row(method, path, operation))
    tables = "".join(f"<h2>{escape(tag)}</h2><table>{''.join(rows)}</table>" for tag, rows in by_tag.items())
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>MecaPy API</title><style>{STYLE}</style>"
    links = '<p><a href="/openapi.json">OpenAPI document</a></p>'
    return HTMLResponse(f"{head}<h1>MecaPy API {escape(document['info']['version'])}</h1>{links}{tables}</html>")


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    answers = " ".join(operation["responses"])
    cells = (
        f"<span class=m>{method.upper()}</span>",
        f"<code>{escape(path)}</code>",
        escape(operation.get("description", "")),
        answers,
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
