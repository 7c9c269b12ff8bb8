/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "bus-api/paths.h"

/* The event record and its D-Bus form, (ttousba{sv}). The tracer writes it, the client library
 * reads it, and the broker copies it without looking inside. */

#define PTRACED_EVENT_DETAILS_MAX 16u
#define PTRACED_EVENT_KEY_MAX 23u

/* Beside the basic types of D-Bus: */
#define PTRACED_DETAIL_NUMBERS 'N'  /* at */
#define PTRACED_DETAIL_CAPTURES 'C' /* a(uay): argument of a system call, what it points to */

/* One capture as it stands in a detail, followed by its bytes and, unpadded, by the next. */
struct ptraced_capture {
    uint32_t argument;
    uint32_t size;
};

/* One entry of details. What it points to is owned by the record. */
struct ptraced_detail {
    char key[PTRACED_EVENT_KEY_MAX + 1];
    char type;  /* SD_BUS_TYPE_INT32, _UINT32, _INT64, _UINT64, _BOOLEAN, _STRING, or as above */
    uint32_t n; /* NUMBERS: how many; CAPTURES: bytes */
    union {
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        bool b;
        char *s;
        uint64_t *numbers;
        uint8_t *captures;
        void *owned; /* STRING, NUMBERS, CAPTURES */
    };
};

struct ptraced_event_record {
    uint64_t serial; /* counts up by one per session and process, from 1; a gap was lost */
    uint64_t usec;   /* CLOCK_MONOTONIC, when the tracer learnt of it */
    char session[PTRACED_SESSION_ID_MAX + 1];
    pid_t pid;
    pid_t tid;
    char kind[16];
    bool stopped; /* the thread now waits for a Continue of this session */
    unsigned n_details;
    struct ptraced_detail details[PTRACED_EVENT_DETAILS_MAX];
};

/* Add a detail; past PTRACED_EVENT_DETAILS_MAX they do nothing (a programming error). */
void ptraced_event_add_i(struct ptraced_event_record *e, const char *key, int32_t v);
void ptraced_event_add_u(struct ptraced_event_record *e, const char *key, uint32_t v);
void ptraced_event_add_t(struct ptraced_event_record *e, const char *key, uint64_t v);
void ptraced_event_add_x(struct ptraced_event_record *e, const char *key, int64_t v);
void ptraced_event_add_b(struct ptraced_event_record *e, const char *key, bool v);
int ptraced_event_add_s(struct ptraced_event_record *e, const char *key, const char *v);
int ptraced_event_add_numbers(struct ptraced_event_record *e, const char *key, const uint64_t *v,
                              uint32_t n);
int ptraced_event_add_captures(struct ptraced_event_record *e, const char *key, const void *v,
                               uint32_t size);

/* The capture at *offset of a detail's, and *offset moved behind it. False: that was the last.
 * *ret_bytes points into the detail. */
bool ptraced_detail_next_capture(const struct ptraced_detail *d, size_t *offset,
                                 struct ptraced_capture *ret, const uint8_t **ret_bytes);

/* Frees what a detail owns. */
void ptraced_detail_done(struct ptraced_detail *d);

/* The detail of that name, or NULL. */
const struct ptraced_detail *ptraced_event_detail(const struct ptraced_event_record *e,
                                                  const char *key);

/* Frees what the record owns, not the record. Accepts one that is all zero. */
void ptraced_event_done(struct ptraced_event_record *e);

/* Appends one (ttousba{sv}) to a message. Negative errno of sd-bus. */
int ptraced_event_append(sd_bus_message *m, const struct ptraced_event_record *e);

/* Reads one (ttousba{sv}). Details of unknown types are skipped: a newer daemon may add some.
 * Returns 1, 0 at the end of an array, -EBADMSG where the path is none of ours. *ret is written
 * only on 1; the caller ends it with ptraced_event_done(). */
int ptraced_event_read(sd_bus_message *m, struct ptraced_event_record *ret);
