/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>

#include "bus-api/escape.h"

/* The length of the well-formed UTF-8 sequence at p (Unicode, table 3-7), or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t n, uint32_t *ret)
{
    uint32_t c, lowest;
    size_t length;

    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    if ((p[0] & 0xe0) == 0xc0) {
        length = 2;
        lowest = 0x80;
        c = p[0] & 0x1f;
    } else if ((p[0] & 0xf0) == 0xe0) {
        length = 3;
        lowest = 0x800;
        c = p[0] & 0x0f;
    } else if ((p[0] & 0xf8) == 0xf0) {
        length = 4;
        lowest = 0x10000;
        c = p[0] & 0x07;
    } else
        return 0;

    if (length > n)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < lowest || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return length;
}

/* Control characters, and those that turn the direction of text or break a line. */
static int printable(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == '\\')
        return 0;
    if (c == 0x2028 || c == 0x2029 || c == 0x200e || c == 0x200f || c == 0x061c)
        return 0;
    if ((c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
        return 0;
    return (c & 0xfffe) != 0xfffe && !(c >= 0xfdd0 && c <= 0xfdef);
}

char *ptraced_escape(const char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = (const uint8_t *)bytes;
    char *escaped, *out;

    out = escaped = malloc(n * 4 + 1);
    if (!escaped)
        return NULL;

    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t length = utf8_sequence(p + i, n - i, &c), end;

        end = i + (length ? length : 1);
        if (length && printable(c)) {
            while (i < end)
                *out++ = (char)p[i++];
            continue;
        }
        for (; i < end; i++) {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[p[i] >> 4];
            *out++ = digits[p[i] & 15];
        }
    }
    *out = '\0';
    return escaped;
}
