"""Bodies as JSON, read strictly: bounded depth, finite numbers, no doubled keys, no characters that cannot be stored."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from mecapy_platform.core import json_text


class StrictJsonRoute(APIRoute):
    """A route whose body is read by core/json_text; what that refuses is a validation error like any other."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return json_text.loads(await self.body())
        except json_text.JsonError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
