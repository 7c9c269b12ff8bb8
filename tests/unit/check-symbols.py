#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fails when a static library wants anything of libsystemd.

Usage: check-symbols.py NM ARCHIVE
"""

import re
import subprocess
import sys


def main(argv):
    if len(argv) != 3:
        print(__doc__.split('\n\n')[1], file=sys.stderr)
        return 2
    out = subprocess.run(
        [argv[1], '--undefined-only', '--print-file-name', argv[2]],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    undefined = re.findall(r'^(.*):\s+[Uvw] (\S+)$', out, re.MULTILINE)
    if not any(symbol.split('@')[0] == 'ptrace' for _, symbol in undefined):
        print(f'{argv[2]}: does not call ptrace(); is it the core?', file=sys.stderr)
        return 1
    wrong = [(file, symbol) for file, symbol in undefined if symbol.startswith('sd_')]
    for file, symbol in wrong:
        print(f'{file}: needs {symbol} of libsystemd', file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
