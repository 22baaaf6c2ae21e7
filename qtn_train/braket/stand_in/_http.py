"""The loopback service on HTTP: routes of Braket, S3 (path style), STS, prices and control."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from ._backend import ACCOUNT, ApiError, Backend
from ._devices import price_list

_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")
_BRAKET = [  # method, path, operation; a group is the ARN
    ("GET", r"/device/([^/]+)", "device"),
    ("POST", r"/devices", "search"),
    ("POST", r"/quantum-task", "create"),
    ("GET", r"/quantum-task/([^/]+)", "get"),
    ("PUT", r"/quantum-task/([^/]+)/cancel", "cancel"),
    ("POST", r"/tags/(.+)", "tag"),
    ("POST", r"/quantum-tasks", "search-tasks"),
    ("POST", r"/spending-limit", "create-limit"),
    ("POST", r"/spending-limits", "search-limits"),
    ("PATCH", r"/spending-limit/([^/]+)/update", "update-limit"),
    ("DELETE", r"/spending-limit/([^/]+)/delete", "delete-limit"),
]
_ERRORS = {
    "403": ApiError(403, "ExpiredTokenException", "The security token is expired"),
    "denied": ApiError(403, "AccessDeniedException", "Not authorized to perform this"),
    "429": ApiError(429, "ThrottlingException", "Rate exceeded"),
    "500": ApiError(500, "InternalServiceException", "Internal error"),
}
WHATS = ("403", "denied", "429", "500", "drop", "drop-after", "hang")
Answer = tuple[int, bytes, str]  # status, body, content type


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one piece
    backend: Backend  # set by `serve`

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/_control/"):
            return self._control(body)
        if self.path.startswith("/prices"):
            with self.backend.lock:
                text = price_list(self.backend.devices.values())
            return self._send((200, text.encode(), "text/csv"))
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        region, service = scope.groups() if scope else ("", "")
        operation, argument = self._operation(service)
        if operation == "search-tasks":
            time.sleep(float(self.backend.options["search_seconds"]))
        with self.backend.lock:
            fault = self.backend.faults.strike(*(f"{operation}-{what}" for what in WHATS))
            what = fault.kind.removeprefix(f"{operation}-") if fault else ""
            self.backend.log.append({"operation": operation, "fault": what})
            if what != "drop":
                answer = self._try(service, operation, argument, region, body, what)
        if what == "hang":
            self.rfile.read(1)  # until the client gives up, or is killed
        if what in ("drop", "drop-after", "hang"):
            self.close_connection = True
        else:
            self._send(answer)
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def _try(
        self, service: str, operation: str, argument: str, region: str, body: bytes, what: str
    ) -> Answer:
        try:
            if what in _ERRORS:
                raise _ERRORS[what]
            return self._do(service, operation, argument, region, body)
        except ApiError as error:
            return _error(service, error)

    def _operation(self, service: str) -> tuple[str, str]:
        path = urlsplit(self.path).path
        if service == "braket":
            for method, pattern, operation in _BRAKET:
                found = re.fullmatch(pattern, path)
                if found and method == self.command:
                    return operation, unquote("".join(found.groups()))
        return service or "unsigned", unquote(path)

    def _do(self, service: str, operation: str, argument: str, region: str, body: bytes) -> Answer:
        if service == "s3":
            return self._s3(argument, body)
        if service == "sts":
            return 200, _IDENTITY.encode(), "text/xml"
        if service != "braket":
            raise ApiError(403, "MissingAuthenticationTokenException", "Request is not signed")
        backend = self.backend
        given = json.loads(body) if body else {}
        actions = {
            "device": lambda: backend.get_device(argument, region),
            "search": lambda: backend.search_devices(given, region),
            "create": lambda: backend.create(given, region),
            "get": lambda: backend.get_task(argument),
            "cancel": lambda: backend.cancel(argument),
            "tag": lambda: backend.tag(argument, given),
            "search-tasks": lambda: backend.search_tasks(given, region),
            "create-limit": lambda: backend.create_limit(given),
            "search-limits": lambda: backend.search_limits(given),
            "update-limit": lambda: backend.update_limit(argument, given),
            "delete-limit": lambda: backend.delete_limit(argument),
        }
        if operation not in actions:
            raise ApiError(501, "NotImplementedException", f"{self.command} {self.path}")
        status = 201 if operation in ("create", "create-limit") else 200
        return status, json.dumps(actions[operation]()).encode(), "application/json"

    def _s3(self, path: str, body: bytes) -> Answer:
        bucket, _, key = path.removeprefix("/").partition("/")
        backend = self.backend
        if self.command == "PUT" and not key:
            backend.buckets.add(bucket)
            return 200, b"", "application/xml"
        backend.check_bucket(bucket)
        if self.command == "PUT":
            if "If-Match" in self.headers and (bucket, key) not in backend.objects:
                raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
            backend.objects[bucket, key] = body
            return 200, b"", "application/xml"
        if not key:
            return 200, self._listing(bucket).encode(), "application/xml"
        return 200, backend.get_object(bucket, key), "application/octet-stream"

    def _listing(self, bucket: str) -> str:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        keys = sorted(k for b, k in self.backend.objects if b == bucket and k.startswith(prefix))
        rows = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"

    def _control(self, body: bytes) -> None:
        name = self.path.removeprefix("/_control/")
        with self.backend.lock:
            try:
                given = json.loads(body) if body else {}
                content, status = self.backend.control(name, given), 200
            except ApiError as error:
                content, status = {"message": str(error)}, error.status
        self._send((status, json.dumps(content).encode(), "application/json"))

    def _send(self, answer: Answer) -> None:
        status, content, kind = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status >= 400 and kind == "application/json":
            self.send_header("x-amzn-ErrorType", json.loads(content).get("__type", ""))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


_IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    f"<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/test</Arn><UserId>test</UserId>"
    f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def _error(service: str, error: ApiError) -> Answer:
    if service == "s3":
        throttled = error.status == 429
        code, status = ("SlowDown", 503) if throttled else (error.code, error.status)
        text = f"<Error><Code>{code}</Code><Message>{escape(str(error))}</Message></Error>"
        return status, text.encode(), "application/xml"
    if service == "sts":
        text = f"<Code>{error.code}</Code><Message>{escape(str(error))}</Message>"
        text = f"<ErrorResponse><Error>{text}</Error></ErrorResponse>"
        return error.status, text.encode(), "text/xml"
    content = {"__type": error.code, "message": str(error)}
    return error.status, json.dumps(content).encode(), "application/json"


class Server(ThreadingHTTPServer):
    """The server, running in its own thread."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, seed: int = 0, port: int = 0) -> None:
        self.backend = Backend(seed)
        handler = type("BoundHandler", (Handler,), {"backend": self.backend})
        super().__init__(("127.0.0.1", port), handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not print when a client dies with its connection open."""
