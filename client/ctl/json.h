/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes JSON to a stream, value by value. Errors stay in the stream: ask ferror() at the end.
 *
 * Strings must be UTF-8: what comes by D-Bus is, and what a program chose goes through
 * ptraced_escape() first. A key is NULL inside an array and at the top. */

enum json_mode {
    JSON_OFF,
    JSON_SHORT,  /* one line for each value at the top */
    JSON_PRETTY, /* indented */
};

#define JSON_DEPTH_MAX 31u

struct json {
    FILE *out;
    bool pretty;
    unsigned depth;
    uint32_t filled; /* bit d: something was written at depth d, the next needs a comma */
};

void json_start(struct json *j, FILE *out, enum json_mode mode);

/* Objects and arrays, up to JSON_DEPTH_MAX of them inside each other. Closing the outermost ends
 * the line. */
void json_open_object(struct json *j, const char *key);
void json_close_object(struct json *j);
void json_open_array(struct json *j, const char *key);
void json_close_array(struct json *j);

void json_string(struct json *j, const char *key, const char *value); /* NULL: null */
void json_integer(struct json *j, const char *key, int64_t value);
void json_unsigned(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
