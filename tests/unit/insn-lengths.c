/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "daemon/trace/insn.h"

/* insn-lengths i386|x86_64 <lines: for each, "LENGTH CLASS"; the length is 0 where the
 * instruction is not known. A line has the bytes in hexadecimal. */

static size_t parse(const char *line, uint8_t *bytes, size_t max)
{
    size_t n = 0;
    unsigned byte;

    while (n < max && sscanf(line + 2 * n, "%2x", &byte) == 1)
        bytes[n++] = (uint8_t)byte;
    return n;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"in-place", "displace", "emulate", "syscall"};
    char line[128];
    enum insn_isa isa = argc > 1 && strcmp(argv[1], "i386") == 0 ? INSN_I386 : INSN_X86_64;

    while (fgets(line, sizeof(line), stdin)) {
        uint8_t bytes[16];
        size_t n = parse(line, bytes, sizeof(bytes));
        struct insn insn;

        if (insn_decode(bytes, n, isa, 0, &insn) < 0)
            puts("0 in-place");
        else
            printf("%u %s\n", insn.length, names[insn.class]);
    }
    return ferror(stdin) || fflush(stdout) != 0;
}
