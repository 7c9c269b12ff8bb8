/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/paths.h"
#include "client/ctl/agent.h"
#include "client/ctl/context.h"
#include "client/ctl/event-print.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/pager.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"
#include "client/ctl/text.h"
#include "client/ctl/verbs.h"

/* The events of the threads that one session holds. */
struct held {
    ptraced_event **events;
    int n;
    bool unknown; /* to us */
};

static void held_done(struct held *h)
{
    for (int i = 0; i < h->n; i++)
        ptraced_event_unref(h->events[i]);
    free(h->events);
}

static int read_held(struct context *c, const struct lookup *l, const char *id, struct held *ret)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    struct held h = {0};
    int r;

    r = ptraced_session_get(c->connection, id, false, &session);
    if (r >= 0)
        lookup_try_authorize(c, l, session);
    h.n = r < 0 ? r : ptraced_session_list_stopped(session, &h.events);
    if (h.n == -ENXIO) /* closed since the list was made */
        return CTL_OK;
    if (h.n == -EACCES) {
        report_notice(&c->options,
                      "What session %s holds stopped is for those connections alone that were "
                      "authorised for what it traces.",
                      id);
        ret->unknown = true;
        return CTL_OK;
    }
    if (h.n < 0)
        return report_failure(c, h.n, 0, "Failed to list the stopped threads of session %s", id);
    *ret = h;
    return CTL_OK;
}

static const char *transport_name(struct context *c)
{
    switch (ptraced_get_transport(c->connection)) {
    case PTRACED_TRANSPORT_SYSTEM:
        return "system";
    case PTRACED_TRANSPORT_USER:
        return "user";
    case PTRACED_TRANSPORT_EMBEDDED:
        return "embedded";
    case PTRACED_TRANSPORT_REMOTE:
        return "remote";
    case PTRACED_TRANSPORT_MACHINE:
        return "machine";
    default:
        return "direct";
    }
}

/* What the arguments choose: sessions as a whole, and tracees alone. */
struct view {
    struct context *c;
    struct lookup lookup;
    int n_arguments;
    char **arguments;
    /* Of the arguments those that are in no list that the caller is shown; NULL: it is in one. */
    struct ptraced_session_info **unlisted;
    const char *version;
    struct json json;
};

static bool shows_tracee(const struct view *v, const struct ptraced_tracee_info *t,
                         const char *session)
{
    return strcmp(t->session, session) == 0 && lookup_means(t, v->n_arguments, v->arguments);
}

static bool shows_session(const struct view *v, const char *id)
{
    const struct ptraced_tracee_info itself = {.session = id};

    if (lookup_means(&itself, v->n_arguments, v->arguments))
        return true;
    for (int i = 0; i < v->lookup.n_tracees; i++)
        if (shows_tracee(v, &v->lookup.tracees[i], id))
            return true;
    return false;
}

static void write_held(struct json *j, const struct ptraced_tracee_info *t, const struct held *h)
{
    json_open_array(j, "stopped");
    for (int i = 0; i < h->n; i++)
        if (ptraced_event_get_pid(h->events[i]) == t->pid)
            event_write_json(j, h->events[i]);
    json_close_array(j);
}

static void write_tracee(struct json *j, const struct ptraced_tracee_info *t, const struct held *h)
{
    json_open_object(j, NULL);
    json_integer(j, "pid", t->pid);
    json_unsigned(j, "uid", t->uid);
    json_unsigned(j, "threads", t->threads);
    if (!h->unknown)
        write_held(j, t, h);
    json_close_object(j);
}

static void write_heading(struct json *j, const struct ptraced_session_info *s)
{
    json_string(j, "id", s->id);
    json_unsigned(j, "uid", s->uid);
    json_string(j, "name", s->name);
}

static void write_unlisted(struct json *j, const struct ptraced_session_info *s)
{
    json_open_object(j, NULL);
    write_heading(j, s);
    json_close_object(j);
}

static int write_session(struct view *v, const struct ptraced_session_info *s)
{
    _cleanup_(held_done) struct held h = {0};
    struct json *j = &v->json;
    int r;

    r = read_held(v->c, &v->lookup, s->id, &h);
    json_open_object(j, NULL);
    write_heading(j, s);
    json_open_array(j, "tracees");
    for (int i = 0; i < v->lookup.n_tracees; i++)
        if (shows_tracee(v, &v->lookup.tracees[i], s->id))
            write_tracee(j, &v->lookup.tracees[i], &h);
    json_close_array(j);
    json_close_object(j);
    return r;
}

static int write_all(struct view *v)
{
    int r, first = CTL_OK;

    json_start(&v->json, stdout, v->c->options.json);
    json_open_object(&v->json, NULL);
    json_string(&v->json, "transport", transport_name(v->c));
    json_string(&v->json, "version", v->version);
    json_open_array(&v->json, "sessions");
    for (int i = 0; i < v->lookup.n_sessions; i++) {
        if (!shows_session(v, v->lookup.sessions[i].id))
            continue;
        r = write_session(v, &v->lookup.sessions[i]);
        if (first == CTL_OK)
            first = r;
    }
    for (int i = 0; i < v->n_arguments; i++)
        if (v->unlisted[i])
            write_unlisted(&v->json, v->unlisted[i]);
    json_close_array(&v->json);
    json_close_object(&v->json);
    return first;
}

static void print_stopped(const ptraced_event *e)
{
    printf("    %d stopped by ", ptraced_event_get_tid(e));
    if (ptraced_event_get_kind(e) == PTRACED_EVENT_STOP)
        fputs("an interrupt", stdout);
    else
        event_print_words(stdout, e);
    putchar('\n');
}

static void print_tracee(const struct ptraced_tracee_info *t, const struct held *h)
{
    printf("  %d (uid %u), %u thread%s\n", t->pid, t->uid, t->threads, t->threads == 1 ? "" : "s");
    for (int i = 0; i < h->n; i++) {
        if (ptraced_event_get_pid(h->events[i]) != t->pid)
            continue;
        print_stopped(h->events[i]);
    }
}

static int print_heading(const struct ptraced_session_info *s)
{
    _cleanup_free_ char *name = strdup(s->name ?: "");

    if (!name)
        return report_no_memory();
    text_make_printable(name, strlen(name));
    printf("Session %s (uid %u)%s%s\n", s->id, s->uid, *name ? " " : "", name);
    return CTL_OK;
}

static int print_session(struct view *v, const struct ptraced_session_info *s)
{
    _cleanup_(held_done) struct held h = {0};
    int r, no_memory;

    r = read_held(v->c, &v->lookup, s->id, &h);
    no_memory = print_heading(s);
    if (no_memory != CTL_OK)
        return no_memory;
    for (int i = 0; i < v->lookup.n_tracees; i++)
        if (shows_tracee(v, &v->lookup.tracees[i], s->id))
            print_tracee(&v->lookup.tracees[i], &h);
    return r;
}

static void print_summary(const struct view *v)
{
    const struct lookup *l = &v->lookup;
    unsigned threads = 0;

    for (int i = 0; i < l->n_tracees; i++)
        threads += l->tracees[i].threads;
    printf("ptraced %s (%s): %d session%s, %d tracee%s, %u thread%s\n", v->version,
           transport_name(v->c), l->n_sessions, l->n_sessions == 1 ? "" : "s", l->n_tracees,
           l->n_tracees == 1 ? "" : "s", threads, threads == 1 ? "" : "s");
}

static int print_unlisted(const struct view *v, const struct ptraced_session_info *s)
{
    int r;

    if (!v->c->options.no_legend)
        putchar('\n');
    r = print_heading(s);
    if (r == CTL_OK)
        puts("  (what it traces is for who may list it)");
    return r;
}

static int print_all(struct view *v)
{
    int r, first = CTL_OK;
    struct pager pager;

    pager_open(&pager, &v->c->options);
    if (!v->c->options.no_legend)
        print_summary(v);
    for (int i = 0; i < v->lookup.n_sessions; i++) {
        if (!shows_session(v, v->lookup.sessions[i].id))
            continue;
        if (i > 0 || !v->c->options.no_legend)
            putchar('\n');
        r = print_session(v, &v->lookup.sessions[i]);
        if (first == CTL_OK)
            first = r;
    }
    for (int i = 0; i < v->n_arguments && first == CTL_OK; i++)
        if (v->unlisted[i])
            first = print_unlisted(v, v->unlisted[i]);
    pager_close(&pager);
    return first;
}

/* Whom lists do not show other users' sessions may still be let to look at one. */
static int find_unlisted(struct view *v, const char *id, struct ptraced_session_info **ret)
{
    struct context *c = v->c;
    int r;

    agent_open_to_manage(c);
    r = ptraced_get_session_info(c->connection, id, ret);
    agent_close();
    if (r < 0)
        return report_failure(c, r, 0, "Failed to show session %s", id);
    return CTL_OK;
}

static int find_arguments(struct view *v)
{
    int r = CTL_OK;
    pid_t pid;

    for (int i = 0; i < v->n_arguments && r == CTL_OK; i++) {
        const char *id = v->arguments[i];

        if (lookup_is_asked(v->c) && parse_pid(id, &pid) < 0 && ptraced_session_id_valid(id) &&
            !lookup_has_session(&v->lookup, id))
            r = find_unlisted(v, id, &v->unlisted[i]);
        else
            r = lookup_check(&v->lookup, 1, &v->arguments[i]);
    }
    return r;
}

static void view_done(struct view *v)
{
    for (int i = 0; v->unlisted && i < v->n_arguments; i++)
        free(v->unlisted[i]);
    free(v->unlisted);
    lookup_done(&v->lookup);
}

int verb_status(struct context *c, int n_arguments, char **arguments)
{
    _cleanup_(view_done) struct view v = {
        .c = c, .n_arguments = n_arguments, .arguments = arguments};
    int r;

    r = context_connect(c);
    if (r != CTL_OK)
        return r;
    r = ptraced_get_version(c->connection, &v.version);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to ask for the service's version");
    v.unlisted = calloc((size_t)n_arguments + 1, sizeof(*v.unlisted));
    if (!v.unlisted)
        return report_no_memory();
    r = lookup_read(c, &v.lookup);
    if (r == CTL_OK)
        r = find_arguments(&v);
    if (r != CTL_OK)
        return r;
    return c->options.json == JSON_OFF ? print_all(&v) : write_all(&v);
}
