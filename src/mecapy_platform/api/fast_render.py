"""The answers of the routes of the fast path as bytes, in the shape of TaskAnswer. A test holds both to be the same."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mecapy_platform.services.tasks.fast_path import Draft

TIMES = ("created_at", "started_at", "completed_at", "cancel_requested_at")
MOMENT_CHARACTERS = len("2026-01-01T00:00:00.000000")
FIRST = ("id", "name", "state", "lane", "priority")
SECOND = ("function", "version_id", "function_id", "inputs")


def render_draft(draft: Draft, created_at: datetime) -> bytes:
    """A task that was made just now."""
    return _text(_task(draft, created_at))


def render_end_notice(draft: Draft, created_at: datetime, end_notice: str) -> bytes:
    """The same once it has completed; `end_notice` is what db's mecapy_finish said of its end."""
    return _text({**_task(draft, created_at), "state": "completed", **json.loads(end_notice)})


def _task(draft: Draft, created_at: datetime) -> dict[str, Any]:
    columns, view = draft.columns, draft.known.view
    return {
        **{
            name: columns[name]
            for name in ("name", "lane", "priority", "inputs", "cpu", "memory_mb", "timeout_seconds")
        },
        "state": "queued",
        **{name: columns[name] for name in ("package_digest", "environment_digest", "interpreter", "inputs_digest")},
        "id": str(draft.id),
        "package": {
            "id": str(view.package.id),
            "name": view.package.name,
            "version": view.version.version,
            "owner": view.owner,
        },
        "function": view.function.name,
        "version_id": str(view.version.id),
        "function_id": str(view.function.id),
        "files": {},
        "created_at": created_at.isoformat(),
        "user_id": str(columns["user_id"]),
        "parked": False,
    }


def render_ended(task: Mapping[str, Any]) -> bytes:
    """A task as db's mecapy_tasks tells it."""
    return _text(task)


def _text(task: Mapping[str, Any]) -> bytes:
    get = task.get
    answer = {
        **{name: task[name] for name in FIRST},
        "package": {**task["package"], "owner": task["package"]["owner"].removeprefix("user:")},
        **{name: task[name] for name in SECOND},
        "files": {
            port: {name: value for name, value in file.items() if name != "key"} for port, file in task["files"].items()
        },
        **{name: _time(get(name)) for name in TIMES},
        "progress": get("progress"),
        "error": _error(task),
        "usage": _usage(task),
        "result": get("result"),
        "limits": {
            "cpu": task["cpu"],
            "memory_mb": task["memory_mb"],
            "timeout_seconds": float(task["timeout_seconds"]),
        },
        "attempts": [_attempt(item) for item in get("attempts") or ()],
        "waiting": None,
        "retry_of": get("retry_of"),
        "parked": task["parked"],
        "provenance": {
            **{name: get(name) for name in ("package_digest", "environment_digest", "interpreter", "inputs_digest")},
            "submitted_by": task["user_id"],
        },
    }
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: attempt[name] for name in ("number", "state", "node", "backend")},
        "started_at": _time(attempt["started_at"]),
        "ended_at": _time(attempt["ended_at"]),
        "error": _error(attempt),
        "usage": _usage(attempt),
    }


def _error(row: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"code": row["error_code"], "message": row["error_message"] or ""} if row.get("error_code") else None


def _usage(row: Mapping[str, Any]) -> dict[str, float | None] | None:
    if row.get("wall_seconds") is None:
        return None
    return {
        name: None if row[name] is None else float(row[name])
        for name in ("wall_seconds", "cpu_seconds", "peak_memory_mb")
    }


def _time(text: str | None) -> str | None:
    """PostgreSQL leaves out zeros at the end of the microseconds, other answers do not."""
    if text is None:
        return None
    moment = text.removesuffix("+00:00")
    return (moment.ljust(MOMENT_CHARACTERS, "0") if "." in moment else moment) + "Z"
