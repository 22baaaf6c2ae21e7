"""Run the service in its own process: it prints its URL, then serves until it is killed."""

import argparse

from ._http import Server

parser = argparse.ArgumentParser(description="A local stand-in for Amazon Braket")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
server = Server(options.seed, options.port)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
