#!/usr/bin/env python3
"""AWS for the tests: moto behind a thin layer that makes it behave like AWS where moto does not.

    moto_sim.py [--host 127.0.0.1] [--port 5000] [--port-file FILE]

Port 0 lets the system choose; the chosen port is written to FILE once the server accepts connections.

What the layer adds to moto:

* S3 uploads are verified as S3 verifies them: a body that ends early (IncompleteBody), a wrong Content-MD5 or
  x-amz-checksum-{sha256,sha1,crc32} header or trailer (BadDigest), a wrong x-amz-content-sha256
  (XAmzContentSHA256Mismatch), a checksum that is no checksum or more than one (InvalidRequest) answer 400, and nothing
  is stored. crc32c and crc64nvme are stored unverified, since Python's library computes neither.
* A checksum sent as a header is kept with the object, so HEAD and GET with x-amz-checksum-mode give it back.
* aws-chunked bodies are taken apart before moto sees them.
* The root elements of CompleteMultipartUpload, ListParts and GetBucketVersioning carry the names of AWS's schema: the
  Rust SDK refuses moto's.
* EBS behaves as ebs_sim.py describes.
* RDS (rds_sim.py): snapshots and instances take time and may fail, descriptions come in pages, quotas, restore windows.
* Systems Manager (ssm_sim.py): commands take time, fail, are not visible at once, or really run.

Knobs, all at /_sim (no bucket can have this name):

GET /_sim            the settings, the faults and the requests counted so far:
                     {"latency", "snapshot_seconds", "snapshot_outcome", "faults": [...],
                      "requests": {BUCKET or SERVICE: {OPERATION: {"requests", "errors", "bytes_in", "bytes_out"}}},
                      "calls": {SERVICE: [OPERATION, ...]}}  what pgkeep itself ever asked for
POST /_sim {...}     answers the same document after having applied, in this order:
  "reset": true              default settings, no faults, counters at zero
  "reset_requests": true     or a bucket name: counters at zero
  "clear_faults": true       or a text: removes all faults, or those whose `match` contains the text
  "latency": 0.05            seconds added to every request
  "snapshot_seconds": 2      how long new EBS snapshots stay pending
  "snapshot_outcome": "error"   how new EBS snapshots end (default "completed")
  "snapshot_hidden_seconds": 2  how long new EBS snapshots are not listed
  "fail_volumes": ["vol-..."]   volumes whose snapshots end in `error`
  "skip_volumes": ["vol-..."]   volumes that CreateSnapshots passes over
  "volume_seconds": 1        how long volumes of snapshots are `creating`
  "page_limit": 5            most items in one page of EC2
  "regions": {"eu-west-3": {...}}   these settings for one region; merged with what was said of it before
  "rds": {IDENTIFIER: {...}}    what is wanted of single instances, clusters and regions: see rds_sim.py
  "commands": {INSTANCE: {...}} what is wanted of commands on single instances: see ssm_sim.py
  "faults": [{...}, ...]     adds faults; the first that matches a request applies:
     "match"     text to find in "METHOD /path?query TARGET region=REGION". TARGET is the S3 operation ("PutObject"), "Action=NAME" of
                 a query API, or the X-Amz-Target of a JSON API; of RDS, SSM and Secrets Manager with the names of what it is about
                 ("Action=CreateDBSnapshot DBInstanceIdentifier=prod DBSnapshotIdentifier=s"). "" matches every request.
     "skip"      matching requests to let pass first (default 0)
     "times"     how many requests it hits (default 1; null: until cleared)
     "delay"     seconds to wait before the request is handled
     "code", "status", "message"   the AWS error to answer (status 503 by default): SlowDown, AccessDenied 403,
                 ConditionalRequestConflict 409, ...
     "hang_up": true    closes the connection without an answer
     "after": true      the request takes effect first; only its answer is replaced by the error or the hang-up
     "truncate": N      sends the true headers and only N bytes of the body, then closes the connection
     "corrupt": true    inverts the byte in the middle of the answer's body

Tests share one server: match on a bucket of their own, and clear what they added.
`POST /moto-api/reset` wipes moto's data. Addressing is by path (http://host:port/bucket/key).
"""

import argparse
import base64
import binascii
import dataclasses
import hashlib
import io
import json
import os
import re
import socket
import threading
import time
import urllib.parse
import zlib
from collections import defaultdict

# Read by moto when it is imported: the default images cost 90 MB and hide the tests' own snapshots, and objects that
# do not fit the buffer each hold an open file.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(34 << 20))

import ebs_sim  # noqa: E402
import rds_sim  # noqa: E402
import ssm_sim  # noqa: E402
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT  # noqa: E402
from moto.core.exceptions import AWSError, HTTPException, ServiceException  # noqa: E402
from moto.ec2.models import ec2_backends  # noqa: E402
from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

XML_ROOTS = {
    b"CompleteMultipartUploadResponse": b"CompleteMultipartUploadResult",
    b"ListPartsResponse": b"ListPartsResult",
    b"GetBucketVersioningResponse": b"VersioningConfiguration",
}
CHECKSUM_HEADER = "HTTP_X_AMZ_CHECKSUM_"
CHECKSUM_ALGORITHMS = ("SHA256", "SHA1", "CRC32", "CRC32C", "CRC64NVME")
CHECKSUMS = {
    "SHA256": lambda body: hashlib.sha256(body).digest(),
    "SHA1": lambda body: hashlib.sha1(body).digest(),
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
}
SUBRESOURCES = {
    "acl": "Acl",
    "attributes": "Attributes",
    "cors": "Cors",
    "encryption": "Encryption",
    "legal-hold": "LegalHold",
    "lifecycle": "LifecycleConfiguration",
    "location": "Location",
    "object-lock": "LockConfiguration",
    "policy": "Policy",
    "publicAccessBlock": "PublicAccessBlock",
    "retention": "Retention",
    "tagging": "Tagging",
    "versioning": "Versioning",
}


class AwsError(Exception):
    """An error answer in AWS's own words."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclasses.dataclass
class Fault:
    """One injected misbehaviour; the fields are described at the top of this file."""

    match: str = ""
    skip: int = 0
    times: int | None = 1
    delay: float = 0.0
    code: str | None = None
    status: int = 503
    message: str = "injected by the test"
    hang_up: bool = False
    after: bool = False
    truncate: int | None = None
    corrupt: bool = False

    def claims(self, what):
        """Whether this fault hits the request `what`; counts it if so."""
        if self.match not in what or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Simulation:
    """The settings, faults and counters that /_sim shows and changes."""

    DEFAULTS = {"latency": 0.0, "snapshot_seconds": 0.0, "snapshot_outcome": "completed", "snapshot_hidden_seconds": 0.0,
                "fail_volumes": [], "skip_volumes": [], "volume_seconds": 0.0, "page_limit": 1000}
    COMMANDS = {"reset", "reset_requests", "clear_faults", "faults", "regions"}
    # Settings that tests make for what is theirs alone; those of others stay.
    KEYED = ("rds", "commands")

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = defaultdict(set)
        self._reset()

    def _reset(self):
        self.settings = {**self.DEFAULTS, "regions": {}, **{name: {} for name in self.KEYED}}
        self.faults = []
        self._reset_requests()

    def _reset_requests(self):
        self.requests = defaultdict(lambda: defaultdict(lambda: dict.fromkeys(
            ("requests", "errors", "bytes_in", "bytes_out"), 0)))

    def configure(self, change):
        unknown = set(change) - set(self.DEFAULTS) - self.COMMANDS - set(self.KEYED)
        if unknown:
            raise ValueError(f"unknown setting {', '.join(sorted(unknown))}")
        added = [Fault(**fault) for fault in change.get("faults", [])]
        with self.lock:
            if change.get("reset"):
                self._reset()
            which = change.get("reset_requests")
            if which is True:
                self._reset_requests()
            elif which:
                self.requests.pop(which, None)
            which = change.get("clear_faults")
            if which:
                self.faults = [f for f in self.faults if which is not True and which not in f.match]
            self.settings.update({k: change[k] for k in self.DEFAULTS if k in change})
            for name in self.KEYED:
                self.settings[name].update(change.get(name, {}))
            for region, settings in change.get("regions", {}).items():
                self.settings["regions"].setdefault(region, {}).update(settings)
            self.faults.extend(added)

    def document(self):
        with self.lock:
            calls = {service: sorted(names) for service, names in self.calls.items()}
            return {**self.settings, "calls": calls, "faults": [dataclasses.asdict(f) for f in self.faults],
                    "requests": self.requests}

    def wanted(self, name):
        """What the tests want of one thing, by its identifier."""
        return lambda identifier: self.settings[name].get(identifier, {})

    def fault_for(self, what):
        with self.lock:
            fault = next((f for f in self.faults if f.claims(what)), None)
            self.faults = [f for f in self.faults if f.times != 0]
            return fault

    def called(self, service, operation):
        """Remembers an operation that pgkeep's own clients asked for; no reset forgets it."""
        with self.lock:
            self.calls[service].add(operation)

    def count(self, scope, operation, status, bytes_in, bytes_out):
        with self.lock:
            counters = self.requests[scope][operation]
            counters["requests"] += 1
            counters["errors"] += status >= 400
            counters["bytes_in"] += bytes_in
            counters["bytes_out"] += bytes_out


SIMULATION = Simulation()
COMMANDS = ssm_sim.Commands()
EBS = ebs_sim.Ebs(lambda: SIMULATION.settings)


class Request:
    """What a request asks for, and its body, read completely so that any answer leaves the connection clean."""

    def __init__(self, environ):
        self.environ = environ
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"]
        self.query_string = environ.get("QUERY_STRING", "")
        self.query = urllib.parse.parse_qs(self.query_string, keep_blank_values=True)
        self.body = self._read_body()
        self.bytes_in = len(self.body)
        self.service = self._service()
        self.bucket, _, self.key = self.path.lstrip("/").partition("/")
        self.target = self._target()
        self.description = f"{self.method} {self.path}?{self.query_string} {self.target}{self._about()} region={self.region}"

    def _read_body(self):
        source = self.environ["wsgi.input"]
        if self.environ.get("wsgi.input_terminated"):
            return source.read()
        expected = int(self.environ.get("CONTENT_LENGTH") or 0)
        body = source.read(expected) if expected else b""
        self.complete = len(body) == expected
        return body

    complete = True
    region = ""

    def _service(self):
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request", self.environ.get("HTTP_AUTHORIZATION", ""))
        if scope:
            self.region = scope.group(1)
            return scope.group(2)
        return "moto" if self.path.startswith("/moto-api") else "s3"

    def _target(self):
        if self.service == "s3":
            return self._s3_operation()
        if target := self.environ.get("HTTP_X_AMZ_TARGET"):
            return target
        if self.environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            form = urllib.parse.parse_qs(self.body.decode("utf-8", "replace"))
            return "Action=" + "".join(form.get("Action", []))
        return ""

    def _about(self):
        """Names of what a call of RDS, SSM or Secrets Manager is about, in order: ` DBInstanceIdentifier=x DBSnapshotIdentifier=y`."""
        if self.service == "rds":
            named = {k: v[0] for k, v in self.action()[1].items() if k.endswith("Identifier")}
        elif self.service in ("ssm", "secretsmanager"):
            named = {k: v for k, v in json.loads(self.body or b"{}").items() if k in ("Name", "SecretId", "CommandId")}
        else:
            return ""
        return "".join(f" {key}={named[key]}" for key in sorted(named))

    def _s3_operation(self):
        kind = "Object" if self.key else "Bucket"
        if not self.bucket:
            return "ListBuckets"
        if "uploadId" in self.query or "uploads" in self.query:
            return self._multipart_operation()
        for name, suffix in SUBRESOURCES.items():
            if name in self.query:
                return {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}.get(self.method, "") + kind + suffix
        if self.method == "POST":
            return "DeleteObjects" if "delete" in self.query else "RestoreObject" if "restore" in self.query else "PostObject"
        if self.method == "GET" and not self.key:
            return "ListObjectsV2" if "list-type" in self.query else "ListObjectVersions" if "versions" in self.query else "ListObjects"
        if self.method == "PUT" and not self.key:
            return "CreateBucket"
        if self.method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in self.environ:
            return "CopyObject"
        return self.method.capitalize() + kind

    def _multipart_operation(self):
        if not self.key:
            return "ListMultipartUploads"
        if "uploads" in self.query:
            return "CreateMultipartUpload"
        copies = "HTTP_X_AMZ_COPY_SOURCE" in self.environ
        return {"PUT": "UploadPartCopy" if copies else "UploadPart", "GET": "ListParts",
                "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(self.method, "")

    def action(self):
        """Name and parameters of a call of a query API."""
        return self.target.removeprefix("Action="), urllib.parse.parse_qs(self.body.decode("utf-8", "replace"))

    def scope(self):
        """Under which name the request is counted."""
        return (self.bucket or "s3") if self.service == "s3" else self.service

    def operation(self):
        return self.target.removeprefix("Action=").rpartition(".")[2] or self.method

    def is_upload(self):
        return self.service == "s3" and self.target in ("PutObject", "UploadPart")

    def replace_body(self, body):
        self.body = body
        self.environ["CONTENT_LENGTH"] = str(len(body))
        self.environ.pop("HTTP_TRANSFER_ENCODING", None)
        self.environ.pop("wsgi.input_terminated", None)

    def hand_over(self):
        """The WSGI environment for moto, with the body at its start again."""
        self.environ["wsgi.input"] = io.BytesIO(self.body)
        return self.environ


def unchunk(request):
    """Replaces an aws-chunked body by its payload; its trailers become headers."""
    payload, position, raw = bytearray(), 0, request.body
    while True:
        end = raw.find(b"\r\n", position)
        if end < 0:
            raise AwsError(400, "IncompleteBody", "The request body terminated unexpectedly")
        size = int(raw[position:end].partition(b";")[0], 16)
        position = end + 2
        if size == 0:
            break
        payload += raw[position:position + size]
        position += size + 2
    declared = request.environ.pop("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", None)
    if declared is not None and int(declared) != len(payload):
        raise AwsError(400, "IncompleteBody", "You did not provide the number of bytes specified by the "
                       "x-amz-decoded-content-length HTTP header")
    for line in raw[position:].split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            request.environ["HTTP_" + name.strip().upper().replace("-", "_")] = value.strip()
    encodings = [e.strip() for e in request.environ.get("HTTP_CONTENT_ENCODING", "").split(",")]
    kept = ",".join(e for e in encodings if e and e != "aws-chunked")
    request.environ.pop("HTTP_CONTENT_ENCODING", None)
    if kept:
        request.environ["HTTP_CONTENT_ENCODING"] = kept
    request.environ.pop("HTTP_X_AMZ_TRAILER", None)
    request.environ["HTTP_X_AMZ_CONTENT_SHA256"] = "UNSIGNED-PAYLOAD"
    request.replace_body(bytes(payload))


def verify_upload(request):
    """Refuses what S3 refuses, and tells moto which checksum to keep with the object."""
    environ = request.environ
    if not request.complete:
        raise AwsError(400, "IncompleteBody", "You did not provide the number of bytes specified by the "
                       "Content-Length HTTP header")
    if environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-"):
        unchunk(request)
    signed = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    if re.fullmatch("[0-9a-f]{64}", signed) and signed != hashlib.sha256(request.body).hexdigest():
        raise AwsError(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match "
                       "what was computed.")
    content_md5 = environ.get("HTTP_CONTENT_MD5")
    if content_md5 and decode_checksum("Content-MD5", content_md5, 16) != hashlib.md5(request.body).digest():
        raise AwsError(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    given = [a for a in CHECKSUM_ALGORITHMS if CHECKSUM_HEADER + a in environ]
    if len(given) > 1:
        raise AwsError(400, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types "
                       "are not allowed.")
    for algorithm in given:
        verify_checksum(algorithm, environ[CHECKSUM_HEADER + algorithm], request.body)
        # moto keeps a checksum only when the request also names its algorithm this way.
        environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = algorithm


def decode_checksum(header, value, length):
    try:
        decoded = base64.b64decode(value, validate=True)
    except binascii.Error:
        decoded = b""
    if len(decoded) != length:
        raise AwsError(400, "InvalidRequest" if header != "Content-MD5" else "InvalidDigest",
                       f"Value for {header} header is invalid.")
    return decoded


def verify_checksum(algorithm, value, body):
    compute = CHECKSUMS.get(algorithm)
    if not compute:
        return
    actual = compute(body)
    header = "x-amz-checksum-" + algorithm.lower()
    if decode_checksum(header, value, len(actual)) != actual:
        raise AwsError(400, "BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


@dataclasses.dataclass
class Answer:
    """A complete HTTP answer."""

    status: str
    headers: list
    body: bytes

    def code(self):
        return int(self.status.split()[0])

    def set_header(self, name, value):
        self.headers = [(k, v) for k, v in self.headers if k.lower() != name.lower()] + [(name, value)]

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")


def error_answer(request, error):
    """The error in the format of the service that was asked."""
    fields = f"<Code>{error.code}</Code><Message>{error.message}</Message>"
    if request.environ.get("HTTP_X_AMZ_TARGET"):
        content_type = "application/x-amz-json-1.1"
        text = json.dumps({"__type": error.code, "message": error.message})
    else:
        content_type = "application/xml"
        text = '<?xml version="1.0" encoding="UTF-8"?>\n' + {
            "s3": f"<Error>{fields}<Resource>{request.path}</Resource><RequestId>sim</RequestId></Error>",
            "ec2": f"<Response><Errors><Error>{fields}</Error></Errors><RequestID>sim</RequestID></Response>",
        }.get(request.service,
              f"<ErrorResponse><Error><Type>Sender</Type>{fields}</Error><RequestId>sim</RequestId></ErrorResponse>")
    body = b"" if request.method == "HEAD" else text.encode()
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("x-amz-request-id", "sim")]
    return Answer(f"{error.status} {error.code}", headers, body)


class MotoSim:
    """The WSGI application: faults, then verification, then moto, then the repairs of its answer."""

    def __init__(self, moto):
        self.moto = moto

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/_sim":
            answer = self._admin(environ)
        else:
            answer = self._serve(Request(environ))
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _admin(self, environ):
        status, document = "200 OK", None
        if environ["REQUEST_METHOD"] == "POST":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            try:
                SIMULATION.configure(json.loads(body or b"{}"))
            except (ValueError, TypeError) as error:
                status, document = "400 Bad Request", {"error": str(error)}
        body = json.dumps(document or SIMULATION.document(), indent=2).encode() + b"\n"
        return Answer(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body)

    def _serve(self, request):
        if "app/pgkeep" in request.environ.get("HTTP_USER_AGENT", "") + request.environ.get("HTTP_X_AMZ_USER_AGENT", ""):
            SIMULATION.called(request.service, request.operation())
        fault = SIMULATION.fault_for(request.description)
        time.sleep(SIMULATION.settings["latency"] + (fault.delay if fault else 0))
        try:
            if fault and not fault.after:
                self._fail(request, fault)
            if request.is_upload():
                verify_upload(request)
            answer = self._answer(request)
            if fault and fault.after:
                self._fail(request, fault)
        except AwsError as error:
            answer = error_answer(request, error)
        SIMULATION.count(request.scope(), request.operation(), answer.code(), request.bytes_in, len(answer.body))
        if fault:
            self._damage(request, fault, answer)
        return answer

    def _of_others(self, request):
        if request.service == "rds":
            action, form = request.action()
            body = rds_sim.answer(action, form, request.region, SIMULATION.wanted("rds"))
            if body is not None:
                return Answer("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))], body)
            answer = self._ask_moto(request)
            if answer.code() == 200:
                answer.body = rds_sim.paged(action, form, answer.body)
                answer.set_header("Content-Length", str(len(answer.body)))
            return answer
        if request.service == "ssm" and "Command" in request.target:
            return self._of_commands(request)
        return self._ask_moto(request)

    def _of_commands(self, request):
        asked, wanted = json.loads(request.body or b"{}"), SIMULATION.wanted("commands")
        if refused := COMMANDS.refuse(request.target, asked, wanted):
            raise AwsError(400, *refused)
        if request.target.endswith(".ListCommandInvocations"):
            body = json.dumps(COMMANDS.invocations(asked, wanted)).encode()
            return Answer("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))], body)
        answer = self._ask_moto(request)
        if answer.code() == 200 and request.target.endswith(".SendCommand"):
            COMMANDS.note(asked, answer.body, wanted)
        return answer

    def _answer(self, request):
        """moto's answer, or what takes its place."""
        if request.service != "ec2":
            return self._of_others(request)
        action, form = request.operation(), ebs_sim.form_of(request.body)
        try:
            body = EBS.before(request.region, action, form, ec2_backends[ACCOUNT][request.region])
        except ebs_sim.Refused as refused:
            raise AwsError(refused.status, refused.code, refused.message) from refused
        except (AWSError, HTTPException, ServiceException):
            body = None
        if body is not None:
            return Answer("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))], body)
        answer = self._ask_moto(request)
        answer.body = EBS.after(request.region, action, form, answer.body)
        answer.set_header("Content-Length", str(len(answer.body)))
        return answer

    @staticmethod
    def _fail(request, fault):
        if fault.hang_up:
            SIMULATION.count(request.scope(), request.operation(), 599, request.bytes_in, 0)
            hang_up(request)
        if fault.code:
            raise AwsError(fault.status, fault.code, fault.message)

    @staticmethod
    def _damage(request, fault, answer):
        if fault.corrupt and answer.body:
            middle = len(answer.body) // 2
            answer.body = answer.body[:middle] + bytes([answer.body[middle] ^ 0xFF]) + answer.body[middle + 1:]
        if fault.truncate is not None:
            answer.set_header("Content-Length", str(len(answer.body)))
            answer.body = answer.body[:fault.truncate]

    def _ask_moto(self, request):
        head = {}

        def start_response(status, headers, exc_info=None):
            head["status"], head["headers"] = status, headers

        chunks = self.moto(request.hand_over(), start_response)
        try:
            answer = Answer(head["status"], list(head["headers"]), b"".join(chunks))
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        if request.service == "s3" and "xml" in answer.header("Content-Type"):
            for wrong, right in XML_ROOTS.items():
                answer.body = answer.body.replace(wrong, right)
        if request.method != "HEAD":
            answer.set_header("Content-Length", str(len(answer.body)))
        return answer


def hang_up(request):
    """Ends the connection as a crashed peer would: werkzeug answers nothing to a connection that is gone."""
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("injected by the test")


class Handler(WSGIRequestHandler):
    """Quiet, and without the delay that small answers suffer from Nagle's algorithm."""

    disable_nagle_algorithm = True

    def log_request(self, *args, **kwargs):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--port-file", help="written with the port once the server accepts connections")
    options = parser.parse_args()
    rds_sim.install(SIMULATION.wanted("rds"))
    EBS.install()
    application = MotoSim(DomainDispatcherApplication(create_backend_app))
    server = make_server(options.host, options.port, application, threaded=True, request_handler=Handler)
    if options.port_file:
        written = options.port_file + ".new"
        with open(written, "w", encoding="ascii") as file:
            file.write(f"{server.port}\n")
        os.replace(written, options.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
