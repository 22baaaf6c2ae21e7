"""The rules of the loopback service: devices, tasks, tokens, spending limits, bucket, faults."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from . import _execute
from ._devices import DEVICES, Device, find
from ._tasks import FINAL, Task, results, stamp

ACCOUNT = "123456789012"
Json = dict[str, Any]


class ApiError(Exception):
    """An error that the service answers: its HTTP status, code and text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def invalid(message: str) -> ApiError:
    return ApiError(400, "ValidationException", message)


def not_found(what: str) -> ApiError:
    return ApiError(404, "ResourceNotFoundException", f"{what} not found")


@dataclass
class Fault:
    """A fault: its kind, how often it strikes (``None``: always), and how badly."""

    kind: str
    times: int | None = 1
    value: Any = None


class Faults:
    """The faults that are due: those set one by one, then those that come by chance."""

    def __init__(self) -> None:
        self.due: list[Fault] = []
        self.struck: list[str] = []
        self.by_chance(0, {}, 0)

    def by_chance(self, seed: int, rates: dict[str, float], left: int) -> None:
        self.seed, self.rates, self.left = seed, rates, left
        self.drawn: dict[str, int] = dict.fromkeys(rates, 0)

    def strike(self, *kinds: str) -> Fault | None:
        """Return the fault of these kinds that hits now, if any, and count it off."""
        found = self._next(kinds)
        if found:
            self.struck.append(found.kind)
        return found

    def _next(self, kinds: tuple[str, ...]) -> Fault | None:
        for fault in self.due:
            if fault.kind in kinds and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        for kind in kinds:
            if self.left and kind in self.rates:
                self.drawn[kind] += 1
                text = f"{self.seed} {kind} {self.drawn[kind]}"
                first, second = hashlib.sha256(text.encode()).digest()[:2]
                if first < 256 * self.rates[kind]:
                    self.left -= 1
                    return Fault(kind, 1, _by_chance(kind, second))
        return None


def _by_chance(kind: str, number: int) -> Any:
    """Return how bad a fault is that comes by chance; ``number`` is a random byte."""
    if kind in _PARTIAL:
        return [number]
    times = 1 + number % 3
    return [ROOTS[number % len(ROOTS)], times] if kind == "root" else times


#: Faults of program sets some of whose executables get no counts.
_PARTIAL = ("partial", "failed-partial", "aborted")

#: What stands in ``results.json`` where it is not a result.
ROOTS = ("{}", "null", "[]", "")


class Backend:
    """The state of the service: devices, tasks, buckets, faults. Callers hold its lock."""

    def __init__(self, seed: int = 0) -> None:
        self.lock = threading.Lock()
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget all tasks, buckets, faults and options."""
        self.devices: dict[str, Device] = dict(DEVICES)
        self.tasks: dict[str, Task] = {}
        self.tokens: dict[str, tuple[str, str]] = {}  # what was asked under it, and the task
        self.buckets: set[str] = set()
        self.objects: dict[tuple[str, str], bytes] = {}
        self.limits: dict[str, Json] = {}
        self.faults = Faults()
        self.options: Json = {
            "simulator_ms": 12,
            "split_results": True,
            "search_page": 100,
            "search_seconds": 0.0,
            "search_lag": 0,
        }
        self.log: list[Json] = []

    # Devices

    def device(self, arn: str, region: str) -> Device:
        found = self.devices.get(arn)
        if found is None or found.region not in (None, region):
            raise not_found(f"Device {arn}")
        return found

    def get_device(self, arn: str, region: str) -> Json:
        device = self.device(arn, region)
        waiting = [t for t in self.tasks.values() if t.device.arn == arn and t.status not in FINAL]
        queue = {"queue": "QUANTUM_TASKS_QUEUE"}
        return device.summary() | {
            "deviceCapabilities": json.dumps(device.capabilities),
            "deviceQueueInfo": [
                {**queue, "queueSize": str(len(waiting)), "queuePriority": "Normal"},
                {**queue, "queueSize": "0", "queuePriority": "Priority"},
                {"queue": "JOBS_QUEUE", "queueSize": "0"},
            ],
        }

    def search_devices(self, body: Json, region: str) -> Json:
        shown = [d for d in self.devices.values() if d.region in (None, region)]
        for wanted in body.get("filters", []):
            if wanted["name"] != "deviceArn":
                raise invalid(f"Filter name {wanted['name']} is not supported")
            shown = [d for d in shown if d.arn in wanted["values"]]
        return {"devices": [d.summary() for d in shown]}

    # Tasks

    def create(self, body: Json, region: str) -> Json:
        """Create a task, once for a token; another request under the same token is refused."""
        token = str(body.get("clientToken", ""))
        if not 1 <= len(token) <= 64:
            raise invalid("clientToken must have 1 to 64 characters")
        asked = self._asked(body)
        if token in self.tokens:
            before, arn = self.tokens[token]
            if before != asked:
                raise invalid("clientToken was used already for a request with other parameters")
            return {"quantumTaskArn": arn}
        task = self._checked(body, region)
        if self.faults.strike("create-402"):
            raise ApiError(402, "ServiceQuotaExceededException", "Too many concurrent tasks")
        self._check_limits(task)
        self.tokens[token] = (asked, task.arn)
        self.tasks[task.arn] = task
        kinds = ["failed", "cancelled", "queued", "missing", "cut", "root"]
        kinds += [*_PARTIAL, "late"] if task.is_set else []
        hits = [fault for kind in kinds if (fault := self.faults.strike(kind))]
        task.faults = {fault.kind: fault.value for fault in hits}
        return {"quantumTaskArn": task.arn}

    def _asked(self, body: Json) -> str:
        """Return the fields of a task's request, apart from its token."""
        body = {k: v for k, v in body.items() if k != "clientToken"}
        return json.dumps(body, sort_keys=True)

    def _checked(self, body: Json, region: str) -> Task:
        """Return the task that a request asks for, or refuse it as the service does."""
        device = self.devices.get(body["deviceArn"])
        if device is None or device.region not in (None, region):
            raise invalid(f"Device {body['deviceArn']} not found")
        if device.status == "RETIRED":
            raise ApiError(410, "DeviceRetiredException", f"Device {device.name} is retired")
        if device.status == "OFFLINE":
            raise ApiError(424, "DeviceOfflineException", f"Device {device.name} is offline")
        if body["outputS3Bucket"] not in self.buckets:
            raise invalid(f"S3 bucket {body['outputS3Bucket']} does not exist")
        action = json.loads(body["action"])
        kind = action["braketSchemaHeader"]["name"]
        limits = device.capabilities["action"].get(kind)
        if limits is None:
            raise invalid(f"Device {device.name} does not support action {kind}")
        is_set = kind.endswith("program_set")
        programs = []
        for program in action["programs"] if is_set else [action]:
            inputs = program.get("inputs") or {}
            sets = list(_execute.input_sets(inputs)) if is_set else [inputs]
            programs.append((_read(program["source"]), sets))
        name = hashlib.sha256(f"{self.seed} {len(self.tasks)}".encode()).hexdigest()
        uuid = "-".join([name[:8], name[8:12], name[12:16], name[16:20], name[20:32]])
        arn = f"arn:aws:braket:{region}:{ACCOUNT}:quantum-task/{uuid}"
        ms = int(self.options["simulator_ms"])
        task = Task(arn, device, body, programs, is_set, time.time(), ms)
        _check_shots(task, limits)
        for parsed, sets in programs:
            _check_program(device, parsed, sets)
        return task

    def task(self, arn: str) -> Task:
        if arn not in self.tasks:
            raise not_found(f"Quantum task {arn}")
        return self.tasks[arn]

    def get_task(self, arn: str) -> Json:
        """Answer one poll; each brings a task nearer to its end."""
        task = self.task(arn)
        if task.status not in FINAL:
            task.polls += 1
            self._advance(task)
        return task.details()

    def _advance(self, task: Task) -> None:
        if task.status == "CANCELLING" or (not task.waits() and "cancelled" in task.faults):
            task.end("CANCELLED", time.time())
        elif task.waits():
            task.status = "QUEUED"
        elif "failed" in task.faults:
            reason = task.faults["failed"]
            task.end("FAILED", time.time(), reason if isinstance(reason, str) else "Device error")
        else:
            self._run(task)

    def _run(self, task: Task) -> None:
        """Execute a task and put its results into the bucket."""
        numbers = [n for kind in _PARTIAL for n in task.faults.get(kind, [])]
        failing = {number % task.executables for number in numbers}
        task.successful = task.shots // task.executables * (task.executables - len(failing))
        task.end("COMPLETED", time.time())
        if len(failing) == task.executables:
            task.end("FAILED", time.time(), "All executables failed")
        elif not {"failed-partial", "aborted"}.isdisjoint(task.faults):
            task.end("FAILED", time.time(), "Some executables failed")
        try:
            files = results(task, self.seed, failing, bool(self.options["split_results"]))
        except Exception as error:  # a task that cannot run must not stop the service
            task.successful = None
            return task.end("FAILED", time.time(), f"{type(error).__name__}: {error}")
        members = [name for name in files if "/executables/" in name]
        if "aborted" in task.faults and members:
            for number in failing:
                del files[members[number]]
            for program in files["metadata.json"]["programMetadata"]:
                program["executables"] = [{} for _ in program["executables"]]
        task.objects = list(files)
        for name, content in files.items():
            self.objects[task.bucket, f"{task.directory}/{name}"] = json.dumps(content).encode()
        return None

    def cancel(self, arn: str) -> Json:
        task = self.task(arn)
        if task.status in FINAL:
            raise ApiError(409, "ConflictException", f"A task that is {task.status} cannot be so")
        task.status = "CANCELLING"
        return {"quantumTaskArn": arn, "cancellationStatus": "CANCELLING"}

    def tag(self, arn: str, body: Json) -> Json:
        self.task(arn).request.setdefault("tags", {}).update(body["tags"])
        return {}

    def search_tasks(self, body: Json, region: str) -> Json:
        """List the region's tasks, newest first; the real service has no filter on tags either."""
        found = [t for t in self.tasks.values() if t.arn.split(":")[3] == region][::-1]
        if not body.get("nextToken"):
            for task in found:
                task.searches += 1
        found = [t for t in found if t.searches > int(self.options["search_lag"])]
        names = ("quantumTaskArn", "deviceArn", "status", "createdAt")
        for wanted in body.get("filters", []):
            if wanted["name"] not in names:
                raise invalid(f"Filter name {wanted['name']} is not supported")
            read = _time if wanted["name"] == "createdAt" else str
            test, bounds = _TESTS[wanted["operator"]], [read(v) for v in wanted["values"]]
            found = [t for t in found if test(read(t.summary()[wanted["name"]]), bounds)]
        start, size = int(body.get("nextToken") or 0), int(body.get("maxResults") or 100)
        size = min(size, int(self.options["search_page"]))
        more = {"nextToken": str(start + size)} if start + size < len(found) else {}
        return {"quantumTasks": [t.summary() for t in found[start : start + size]]} | more

    # Spending limits

    def _check_limits(self, task: Task) -> None:
        for limit in self.limits.values():
            if limit["deviceArn"] != task.device.arn:
                continue
            period = limit["timePeriod"]
            if not float(period["startAt"]) <= task.created <= float(period["endAt"]):
                raise invalid("The spending limit of this device does not cover this time")
            if sum(self._spent(limit)) + task.usd_created() > Decimal(limit["spendingLimit"]):
                raise invalid("The estimated cost exceeds the remaining spending limit")

    def _spent(self, limit: Json) -> tuple[Decimal, Decimal]:
        """Return the queued and the total spending under a limit, in USD."""
        totals = {True: Decimal(0), False: Decimal(0)}
        for task in self.tasks.values():
            if task.device.arn == limit["deviceArn"] and task.created >= limit["created"]:
                totals[task.status in FINAL] += task.usd()
        return totals[False], totals[True]

    def create_limit(self, body: Json) -> Json:
        device = self.devices.get(body["deviceArn"])
        if device is None or device.kind != "QPU":
            raise invalid("Spending limits are for QPUs only")
        for arn, limit in self.limits.items():
            if limit["token"] == body["clientToken"]:
                return {"spendingLimitArn": arn}
        now = time.time()
        arn = f"arn:aws:braket:{device.region}:{ACCOUNT}:spending-limit/{len(self.limits):08d}"
        period = body.get("timePeriod") or {"startAt": 0, "endAt": now + 1e9}
        self.limits[arn] = {
            "deviceArn": device.arn,
            "spendingLimit": body["spendingLimit"],
            "timePeriod": period,
            "tags": body.get("tags", {}),
            "token": body["clientToken"],
            "created": now,
            "updated": now,
        }
        return {"spendingLimitArn": arn}

    def limit(self, arn: str) -> Json:
        if arn not in self.limits:
            raise not_found(f"Spending limit {arn}")
        return self.limits[arn]

    def update_limit(self, arn: str, body: Json) -> Json:
        changes = {k: v for k, v in body.items() if k in ("spendingLimit", "timePeriod")}
        self.limit(arn).update(changes | {"updated": time.time()})
        return {}

    def delete_limit(self, arn: str) -> Json:
        self.limit(arn)
        del self.limits[arn]
        return {}

    def search_limits(self, body: Json) -> Json:
        rows = []
        for arn, limit in self.limits.items():
            if all(limit["deviceArn"] in wanted["values"] for wanted in body.get("filters", [])):
                queued, total = self._spent(limit)
                row = {k: limit[k] for k in ("deviceArn", "spendingLimit", "timePeriod", "tags")}
                row |= {"spendingLimitArn": arn, "createdAt": stamp(limit["created"])}
                row |= {"updatedAt": stamp(limit["updated"])}
                rows.append(row | {"queuedSpend": str(queued), "totalSpend": str(total)})
        return {"spendingLimits": rows}

    # S3

    def check_bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist")

    def get_object(self, bucket: str, key: str) -> bytes:
        self.check_bucket(bucket)
        if (bucket, key) not in self.objects:
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        content = self.objects[bucket, key]
        for task in self.tasks.values():
            if key.startswith(f"{task.directory}/"):
                return self._disturbed(task, key.removeprefix(f"{task.directory}/"), content)
        return content

    def _disturbed(self, task: Task, name: str, content: bytes) -> bytes:
        """Return one of a task's objects as its faults leave it this time."""
        if task.use_up("missing") or (task.is_last(name) and task.use_up("late")):
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        if task.is_last(name) and task.use_up("cut"):
            return content[: len(content) // 2]
        if name == "results.json" and "root" in task.faults:
            text, left = task.faults["root"]
            if left != 0:
                task.faults["root"] = [text, None if left is None else left - 1]
                return str(text).encode()
        return content

    # Control

    def control(self, name: str, body: Json) -> Any:
        """Answer a test's own request (`/_control/NAME`)."""
        reads: dict[str, Callable[[], Any]] = {
            "ledger": lambda: [task.row() for task in self.tasks.values()],
            "log": lambda: self.log,
            "struck": lambda: self.faults.struck,
            "programs": lambda: json.loads(self.task(body["arn"]).request["action"]),
        }
        if name in reads:
            return reads[name]()
        if name == "fault":
            self.faults.due.append(Fault(**body))
        elif name == "chance":
            self.faults.by_chance(**body)
        elif name == "clear":
            self.faults = Faults()
            for task in self.tasks.values():
                task.faults.clear()
        elif name == "reset":
            self.reset()
        elif name == "forget-tokens":
            self.tokens.clear()
        elif name == "device":
            device = self.devices[find(body.pop("name")).arn]
            changes: Json = {k: Decimal(v) if k.startswith("per_") else v for k, v in body.items()}
            self.devices[device.arn] = replace(device, **changes)
        elif name == "options" and set(body) <= set(self.options):
            self.options.update(body)
        else:
            raise invalid(f"No control {name} {sorted(body)}")
        return {}


def _time(text: str) -> datetime:
    """Read a time, which is in UTC where it does not say."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"{text} is not a time") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


_TESTS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "EQUAL": lambda value, bounds: value in bounds,
    "LT": lambda value, bounds: value < bounds[0],
    "LTE": lambda value, bounds: value <= bounds[0],
    "GT": lambda value, bounds: value > bounds[0],
    "GTE": lambda value, bounds: value >= bounds[0],
    "BETWEEN": lambda value, bounds: bounds[0] <= value <= bounds[1],
}


def _read(source: str) -> _execute.Parsed:
    try:
        return _execute.parse(_execute.canonical(source))
    except Exception as error:  # whatever the simulator's reader raises
        raise invalid(f"Invalid OpenQASM program: {error or type(error).__name__}") from error


def _check_shots(task: Task, limits: Json) -> None:
    each, rest = divmod(task.shots, task.executables)
    if rest:
        raise invalid("Total shots must be divisible by the number of executables")
    if task.is_set and task.executables > limits["maximumExecutables"]:
        raise invalid(f"More than {limits['maximumExecutables']} executables in a program set")
    if task.is_set and task.shots > limits["maximumTotalShots"]:
        raise invalid(f"More than {limits['maximumTotalShots']} shots in a program set")
    low, high = task.device.shots_range
    if not max(low, 1) <= each <= high:
        raise invalid(f"Shots must be {low} to {high} on {task.device.name}, not {each}")


def _check_program(device: Device, parsed: _execute.Parsed, sets: list[dict[str, float]]) -> None:
    missing = [name for name in parsed.symbols if any(name not in inputs for inputs in sets)]
    if missing:
        raise invalid(f"Missing value of input {min(missing)}")
    if len(parsed.qubits) > device.n_qubits:
        raise invalid(f"{len(parsed.qubits)} qubits are more than {device.n_qubits}")
    labels, neighbours = device.labels(), device.neighbours()
    if "$" in parsed.text and not labels.issuperset(parsed.qubits):
        raise invalid(f"{device.name} has no qubit {min(set(parsed.qubits) - labels)}")
    for name, qubits, verbatim in parsed.gates:
        if name not in (device.native_gates() if verbatim else device.gates()):
            where = "in a verbatim box " if verbatim else ""
            raise invalid(f"Gate {name} is not supported {where}on {device.name}")
        if verbatim and neighbours and len(qubits) == 2 and qubits[1] not in neighbours[qubits[0]]:
            raise invalid(f"Qubits {qubits} are not connected on {device.name}")
