"""A quantum task: what the service shows of it, what it costs, and the results it leaves."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from . import _execute
from ._devices import Device

FINAL = ("COMPLETED", "FAILED", "CANCELLED")
FAILURE = {"failureReason": "Device error", "retryable": True, "category": "DEVICE"}


@dataclass
class Task:
    """A quantum task of one program, or of a program set."""

    arn: str
    device: Device
    request: dict[str, Any]
    programs: list[tuple[_execute.Parsed, list[dict[str, float]]]]
    is_set: bool
    created: float
    milliseconds: int  # what a simulator takes
    status: str = "CREATED"
    reason: str | None = None
    ended: float | None = None
    polls: int = 0
    searches: int = 0
    successful: int | None = None  # shots
    faults: dict[str, Any] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)  # the names of its results, in order

    @property
    def executables(self) -> int:
        return sum(len(sets) for _, sets in self.programs)

    @property
    def shots(self) -> int:
        return int(self.request["shots"])

    @property
    def bucket(self) -> str:
        return str(self.request["outputS3Bucket"])

    @property
    def directory(self) -> str:
        return f"{self.request['outputS3KeyPrefix']}/{self.arn.split('/')[-1]}"

    def waits(self) -> bool:
        """Return whether a fault keeps the task in the queue at this poll."""
        polls = self.faults.get("queued", 0)
        return polls is None or self.polls <= polls

    def use_up(self, kind: str) -> bool:
        """Return whether a fault that strikes a number of times strikes now, and count it off."""
        left = self.faults.get(kind, 0)
        if left is not None and left > 0:
            self.faults[kind] = left - 1
        return bool(left != 0)

    def is_last(self, name: str) -> bool:
        """Return whether an object is the last to come: the last executable's, or the only one."""
        split = [key for key in self.objects if "/executables/" in key]
        return name == (split[-1] if split else "results.json")

    def end(self, status: str, now: float, reason: str | None = None) -> None:
        self.status, self.ended, self.reason = status, now, reason

    def usd_created(self) -> Decimal:
        """Return what the creation can cost at most: nothing under a reservation."""
        if self.request.get("associations"):
            return Decimal(0)
        return self.device.price(self.shots, self.milliseconds)

    def usd(self) -> Decimal:
        """Return what is charged: nothing for a task that failed, nor for a shot that did."""
        if self.status in ("FAILED", "CANCELLED"):
            return Decimal(0)
        lost = 0 if self.successful is None else self.shots - self.successful
        usd = self.usd_created()
        return usd - lost * self.device.per_shot if usd else usd

    def row(self) -> dict[str, Any]:
        """Return the task's row of the ledger; amounts are decimal strings."""
        return {
            "arn": self.arn,
            "device": self.device.name,
            "device_arn": self.device.arn,
            "token": self.request["clientToken"],
            "tags": self.request.get("tags", {}),
            "associations": self.request.get("associations", []),
            "s3_prefix": self.request["outputS3KeyPrefix"],
            "status": self.status,
            "program_set": self.is_set,
            "executables": self.executables,
            "shots": self.shots,
            "successful": self.successful or 0,
            "milliseconds": self.milliseconds if self.device.kind == "SIMULATOR" else None,
            "usd": str(self.usd()),
            "usd_created": str(self.usd_created()),
        }

    def summary(self) -> dict[str, Any]:
        """Return the task as SearchQuantumTasks lists it."""
        shown = {
            "quantumTaskArn": self.arn,
            "status": self.status,
            "deviceArn": self.device.arn,
            "shots": self.shots,
            "outputS3Bucket": self.bucket,
            "outputS3Directory": self.directory,
            "createdAt": stamp(self.created),
            "tags": self.request.get("tags", {}),
        }
        return shown | ({"endedAt": stamp(self.ended)} if self.ended else {})

    def details(self) -> dict[str, Any]:
        """Return the task as GetQuantumTask shows it."""
        kind = "program_set" if self.is_set else "program"
        action: dict[str, Any] = {"actionType": f"braket.ir.openqasm.{kind}"}
        if self.is_set:
            action |= {"programCount": len(self.programs), "executableCount": self.executables}
        shown = self.summary() | {
            "deviceParameters": self.request.get("deviceParameters", "{}"),
            "actionMetadata": action,
            "queueInfo": self._queue_info(),
            "associations": [],
        }
        if self.reason:
            shown["failureReason"] = self.reason
        if self.successful is not None:
            shown["numSuccessfulShots"] = self.successful
        return shown

    def _queue_info(self) -> dict[str, Any]:
        info = {"queue": "QUANTUM_TASKS_QUEUE", "queuePriority": "Normal"}
        if self.status == "QUEUED":
            polls = self.faults.get("queued")
            return info | {"position": ">2000" if polls is None else str(polls - self.polls + 1)}
        message = f"Task is in {self.status} status; it has no queue position."
        return info | {"position": "None", "message": message}


def stamp(seconds: float) -> str:
    """Return a time as the service writes it, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def results(task: Task, seed: int, failing: set[int], split: bool) -> dict[str, dict[str, Any]]:
    """Execute a task and return its objects, by their names in its directory of the bucket."""
    each = task.shots // task.executables
    drawn = [
        [_execute.bits(parsed, inputs, each, seed) for inputs in sets]
        for parsed, sets in task.programs
    ]
    if not task.is_set:
        return {"results.json": _plain(task, drawn[0][0])}
    programs, metadata = _program_set(task, drawn, failing)
    if not split:
        whole = {"programResults": programs, "taskMetadata": metadata}
        return {"results.json": _header("program_set_task_result") | whole}
    return dict(_split(task, programs, metadata))


def _header(name: str) -> dict[str, Any]:
    return {"braketSchemaHeader": {"name": f"braket.task_result.{name}", "version": "1"}}


def _common(task: Task) -> dict[str, Any]:
    return {
        "id": task.arn,
        "deviceId": task.device.arn,
        "createdAt": stamp(task.created),
        "endedAt": stamp(task.ended or task.created),
        "status": task.status,
    }


def _measured(task: Task, parsed: _execute.Parsed, drawn: np.ndarray) -> dict[str, Any]:
    """Return bits as the schemas want them: IonQ gives frequencies, the others single shots."""
    qubits = {"measuredQubits": list(parsed.measured)}
    if "/ionq/" in task.device.arn:
        rows, counts = np.unique(drawn, axis=0, return_counts=True)
        keys = ["".join(map(str, row)) for row in rows.tolist()]
        shares = (counts / len(drawn)).tolist()
        return qubits | {"measurementProbabilities": dict(zip(keys, shares, strict=True))}
    return qubits | {"measurements": drawn.tolist()}


def _plain(task: Task, drawn: np.ndarray) -> dict[str, Any]:
    additional: dict[str, Any] = {"action": json.loads(task.request["action"])}
    if task.device.kind == "SIMULATOR":
        duration = {"executionDuration": task.milliseconds}
        additional["simulatorMetadata"] = _header("simulator_metadata") | duration
    return {
        **_header("gate_model_task_result"),
        **_measured(task, task.programs[0][0], drawn),
        "taskMetadata": _header("task_metadata") | _common(task) | {"shots": task.shots},
        "additionalMetadata": additional,
    }


def _program_set(
    task: Task, drawn: list[list[np.ndarray]], failing: set[int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the results of the programs, and the metadata of the whole."""
    number = itertools.count()
    programs, notes = [], []
    for k, (parsed, _) in enumerate(task.programs):
        parts: list[dict[str, Any]] = []
        for index, bits in enumerate(drawn[k]):
            kind, content = "result", {}
            if next(number) in failing:
                kind, content = "failure", {"failureMetadata": FAILURE}
            else:
                content = _measured(task, parsed, bits)
            head = _header(f"program_set_executable_{kind}")
            parts.append(head | {"inputsIndex": index} | content)
        notes.append({"executables": [part.get("failureMetadata", {}) for part in parts]})
        source = json.loads(task.request["action"])["programs"][k]
        program = {"executableResults": parts, "source": source, "additionalMetadata": {}}
        programs.append(_header("program_result") | program)
    metadata = {
        **_header("program_set_task_metadata"),
        **_common(task),
        "requestedShots": task.shots,
        "successfulShots": task.successful,
        "programMetadata": notes,
        "totalFailedExecutables": len(failing),
    }
    return programs, metadata


def _split(
    task: Task, programs: list[dict[str, Any]], metadata: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one object for each part of the result, each naming those below it."""
    for k, program in enumerate(programs):
        parts = {f"executables/{i}.json": p for i, p in enumerate(program["executableResults"])}
        for name, part in parts.items():
            yield f"programs/{k}/{name}", part
        yield f"programs/{k}/program.json", program["source"]
        names = {"executableResults": list(parts), "source": "program.json"}
        yield f"programs/{k}/results.json", program | names
    yield "metadata.json", metadata
    whole = {
        "s3Location": [task.bucket, task.directory],
        "programResults": [f"programs/{k}/results.json" for k in range(len(programs))],
        "taskMetadata": "metadata.json",
    }
    yield "results.json", _header("program_set_task_result") | whole
