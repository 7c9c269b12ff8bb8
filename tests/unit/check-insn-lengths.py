#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the length of every instruction in a sample with what objdump says.

Usage: check-insn-lengths.py [--all] INSN_LENGTHS [FILE...]

The sample is code of this machine (the shell's and libc's; --all takes the whole of it), and random
bytes with the prefixes and escapes that instructions have, decoded for 64 and 32 bits: no compiler
writes the rare ones. In code, every length must be the same. In random bytes it must be where both
know the instruction; what is known here alone is no instruction by objdump (it says "(bad)"), and
what objdump alone knows has to be one of UNKNOWN_HERE. The shares of the classes are printed.
"""

import argparse
import collections
import itertools
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
SAMPLE = 60_000  # instructions of a file
RANDOM = 30_000  # random instructions
SLOT = 32  # bytes for each of them, filled up with nops
SEED = 4711
TARGET = {'x86_64': 'i386:x86-64', 'i386': 'i386'}

LINE = re.compile(r'^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$')
PREFIXES = 'cs ds es ss fs gs data16 addr16 addr32 lock rep repz repnz bnd notrack'.split()
PREFIX_BYTES = {
    'x86_64': re.compile(rb'[\x26\x2e\x36\x3e\x64-\x67\xf0\xf2\xf3\x40-\x4f]*', re.DOTALL),
    'i386': re.compile(rb'[\x26\x2e\x36\x3e\x64-\x67\xf0\xf2\xf3]*', re.DOTALL),
}
# Any other before VEX, EVEX or XOP: #UD.
ALLOWED_WITH_VEX = set(b'\x26\x2e\x36\x3e\x64\x65\x67')


def name_of(text):
    words = text.replace(':', ' ').split()
    return next((word for word in words if word not in PREFIXES), '')


def is_whole_instruction(code, text):
    """Not where objdump guesses, or prints prefixes or data on a line of their own, or takes an
    fwait for a part of the instruction behind it."""
    name = name_of(text)
    is_apart = not name or name.startswith(('rex', '.byte', 'fwait'))
    return not (is_apart or '(bad)' in text or 'bad}' in text or 0x9B in code[:-2])


def is_unknown_here(code, text, isa):
    """UNKNOWN_HERE: what may be left to step in place, because processors disagree or have none."""
    prefixes = PREFIX_BYTES[isa].match(code).group()
    name = name_of(text)
    return bool(
        (set(prefixes) - ALLOWED_WITH_VEX and code[len(prefixes)] in b'\xc4\xc5\x62\x8f')
        # registers of the 386, instructions of VIA
        or '%tr' in text
        or name.startswith(('xcrypt', 'xstore', 'xsha', 'montmul'))
        # branches of 16 bits
        or (isa == 'x86_64' and 0x66 in prefixes and name.startswith(('j', 'call')))
    )


def disassemble(objdump, arguments):
    """Address, bytes and text of each instruction."""
    command = [objdump, '--wide', '--insn-width=16', *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for m in map(LINE.match, process.stdout):
                if m:
                    yield int(m.group(1), 16), bytes.fromhex(m.group(2)), m.group(3).strip()
        finally:
            process.kill()


def decode(program, isa, codes):
    """Length and class of each."""
    lines = ''.join(code.hex() + '\n' for code in codes)
    result = subprocess.run([program, isa], input=lines, capture_output=True, text=True, check=True)
    for line in result.stdout.splitlines():
        length, name = line.split()
        yield int(length), name


def random_instruction(r):
    prefixes = bytes(r.choice(b'\x66\x67\xf2\xf3\x2e\x64\xf0') for _ in range(r.choice((0, 0, 1, 2))))
    escapes = (b'', b'', b'\x0f', b'\x0f\x38', b'\x0f\x3a', b'\xc5', b'\xc4', b'\x62', b'\x48')
    return (prefixes + r.choice(escapes) + r.randbytes(16))[:16]


def random_samples(objdump, isa):
    """Each in a slot of its own: the nops behind it let objdump find its feet again."""
    r = random.Random(SEED)
    codes = [random_instruction(r) for _ in range(RANDOM)]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b''.join(code.ljust(SLOT, b'\x90') for code in codes))
        file.flush()
        arguments = ['-D', '-z', '-b', 'binary', '-m', TARGET[isa], file.name]
        for address, code, text in disassemble(objdump, arguments):
            if address % SLOT == 0:
                yield code, text, codes[address // SLOT]


def file_samples(objdump, path, limit):
    found = disassemble(objdump, ['-d', '-j', '.text', path])
    for _, code, text in itertools.islice(found, limit):
        yield code, text, code


def compare(name, program, isa, samples, is_code):
    """samples: what objdump took, its text, and what is decoded here. Returns what is wrong."""
    samples = [s for s in samples if is_whole_instruction(s[0], s[1])]
    answers = decode(program, isa, (seen for _, _, seen in samples))
    classes = collections.Counter()
    wrong = []
    for (code, text, _), (length, kind) in zip(samples, answers, strict=True):
        may_be_unknown = not is_code and is_unknown_here(code, text, isa)
        classes['unknown' if length == 0 else kind] += 1
        if length != len(code) and not (length == 0 and may_be_unknown):
            wrong.append(f'{isa} {code.hex()} {text}: {len(code)} bytes by objdump, here {length}')
    shares = (f'{kind} {100 * n / len(samples):.2f} %' for kind, n in classes.most_common())
    print(f'{name} ({isa}): {len(samples)} instructions, ' + ', '.join(shares))
    if not samples:
        wrong.append(f'{name}: objdump found no instruction')
    return wrong


def code_of_this_machine():
    """Libc's file is mapped here."""
    mapped = re.findall(r'(/\S*/libc[.-]\S*)$', pathlib.Path('/proc/self/maps').read_text(), re.M)
    return [shutil.which('bash') or '/bin/sh', *sorted(set(mapped))[:1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--all', action='store_true', help='the whole of each file')
    parser.add_argument('program')
    parser.add_argument('files', nargs='*')
    arguments = parser.parse_args()
    objdump = shutil.which('objdump')
    if not objdump:
        print('objdump (binutils) is missing: lengths are not compared')
        return SKIPPED

    wrong = []
    for path in arguments.files or code_of_this_machine():
        samples = file_samples(objdump, path, None if arguments.all else SAMPLE)
        wrong += compare(path, arguments.program, 'x86_64', samples, is_code=True)
    for isa in TARGET:
        samples = random_samples(objdump, isa)
        wrong += compare('random', arguments.program, isa, samples, is_code=False)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
