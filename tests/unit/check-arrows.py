#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fails when a source file runs against the arrows between the folders.

Usage: check-arrows.py TOP | --self-test

    client/ctl -> client/lib (its public header) -> bus-api <- daemon/broker
    bus-api <- daemon/tracer -> daemon/trace -> libc
    bus-api <- daemon/keeper -> daemon/trace

Every folder of C has a line in ROOMS, which says what it may include beside itself. What is not
allowed is refused, so a new folder has to be given its place here. Included is what the text says,
in quotes or in angle brackets: compiled or not, for this machine or another.
"""

import pathlib
import re
import sys
import tempfile
import unittest

PUBLIC_HEADER = 'client/lib/ptraced/ptraced.h'

# Folder: what it may include, as a folder with a slash behind it, or as one file. An arrow may be
# followed further (client/ctl reaches bus-api), but not by way of sd-bus, see WITHOUT_SYSTEMD.
ROOMS = {
    'bus-api': [],
    'client/ctl': [PUBLIC_HEADER, 'bus-api/'],
    'client/lib': ['bus-api/'],
    'daemon/broker': ['bus-api/'],
    'daemon/keeper': ['daemon/trace/', 'bus-api/'],
    'daemon/trace': [],
    'daemon/tracer': ['daemon/trace/', 'bus-api/', 'daemon/keeper/control.h'],
    'docs/examples': [PUBLIC_HEADER],
}
NOT_CORE = ['daemon/trace']  # knows nothing of the configuration either
GENERATED = ['config.h']

# These speak no D-Bus, not even through what they include.
WITHOUT_SYSTEMD = ['client/ctl', 'daemon/trace']

# Under daemon/ each of these is called in one file alone.
CALLS = [
    (r'\bptrace\s*\(|\b(?:SYS|__NR)_ptrace\b', 'ptrace()', 'daemon/trace/ptrace-ops.c'),
    (
        r'\b(?:waitid|wait4|wait3|waitpid|wait)\s*\(|\b(?:SYS|__NR)_(?:waitid|wait4|waitpid)\b',
        'a wait',
        'daemon/trace/wait.c',
    ),
]

TOKEN = re.compile(
    r'//(?:[^\n\\]|\\.)*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.DOTALL
)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)
DIRECTIVE = re.compile(r'^[ \t]*#[ \t]*include\b[^\n]*', re.MULTILINE)


def blank(match):
    """Keeps line numbers."""
    return re.sub(r'[^\n]', ' ', match.group())


def without_comments(text):
    return TOKEN.sub(lambda m: blank(m) if m.group().startswith('/') else m.group(), text)


def without_strings(text):
    return TOKEN.sub(blank, text)


class Tree:
    def __init__(self, top):
        self.top = pathlib.Path(top)
        self.sources = {}
        for path in sorted(self.top.rglob('*')):
            name = path.relative_to(self.top).as_posix()
            if path.suffix in ('.c', '.h') and path.is_file() and self.is_ours(name):
                text = path.read_text(encoding='utf-8')
                self.sources[name] = without_comments(text)

    @staticmethod
    def is_ours(name):
        return name.startswith(('bus-api/', 'client/', 'daemon/', 'docs/', 'tests/'))

    def room(self, name):
        return name.split('/')[0] if name.startswith('bus-api/') else '/'.join(name.split('/')[:2])

    def includes(self, name):
        """Line, delimiter and what is included."""
        text = self.sources[name]
        for m in INCLUDE.finditer(text):
            yield text.count('\n', 0, m.start()) + 1, m.group(1), m.group(2)

    def resolve(self, delimiter, included):
        """The file of ours that is meant; None: it is none of ours."""
        if included.startswith('ptraced/'):
            return 'client/lib/' + included
        ours = included in GENERATED or self.is_ours(included)
        return included if ours or delimiter == '"' else None

    def exists(self, name):
        generated = name in GENERATED or (self.top / (name + '.in')).is_file()
        return generated or name in self.sources

    def reaches_systemd(self, name, seen):
        """The chain of includes to a header of libsystemd, or None."""
        seen.add(name)
        for _, delimiter, included in self.includes(name):
            if included.startswith('systemd/'):
                return [name, included]
            target = self.resolve(delimiter, included)
            if target in self.sources and target not in seen:
                chain = self.reaches_systemd(target, seen)
                if chain:
                    return [name] + chain
        return None


def is_allowed(room, target):
    if target.startswith(room + '/'):
        return True
    if target in GENERATED:
        return room not in NOT_CORE
    return any(target == a or (a.endswith('/') and target.startswith(a)) for a in ROOMS[room])


def check_includes(tree, name):
    room = tree.room(name)
    for line, delimiter, included in tree.includes(name):
        target = tree.resolve(delimiter, included)
        if target is None:
            continue
        where = f'{name}:{line}: includes {included}'
        if not tree.exists(target):
            yield f'{where}, which is no file as seen from the top folder'
        elif name.startswith('tests/'):
            continue
        elif room not in ROOMS:
            yield f'{where}, but {room} has no place among the folders yet'
        elif not is_allowed(room, target):
            may = ', '.join(ROOMS[room]) or 'nothing'
            yield f'{where}, against the arrows: {room} may include {may} and itself'


def check_systemd(tree, name):
    if tree.room(name) in WITHOUT_SYSTEMD:
        chain = tree.reaches_systemd(name, set())
        if chain:
            yield f'{name}: includes libsystemd: ' + ' -> '.join(chain)


def check_calls(tree, name):
    if not name.startswith('daemon/'):
        return
    text = without_strings(DIRECTIVE.sub(blank, tree.sources[name]))
    for pattern, what, home in CALLS:
        for m in re.finditer(pattern, text):
            if name != home:
                line = text.count('\n', 0, m.start()) + 1
                yield f'{name}:{line}: calls {what}, which only {home} may'


def check(top):
    tree = Tree(top)
    if not tree.sources:
        return [f'{top}: no sources']
    return [
        problem
        for name in tree.sources
        for part in (check_includes, check_systemd, check_calls)
        for problem in part(tree, name)
    ]


class SelfTest(unittest.TestCase):
    """Each wrong thing is found, and what looks like one is not."""

    # What a right tree needs to have, so that only the line under test can be wrong.
    TREE = {
        'bus-api/names.h': '',
        'bus-api/errors.h': '#include <systemd/sd-bus.h>\n',
        'client/lib/internal.h': '',
        PUBLIC_HEADER: '#include <stdint.h>\n',
        'daemon/broker/broker.h': '#include "daemon/broker/generated.h"\n',
        'daemon/broker/generated.h.in': '',
        'daemon/keeper/control.h': '',
        'daemon/keeper/keeper.h': '',
        'daemon/trace/ptrace-ops.c': 'int f(void) { return ptrace(0, 0, 0, 0); }\n',
        'daemon/trace/trace.h': '',
        'daemon/trace/wait.c': 'int g(void) { return waitid(0, 0, 0, 0); }\n',
        'daemon/tracer/tracer.h': '',
        'tests/unit/fixture.h': '',
    }

    def problems(self, name, text):
        with tempfile.TemporaryDirectory() as top:
            for path, content in {**self.TREE, name: text}.items():
                file = pathlib.Path(top, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content, encoding='utf-8')
            return check(top)

    def assert_right(self, name, *lines):
        self.assertEqual(self.problems(name, '\n'.join(lines)), [])

    def assert_wrong(self, name, text, part):
        found = self.problems(name, text)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(name), found)
        self.assertIn(part, found[0])

    def test_along_the_arrows(self):
        system = '#include <stdio.h>'
        self.assert_right('client/ctl/a.c', f'#include "{PUBLIC_HEADER}"', system)
        self.assert_right('client/ctl/a.c', '#include <ptraced/ptraced.h>', '#include "config.h"')
        self.assert_right('client/ctl/a.c', '#include "bus-api/names.h"')
        self.assert_right('client/lib/a.c', '#include "bus-api/errors.h"', system)
        self.assert_right('daemon/broker/a.c', '#include "bus-api/errors.h"')
        self.assert_right('daemon/keeper/a.c', '#include "daemon/trace/trace.h"')
        self.assert_right('daemon/keeper/a.c', '#include "bus-api/errors.h"')
        self.assert_right('daemon/tracer/a.c', '#include "daemon/trace/trace.h"')
        self.assert_right('daemon/tracer/a.c', '#include "daemon/keeper/control.h"')
        self.assert_right('daemon/trace/a.c', '#include "daemon/trace/trace.h"', system)
        self.assert_right('tests/unit/a.c', '#include "daemon/keeper/keeper.h"')

    def test_against_the_arrows(self):
        for name, included in [
            ('bus-api/a.c', 'client/lib/internal.h'),
            ('bus-api/a.h', 'daemon/trace/trace.h'),
            ('client/ctl/a.c', 'client/lib/internal.h'),
            ('client/ctl/a.c', 'daemon/trace/trace.h'),
            ('client/lib/a.c', 'daemon/broker/broker.h'),
            ('client/lib/a.c', 'daemon/keeper/control.h'),
            ('daemon/broker/a.c', 'daemon/trace/trace.h'),
            ('daemon/broker/a.c', 'daemon/keeper/control.h'),
            ('daemon/broker/a.c', 'daemon/tracer/tracer.h'),
            ('daemon/broker/a.c', PUBLIC_HEADER),
            ('daemon/keeper/a.c', 'daemon/tracer/tracer.h'),
            ('daemon/trace/a.c', 'bus-api/names.h'),
            ('daemon/trace/a.c', 'daemon/tracer/tracer.h'),
            ('daemon/trace/a.c', 'config.h'),
            ('daemon/tracer/a.c', 'daemon/keeper/keeper.h'),
            ('daemon/tracer/a.c', 'daemon/broker/broker.h'),
            ('daemon/tracer/a.c', 'tests/unit/fixture.h'),
            ('client/lib/a.c', 'tests/unit/fixture.h'),
        ]:
            with self.subTest(name=name, included=included):
                self.assert_wrong(name, f'#include "{included}"\n', 'against the arrows')
                self.assert_wrong(name, f'#  include\t<{included}>\n', 'against the arrows')

    def test_public_header_is_found_by_its_installed_name(self):
        self.assert_wrong('daemon/broker/a.c', '#include <ptraced/ptraced.h>\n', 'against')

    def test_libsystemd_in_the_core(self):
        for name in ('daemon/trace/a.h', 'client/ctl/a.c'):
            self.assert_wrong(name, '#include <systemd/sd-bus.h>\n', 'libsystemd')

    def test_libsystemd_by_a_way_round(self):
        self.assert_wrong('client/ctl/a.c', '#include "bus-api/errors.h"\n', 'bus-api/errors.h ->')

    def test_include_that_is_relative_to_its_own_folder(self):
        self.assert_wrong('daemon/trace/a.c', '#include "trace.h"\n', 'no file')
        self.assert_wrong('daemon/trace/a.c', '#include "../tracer/tracer.h"\n', 'no file')
        self.assert_wrong('tests/unit/a.c', '#include "fixture.h"\n', 'no file')

    def test_folder_without_a_place(self):
        self.assert_wrong('daemon/new/a.c', '#include "bus-api/names.h"\n', 'no place')

    def test_line_is_told(self):
        self.assert_wrong('daemon/trace/a.c', '/* a\n b */\n#include "config.h"\n', 'a.c:3:')

    def test_comment_includes_nothing(self):
        self.assert_right(
            'daemon/trace/a.c',
            '// #include "config.h"',
            '/*',
            '#include "bus-api/names.h"',
            'ptrace(2) and waitid(2) */',
            'static const char *s = "// ptrace( /*";',
        )

    def test_calls_elsewhere(self):
        for call in (
            'ptrace(PTRACE_CONT, 1, 0, 0);',
            'ptrace (0);',
            'syscall(SYS_ptrace);',
            'waitid(P_ALL, 0, 0, 0);',
            'waitpid(-1, 0, 0);',
            'wait4(1, 0, 0, 0);',
            'wait(0);',
            'syscall(__NR_wait4);',
        ):
            with self.subTest(call=call):
                self.assert_wrong('daemon/keeper/a.c', f'void f(void)\n{{\n{call}\n}}\n', ':3: calls')
                self.assert_wrong('daemon/trace/a.h', f'void f(void)\n{{\n{call}\n}}\n', ':3: calls')
                self.assert_right('client/lib/a.c', call)

    def test_calls_of_other_functions(self):
        self.assert_right(
            'daemon/keeper/a.c',
            '#include <sys/ptrace.h>',
            'void f(void) { ptrace_ops_cont(1, 0); wait_thread(1, 0, 0); do_wait(); }',
        )

    def test_empty_tree_is_no_success(self):
        with tempfile.TemporaryDirectory() as top:
            self.assertEqual(len(check(top)), 1)


def main(argv):
    if argv[1:] == ['--self-test']:
        return 0 if unittest.main(argv=argv[:1], exit=False).result.wasSuccessful() else 1
    if len(argv) != 2:
        print(__doc__.split('\n\n')[1], file=sys.stderr)
        return 2
    problems = check(argv[1])
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
