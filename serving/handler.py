"""Request handler of one wire protocol: check the token, apply the overload policy, map failures to the error form."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.auth import Authenticator
from serving.logs import log
from serving.protocol import Protocol, Reply, RequestContext, StatusReply
from serving.scorer import Scorer


class ProtocolHandler:
    """Answers the requests of one protocol under one prefix."""

    def __init__(self, protocol: Protocol, scorer: Scorer, authenticator: Authenticator, *, prefix: str = "") -> None:
        self.protocol = protocol
        self.prefix = prefix
        self.scorer = scorer
        self.authenticator = authenticator

    def routes(self) -> list[Route]:
        """Return the protocol's routes."""
        scoring = [
            Route(self.prefix + endpoint.path, _ScoringApp(self, endpoint.reply), methods=["POST"])
            for endpoint in self.protocol.endpoints
        ]
        describing = [
            Route(self.prefix + status.path, self._without_token(status.reply), methods=[status.method])
            for status in self.protocol.status_routes
        ]
        return describing + scoring

    async def respond(self, context: RequestContext, reply: Reply) -> Response:
        """Return the reply to a request, or the error that it ends in."""
        policy = context.policy
        try:
            async with self.authenticator.caller(context.request.headers, policy) as context.caller:
                self.scorer.admission.reject_if_full(policy)
                return await context.in_time(reply(context))
        except HTTPException as error:
            return self._error(error.status_code, error.detail, dict(error.headers or {}))
        except ValueError as error:
            return self._error(policy.refusal_status, str(error))
        except Exception as error:
            log.exception("a request failed: %s", type(error).__name__, extra={"facts": context.facts})
            return self._error(500, f"the server failed on this request: {type(error).__name__}")

    def _error(self, status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
        # a reason may quote a text that is not valid Unicode
        readable = reason.encode(errors="backslashreplace").decode()
        return JSONResponse(self.protocol.error_form.body(readable), status, headers=headers)

    def _without_token(self, reply: StatusReply) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await reply(request, self.scorer)

        return answer


class _ScoringApp:
    """The ASGI application of an endpoint. It catches every failure, so Starlette's own wrapper is not needed."""

    def __init__(self, handler: ProtocolHandler, reply: Reply) -> None:
        self._handler = handler
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handler
        request = Request(scope, receive, send)
        context = RequestContext(request, handler.protocol, handler.scorer, handler.authenticator)
        response = context.finish(await handler.respond(context, self._reply))
        await response(scope, receive, send)
