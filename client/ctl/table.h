/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options;

/* A list, gathered row by row, cell by cell, and printed at its end: as a table for people, in a
 * pager where one is wanted, or as a JSON array of objects. */

struct column {
    const char *title; /* of the table */
    const char *key;   /* in JSON */
};

struct cell {
    char *text;
    bool number; /* aligned to the right, and without quotes in JSON */
};

struct table {
    const struct column *columns;
    size_t n_columns;
    struct cell *cells; /* row after row */
    size_t n_cells, allocated;
};

/* The columns must outlive the table. */
#define TABLE(array) ((struct table){.columns = (array), .n_columns = ELEMENTSOF(array)})

/* -ENOMEM. A text of NULL is shown as "-", and null in JSON. The text is copied. */
int table_add_text(struct table *t, const char *text);
int table_add_number(struct table *t, uint64_t number);

/* Prints it with a summary line: "2 sessions listed." */
void table_print(const struct table *t, const struct options *o, const char *one, const char *many);

/* Frees what the table owns. */
void table_done(struct table *t);
