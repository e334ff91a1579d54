"""The application: routes, error handling, guards. Everything it works with comes in by ApiContext."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import Receive, Scope, Send

from mecapy_platform.api import (
    checks,
    docs_page,
    problems,
    runs,
    schedules,
    storage,
    studies,
    study_files,
    system,
    tasks,
    workflow_documents,
)
from mecapy_platform.api.answers import PROBLEM_SCHEMAS
from mecapy_platform.api.auth import Authenticator
from mecapy_platform.api.context import ApiContext
from mecapy_platform.api.fast_path import FastRoutes
from mecapy_platform.api.guards import BodyGuard, ErrorGuard
from mecapy_platform.api.issuer import issuer_router
from mecapy_platform.api.large_bodies import LargeBodies
from mecapy_platform.api.published import (
    auth,
    jobs,
    organizations,
    packages,
    registry,
    types,
    uploads,
    workflow_runs,
    workflows,
)
from mecapy_platform.api.task_models import BulkTaskBody
from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.tasks.fast_path import FastTasks

__all__ = ["ApiContext", "create_app"]
THREADS = 28  # as many as there are database connections, nearly
ROUTERS = (
    *(system.router, auth.router, packages.router, uploads.router, jobs.router, organizations.router),
    *(
        registry.router,
        workflows.router,
        workflow_documents.router,
        workflow_runs.router,
        runs.router,
        types.router,
        checks.router,
        tasks.router,
        schedules.router,
        studies.router,
        study_files.router,
        storage.router,
        docs_page.router,
    ),
)
DESCRIPTION = "Run mechanical-engineering calculations: deploy packages, submit tasks, read results."


class Application(FastAPI):
    """With the routes of the fast path in front: what they take passes no middleware."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._fast_routes = FastRoutes(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._fast_routes(scope, receive, send)


def create_app(context: ApiContext, *, serves_large: bool = True) -> FastAPI:
    """One application over one context. `serves_large`: hand large bodies to processes of their own."""
    app = Application(
        title="MecaPy API",
        version=version("mecapy-platform"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's page loads scripts from elsewhere; api/docs_page does not
        redoc_url=None,
    )
    app.state.context = context
    authenticator = Authenticator(context.settings, context.database)
    app.state.authenticator = authenticator
    problems.install(app)
    app.state.drawer = Drawer(Bounds(context.settings.large_body_seconds, context.settings.large_body_memory_mb << 20))
    app.state.fast_path = FastTasks(context.settings.database_url, context.settings.queue_rules)
    if serves_large:
        app.add_middleware(LargeBodies, context=context, authenticator=authenticator)
    app.add_middleware(BodyGuard, settings=context.settings, identify=authenticator.claims)
    app.add_middleware(ErrorGuard)
    for router in ROUTERS:
        app.include_router(router)
    if context.settings.embedded_issuer_key is not None:
        app.include_router(issuer_router(context.settings.embedded_issuer_key, context.settings.public_url))
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]  # the documented way to extend the document
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with the schemas that its signatures do not show."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(PROBLEM_SCHEMAS)
        schemas["BulkTaskBody"] = BulkTaskBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        app.openapi_schema = document
    return app.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: ApiContext = app.state.context
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    context.doorbell.start(asyncio.get_running_loop())
    try:
        yield
    finally:
        context.doorbell.stop()
        app.state.drawer.close()
        await app.state.fast_path.close()
