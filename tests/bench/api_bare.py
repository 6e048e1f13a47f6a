"""The bare framework: what FastAPI and uvicorn take for an answer of the same size that nobody had to look up.

`/json` is answered on the event loop, `/json-on-a-thread` as the API's routes are, on a thread of FastAPI's pool.
"""

import argparse

import uvicorn
from fastapi import FastAPI

from crossfade_api.server import server_config


def bare_app(answer_bytes: int) -> FastAPI:
    """Return an application whose two routes answer about so many bytes of JSON."""
    app = FastAPI()
    answer = {"answer": "x" * answer_bytes}

    @app.get("/json")
    async def on_the_loop() -> dict[str, str]:
        return answer

    @app.get("/json-on-a-thread")
    def on_a_thread() -> dict[str, str]:
        return answer

    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    options = parser.parse_args()
    uvicorn.Server(server_config(bare_app(options.bytes), "127.0.0.1", options.port)).run()


if __name__ == "__main__":
    main()
