"""The admin API as an ASGI app: who may come in, what is asked, which verb answers.

One app serves three doors, so that there is one way to do a thing: the control listener, where a bearer token is
asked; the owner's socket in FAREGATE_HOME, where the file's mode is the guard; and the command line's own process, when
no server runs. The rule: whatever goes wrong is answered in Anthropic's envelope by the one renderer.
"""

import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from faregate.core.errors import (
    BodyTooLarge,
    GatewayError,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
)
from faregate.edge.desk import Asked, Desk
from faregate.edge.errors import render
from faregate.edge.forms import Limit
from faregate.edge.openapi import ROOT, document
from faregate.edge.verbs import VERBS, Verb
from faregate.settings import Secret

BODY_BYTES_MAX: Final = 64 * 1024
"""Forms are small: a longer body is a mistake or worse."""

Handler = Callable[[Request], Awaitable[Response]]


def admin_app(desk: Desk, *, token: Secret | None) -> Starlette:
    """Make the app. `token` None asks for none: only for a door that nobody but the owner can come to."""
    described = msgspec.json.encode(document(VERBS))

    async def openapi(_: Request) -> Response:
        return Response(described, media_type="application/json")

    guard = _guard(token, desk)
    routes = [Route(f"{ROOT}/openapi.json", guard(openapi), methods=["GET"])]
    for path in dict.fromkeys(verb.path for verb in VERBS):
        verbs = {verb.method: verb for verb in VERBS if verb.path == path}
        routes.append(Route(ROOT + path, guard(_answers(desk, verbs)), methods=list(verbs)))

    async def lost(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return _refusal(desk, MethodNotAllowed(f"{request.method} is not for {request.url.path}"))
        return _refusal(desk, NotFound(f"there is nothing at {request.url.path}; see {ROOT}/openapi.json"))

    app = Starlette(routes=routes, exception_handlers={HTTPException: lost})
    app.router.redirect_slashes = False  # It would lead, without the envelope, to whatever host the request names.
    return app


def _guard(token: Secret | None, desk: Desk) -> Callable[[Handler], Handler]:
    expected = None if token is None else token.reveal().encode()

    def allowed(request: Request) -> bool:
        if expected is None:
            return True
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        # Compared in constant time, whatever was sent: a guess learns nothing from how long the refusal took.
        return hmac.compare_digest(sent.strip().encode("latin-1"), expected) and scheme.lower() == "bearer"

    def guarded(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                if not allowed(request):
                    raise Unauthenticated("The admin token is missing or wrong: send it as Authorization: Bearer.")
                return await handler(request)
            except GatewayError as error:
                return _refusal(desk, error)
            except ClientDisconnect:
                raise
            except Exception:
                structlog.get_logger().exception("the admin API failed", path=request.url.path)
                return _refusal(desk, Internal("The gateway failed; its log says why."))

        return handle

    return guarded


def _answers(desk: Desk, verbs: dict[str, Verb]) -> Handler:
    async def answer(request: Request) -> Response:
        # Starlette answers HEAD wherever GET is; it runs the same verb and drops the body.
        verb = verbs["GET" if request.method == "HEAD" else request.method]
        name = request.path_params.get("name", "")
        if "\0" in name:  # As in forms.Text.
            raise NotFound("Nothing is named with a NUL.")
        asked = Asked(name=name, form=await _form(verb, request))
        view = await verb.run(desk, asked)
        return Response(msgspec.json.encode(view), verb.status, media_type="application/json")

    return answer


async def _form(verb: Verb, request: Request) -> msgspec.Struct | None:
    if verb.form is None:
        return None
    try:
        if verb.method == "GET":
            return msgspec.convert(_query(verb.form, request), type=verb.form)
        return msgspec.json.decode(await _body(request) or b"{}", type=verb.form)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_explained(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not JSON: {error}", code="invalid_body") from None


def _query(form: type[msgspec.Struct], request: Request) -> dict[str, str | int]:
    """A query is text: what the form counts is read as a number, and nothing else is read as what it might be. Left to
    itself, msgspec takes `since=5` for five seconds after 1970, and `wallet=null` for no wallet in particular."""
    counts = {field.name for field in msgspec.structs.fields(form) if field.type == Limit}
    return {
        name: int(text) if name in counts and re.fullmatch("[0-9]{1,6}", text) else text
        for name, text in request.query_params.items()
    }


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(f"The body is over {BODY_BYTES_MAX} bytes.")
    return bytes(body)


def _explained(text: str) -> str:
    """Turn msgspec's sentence into ours: the field first, as in every other error of the gateway."""
    sentence, _, path = text.partition(" - at `$")
    field = ".".join(re.findall(r"\w+", path))
    if unknown := re.search(r"unknown field `(.*)`", sentence):
        return f"{unknown[1]}: Extra inputs are not permitted"
    if missing := re.search(r"missing required field `(.*)`", sentence):
        return f"{missing[1]}: Field required"
    sentence = f"{sentence[0].lower()}{sentence[1:]}".replace("`", "")
    return f"{field}: {sentence}" if field else f"The body: {sentence}"


def _refusal(desk: Desk, error: GatewayError) -> Response:
    status, headers, body = render(error, desk.new_id("req_", desk.now_ms()))
    response = Response(body, status)
    response.raw_headers = headers
    return response
