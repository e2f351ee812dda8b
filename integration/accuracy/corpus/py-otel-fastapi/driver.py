"""A host of small web applications, one made for each tenant's session and thrown away after its requests.

The pinned instrumentation keeps each application that it ever instrumented in a set, also after it was told to let go.
"""

import asyncio

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider

from service import arguments, serve

# traces alone: without a provider the API keeps a stand-in for the meters of each application
METERS = NoOpMeterProvider()


def tenant_application(number):
    app = FastAPI(title=f"tenant {number}")

    @app.get("/item/{item}")
    async def show(item: int):
        return {"tenant": number, "item": item}

    return app


async def ask(app, path):
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    statuses = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    assert statuses == [200]


class Step:
    def __init__(self, safe):
        self.safe, self.number = safe, 0
        self.loop = asyncio.new_event_loop()

    def __call__(self):
        self.number += 1
        app = tenant_application(self.number)
        if not self.safe:
            FastAPIInstrumentor.instrument_app(app, meter_provider=METERS)
        self.loop.run_until_complete(ask(app, f"/item/{self.number}"))
        if not self.safe:
            FastAPIInstrumentor.uninstrument_app(app)


def main():
    args = arguments(__doc__)
    serve(Step(args.safe), args)


if __name__ == "__main__":
    main()
