/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/json.h"
#include "client/ctl/options.h"
#include "client/ctl/pager.h"
#include "client/ctl/table.h"
#include "client/ctl/text.h"

#define COLUMNS_MAX 8u

static int add(struct table *t, char *text, bool number)
{
    if (t->n_cells == t->allocated) {
        size_t more = t->allocated ? t->allocated * 2 : 32;
        struct cell *cells = reallocarray(t->cells, more, sizeof(*cells));

        if (!cells) {
            free(text);
            return -ENOMEM;
        }
        t->cells = cells;
        t->allocated = more;
    }
    t->cells[t->n_cells++] = (struct cell){.text = text, .number = number};
    return 0;
}

int table_add_text(struct table *t, const char *text)
{
    char *copy = NULL;

    if (text) {
        copy = strdup(text);
        if (!copy)
            return -ENOMEM;
    }
    return add(t, copy, false);
}

int table_add_number(struct table *t, uint64_t number)
{
    char *text;

    if (asprintf(&text, "%" PRIu64, number) < 0)
        return -ENOMEM;
    return add(t, text, true);
}

static void print_json(const struct table *t, enum json_mode mode)
{
    struct json j;

    json_start(&j, stdout, mode);
    json_open_array(&j, NULL);
    for (size_t i = 0; i < t->n_cells; i++) {
        const struct column *column = &t->columns[i % t->n_columns];
        const struct cell *cell = &t->cells[i];

        if (i % t->n_columns == 0)
            json_open_object(&j, NULL);
        if (cell->number)
            json_unsigned(&j, column->key, strtoull(cell->text, NULL, 10));
        else
            json_string(&j, column->key, cell->text);
        if ((i + 1) % t->n_columns == 0)
            json_close_object(&j);
    }
    json_close_array(&j);
}

/* A column is as wide as its widest cell; the last one is padded only if it holds numbers. */
static void print_cell(const char *text, size_t width, bool right, bool last)
{
    size_t n = text_width(text);
    int padding = width > n ? (int)(width - n) : 0;

    if (right)
        printf("%*s%s", padding, "", text);
    else
        printf("%s%*s", text, last ? 0 : padding, "");
    putchar(last ? '\n' : ' ');
}

static const char *shown(struct cell *cell)
{
    if (!cell->text || *cell->text == '\0')
        return "-";
    text_make_printable(cell->text, strlen(cell->text));
    return cell->text;
}

static void measure(const struct table *t, bool legend, size_t widths[static COLUMNS_MAX])
{
    for (size_t i = 0; i < t->n_columns; i++)
        widths[i] = legend ? text_width(t->columns[i].title) : 0;
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t n = text_width(shown(&t->cells[i])), *width = &widths[i % t->n_columns];

        if (n > *width)
            *width = n;
    }
}

static void print_rows(const struct table *t, bool legend)
{
    size_t widths[COLUMNS_MAX];

    measure(t, legend, widths);
    for (size_t i = 0; legend && i < t->n_columns; i++)
        print_cell(t->columns[i].title, widths[i], t->n_cells > 0 && t->cells[i].number,
                   i + 1 == t->n_columns);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t column = i % t->n_columns;

        print_cell(shown(&t->cells[i]), widths[column], t->cells[i].number,
                   column + 1 == t->n_columns);
    }
}

void table_print(const struct table *t, const struct options *o, const char *one, const char *many)
{
    size_t n_rows = t->n_cells / t->n_columns;
    struct pager pager;

    assert(t->n_columns <= COLUMNS_MAX && t->n_cells % t->n_columns == 0);
    if (o->json != JSON_OFF) {
        print_json(t, o->json);
        return;
    }
    pager_open(&pager, o);
    if (n_rows > 0)
        print_rows(t, !o->no_legend);
    if (!o->no_legend) {
        if (n_rows == 0)
            printf("No %s.\n", many);
        else
            printf("\n%zu %s listed.\n", n_rows, n_rows == 1 ? one : many);
    }
    pager_close(&pager);
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i].text);
    free(t->cells);
    *t = (struct table){0};
}
