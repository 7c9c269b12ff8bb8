# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small D-Bus client in plain Python.

The tests want what busctl cannot do: keep one connection, receive signals that are sent to it
alone, pass descriptors, have several calls under way, go away without a word, and say things that
are wrong. It speaks to a bus and, peer to peer, to an embedded broker.
"""

import collections
import functools
import os
import select
import socket
import struct
import time
from typing import Any, NamedTuple

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED, NO_AUTO_START, ALLOW_INTERACTION = 1, 2, 4

PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)
HEADER_TYPES = {PATH: "o", INTERFACE: "s", MEMBER: "s", ERROR_NAME: "s", REPLY_SERIAL: "u",
                DESTINATION: "s", SENDER: "s", SIGNATURE: "g", UNIX_FDS: "u"}

FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I", "h": "I"}
ALIGNMENT = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "i": 4, "u": 4, "b": 4, "h": 4, "s": 4, "o": 4,
             "a": 4, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}


class Variant(NamedTuple):
    signature: str
    value: Any


class Error(Exception):
    """An error reply."""

    def __init__(self, name, message):
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Message(NamedTuple):
    type: int
    serial: int
    fields: dict
    body: tuple


def first_type(signature):
    """Splits the first complete type off a signature."""
    depth = 0
    for i, c in enumerate(signature):
        if c in "({":
            depth += 1
        elif c in ")}":
            depth -= 1
        if depth == 0 and c != "a":
            return signature[: i + 1], signature[i + 1 :]
    raise ValueError(f"incomplete signature {signature!r}")


@functools.cache
def split_types(signature):
    types = []
    while signature:
        one, signature = first_type(signature)
        types.append(one)
    return types


class Writer:
    def __init__(self):
        self.data = bytearray()
        self.fds = []

    def align(self, n):
        self.data.extend(bytes(-len(self.data) % n))

    def put(self, signature, value):
        kind = signature[0]
        self.align(ALIGNMENT[kind])
        if kind == "h":
            self.fds.append(value)
            value = len(self.fds) - 1
        if kind in FIXED:
            self.data += struct.pack("<" + FIXED[kind], value)
        elif kind in "so":
            self.put_bytes("<I", value)
        elif kind == "g":
            self.put_bytes("<B", value)
        elif kind == "v":
            self.put("g", value.signature)
            self.put(value.signature, value.value)
        elif kind == "a":
            self.put_array(signature[1:], value)
        else:
            for one, member in zip(split_types(signature[1:-1]), value, strict=True):
                self.put(one, member)

    def put_bytes(self, length_format, value):
        encoded = value if isinstance(value, bytes) else value.encode()
        self.data += struct.pack(length_format, len(encoded)) + encoded + b"\0"

    def put_array(self, element, values):
        at = len(self.data)
        self.data += bytes(4)
        self.align(ALIGNMENT[element[0]])
        start = len(self.data)
        if element == "y" and isinstance(values, bytes):
            self.data += values
            values = ()
        for value in values.items() if isinstance(values, dict) else values:
            self.put(element, value)
        struct.pack_into("<I", self.data, at, len(self.data) - start)


class Reader:
    def __init__(self, data, endian, fds=()):
        self.data = data
        self.endian = endian
        self.fds = fds
        self.at = 0

    def align(self, n):
        self.at += -self.at % n

    def get(self, signature):
        kind = signature[0]
        self.align(ALIGNMENT[kind])
        if kind in FIXED:
            return self.get_fixed(kind)
        if kind in "so":
            return self.get_bytes(self.get_fixed("u")).decode()
        if kind == "g":
            return self.get_bytes(self.get_fixed("y")).decode()
        if kind == "v":
            inner = self.get("g")
            return Variant(inner, self.get(inner))
        if kind == "a":
            return self.get_array(signature[1:])
        return tuple(self.get(one) for one in split_types(signature[1:-1]))

    def get_fixed(self, kind):
        (value,) = struct.unpack_from(self.endian + FIXED[kind], self.data, self.at)
        self.at += struct.calcsize(FIXED[kind])
        if kind == "h":
            return self.fds[value]
        return bool(value) if kind == "b" else value

    def get_bytes(self, n):
        value = bytes(self.data[self.at : self.at + n])
        self.at += n + 1
        return value

    def get_array(self, element):
        length = self.get_fixed("u")
        self.align(ALIGNMENT[element[0]])
        end = self.at + length
        if element == "y":
            self.at = end
            return bytes(self.data[end - length : end])
        values = []
        while self.at < end:
            values.append(self.get(element))
        return dict(values) if element[0] == "{" else values


def plain(value):
    """The value without its variants."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(member) for member in value)
    return value


class Connection:
    """One connection: calls with their replies, and the signals that came meanwhile. Pings are answered in
    their turn while it reads, as by any D-Bus library."""

    def __init__(self, sock, bus=True, uid=None):
        """uid: whom the other end knows it to be of, where that is not ourselves."""
        self.sock = sock
        self.uid = os.geteuid() if uid is None else uid
        self.serial = 0
        self.buffer = bytearray()
        self.fds = []
        self.replies = {}
        self.signals = collections.deque()
        self.closed = False
        self.authenticate()
        self.name = None
        if bus:
            (self.name,) = self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                     "Hello")

    @classmethod
    def open(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.settimeout(10)
        sock.connect(path)
        return cls(sock)

    def authenticate(self):
        """All in one go, as sd-bus does it. An sd-bus server does not look at a message that came in one
        piece with a late BEGIN before the next one comes."""
        self.sock.settimeout(10)
        uid = str(self.uid).encode().hex().encode()
        self.sock.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
        self.expect_line(b"OK")
        self.expect_line(b"AGREE_UNIX_FD")

    def expect_line(self, word):
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise ConnectionError("closed while authenticating")
            line += byte
        if not line.startswith(word):
            raise ConnectionError(f"expected {word!r}, got {line!r}")

    def close(self):
        self.closed = True
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def fileno(self):
        return self.sock.fileno()

    def send(self, destination, path, interface, member, signature="", *args, flags=0):
        """Sends a call and returns its serial, by which reply() takes the answer."""
        body = Writer()
        for one, value in zip(split_types(signature), args, strict=True):
            body.put(one, value)

        return self.send_message(METHOD_CALL, {PATH: path, INTERFACE: interface, MEMBER: member,
                                               DESTINATION: destination, SIGNATURE: signature or None,
                                               UNIX_FDS: len(body.fds) or None}, body, flags)

    def send_message(self, kind, fields, body, flags=0):
        self.serial += 1
        header = Writer()
        header.data += struct.pack("<cBBBII", b"l", kind, flags, 1, len(body.data), self.serial)
        header.put("a(yv)", [(code, Variant(HEADER_TYPES[code], value))
                             for code, value in fields.items() if value is not None])
        header.align(8)
        self.send_bytes(bytes(header.data + body.data), body.fds)
        return self.serial

    def send_bytes(self, data, fds=()):
        sent = socket.send_fds(self.sock, [data], fds) if fds else 0
        self.sock.sendall(data[sent:])

    def call(self, *args, timeout=20, **kwargs):
        return self.reply(self.send(*args, **kwargs), timeout)

    def reply(self, serial, timeout=20):
        deadline = time.monotonic() + timeout
        while serial not in self.replies:
            if not self.pump(deadline - time.monotonic()):
                raise TimeoutError(f"no reply within {timeout} s")
        message = self.replies.pop(serial)
        if message.type == ERROR:
            raise Error(message.fields[ERROR_NAME], message.body[0] if message.body else "")
        return message.body

    def has_reply(self, serial):
        self.pump(0)
        return serial in self.replies

    def pump(self, timeout):
        """Takes in what has arrived; False when nothing came in that time."""
        if not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return False
        data, fds, _, _ = socket.recv_fds(self.sock, 262144, 64)
        if not data:
            raise ConnectionError("the other end has closed the connection")
        self.buffer += data
        self.fds += fds
        at = 0
        while n := self.parse(at):
            at += n
        del self.buffer[:at]
        return True

    def parse(self, at):
        """Takes the message that begins there; its length, or 0 where it is not whole yet."""
        if len(self.buffer) < at + 16:
            return 0
        endian = "<" if self.buffer[at] == ord("l") else ">"
        body_length, serial, fields_length = struct.unpack_from(endian + "III", self.buffer, at + 4)
        body_at = (16 + fields_length + 7) & ~7
        if len(self.buffer) < at + body_at + body_length:
            return 0

        head = Reader(self.buffer[at : at + 16 + fields_length], endian)
        head.at = 12
        fields = {code: value.value for code, value in head.get("a(yv)")}
        fds = [self.fds.pop(0) for _ in range(fields.get(UNIX_FDS, 0))]
        body = Reader(self.buffer[at + body_at : at + body_at + body_length], endian, fds)
        values = tuple(body.get(one) for one in split_types(fields.get(SIGNATURE, "")))
        self.take(Message(self.buffer[at + 1], serial, fields, values))
        return body_at + body_length

    def take(self, message):
        if message.type in (METHOD_RETURN, ERROR):
            self.replies[message.fields[REPLY_SERIAL]] = message
        elif message.type == SIGNAL:
            self.signals.append(message)
        elif (message.fields.get(INTERFACE), message.fields[MEMBER]) == ("org.freedesktop.DBus.Peer", "Ping"):
            self.send_message(METHOD_RETURN, {REPLY_SERIAL: message.serial,
                                              DESTINATION: message.fields.get(SENDER)}, Writer(), NO_REPLY_EXPECTED)
