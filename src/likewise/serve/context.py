"""What every call of the API asks for first: who calls, and which gallery."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from likewise.gallery import attachments
from likewise.serve.problems import ProblemError
from likewise.serve.served import Served
from likewise.serve.tokens import Token, Tokens

__all__ = ["Chosen", "Idempotent", "Write", "admin", "idempotent", "read", "write"]

bearer = HTTPBearer(auto_error=False, description="a token of the service's token file")
NOBODY = Token("local", "admin")
UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}


def need(scope: str) -> Any:  # Any: it stands as the default of a parameter of type Token
    """The caller's token, if it may do this."""

    async def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Token:
        tokens: Tokens | None = request.app.state.tokens
        if tokens is None:
            return NOBODY
        if given is None:
            raise ProblemError(
                401, "this call needs a token; send the header Authorization: Bearer TOKEN", UNAUTHORIZED
            )
        token = tokens.find(given.credentials)
        if token is None:
            raise ProblemError(401, "the token is not one of this service's", UNAUTHORIZED)
        request.state.token_name = token.name
        if not token.may(scope):
            raise ProblemError(403, f"the token {token.name} may {token.scope}, and this call needs {scope}")
        return token

    return Depends(check)


read, write, admin = need("read"), need("write"), need("admin")


async def chosen(
    request: Request,
    gallery: Annotated[str, Query(max_length=200, description="the gallery's name; default: the first")] = "",
) -> Served:
    """Errors: Problem 404 for a name that is not served."""
    galleries: dict[str, Served] = request.app.state.galleries
    if not gallery:
        return next(iter(galleries.values()))
    if gallery not in galleries:
        raise ProblemError(404, f"there is no gallery {gallery!r:.80} here; there are {', '.join(galleries)}")
    return galleries[gallery]


Chosen = Annotated[Served, Depends(chosen)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description=(
            "a unique key for this write: a repeated request with the same key is not executed again and "
            "gets the same answer"
        ),
    ),
]


class Write:
    """One write, done at most once for a key."""

    def __init__(self, served: Served, token: Token, path: str, key: str | None):
        self.served, self.path = served, path
        self.key = None if key is None else f"{token.name} {key}"
        self.replayed = False

    def once(
        self,
        request: object,
        action: Callable[[], dict[str, object]],
        *,
        within: bool = True,
        after: Callable[[dict[str, object]], None] = lambda answer: None,
    ) -> dict[str, object]:
        """The action's answer, or the one it had when it was done.

        request: what the client asked for, to tell a repeated write from another one under the same key.
        within: in one transaction with the kept answer; without, the action itself may be repeated without harm.
        after: what follows the transaction, and completes the answer.
        """
        if self.key is None:
            answer = action()
            after(answer)
            return answer
        store = self.served.gallery.store
        digest = hashlib.sha256(json.dumps([self.path, request], sort_keys=True, default=str).encode()).hexdigest()
        self.refresh({})
        with store.begin() if within else self.served.key_lock(self.key):
            if (answered := attachments.find_answer(store, self.key)) is not None:
                if answered.digest != digest:
                    raise ProblemError(422, "this Idempotency-Key was used for another request; take a new one")
                self.replayed = True
                return answered.answer
            answer = action()
            with store.begin():
                attachments.keep_answer(store, self.key, digest, answer)
        after(answer)
        return answer

    def refresh(self, answer: dict[str, object]) -> None:
        """What was written is searched before the answer is given."""
        self.served.gallery.state()


async def idempotent(request: Request, served: Chosen, key: IdempotencyKey = None, token: Token = write) -> Write:
    return Write(served, token, request.url.path, key)


Idempotent = Annotated[Write, Depends(idempotent)]
