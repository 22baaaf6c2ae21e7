"""A local stand-in for Amazon Braket, on 127.0.0.1: no account, no device, no money.

The unmodified SDK and boto3 talk to it. It executes the OpenQASM that it receives exactly, on this
machine; draws counts seeded by circuit, inputs and shots; keeps a bill by a price list of its own;
and can let things go wrong. **What it returns is simulated: it says nothing about a real device.**

In a tutorial, beside which this folder lies::

    from qtn_train.braket.stand_in import shell, start
    service = start()                            # from here on, "AWS" is this process
    shell("qtn-train braket estimate --device Garnet --shots 1000")

In a test, the fixture `service` (tests/conftest.py) starts it and sets the environment::

    def test_it(service):
        device = AwsDevice(service.arn("SV1"))       # no other setting is needed
        task = device.run(circuit, shots=100)
        service.ledger()                             # one row for each created task, in order
        service.programs(task.id)                    # [(OpenQASM text, inputs), ...] as received

By hand, in this process or in its own (which outlives a client that is killed)::

    with BraketService() as service: ...             # service.env: the variables to set
    with BraketProcess() as service: ...             # the same methods, over `/_control/...`
    python -m qtn_train.braket.stand_in [--port P] [--seed S]    # prints its URL, then serves

Faults are set with ``service.fault(kind, times=1, value=None)``; ``times=None`` means always:

- requests: ``OP-429``, ``OP-500``, ``OP-403`` (credentials that ran out), ``OP-denied`` (no right
  to do it), ``OP-drop`` (connection closed before anything happened), ``OP-drop-after``
  (everything happened, the answer is lost), ``OP-hang`` (everything happened, no answer comes
  until the client is killed), where OP is ``create``, ``get``, ``cancel``, ``device``,
  ``search``, ``search-tasks``, ``tag``, ``sts`` or ``s3``; ``create-402`` (quota). boto3 repeats a
  request by itself, with the same token and growing pauses: ``times`` must outlast its attempts,
  or AWS_MAX_ATTEMPTS=1 forbids them;
- the next created task: ``failed`` (value: the reason), ``cancelled``, ``queued`` (value: number
  of polls, ``None`` for ever), ``partial`` (value: numbers of the executables of a program set
  that get no counts), ``failed-partial`` (the same, and the set ends as FAILED, with its
  results), ``aborted`` (the same, without a word about those executables),
  ``missing`` (value: how often its objects are not in the bucket, ``None`` for ever), ``late``
  (the same, of the last executable's object alone), ``cut`` (value: how often that object, or a
  single task's result, is cut in half), ``root`` (value: a text and how often it stands in place
  of ``results.json``).

``service.chance(seed, {kind: rate, ...}, limit)`` strikes by chance, seeded, ``limit`` times in
all; ``service.clear()`` ends all faults, also those of waiting tasks, and ``service.reset()``
forgets everything. ``service.set_status(name, "OFFLINE")`` takes a device away,
``service.set_price(name, shot="0.002")`` changes what it costs from now on, and
``service.options(search_page=3, search_seconds=0.2, search_lag=2)`` makes searches for tasks
slow: small pages, late answers, tasks that the first two searches do not know yet.

The same token with the same request gives the same task; with another request it is refused, and
any other byte makes another request.

What it bills: QPUs a fee for each task and each shot (program sets one fee), simulators the
minutes of ``service.options(simulator_ms=...)``, three seconds at least. In the ledger ``usd`` is
what is charged (FAILED and CANCELLED tasks, and lost shots of a program set, are free) and
``usd_created`` what the creation could cost at most. A task runs at its first poll.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

from ._devices import find
from ._shell import ask, kill_at_creation, shell

__all__ = [
    "BraketProcess",
    "BraketService",
    "Control",
    "ask",
    "kill_at_creation",
    "shell",
    "start",
]


class Control:
    """Control of a running stand-in: its ledger, its faults, its devices and prices."""

    url: str

    @property
    def env(self) -> dict[str, str]:
        """Return the environment under which the SDK and boto3 talk to this service only."""
        return {
            "BRAKET_ENDPOINT": self.url,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ENDPOINT_URL_STS": self.url,
            "BRAKET_PRICE_OFFERS_URL": f"{self.url}/prices.csv",
            "AWS_ACCESS_KEY_ID": "loopback",
            "AWS_SECRET_ACCESS_KEY": "loopback",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @staticmethod
    def arn(name: str) -> str:
        """Return the ARN of a device of this name, such as "SV1", "Garnet" or "Forte 1"."""
        return find(name).arn

    @staticmethod
    def properties(name: str) -> dict[str, Any]:
        """Return a device's capabilities, such as an emulator takes them."""
        return copy.deepcopy(find(name).capabilities)

    def ledger(self) -> list[dict[str, Any]]:
        """Return one row for each created task, in the order of creation."""
        rows: list[dict[str, Any]] = self._ask("ledger")
        return [row | {k: Decimal(row[k]) for k in ("usd", "usd_created")} for row in rows]

    def spent(self) -> Decimal:
        """Return the sum of all charges in the ledger, in USD."""
        return sum((row["usd"] for row in self.ledger()), Decimal(0))

    def log(self) -> list[dict[str, Any]]:
        """Return the requests so far: their operation and the fault that hit them, if any."""
        rows: list[dict[str, Any]] = self._ask("log")
        return rows

    def programs(self, arn: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the OpenQASM texts of a task, as received, each with its inputs."""
        action = self._ask("programs", arn=arn)
        return [(p["source"], p.get("inputs") or {}) for p in action.get("programs", [action])]

    def fault(self, kind: str, times: int | None = 1, value: Any = None) -> None:
        """Let something go wrong; see the module's docstring for the kinds."""
        self._ask("fault", kind=kind, times=times, value=value)

    def chance(self, seed: int, rates: dict[str, float], limit: int) -> None:
        """Let things go wrong by chance, each kind at its rate, ``limit`` times in all."""
        self._ask("chance", seed=seed, rates=rates, left=limit)

    def struck(self) -> list[str]:
        """Return the kinds of the faults that have struck, in order."""
        kinds: list[str] = self._ask("struck")
        return kinds

    def clear(self) -> None:
        """End all faults, also those of waiting tasks."""
        self._ask("clear")

    def reset(self) -> None:
        """Forget all tasks, buckets, faults and options, as if the service had just started."""
        self._ask("reset")

    def forget_tokens(self) -> None:
        """Forget which client tokens were used, as the service does after a while."""
        self._ask("forget-tokens")

    def set_status(self, name: str, status: str) -> None:
        """Set a device's status: ONLINE, OFFLINE or RETIRED."""
        self._ask("device", name=name, status=status)

    def set_properties(self, name: str, capabilities: dict[str, Any]) -> None:
        """Change what a device tells of itself, such as to a schema that is not installed."""
        self._ask("device", name=name, capabilities=capabilities)

    def set_price(self, name: str, **prices: str) -> None:
        """Change a device's price of a ``task``, a ``shot`` or a ``minute``, in the list too."""
        self._ask("device", name=name, **{f"per_{kind}": usd for kind, usd in prices.items()})

    def options(self, **options: Any) -> None:
        """Set ``simulator_ms``, ``split_results`` (of program sets), or how slow searches are."""
        self._ask("options", **options)

    def _ask(self, control: str, /, **body: Any) -> Any:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        try:
            connection.request("POST", f"/_control/{control}", json.dumps(body))
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(content["message"])
        return content


class BraketService(Control):
    """The service in a thread of this process."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def __enter__(self) -> BraketService:
        from ._http import Server

        self._server = Server(self._seed)
        self._server.thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class BraketProcess(Control):
    """The service in a process of its own."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def __enter__(self) -> BraketProcess:
        command = [sys.executable, "-m", __name__, "--seed", str(self._seed)]
        root = Path(__file__).parents[__name__.count(".") + 1]
        self._process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the service did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def start(seed: int = 0) -> BraketService:
    """Start the stand-in, and point this process and its children to it in place of Amazon.

    Args:
        seed: Of the counts, and of the names of tasks.

    Returns:
        The service; it ends with this process.
    """
    service = BraketService(seed).__enter__()
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ.update(service.env)
    print("A local stand-in for Amazon Braket runs: simulated results, nothing is charged.")
    return service
