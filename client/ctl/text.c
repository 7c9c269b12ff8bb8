/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/ctl/text.h"

void text_make_printable(char *s, size_t n)
{
    unsigned char *p = (unsigned char *)s;

    for (size_t i = 0; i < n; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f)
            p[i] = '?';
        /* U+0080 to U+009F, the other control characters */
        else if (p[i] == 0xc2 && i + 1 < n && p[i + 1] >= 0x80 && p[i + 1] < 0xa0)
            p[i] = p[i + 1] = '?';
    }
}

size_t text_width(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}
