# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the objects say about themselves is what bus-api/introspection/ documents."""

import glob
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import harness
import wire
from client import INTROSPECTABLE, MANAGER, NAME, OBJECT_MANAGER, PROCESS, PROPERTIES, ROOT, SESSION, THREAD
from service import SOURCE

EMITS_CHANGED = "org.freedesktop.DBus.Property.EmitsChangedSignal"
ZERO = {"u": 0, "t": 0, "i": 0, "s": "", "a{sv}": {}, "b": False, "ay": b"", "a(tt)": []}


def members(interface):
    """An interface element as {(kind, name): what has to agree}."""
    found = {}
    for element in interface:
        if element.tag not in ("method", "signal", "property"):
            continue
        arguments = tuple((a.get("name"), a.get("type"), a.get("direction", "out")) for a in element.findall("arg"))
        changes = next((a.get("value") for a in element.findall("annotation") if a.get("name") == EMITS_CHANGED),
                       "true")
        about = (element.get("type"), element.get("access"), changes) if element.tag == "property" else arguments
        found[element.tag, element.get("name")] = about
    return found


def interfaces(xml):
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", xml))
    return {interface.get("name"): members(interface) for interface in root.findall("interface")}


def children(xml):
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", xml))
    return [node.get("name") for node in root.findall("node")]


def documented():
    found = {}
    for path in glob.glob(os.path.join(SOURCE, "bus-api", "introspection", "*.xml")):
        with open(path) as f:
            found.update(interfaces(f.read()))
    return found


class Introspection:
    def one_of_each(self):
        """A session, a process and a thread, as {interface: object}."""
        self.target = self.tracee("many-threads", 3)
        session = self.new_session(queue=True)
        process = session.attach(self.target.pid)
        return {MANAGER: session.client.manager, SESSION: session, PROCESS: process,
                THREAD: process.thread(self.target.pid)}

    def test_live_interfaces_are_the_documented_ones(self):
        expected = documented()
        self.assertEqual(sorted(expected), sorted((MANAGER, SESSION, PROCESS, THREAD)))
        for name, one in self.one_of_each().items():
            with self.subTest(interface=name):
                live = interfaces(one.introspect())
                self.assertEqual(live[name], expected[name])
                ours = [other for other in live if other.startswith(NAME)]
                self.assertEqual(ours, [name], "another interface of ours, which no file documents")
                self.assertIn(PROPERTIES, live)
                self.assertIn(INTROSPECTABLE, live)

    def test_tree_can_be_walked(self):
        objects = self.one_of_each()
        client = objects[MANAGER].client

        def walk(path, found):
            (xml,) = client.call(path or "/", INTROSPECTABLE, "Introspect")
            found.add(path or "/")
            for child in children(xml):
                walk(f"{path}/{child}", found)
            return found

        found = walk("", set())
        for one in objects.values():
            self.assertIn(one.path, found)
        for tid in self.target.threads():
            self.assertIn(f"{objects[PROCESS].path}/thread/{tid}", found)

    def test_every_documented_method_is_there(self):
        """Each method is called with arguments that are all zero; any answer will do but that it is
        unknown."""
        objects = self.one_of_each()
        for name, expected in documented().items():
            for (kind, member), arguments in expected.items():
                if kind != "method":
                    continue
                types = [t for _, t, direction in arguments if direction == "in"]
                if "h" in types:
                    continue
                with self.subTest(method=f"{name}.{member}"):
                    self.call_blindly(objects[name], member, types)

    def call_blindly(self, one, member, types):
        try:
            one.call(member, "".join(types), *[ZERO[t] for t in types])
        except wire.Error as e:
            self.assertTrue(e.name.startswith(NAME + ".Error.") or e.name.endswith("InvalidArgs"), e)

    def test_every_documented_property_can_be_read(self):
        objects = self.one_of_each()
        for name, expected in documented().items():
            properties = {member: about[0] for (kind, member), about in expected.items() if kind == "property"}
            with self.subTest(interface=name):
                values = objects[name].get_all()
                self.assertEqual({key: value.signature for key, value in values.items()}, properties)
                for key in properties:
                    self.assertEqual(objects[name].get(key), values[key].value)

    def test_standard_errors(self):
        for name, one in self.one_of_each().items():
            with self.subTest(interface=name):
                call = one.client.call
                self.assert_error("org.freedesktop.DBus.Error.UnknownProperty", one.get, "Nonsense")
                self.assert_error("org.freedesktop.DBus.Error.UnknownMethod", one.call, "Nonsense")
                self.assert_error("org.freedesktop.DBus.Error.UnknownProperty", call, one.path, PROPERTIES, "Get",
                                  "ss", NAME + ".Nonsense", "Nonsense")
                some_property = next(iter(one.get_all()))
                self.assert_error("org.freedesktop.DBus.Error.PropertyReadOnly", call, one.path, PROPERTIES, "Set",
                                  "ssv", name, some_property, one.get_all()[some_property])

    def test_managed_objects(self):
        objects = self.one_of_each()
        (managed,) = objects[MANAGER].client.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")
        for name in (SESSION, PROCESS):
            self.assertIn(name, managed[objects[name].path])
            self.assertEqual(wire.plain(managed[objects[name].path][name]), wire.plain(objects[name].get_all()))


class IntrospectionOnTheBus(Introspection, harness.OnTheBus):
    def test_busctl_shows_it(self):
        objects = self.one_of_each()
        tree = self.busctl.run("tree", "--list", NAME)
        self.assertEqual(tree.returncode, 0, tree.stderr)
        for name, one in objects.items():
            with self.subTest(interface=name):
                self.assertIn(one.path, tree.stdout.split())
                shown = self.busctl.run("introspect", NAME, one.path)
                self.assertEqual((shown.returncode, shown.stderr), (0, ""))
                self.assertIn(name, shown.stdout)
                for _, member in documented()[name]:
                    self.assertRegex(shown.stdout, rf"(?m)^\.{member} ")

    def test_log_control(self):
        shown = self.busctl.run("get-property", NAME, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1",
                                "LogLevel")
        self.assertEqual((shown.returncode, shown.stdout), (0, 's "info"\n'), shown.stderr)
        changed = self.busctl.run("set-property", NAME, "/org/freedesktop/LogControl1",
                                  "org.freedesktop.LogControl1", "LogLevel", "s", "debug")
        self.assertEqual(changed.returncode, 0, changed.stderr)

    def test_bus_introspect_option(self):
        broker = self.service.daemons.paths["ptraced"]
        listed = subprocess.run([broker, "--bus-introspect=list"], capture_output=True, text=True, timeout=20,
                                check=False)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        found = {}
        for word in re.findall(r"/org/ptraced\S*", listed.stdout):
            shown = subprocess.run([broker, "--bus-introspect=" + word], capture_output=True, text=True, timeout=20,
                                   check=False)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            found.update(interfaces(shown.stdout))
        expected = documented()
        for name in (MANAGER, SESSION):
            self.assertEqual(found[name], expected[name])


class IntrospectionEmbedded(Introspection, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
