# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user can send over the real bus of a booted system that no program of good will sends. It does no harm,
and whoever else there is, is served on."""

import os
import signal

import cases
import client
import wire
from cases import NAME
from users import ALICE, ASK_ME, BOB, PROGRAM, Users

AUTHORITY = "org.freedesktop.PolicyKit1"


class Forged(Users):
    def setUp(self):
        super().setUp()
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        self.mine = self.tracee(PROGRAM, user=ALICE)
        self.session = self.attach(self.client_of(ALICE), self.mine)
        self.other = self.client_of(BOB)
        self.service = self.owner_of(NAME)

    def owner_of(self, name):
        return self.root_bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                  "GetNameOwner", "s", name)[0]

    def send(self, kind, fields, signature="", *args):
        """To the service, by its own name, which needs no policy's word for it."""
        body = wire.Writer()
        for one, value in zip(wire.split_types(signature), args, strict=True):
            body.put(one, value)
        return self.other.connection.send_message(kind, {**fields, wire.DESTINATION: self.service,
                                                         wire.SIGNATURE: signature or None}, body,
                                                  wire.NO_REPLY_EXPECTED)

    def assert_served_on(self):
        self.other.list_sessions() # what it has sent has come along
        process = self.session.process(self.mine.inside)
        process.interrupt()
        self.session.events_until(lambda event: event.kind == "stop")
        self.assertEqual(list(self.session.client.list_sessions()), [self.session.id])

    def test_departure_of_another_user_is_the_buss_to_tell(self):
        name = self.session.client.connection.name
        for sender in (None, "org.freedesktop.DBus"):
            for interface, member, signature, args in (
                    ("org.freedesktop.DBus", "NameOwnerChanged", "sss", (name, name, "")),
                    ("org.freedesktop.DBus", "NameOwnerChanged", "sss", (AUTHORITY, name, "")),
                    ("org.freedesktop.DBus", "NameLost", "s", (NAME,))):
                self.send(wire.SIGNAL, {wire.PATH: "/org/freedesktop/DBus", wire.INTERFACE: interface,
                                        wire.MEMBER: member, wire.SENDER: sender}, signature, *args)
        self.assert_served_on()

    def test_answer_to_a_question_is_polkits_to_give(self):
        """While it thinks, the one who waits answers in its place, by all the numbers that the question can have."""
        target = self.tracee(PROGRAM, user=ALICE)
        polkit = self.machine.outside(int(self.machine.show("polkit.service", "MainPID")))
        attaching = self.client_of(BOB).create_session()
        os.kill(polkit, signal.SIGSTOP)
        try:
            serial = attaching.send("AttachProcess", "ua{sv}", target.inside, client.options())
            attaching.client.manager.get("Version") # it has come along, and the keeper is asked first
            self.new_session().attach(self.tracee(PROGRAM).inside)
            for sender in (None, self.owner_of(AUTHORITY)):
                for number in range(1, 2000):
                    self.send(wire.METHOD_RETURN, {wire.REPLY_SERIAL: number, wire.SENDER: sender}, "(bba{ss})",
                              (True, False, {}))
            self.other.manager.get("Version")
            self.assertFalse(attaching.client.connection.has_reply(serial))
        finally:
            os.kill(polkit, signal.SIGCONT)
        with self.assertRaises(wire.Error) as caught:
            attaching.client.reply(serial)
        self.assertEqual(caught.exception.name, ASK_ME)
        self.assertEqual(cases.harness.procfs.tracer_pid(target.pid), 0)
        self.assert_served_on()

    def test_message_with_hundreds_of_descriptors_reaches_nobody(self):
        """The bus itself takes no more than some."""
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        for n in (100, 253):
            abuser = self.client_of(BOB)
            try:
                serial = abuser.send(client.ROOT, client.MANAGER, "CreateSession", "a{sv}",
                                     {"name": wire.Variant("ah", [null] * n)})
                with self.assertRaises((wire.Error, ConnectionError)):
                    abuser.reply(serial)
            except BrokenPipeError:
                pass
        self.assert_served_on()


if __name__ == "__main__":
    cases.main()
