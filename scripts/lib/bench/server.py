"""A small client of PostgreSQL: simple queries, and COPY … TO STDOUT into nothing as cheaply as Python can."""

import base64
import hashlib
import hmac
import os
import re
import socket
import struct
import urllib.parse

RECEIVE_BYTES = 1 << 20
READY = b"Z\0\0\0\x05"
# The end of a COPY: CommandComplete, then ReadyForQuery. COPY text holds no zero byte and every row is a message of its own, so
# rows never look like this.
COPY_END = re.compile(rb"C\0\0\0.COPY (\d+)\0Z\0\0\0\x05[IT]\Z", re.DOTALL)
TAIL_BYTES = 64


class ServerError(Exception):
    """The server refused a statement."""


class Server:
    """Where a server is; connections are made from it."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.user, self.password = parts.username, parts.password

    def url(self, database):
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def connect(self, database="postgres"):
        return Connection(self, database)

    def query(self, statement, database="postgres"):
        """Runs a statement, or a batch of them, in a session of its own; gives the rows of the last one, as texts."""
        with self.connect(database) as session:
            return session.query(statement)

    def environment(self, database=None):
        """What makes libpq's programs connect; passwords do not belong in argument lists."""
        found = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGPASSWORD": self.password}
        return found | ({"PGDATABASE": database} if database else {})


class Connection:
    """One session."""

    def __init__(self, server, database):
        self._socket = socket.create_connection((server.host, server.port), timeout=30)
        self._socket.settimeout(None)
        self._buffer = b""
        parameters = {"user": server.user, "database": database, "application_name": "pgkeep bench"}
        body = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in parameters.items()) + b"\0"
        self._socket.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self._log_in(server.password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self._send(b"X", b"")
        except OSError:
            pass
        self._socket.close()

    def query(self, statement):
        self._send(b"Q", statement.encode() + b"\0")
        rows, error = [], None
        while True:
            kind, body = self._message()
            if kind == b"T":
                rows = []
            elif kind == b"D":
                rows.append(fields(body))
            elif kind == b"E":
                error = ServerError(message(body))
            elif kind in b"GHW":
                raise ServerError("COPY is for copy_out")
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    def copy_out(self, statement, buffer):
        """Runs a COPY … TO STDOUT, forgets its rows; gives their number and the bytes of COPY text."""
        self._send(b"Q", statement.encode() + b"\0")
        received, tail, view = 0, b"", memoryview(buffer)
        while not (READY in tail[-6:] and len(tail) >= 6):
            count = self._socket.recv_into(buffer)
            if count == 0:
                raise ServerError("the server closed the connection")
            if received == 0 and view[0:1] == b"E":
                raise ServerError(f"{statement}: {message(bytes(view[5:count]))}")
            received += count
            tail = (tail + bytes(view[max(0, count - TAIL_BYTES):count]))[-TAIL_BYTES:]
        found = COPY_END.search(tail)
        if not found:
            raise ServerError(f"{statement}: ended with {tail!r}")
        rows = int(found[1])
        # Each row carries five bytes of message header; around them stand CopyOutResponse, CopyDone and what the pattern matched.
        return rows, received - 5 * rows

    def _send(self, kind, body):
        self._socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _read(self, count):
        while len(self._buffer) < count:
            more = self._socket.recv(65536)
            if not more:
                raise ServerError("the server closed the connection")
            self._buffer += more
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _message(self):
        head = self._read(5)
        return head[:1], self._read(struct.unpack("!i", head[1:])[0] - 4)

    def _log_in(self, password):
        exchange = None
        while True:
            kind, body = self._message()
            if kind == b"E":
                raise ServerError(message(body))
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            code, rest = struct.unpack("!i", body[:4])[0], body[4:]
            if code == 10:
                exchange = Scram(password)
                first = exchange.first().encode()
                self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
            elif code == 11:
                self._send(b"p", exchange.final(rest.decode()).encode())
            elif code == 12:
                exchange.check(rest.decode())
            elif code != 0:
                raise ServerError(f"authentication method {code} is not spoken here")


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 7677)."""

    def __init__(self, password, user="", nonce=None):
        # PostgreSQL takes the user from the connection's start and reads none here.
        self._password = password.encode()
        self._bare = f"n={user},r={nonce or base64.b64encode(os.urandom(18)).decode()}"
        self._proven = b""

    def first(self):
        return "n,," + self._bare

    def final(self, challenge):
        values = dict(item.split("=", 1) for item in challenge.split(","))
        if not values["r"].startswith(self._bare.partition("r=")[2]):
            raise ServerError("the server's nonce is not built on ours")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(values["s"]), int(values["i"]))
        without_proof = f"c=biws,r={values['r']}"
        signed = f"{self._bare},{challenge},{without_proof}".encode()
        client_key = keyed(salted, b"Client Key")
        signature = keyed(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self._proven = keyed(keyed(salted, b"Server Key"), signed)
        return f"{without_proof},p={base64.b64encode(proof).decode()}"

    def check(self, final):
        if base64.b64decode(final.partition("v=")[2]) != self._proven:
            raise ServerError("the server does not know the password either")


def keyed(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def fields(body):
    """The values of a DataRow."""
    count, at, found = struct.unpack("!h", body[:2])[0], 2, []
    for _ in range(count):
        length = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        found.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return tuple(found)


def message(body):
    """The text of an ErrorResponse."""
    parts = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return ", ".join(parts[k] for k in (b"M", b"D", b"W") if k in parts)
