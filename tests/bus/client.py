# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manager, Session, Process and Thread as the tests use them, over one connection."""

import collections
import time
from typing import NamedTuple

import wire
from wire import Variant

NAME = "org.ptraced.Tracer1"
ROOT = "/org/ptraced/Tracer1"
MANAGER, SESSION = NAME + ".Manager", NAME + ".Session"
PROCESS, THREAD = NAME + ".Process", NAME + ".Thread"
PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

ERROR = NAME + ".Error."
FOREVER = 2**64 - 1

# After the last event of a thread nothing can follow.
ENDS = ("exited", "killed")


class Event(NamedTuple):
    serial: int
    usec: int
    process: str
    tid: int
    kind: str
    stopped: bool
    details: dict

    @property
    def pid(self):
        return int(self.process.rpartition("/")[2])

    @classmethod
    def read(cls, record):
        return cls(*record[:6], wire.plain(record[6]))


# The types of the options that cannot be told from their values.
OPTION_TYPES = {
    "captures": "a(uussuu)",
    "pass-signals": "ai",
    "range": "(tt)",
    "results": "ai",
    "signal": "i",
    "syscalls": "at",
}


def options(**values):
    """a{sv} with the types that the contract gives to its options. An underscore stands for a hyphen,
    which Python's names cannot have."""
    made = {}
    for key, value in values.items():
        key = key.replace("_", "-")
        if isinstance(value, Variant):
            made[key] = value
        elif key in OPTION_TYPES:
            made[key] = Variant(OPTION_TYPES[key], value)
        elif isinstance(value, bool):
            made[key] = Variant("b", value)
        elif isinstance(value, str):
            made[key] = Variant("s", value)
        elif isinstance(value, int):
            made[key] = Variant("u", value)
        else:
            made[key] = Variant("as", list(value))
    return made


def breakpoint_options(**values):
    """a{sv} with the types that AddBreakpoint takes."""
    types = {"ignore": "t", "condition": "(stust)"}
    return options(**{key.replace("_", "-"):
                      Variant(types[key], value) if key in types and not isinstance(value, Variant) else value
                      for key, value in values.items()})


class Object:
    """An object of the service at a path."""

    interface = None

    def __init__(self, client, path):
        self.client = client
        self.path = path

    def send(self, member, signature="", *args):
        return self.client.send(self.path, self.interface, member, signature, *args)

    def call(self, member, signature="", *args, timeout=20):
        """The one value that the method returns, or all of them, or None."""
        values = self.client.reply(self.send(member, signature, *args), timeout)
        return values if len(values) > 1 else values[0] if values else None

    def get(self, name):
        (value,) = self.client.call(self.path, PROPERTIES, "Get", "ss", self.interface, name)
        return value.value

    def get_all(self):
        (values,) = self.client.call(self.path, PROPERTIES, "GetAll", "s", self.interface)
        return values

    def introspect(self):
        (xml,) = self.client.call(self.path, INTROSPECTABLE, "Introspect")
        return xml


class Thread(Object):
    interface = THREAD

    @property
    def tid(self):
        return int(self.path.rpartition("/")[2])

    def interrupt(self):
        return self.call("Interrupt")

    def continue_(self, **values):
        return self.call("Continue", "a{sv}", options(**values))

    def step(self, **values):
        return self.call("Step", "a{sv}", options(**values))
        self.call("Step", "a{sv}", options(**values))

    def signal_info(self):
        return wire.plain(self.call("GetSignalInfo"))

    def set_signal_info(self, **values):
        types = {"sender-pid": "u", "sender-uid": "u", "value": "t", "address": "t", "raw": "ay"}
        info = {key.replace("_", "-"): value for key, value in values.items()}
        self.call("SetSignalInfo", "a{sv}",
                  {key: Variant(types.get(key, "i"), value) for key, value in info.items()})

    def detach(self):
        return self.call("Detach")

    def get_event(self, timeout_usec=0):
        return Event.read(self.call("GetEvent", "t", timeout_usec))

    def registers(self):
        return wire.plain(self.call("GetRegisters"))

    def set_registers(self, **values):
        """Numbers are t, bytes ay; a Variant is what it is."""
        self.call("SetRegisters", "a{sv}",
                  {name: value if isinstance(value, Variant) else
                   Variant("t" if isinstance(value, int) else "ay", value) for name, value in values.items()})

    def register_set(self, name):
        return self.call("GetRegisterSet", "s", name)

    def set_register_set(self, name, data):
        self.call("SetRegisterSet", "say", name, data)


class Process(Object):
    interface = PROCESS

    @property
    def pid(self):
        return int(self.path.rpartition("/")[2])

    def thread(self, tid):
        return Thread(self.client, f"{self.path}/thread/{tid}")

    def interrupt(self):
        self.call("Interrupt")

    def continue_(self, **values):
        self.call("Continue", "a{sv}", options(**values))

    def detach(self):
        self.call("Detach")

    def kill(self):
        self.call("Kill")

    def signal(self, signo):
        self.call("Signal", "i", signo)

    def list_threads(self):
        """Thread ids and their states."""
        return {tid: state for tid, _, state in self.call("ListThreads")}

    def read_memory(self, address, size):
        return self.call("ReadMemory", "tt", address, size)

    def add_breakpoint(self, address, kind="software", **values):
        """Names of options have _ for -, and a number is what the option takes."""
        return self.call("AddBreakpoint", "tsa{sv}", address, kind, breakpoint_options(**values))

    def remove_breakpoint(self, id):
        self.call("RemoveBreakpoint", "u", id)

    def list_breakpoints(self):
        return [wire.plain(one) for one in self.call("ListBreakpoints")]

    def set_event_filter(self, **values):
        self.call("SetEventFilter", "a{sv}", options(**values))


class Session(Object):
    interface = SESSION

    @property
    def id(self):
        return self.path.rpartition("/")[2]

    def process(self, pid):
        return Process(self.client, f"{self.path}/process/{pid}")

    def attach(self, pid, **values):
        return Process(self.client, self.call("AttachProcess", "ua{sv}", pid, options(**values)))

    def attach_fd(self, pidfd, **values):
        return Process(self.client, self.call("AttachProcessFD", "ha{sv}", pidfd, options(**values)))

    def attach_thread(self, tid, **values):
        path, added = self.call("AttachThread", "ua{sv}", tid, options(**values))
        return Thread(self.client, path), added

    def interrupt(self):
        self.call("Interrupt")

    def continue_(self, **values):
        self.call("Continue", "a{sv}", options(**values))

    def list_stopped(self):
        return [Event.read(record) for record in self.call("ListStopped")]

    def get_event(self, timeout_usec=0, timeout=20):
        return Event.read(self.call("GetEvent", "t", timeout_usec, timeout=timeout))

    def drain(self):
        """All that the queue holds."""
        events = []
        while True:
            try:
                events.append(self.get_event())
            except wire.Error as e:
                if e.name != ERROR + "NoEvent":
                    raise
                return events

    def close(self):
        self.call("Close")

    def next_event(self, timeout=10):
        """The next ThreadEvent; None when none came in that time."""
        return self.client.next_event(self.path, timeout)

    def events_until(self, predicate, timeout=10):
        """ThreadEvents up to the first one for which the predicate holds, which comes last."""
        events = []
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(deadline - time.monotonic())
            if event is None:
                raise TimeoutError(f"the event did not come within {timeout} s; these did: {brief(events)}")
            events.append(event)
            if predicate(event):
                return events

    def events_for(self, seconds):
        """ThreadEvents that come within this time."""
        events = []
        deadline = time.monotonic() + seconds
        while (event := self.next_event(max(deadline - time.monotonic(), 0))) is not None:
            events.append(event)
        return events


def brief(events):
    return [(event.serial, event.tid, event.kind) for event in events[-40:]]


class Client:
    """A client of the service: on a bus, or (destination None) peer to peer."""

    def __init__(self, connection, destination=NAME, auto_start=False):
        self.connection = connection
        self.destination = destination
        self.flags = 0 if auto_start else wire.NO_AUTO_START
        self.manager = Object(self, ROOT)
        self.manager.interface = MANAGER
        self.events = collections.defaultdict(collections.deque)
        self.signals = []

    def send(self, path, interface, member, signature="", *args):
        return self.connection.send(self.destination, path, interface, member, signature, *args,
                                    flags=self.flags)

    def reply(self, serial, timeout=20):
        return self.connection.reply(serial, timeout)

    def call(self, path, interface, member, signature="", *args, timeout=20):
        return self.reply(self.send(path, interface, member, signature, *args), timeout)

    def create_session(self, **values):
        return Session(self, self.manager.call("CreateSession", "a{sv}", options(**values)))

    def session(self, id_or_path):
        path = id_or_path if id_or_path.startswith("/") else f"{ROOT}/session/{id_or_path}"
        return Session(self, path)

    def list_sessions(self):
        """Ids with (uid, name, path)."""
        return {id: rest for id, *rest in self.manager.call("ListSessions")}

    def watch(self):
        """Asks the bus for the Manager's broadcasts; peer to peer they come by themselves."""
        if self.destination:
            self.connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                 "AddMatch", "s", f"type='signal',interface='{MANAGER}'")

    def sort(self):
        """ThreadEvents go to their sessions' lists, all other signals to self.signals."""
        while self.connection.signals:
            message = self.connection.signals.popleft()
            path, member = message.fields[wire.PATH], message.fields[wire.MEMBER]
            if member == "ThreadEvent":
                self.events[path].append(Event.read(message.body[0]))
            else:
                self.signals.append((path, member, message.body))

    def next_event(self, path, timeout):
        deadline = time.monotonic() + timeout
        while True:
            self.sort()
            if self.events[path]:
                return self.events[path].popleft()
            if not self.connection.pump(deadline - time.monotonic()):
                self.sort()
                return self.events[path].popleft() if self.events[path] else None

    def close(self):
        if not self.connection.closed:
            self.connection.close()
