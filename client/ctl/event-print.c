/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/escape.h"
#include "client/ctl/event-print.h"
#include "client/ctl/signame.h"
#include "client/ctl/text.h"

#define KIND_WIDTH 10u /* of the longest kinds but those of system calls */

#define COLOUR_OFF "\x1b[0m"
#define COLOUR_BIRTH "\x1b[32m"
#define COLOUR_END "\x1b[31m"
#define COLOUR_SIGNAL "\x1b[33m"

void event_printer_init(struct event_printer *p, FILE *out, enum json_mode mode)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");

    *p = (struct event_printer){
        .out = out,
        .json = mode,
        .colour = isatty(fileno(out)) && !(no_colour && *no_colour) &&
                  !(terminal && strcmp(terminal, "dumb") == 0),
        .width = 11,
    };
}

static void write_numbers(struct json *j, const ptraced_event *e, const char *key)
{
    const uint64_t *v;
    size_t n;

    if (ptraced_event_get_detail_numbers(e, key, &v, &n) < 0)
        return;
    json_open_array(j, key);
    for (size_t i = 0; i < n; i++)
        json_unsigned(j, NULL, v[i]);
    json_close_array(j);
}

/* Bytes as text, those that are no printable UTF-8 as \xNN. */
static void write_captures(struct json *j, const ptraced_event *e, const char *key)
{
    unsigned argument;
    const void *bytes;
    size_t size;

    json_open_array(j, key);
    for (unsigned i = 0; ptraced_event_get_capture(e, i, &argument, &bytes, &size) >= 0; i++) {
        char *text = ptraced_escape(bytes, size);

        json_open_object(j, NULL);
        json_unsigned(j, "argument", argument);
        json_string(j, "bytes", text);
        json_close_object(j);
        free(text);
    }
    json_close_array(j);
}

static void write_detail(struct json *j, const ptraced_event *e, const char *key, char type)
{
    int64_t v = 0;

    if (type == 's') {
        json_string(j, key, ptraced_event_get_detail_string(e, key));
        return;
    }
    if (type == 'N')
        write_numbers(j, e, key);
    else if (type == 'C')
        write_captures(j, e, key);
    else if (ptraced_event_get_detail(e, key, &v) < 0)
        json_string(j, key, NULL);
    else if (type == 'b')
        json_bool(j, key, v != 0);
    else if (type == 't')
        json_unsigned(j, key, (uint64_t)v);
    else
        json_integer(j, key, v);
}

void event_write_json(struct json *j, const ptraced_event *e)
{
    const char *key;
    char type;

    json_open_object(j, NULL);
    json_unsigned(j, "serial", ptraced_event_get_serial(e));
    json_unsigned(j, "usec", ptraced_event_get_usec(e));
    json_integer(j, "pid", ptraced_event_get_pid(e));
    json_integer(j, "tid", ptraced_event_get_tid(e));
    json_string(j, "event", ptraced_event_get_kind_name(e));
    json_bool(j, "stopped", ptraced_event_get_stopped(e));
    json_open_object(j, "details");
    for (unsigned i = 0; (key = ptraced_event_get_detail_key(e, i, &type)); i++)
        write_detail(j, e, key, type);
    json_close_object(j);
    json_close_object(j);
}

static const char *colour_of(enum ptraced_event_kind kind)
{
    switch (kind) {
    case PTRACED_EVENT_CLONE:
    case PTRACED_EVENT_FORK:
    case PTRACED_EVENT_VFORK:
    case PTRACED_EVENT_EXEC:
        return COLOUR_BIRTH;
    case PTRACED_EVENT_EXITED:
    case PTRACED_EVENT_KILLED:
    case PTRACED_EVENT_LOST:
        return COLOUR_END;
    case PTRACED_EVENT_SIGNAL:
    case PTRACED_EVENT_GROUP_STOP:
    case PTRACED_EVENT_STOP:
        return COLOUR_SIGNAL;
    default:
        return "";
    }
}

static void print_time(struct event_printer *p, uint64_t usec)
{
    uint64_t distance;

    if (!p->started) {
        p->started = true;
        p->origin = usec;
    }
    /* Tracers of several processes need not be heard in order. */
    distance = usec >= p->origin ? usec - p->origin : p->origin - usec;
    fprintf(p->out, "[%c%4" PRIu64 ".%06" PRIu64 "] ", usec >= p->origin ? ' ' : '-',
            distance / 1000000, distance % 1000000);
}

/* Text of the service, which may have it from a program. */
static void print_string(FILE *out, const char *s)
{
    char clean[256];

    snprintf(clean, sizeof(clean), "%s", s);
    text_make_printable(clean, strlen(clean));
    fputs(clean, out);
}

static void print_numbers(FILE *out, const ptraced_event *e, const char *key)
{
    const uint64_t *v;
    size_t n;

    if (ptraced_event_get_detail_numbers(e, key, &v, &n) < 0)
        return;
    fprintf(out, " %s=", key);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s0x%" PRIx64, i > 0 ? "," : "", v[i]);
}

static void print_captures(FILE *out, const ptraced_event *e)
{
    unsigned argument;
    const void *bytes;
    size_t size;

    for (unsigned i = 0; ptraced_event_get_capture(e, i, &argument, &bytes, &size) >= 0; i++) {
        char *text = ptraced_escape(bytes, size);

        fprintf(out, " arg%u=\"%s\"", argument, text ? text : "");
        free(text);
    }
}

static void print_detail(FILE *out, const ptraced_event *e, const char *key, char type)
{
    char name[SIGNAME_MAX];
    int64_t v = 0;

    if (type == 's') {
        const char *s = ptraced_event_get_detail_string(e, key);

        fprintf(out, " %s=", key);
        print_string(out, s ? s : "");
        return;
    }
    if (type == 'N')
        print_numbers(out, e, key);
    else if (type == 'C')
        print_captures(out, e);
    if (ptraced_event_get_detail(e, key, &v) < 0)
        return;
    if (strcmp(key, "address") == 0)
        fprintf(out, " address=0x%" PRIx64, (uint64_t)v);
    else if (strcmp(key, "signal") == 0)
        fprintf(out, " signal=%s", signame((int)v, name));
    else if (strcmp(key, "core") == 0)
        fputs(v ? " (core dumped)" : "", out);
    else if (type == 'b')
        fprintf(out, " %s=%s", key, v ? "yes" : "no");
    else
        fprintf(out, " %s=%" PRId64, key, v);
}

static void print_signal(FILE *out, const ptraced_event *e)
{
    int64_t signo = 0, code = 0, pid, uid;
    char name[SIGNAME_MAX];

    ptraced_event_get_detail(e, "signal", &signo);
    fprintf(out, " %s", signame((int)signo, name));
    if (ptraced_event_get_detail(e, "sender-pid", &pid) >= 0 &&
        ptraced_event_get_detail(e, "sender-uid", &uid) >= 0)
        fprintf(out, " from pid %" PRId64 " uid %" PRId64, pid, uid);
    else if (ptraced_event_get_detail(e, "code", &code) >= 0 && code != 0)
        fprintf(out, " code=%" PRId64, code);
}

static void print_lost(FILE *out, const ptraced_event *e)
{
    const char *reason = ptraced_event_get_detail_string(e, "reason");
    int64_t process = 0;

    ptraced_event_get_detail(e, "process", &process);
    fputc(' ', out);
    print_string(out, reason ? reason : "for a reason unknown");
    if (process)
        fputs(" (whole process)", out);
}

static void print_details(FILE *out, const ptraced_event *e)
{
    const char *key;
    char type;

    switch (ptraced_event_get_kind(e)) {
    case PTRACED_EVENT_SIGNAL:
        print_signal(out, e);
        break;
    case PTRACED_EVENT_LOST:
        print_lost(out, e);
        break;
    default:
        for (unsigned i = 0; (key = ptraced_event_get_detail_key(e, i, &type)); i++)
            print_detail(out, e, key, type);
    }
}

void event_print_words(FILE *out, const ptraced_event *e)
{
    print_string(out, ptraced_event_get_kind_name(e));
    print_details(out, e);
}

/* An exec by the leader, as most are, has no tale to tell. */
static bool is_leaders_exec(const ptraced_event *e)
{
    int64_t old;

    return ptraced_event_get_kind(e) == PTRACED_EVENT_EXEC &&
           ptraced_event_get_detail(e, "old-tid", &old) >= 0 && old == ptraced_event_get_tid(e);
}

/* Details line up, and a line without any has no spaces at its end. */
static void print_padded_details(FILE *out, const ptraced_event *e)
{
    size_t n = strlen(ptraced_event_get_kind_name(e));
    char type;

    if (is_leaders_exec(e) || !ptraced_event_get_detail_key(e, 0, &type))
        return;
    if (n < KIND_WIDTH)
        fprintf(out, "%*s", (int)(KIND_WIDTH - n), "");
    print_details(out, e);
}

static void print_line(struct event_printer *p, const ptraced_event *e)
{
    enum ptraced_event_kind kind = ptraced_event_get_kind(e);
    const char *colour = p->colour ? colour_of(kind) : "";
    char who[32];
    int n;

    n = snprintf(who, sizeof(who), "%d/%d", ptraced_event_get_pid(e), ptraced_event_get_tid(e));
    if (n > p->width)
        p->width = n;
    print_time(p, ptraced_event_get_usec(e));
    fprintf(p->out, "%-*s %s", p->width, who, colour);
    print_string(p->out, ptraced_event_get_kind_name(e));
    fputs(*colour ? COLOUR_OFF : "", p->out);
    print_padded_details(p->out, e);
    /* `stop` says so itself. */
    if (ptraced_event_get_stopped(e) && kind != PTRACED_EVENT_STOP)
        fputs(" [stopped]", p->out);
    fputc('\n', p->out);
}

void event_print(struct event_printer *p, const ptraced_event *e)
{
    struct json j;

    if (p->json == JSON_OFF) {
        print_line(p, e);
        return;
    }
    json_start(&j, p->out, p->json);
    event_write_json(&j, e);
}
