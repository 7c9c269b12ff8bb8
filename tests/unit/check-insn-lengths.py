#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the length of every instruction in a sample with what objdump says.

Usage: check-insn-lengths.py INSN_LENGTHS OBJDUMP [--all] [FILE...]

The sample is code of this machine (bash and libc, decoded as what it is), and random bytes with the
prefixes and opcodes of a fixed seed, decoded for 64 and 32 bits: there is no compiler that writes
the rare ones. What objdump calls (bad) is not compared.
"""

import argparse
import collections
import pathlib
import random
import re
import subprocess
import sys
import tempfile

LINE = re.compile(r'^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$')
TARGET = {'x86_64': 'i386:x86-64', 'i386': 'i386'}
SAMPLE = 150_000  # instructions of a file
RANDOM = 60_000  # random instructions
SEED = 4711
PREFIX_BYTES = {
    'x86_64': rb'[\x26\x2e\x36\x3e\x64-\x67\xf0\xf2\xf3\x40-\x4f]*',
    'i386': rb'[\x26\x2e\x36\x3e\x64-\x67\xf0\xf2\xf3]*',
}
ALLOWED_WITH_VEX = set(b'\x26\x2e\x36\x3e\x64\x65\x67')
PREFIXES = 'cs ds es ss fs gs data16 addr16 addr32 lock rep repz repnz bnd notrack'.split()


def disassemble(objdump, arguments, limit):
    """Bytes and text of each instruction."""
    command = [objdump, '--wide', '--insn-width=16', *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = []
        for line in process.stdout:
            m = LINE.match(line)
            if m:
                found.append((bytes.fromhex(m.group(1)), m.group(2).strip()))
            if limit and len(found) >= limit:
                process.kill()
                break
        return found


def decode(program, isa, codes):
    lines = ''.join(code.hex() + '\n' for code in codes)
    out = subprocess.run(
        [program, isa], input=lines, capture_output=True, text=True, check=True
    ).stdout
    return [(int(length), name) for length, name in (line.split() for line in out.splitlines())]


def random_instruction(r):
    """Random bytes, though with more prefixes and escapes than chance would have."""
    prefixes = bytes(r.choice(b'\x66\x67\xf2\xf3\x2e\x64\xf0') for _ in range(r.choice((0, 0, 1, 2))))
    escape = r.choice((b'', b'', b'\x0f', b'\x0f\x38', b'\x0f\x3a', b'\xc5', b'\xc4', b'\x62', b'\x48'))
    return (prefixes + escape + r.randbytes(16))[:16]


def random_instructions(objdump, isa, count):
    """Each at an address of its own, a multiple of 32: padding of nops lets objdump find its feet."""
    r = random.Random(SEED)
    codes = [random_instruction(r) for _ in range(count)]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b''.join(code + b'\x90' * 16 for code in codes))
        file.flush()
        command = [objdump, '--wide', '--insn-width=16', '-D', '-z', '-b', 'binary']
        command += ['-m', TARGET[isa], file.name]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in out.splitlines():
        m = LINE.match(line)
        if m and int(line.split(':')[0], 16) % 32 == 0:
            code = codes[int(line.split(':')[0], 16) // 32]
            found.append((bytes.fromhex(m.group(1)), m.group(2).strip(), code))
    return found


def is_exception(code, text, isa):
    """Where objdump answers another question than the processor does."""
    words = text.replace(':', ' ').split()
    name = next((word for word in words if word not in PREFIXES), '')
    prefixes = re.match(PREFIX_BYTES[isa], code, re.DOTALL).group()
    return (
        # it guesses
        'bad}' in text
        or '(bad)' in text
        # prefixes on a line of their own
        or not name or name.startswith(('rex', '.byte'))
        # VEX, EVEX and XOP do not go with these: #UD
        or (set(prefixes) - ALLOWED_WITH_VEX and code[len(prefixes)] in b'\xc4\xc5\x62\x8f')
        # fwait belongs to the next instruction
        or 0x9B in code[:-2]
        # registers of the 386, instructions of VIA
        or '%tr' in text
        or name.startswith(('x', 'montmul'))
        # branches of 16 bits: Intel's processors and AMD's disagree, so that none is known here
        or (isa == 'x86_64' and 0x66 in code and re.match(r'j|call', name))
    )


def compare(name, program, isa, samples):
    """samples: what objdump took, its text, and the bytes that it saw."""
    counts = collections.Counter()
    wrong = []
    answers = decode(program, isa, [seen for _, _, seen in samples])
    for (code, text, _), (length, kind) in zip(samples, answers, strict=True):
        counts[kind] += 1
        if length == len(code):
            continue
        if is_exception(code, text, isa):
            counts['not compared'] += 1
        else:
            wrong.append(f'{isa} {code.hex()} {text}: objdump {len(code)}, here {length}')
    shares = (f'{kind} {100 * n / len(samples):.2f} %' for kind, n in counts.most_common())
    print(f'{name} ({isa}): {len(samples)} instructions, ' + ', '.join(shares))
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    parser.add_argument('objdump')
    parser.add_argument('--all', action='store_true', help='all of the files, not a sample')
    parser.add_argument('files', nargs='*')
    arguments = parser.parse_args()
    wrong = []
    for file in arguments.files:
        limit = None if arguments.all else SAMPLE
        found = disassemble(arguments.objdump, ['-d', '-j', '.text', file], limit)
        samples = [(code, text, code) for code, text in found]
        wrong += compare(file, arguments.program, 'x86_64', samples)
    for isa in TARGET:
        samples = random_instructions(arguments.objdump, isa, RANDOM)
        wrong += compare('random', arguments.program, isa, samples)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
