"""Running a study on Dask: on workers started here, or on a scheduler that already runs.

tasks ──► at most a window of them on the scheduler ──► rows ──► a part now and then
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from ..errors import RunError, event, must_be, positive_int
from ._format import Study, Task
from ._results import Store, need_extra, open_store
from ._tasks import failure, identity, run_task

#: A task whose worker dies is tried this often again, beside others and then alone.
RETRIES = 1
_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_CLOSE = 20.0
_WINDOW = 1000
_POLL, _TELL = 0.05, 1.0
# Finished rows wait for others of their part a thousandth of the time that the study ran, within
# these limits: days of short tasks make thousands of parts, not millions.
_SHARE, _SHORTEST_WAIT, _LONGEST_WAIT = 1e-3, 0.2, 30.0


def run_study(
    study: Study,
    out: str | Path,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    memory_limit: str | None = None,
    progress_bar: bool = True,
) -> dict[str, int]:
    """Run a study's missing tasks, and write their rows into a folder.

    Args:
        study: The study.
        out: Its folder; made if it is missing.
        resume: Whether to go on with what the folder holds. Where it holds nothing, the study
            begins there.
        retry_failed: Whether tasks that failed run again, in a study that is resumed.
        workers: Processes to start on this machine, each of one thread; one for each core by
            default.
        scheduler: Address or scheduler file of a running Dask scheduler, to use its workers.
        memory_limit: Memory of each worker started here, such as ``"4GB"``: one that takes more is
            stopped. By default an equal share of nine tenths of the machine's.
        progress_bar: Whether to show a bar, and the address of Dask's dashboard, on standard error.

    Returns:
        The numbers of tasks: ``total``, ``done``, ``failed``, ``missing``.

    Raises:
        ImportError: The extra ``studies`` is not installed.
        ValueError: ``workers`` or ``memory_limit`` makes no sense, or goes with ``scheduler``.
        RunError: The folder cannot be used so, the scheduler does not answer, or its workers lack
            this version of qtn_train.
        ConnectionError: The scheduler went away; the rows so far are written.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the rows so far are written.

    Example:
        >>> from qtn_train.studies import load_study
        >>> run_study(load_study("entropy"), "runs/entropy", workers=2)  # doctest: +SKIP
        {'total': 180, 'done': 180, 'failed': 0, 'missing': 0}
    """
    need_extra()
    if scheduler is not None and (workers is not None or memory_limit is not None):
        name = "workers" if workers is not None else "memory_limit"
        raise ValueError(must_be(name, "left out with a scheduler of your own", "given"))
    if workers is not None:
        positive_int("workers", workers)
    with open_store(Path(out), study, resume=resume) as store:
        if resume and store.fresh:
            _say(f"{out} holds no study yet: starting it there.")
        if retry_failed:
            store.forget_failed()
        if len(store.done) < len(study):
            with _interruptible(), _quiet(), ExitStack() as stack:
                client = stack.enter_context(_connected(scheduler, workers, memory_limit))
                if progress_bar:
                    _say(f"dashboard: {client.dashboard_link}")
                _Run(client, store, scheduler or "").go(progress_bar)
        return progress(store)


def progress(store: Store) -> dict[str, int]:
    """Return the numbers of tasks in all, done, failed and missing."""
    total, written, failed = len(store.study), len(store.done), store.n_failed
    missing = total - written
    return {"total": total, "done": written - failed, "failed": failed, "missing": missing}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _connected(
    scheduler: str | None, workers: int | None, memory_limit: str | None
) -> Iterator[Any]:
    """Yield a client of the scheduler given, or of workers that end with the block."""
    import dask
    from distributed import Client

    with _event_loop() as loop:
        if scheduler is None:
            with dask.config.set(_LOCAL), _process_unchanged():
                cluster = _local_cluster(workers, memory_limit, loop)
                try:
                    with Client(cluster) as client:
                        yield client
                finally:
                    _close(cluster)
        else:
            with _client_of(scheduler, loop) as client:
                _check_workers(client)
                yield client


def _client_of(scheduler: str, loop: Any) -> Any:
    """Connect to a running scheduler, which has 10 s to answer."""
    from distributed import Client
    from distributed.comm.core import connect

    address = _address(scheduler)

    async def ask() -> None:
        comm = await connect(address, timeout=_SECONDS_TO_ANSWER)
        await comm.close()

    try:
        # Asked before: a client that could not connect cannot be closed either.
        asyncio.run_coroutine_threadsafe(ask(), loop.asyncio_loop).result()
        return Client(address, timeout=_SECONDS_TO_ANSWER, loop=loop)
    except (OSError, ValueError) as error:
        expected = "the address of a running Dask scheduler"
        reason = f"no answer within {_SECONDS_TO_ANSWER:g} s"
        if isinstance(error, ValueError):
            reason = str(error).partition(" (")[0]
        actual = f"{scheduler} ({reason})"
        hint = "Start one with `dask scheduler`."
        raise RunError(must_be("scheduler", expected, actual, hint)) from error


@contextmanager
def _process_unchanged() -> Iterator[None]:
    """Restore this process's environment and import path, both of which Dask changes."""
    environment, path = dict(os.environ), list(sys.path)
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        sys.path[:] = path


@contextmanager
def _event_loop() -> Iterator[Any]:
    """Yield an event loop in a thread: Dask's own fails where a machine stalls for 10 s."""
    from tornado.ioloop import IOLoop

    started: Future[tuple[Any, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        started.set_result((IOLoop.current(), stop))
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="Dask", daemon=True)
    thread.start()
    loop, stop = started.result()
    try:
        yield loop
    finally:
        loop.add_callback(stop.set)
        thread.join(_SECONDS_TO_CLOSE)


def _check_workers(client: Any) -> None:
    """Refuse workers with another version of this package, or with none."""
    own = metadata.version("qtn_train")
    for address, found in client.get_versions(packages=["qtn_train"])["workers"].items():
        version = found["packages"].get("qtn_train")
        if version != own:
            expected = f"qtn_train {own}, as here"
            actual = f"{version or 'none'} on {address}"
            raise RunError(must_be("the workers", expected, actual, "Install it there."))


def _close(cluster: Any) -> None:
    """End the workers; kill them where ending hangs, as it may while a worker restarts."""
    pids = [pid for worker in cluster.workers.values() if (pid := getattr(worker, "pid", None))]
    try:
        cluster.close(timeout=_SECONDS_TO_CLOSE)
    except TimeoutError:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _address(scheduler: str) -> str:
    """Return an address as given, or the address in a scheduler file."""
    path = Path(scheduler)
    if not path.is_file():
        return scheduler
    try:
        return str(json.loads(path.read_text())["address"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        expected = "the file that a Dask scheduler wrote"
        raise RunError(must_be("scheduler", expected, scheduler)) from error


def _local_cluster(workers: int | None, memory_limit: str | None, loop: Any) -> Any:
    from dask.system import CPU_COUNT
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT
    from distributed.worker_memory import parse_memory_limit

    count = CPU_COUNT if workers is None else workers
    limit: Any = int(0.9 * MEMORY_LIMIT / count)
    if memory_limit is not None:
        try:
            limit = parse_memory_limit(memory_limit, 1, logger=logging.getLogger(__name__))
        except ValueError as error:
            hint = "For example 4GB."
            raise ValueError(
                must_be("memory_limit", "a number of bytes", repr(memory_limit), hint)
            ) from error
    return LocalCluster(
        loop=loop,
        n_workers=count,
        threads_per_worker=1,
        memory_limit=limit,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        preload=["qtn_train.studies._worker"],
        env=dict.fromkeys(_THREADS, "1"),
    )


_LOCAL = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # A worker holds one task, so that its death is blamed on no other.
    "distributed.scheduler.worker-saturation": 1.0,
    # On a busy machine it takes long until a new worker stands in a dead one's place.
    "distributed.deploy.lost-worker-timeout": "1 day",
    # Nothing waits on a worker that could be spilled; a paused one might never go on.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's log inside a ``with`` block: rows and errors tell what went wrong."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end the study as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


class _Run:
    """The state of a running study."""

    def __init__(self, client: Any, store: Store, scheduler: str) -> None:
        from distributed import as_completed

        self.client, self.store, self.scheduler = client, store, scheduler
        self.missing = (task for task in store.study.tasks() if task.id not in store.done)
        self.running: dict[Any, Task] = {}
        self.finished = as_completed(with_results=True, raise_errors=False, loop=client.loop)
        self.rows: list[dict[str, Any]] = []
        # Tasks on whose behalf a worker died; a neighbor's death counts too, so they run alone.
        self.suspects: list[Task] = []
        self.alone = False
        self.told = -_TELL

    def go(self, progress_bar: bool) -> None:
        began = written = time.monotonic()
        with self._bar(progress_bar) as bar:
            try:
                while self._submit():
                    self._collect()
                    now = time.monotonic()
                    wait = min(max(_SHARE * (now - began), _SHORTEST_WAIT), _LONGEST_WAIT)
                    if self.rows and now - written > wait:
                        self._write(bar)
                        written = now
                    self._tell(bar)
                    time.sleep(_POLL)
            finally:
                # Also after Ctrl-C: what is finished by now is kept.
                self._collect(lost_is_an_error=sys.exc_info()[0] is None)
                self._write(bar)

    def _submit(self) -> bool:
        """Submit tasks up to the window's size; return whether any task is running."""
        if not self.alone:
            while len(self.running) < _WINDOW and (task := next(self.missing, None)):
                self._start(task, task.id)
        if not self.running and self.suspects:
            self.alone = True
            task = self.suspects.pop()
            self._start(task, f"{task.id}-alone")
        return bool(self.running)

    def _start(self, task: Task, key: str) -> None:
        name = f"{task.measure}-{os.getpid()}-{key}"
        future = self.client.submit(run_task, task, key=name, pure=False)
        self.running[future] = task
        self.finished.add(future)

    def _collect(self, lost_is_an_error: bool = True) -> None:
        """Write the rows of finished tasks."""
        for future, result in self.finished.next_batch(block=False):
            if future not in self.running:
                continue
            if isinstance(result, dict):
                # Whatever became of the worker that held it since.
                del self.running[future]
                self.rows.append(result)
            elif future.status == "cancelled" and lost_is_an_error:
                self._lost()
            elif future.status not in ("cancelled", "error"):
                # Its result went with a worker before it was fetched: it runs again.
                self.finished.add(future)
        # Not all of them are handed out as finished: one that ran again may fail unseen.
        for future in [f for f in self.running if f.status == "error"]:
            self._failed(self.running.pop(future), future.exception())
        if lost_is_an_error and self.client.status not in ("running", "newly-created"):
            self._lost()

    def _failed(self, task: Task, error: BaseException) -> None:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            if not self.alone:
                self.suspects.append(task)
                return
            text = "the worker died each time (killed, or more memory than its limit)"
        else:
            text = f"{type(error).__name__}: {error}"
        self.rows.append(identity(task) | failure(text))

    def _lost(self) -> None:
        where = self.scheduler or "on this machine"
        happened = f"The scheduler ({where}) went away."
        hint = "Resume the study."
        raise ConnectionError(event(happened, "All finished rows are kept.", hint))

    def _write(self, bar: tqdm) -> None:
        if self.rows:
            self.store.append(self.rows)
            bar.update(len(self.rows))
            self.rows = []

    def _tell(self, bar: tqdm) -> None:
        now = time.monotonic()
        if now - self.told < _TELL:
            return
        self.told = now
        workers = len(self.client.scheduler_info()["workers"])
        bar.set_postfix(failed=self.store.n_failed, workers=workers, refresh=sys.stderr.isatty())

    def _bar(self, show: bool) -> tqdm:
        return tqdm(
            total=len(self.store.study),
            initial=len(self.store.done),
            disable=not show,
            unit="task",
            dynamic_ncols=True,
            # In a log file a bar is a line each time.
            mininterval=0.1 if sys.stderr.isatty() else 30.0,
        )
