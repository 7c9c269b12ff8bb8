# SPDX-License-Identifier: LGPL-2.1-or-later
"""Messages that no library makes: with hundreds of descriptors, and with another one's name for a sender. Each
is refused or does no harm, nothing is left of it, and all others are served on."""

import os
import pwd

import client
import harness
import polkit
import procfs
import wire
from client import MANAGER, PROCESS, ROOT, SESSION
from policy import ASK_ME, GAMES, NEWS, Policy, Service

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
DBUS, DBUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"

# As many as the tests are about, and as many as the kernel passes at once.
MANY = (100, 253)


def send(one, path, interface, member, signature, *args, strays=(), sender=None):
    """A call with descriptors that nothing in it refers to, and with a sender."""
    body = wire.Writer()
    for kind, value in zip(wire.split_types(signature), args, strict=True):
        body.put(kind, value)
    body.fds += strays
    fields = {wire.PATH: path, wire.INTERFACE: interface, wire.MEMBER: member, wire.DESTINATION: one.destination,
              wire.SENDER: sender, wire.SIGNATURE: signature or None, wire.UNIX_FDS: len(body.fds) or None}
    return one.connection.send_message(wire.METHOD_CALL, fields, body, one.flags)


def send_signal(one, path, interface, member, signature, *args, sender=None):
    body = wire.Writer()
    for kind, value in zip(wire.split_types(signature), args, strict=True):
        body.put(kind, value)
    one.connection.send_message(wire.SIGNAL, {wire.PATH: path, wire.INTERFACE: interface, wire.MEMBER: member,
                                              wire.DESTINATION: one.destination, wire.SENDER: sender,
                                              wire.SIGNATURE: signature}, body)


class Descriptors:
    def descriptors(self, traced):
        """How many our processes have, the bus among them."""
        pids = [self.service.broker.pid, self.service.keeper.pid, self.service.tracer_of(traced.pid)]
        return {pid: procfs.descriptors(pid) for pid in pids}

    def calls(self, session, process, pid, null, n):
        """What carries them, and what is to become of it: an error, or None where it does no harm."""
        strays, array = [null] * n, wire.Variant("ah", [null] * n)
        return [
            (None, (ROOT, MANAGER, "ListSessions", ""), strays),
            (None, (session.path, SESSION, "AttachProcess", "ua{sv}", pid, {}), strays),
            (None, (process.path, PROCESS, "ListThreads", ""), strays),
            (INVALID_ARGS, (process.path, PROCESS, "Continue", "a{sv}", {"mode": array}), []),
            ("InvalidOption", (ROOT, MANAGER, "CreateSession", "a{sv}", {"name": array}), []),
            ("InvalidOption", (session.path, SESSION, "AttachProcess", "ua{sv}", pid, {"proof": array}), []),
            ("InvalidOption", (session.path, SESSION, "AttachProcess", "ua{sv}", pid, {"misspelt": array}), []),
            (INVALID_ARGS, (session.path, SESSION, "AttachProcess", "ah", [null] * n), []),
            (INVALID_ARGS, (session.path, SESSION, "AttachProcessFD", "ha{sv}", null, {}), strays[1:]),
        ]

    def assert_no_more(self, traced, before):
        """But for a tracer or two that are being made ready."""
        self.assert_wait(lambda: all(n <= before[pid] + 2 for pid, n in self.descriptors(traced).items()),
                         f"all are closed; there were {before}")

    def assert_harmless(self, session, tracee):
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        process = session.attach(tracee.pid)
        before = None
        for n in (MANY[0], *MANY):
            for name, call, strays in self.calls(session, process, tracee.pid, null, n):
                with self.subTest(n=n, call=call[2:4]):
                    serial = send(session.client, *call, strays=strays)
                    if name:
                        self.assert_error(name, session.client.reply, serial)
                    else:
                        session.client.reply(serial)
            before = before or self.descriptors(tracee)
        self.assert_no_more(tracee, before)
        process.interrupt()
        session.events_until(lambda event: event.kind == "stop")


class DescriptorsOnTheBus(Descriptors, Policy):
    class service_class(Service):
        bus_limits = {"max_message_unix_fds": 1024}

    def test_hundreds_of_descriptors_do_no_harm(self):
        self.assert_harmless(self.session_of(GAMES), self.tracee_of(GAMES))
        self.session_of(NEWS).close()

    def test_option_that_is_given_twice_leaves_no_descriptor(self):
        tracee = self.tracee_of(GAMES)
        with polkit.acting_as(GAMES):
            proof = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, proof)
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        before = None
        for _ in range(4):
            error = self.assert_error("InvalidOption", session.call, "AttachProcess", "ua{sv}", tracee.pid,
                                      [("proof", wire.Variant("h", proof))] * 50)
            self.assertIn('"proof" is given twice', error.message)
            before = before or self.descriptors(tracee)
        self.assert_no_more(tracee, before)


class DescriptorsEmbedded(Descriptors, harness.Embedded):
    def test_hundreds_of_descriptors_do_no_harm(self):
        self.assert_harmless(self.new_session(), self.tracee("busy-loop"))


class SendersOnTheBus(Policy):
    """The bus writes who sends."""

    def setUp(self):
        super().setUp()
        self.traced = self.tracee_of(GAMES)
        self.session = self.session_of(GAMES)
        self.process = self.session.attach(self.traced.pid)
        self.other = self.service.connect_as(NEWS)

    def assert_traced_on(self):
        """After what the other one has sent has come along."""
        self.other.list_sessions()
        self.process.interrupt()
        self.session.events_until(lambda event: event.kind == "stop")
        self.assertIn(self.session.id, self.session.client.list_sessions())

    def test_forged_sender_is_nobodys_word(self):
        for sender in (self.session.client.connection.name, ":1.0", DBUS, client.NAME):
            with self.subTest(sender=sender):
                serial = send(self.other, self.session.path, SESSION, "Close", "", sender=sender)
                error = self.assert_error(ASK_ME, self.other.reply, serial)
                self.assertIn("org.ptraced.Tracer1.manage", error.message)
                serial = send(self.other, self.process.path, PROCESS, "Interrupt", "", sender=sender)
                error = self.assert_error("org.freedesktop.DBus.Error.AccessDenied", self.other.reply, serial)
                self.assertIn(f"User {pwd.getpwnam(NEWS).pw_uid} ", error.message)
        self.assert_traced_on()

    def test_departure_that_the_bus_has_not_told_of_is_none(self):
        name = self.session.client.connection.name
        for sender in (None, DBUS):
            for path in (DBUS_PATH, ROOT):
                send_signal(self.other, path, DBUS, "NameOwnerChanged", "sss", name, name, "", sender=sender)
        self.assert_traced_on()


class SendersEmbedded(harness.Embedded):
    """There is one client, whatever it calls itself."""

    def test_forged_sender_changes_nothing(self):
        tracee = self.tracee("busy-loop")
        session = self.new_session()
        process = session.attach(tracee.pid)
        one = session.client
        for sender in (":1.1", DBUS, client.NAME):
            with self.subTest(sender=sender):
                self.assertTrue(one.reply(send(one, ROOT, MANAGER, "ListTracees", "", sender=sender))[0])
                serial = send(one, ROOT, MANAGER, "CreateSession", "a{sv}", {}, sender=sender)
                another = one.session(one.reply(serial)[0])
                one.reply(send(one, another.path, SESSION, "AttachProcess", "ua{sv}", tracee.pid, {}, sender=sender))
                another.close()
                for name in (sender, ""):
                    send_signal(one, DBUS_PATH, DBUS, "NameOwnerChanged", "sss", name, name, "", sender=DBUS)
        process.interrupt()
        session.events_until(lambda event: event.kind == "stop")
        self.assertEqual(list(one.list_sessions()), [session.id])


del Policy

if __name__ == "__main__":
    harness.main()
