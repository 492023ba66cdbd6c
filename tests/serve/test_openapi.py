"""Every call of the OpenAPI description with right and wrong values: no 5xx, and answers as they are described."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from colours import RED, coloured
from likewise.serve.settings import Limits
from serving import fill, service

schemathesis = pytest.importorskip("schemathesis")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of spooled uploads whose request was refused
]

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.python import asgi  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 25
PROBLEM = {"type", "title", "status", "detail", "request_id"}


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Any]:
    """A client of a service of a few colours."""
    limits = Limits(rate=1e9, burst=10**9)
    with service(tmp_path_factory.mktemp("openapi"), limits=limits) as client:
        fill(client)
        with asgi.get_client(calls(client.app)) as found:
            found.headers["host"] = "localhost"
            yield found


def calls(app: Any) -> Any:
    """The application without its begin and end, which are those of the client that opened it."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    return called


@pytest.fixture(scope="module")
def schema(session) -> Any:
    return schemathesis.openapi.from_dict(session.get("/openapi.json").json())


PICTURE = coloured(RED, 9)


@pytest.mark.parametrize("image", [b"", PICTURE], ids=["any bytes", "images"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_any_values(schema, session, mode, image):
    """image: what is sent in its place where an operation takes images; empty for any bytes."""
    checked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            if image and isinstance(case.body, dict) and case.body.get("image"):
                given = case.body["image"]
                case.body["image"] = [image] * min(len(given), 4) if isinstance(given, list) else image
            judged(case, session)

        with suppress(Unsatisfiable):  # nothing can be wrong with a call that takes nothing
            check()
            checked += 1
    assert checked >= 18


def judged(case: Any, session: Any) -> None:
    answer = case.call(base_url="http://localhost", session=session)
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"]
        found = answer.json()
        assert set(found) == PROBLEM
        assert found["detail"]
