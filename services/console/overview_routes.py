"""The overview and its charts."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from services.console.endpoints import Endpoint
from services.console.entrance import Operator, json_answer
from services.console.overview import Overview, Overviews, Samples


class OverviewRoutes:
    def __init__(self, overviews: Overviews) -> None:
        self._overviews = overviews

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET",
                path="/overview",
                name="overview",
                meaning="The log, the outbox, webhooks and gateways, as they are now.",
                answer=self._overview,
                result=Overview,
            ),
            Endpoint(
                method="GET",
                path="/samples",
                name="samples",
                meaning="Rates and lags of the last minutes in which somebody looked.",
                answer=self._samples,
                result=Samples,
            ),
        )

    async def _overview(self, request: Request, operator: Operator) -> Response:
        del request, operator
        return json_answer(await self._overviews.now())

    async def _samples(self, request: Request, operator: Operator) -> Response:
        del request, operator
        return json_answer(self._overviews.samples())
