"""A receiver: verify first, suppress repeats, then work. Standard library and posthouse only.

Usage: python receive.py SECRET [PORT]. SECRET is what creating the endpoint answered (whsec_…).
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from posthouse import SignatureInvalid, verify


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is signed by the endpoint's secret, 401 to everything else."""

    protocol_version = "HTTP/1.1"  # keep connections open between deliveries
    secret = ""
    seen: set[str] = set()  # noqa: RUF012 - shared by all requests on purpose; a real receiver keeps it in its database

    def do_POST(self) -> None:
        """One delivery."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            # The body byte for byte as it came: parsing and writing it again would change it.
            verify("standard-webhooks", self.headers.items(), body, self.secret)
        except SignatureInvalid as error:
            self.answer(401, f"refused: {error.message}")
            return
        event_id = self.headers["webhook-id"]
        if event_id in self.seen:  # at least once: the same event may come again
            self.answer(204, f"{event_id} again")
            return
        event = json.loads(body)
        self.seen.add(event_id)
        self.answer(204, f"{event_id} {event['type']} {json.dumps(event['data'])}")

    def answer(self, status: int, line: str) -> None:
        """Answer without a body, and say what happened."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        print(line, flush=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """No access log: one line per event is enough."""


def main() -> None:
    """Receive until the process is stopped."""
    Receiver.secret = sys.argv[1]
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9000  # noqa: PLR2004 - the name of the program is the first
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
