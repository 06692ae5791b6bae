"""Request handler of one wire protocol: check the token, apply the overload policy, map failures to the error form."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.auth import Authenticator
from serving.logs import log
from serving.protocol import Protocol, Reply, RequestContext, StatusReply
from serving.scorer import Scorer


def routes_of(protocol: Protocol, scorer: Scorer, authenticator: Authenticator, *, prefix: str = "") -> list[Route]:
    """Return the routes of one protocol under a prefix."""
    describing = [
        Route(prefix + status.path, _without_token(status.reply, scorer), methods=[status.method])
        for status in protocol.status_routes
    ]
    scoring = [
        Route(prefix + endpoint.path, _ScoringApp(endpoint.reply, protocol, scorer, authenticator), methods=["POST"])
        for endpoint in protocol.endpoints
    ]
    return describing + scoring


def _without_token(reply: StatusReply, scorer: Scorer) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await reply(request, scorer)

    return answer


@dataclass(frozen=True, slots=True)
class _ScoringApp:
    """The ASGI application of an endpoint. It catches every failure, so Starlette's own wrapper is not needed."""

    reply: Reply
    protocol: Protocol
    scorer: Scorer
    authenticator: Authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = RequestContext(Request(scope, receive, send), self.protocol, self.scorer, self.authenticator)
        response = context.finish(await self._respond(context))
        await response(scope, receive, send)

    async def _respond(self, context: RequestContext) -> Response:
        """Return the reply to a request, or the error that it ends in."""
        policy = context.policy
        try:
            async with self.authenticator.caller(context.request.headers, policy) as context.caller:
                self.scorer.admission.reject_if_full(policy)
                return await context.in_time(self.reply(context))
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
