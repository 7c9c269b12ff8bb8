/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <inttypes.h>

#include "client/ctl/json.h"

void json_start(struct json *j, FILE *out, enum json_mode mode)
{
    *j = (struct json){.out = out, .pretty = mode == JSON_PRETTY};
}

static void put_string(FILE *out, const char *s)
{
    putc('"', out);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        switch (c) {
        case '"':
        case '\\':
            putc('\\', out);
            putc(c, out);
            break;
        case '\n':
            fputs("\\n", out);
            break;
        case '\t':
            fputs("\\t", out);
            break;
        default:
            if (c < 0x20 || c == 0x7f)
                fprintf(out, "\\u%04x", c);
            else
                putc(c, out);
        }
    }
    putc('"', out);
}

static void new_line(struct json *j)
{
    putc('\n', j->out);
    for (unsigned i = 0; i < j->depth; i++)
        putc('\t', j->out);
}

/* What stands before a value: comma, line and indentation, key. */
static void put_lead(struct json *j, const char *key)
{
    uint32_t bit = UINT32_C(1) << j->depth;

    if (j->depth > 0) {
        if (j->filled & bit)
            putc(',', j->out);
        j->filled |= bit;
        if (j->pretty)
            new_line(j);
    }
    if (key) {
        put_string(j->out, key);
        fputs(j->pretty ? " : " : ":", j->out);
    }
}

static void open_container(struct json *j, const char *key, char bracket)
{
    put_lead(j, key);
    putc(bracket, j->out);
    j->depth++;
    assert(j->depth <= JSON_DEPTH_MAX);
    j->filled &= ~(UINT32_C(1) << j->depth);
}

static void close_container(struct json *j, char bracket)
{
    bool filled = j->filled & (UINT32_C(1) << j->depth);

    assert(j->depth > 0);
    j->depth--;
    if (j->pretty && filled)
        new_line(j);
    putc(bracket, j->out);
    if (j->depth == 0)
        putc('\n', j->out);
}

void json_open_object(struct json *j, const char *key)
{
    open_container(j, key, '{');
}

void json_close_object(struct json *j)
{
    close_container(j, '}');
}

void json_open_array(struct json *j, const char *key)
{
    open_container(j, key, '[');
}

void json_close_array(struct json *j)
{
    close_container(j, ']');
}

void json_string(struct json *j, const char *key, const char *value)
{
    put_lead(j, key);
    if (value)
        put_string(j->out, value);
    else
        fputs("null", j->out);
}

void json_integer(struct json *j, const char *key, int64_t value)
{
    put_lead(j, key);
    fprintf(j->out, "%" PRId64, value);
}

void json_unsigned(struct json *j, const char *key, uint64_t value)
{
    put_lead(j, key);
    fprintf(j->out, "%" PRIu64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    put_lead(j, key);
    fputs(value ? "true" : "false", j->out);
}
