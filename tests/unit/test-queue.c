/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/trace/queue.h"
#include "tests/unit/random.h"

enum { LIMIT = 4 };

/* Every event is held by the test too, so that it can be looked at after it has left the queue. */
static struct event *push(struct event_queue *q, uint64_t serial, pid_t pid, pid_t tid,
                          bool stopped, bool taken_in)
{
    struct event *e =
        event_new(&(struct event){.serial = serial, .pid = pid, .tid = tid, .stopped = stopped});

    assert_non_null(e);
    assert_int_equal(event_queue_push(q, e), taken_in);
    assert_int_equal(e->references, taken_in ? 2 : 1);
    return e;
}

static void push_n(struct event_queue *q, struct event **events, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        events[i] = push(q, i + 1, 10, 10, false, true);
}

static void unref_n(struct event **events, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        event_unref(events[i]);
}

static bool has_left(const struct event *e)
{
    return e->references == 1;
}

static void event_that_nobody_wants_is_neither_kept_nor_lost(void **state)
{
    struct event_queue q;

    event_queue_init(&q, LIMIT, false);
    event_unref(push(&q, 1, 10, 10, true, false));
    assert_true(event_queue_is_empty(&q));
    assert_int_equal(q.lost, 0);
    event_queue_done(&q);
}

static void events_are_taken_in_their_order(void **state)
{
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    push_n(&q, events, LIMIT);
    for (unsigned i = 0; i < LIMIT; i++) {
        struct event *e = event_queue_find(&q, 0, 0);

        assert_ptr_equal(e, events[i]);
        event_queue_mark_taken(&q, e);
        assert_true(has_left(e));
    }
    assert_null(event_queue_find(&q, 0, 0));
    assert_true(event_queue_is_empty(&q));
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void events_are_streamed_in_their_order(void **state)
{
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, false);
    event_queue_set_streaming(&q, true);
    push_n(&q, events, LIMIT);
    for (unsigned i = 0; i < LIMIT; i++) {
        assert_ptr_equal(event_queue_next_unsent(&q), events[i]);
        assert_null(event_queue_find(&q, 0, 0)); /* kept for nobody */
        event_queue_mark_sent(&q, events[i]);
        assert_true(has_left(events[i]));
    }
    assert_null(event_queue_next_unsent(&q));
    assert_true(event_queue_is_empty(&q));
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void event_beyond_the_limit_is_counted_as_lost(void **state)
{
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    push_n(&q, events, LIMIT);
    event_unref(push(&q, 5, 10, 10, false, false));
    event_unref(push(&q, 6, 10, 10, false, false));
    assert_int_equal(q.lost, 2);
    assert_int_equal(q.n_events, LIMIT);

    event_queue_mark_taken(&q, events[0]); /* makes room for one */
    event_unref(push(&q, 7, 10, 10, false, true));
    event_unref(push(&q, 8, 10, 10, false, false));
    assert_int_equal(q.lost, 3);
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void event_that_stops_a_thread_has_no_limit(void **state)
{
    struct event *events[LIMIT], *stopping;
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    push_n(&q, events, LIMIT);
    stopping = push(&q, 5, 10, 11, true, true);
    assert_int_equal(q.n_events, LIMIT + 1);
    event_unref(push(&q, 6, 10, 10, false, false));
    event_queue_mark_taken(&q, events[0]); /* and still no room for one that stops nothing */
    event_unref(push(&q, 7, 10, 10, false, false));
    assert_int_equal(q.lost, 2);
    assert_ptr_equal(event_queue_find(&q, 10, 11), stopping);
    event_unref(stopping);
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void event_stays_until_it_is_both_sent_and_taken(void **state)
{
    struct event *events[2];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    event_queue_set_streaming(&q, true);
    push_n(&q, events, 2);

    event_queue_mark_sent(&q, events[0]);
    assert_ptr_equal(event_queue_next_unsent(&q), events[1]);
    assert_ptr_equal(event_queue_find(&q, 0, 0), events[0]);
    event_queue_mark_taken(&q, events[0]);
    assert_true(has_left(events[0]));

    event_queue_mark_taken(&q, events[1]);
    assert_null(event_queue_find(&q, 0, 0));
    assert_int_equal(q.n_events, 1);
    assert_ptr_equal(event_queue_next_unsent(&q), events[1]);
    event_queue_mark_sent(&q, events[1]);
    assert_true(has_left(events[1]));
    unref_n(events, 2);
    event_queue_done(&q);
}

static void what_came_before_streaming_is_not_streamed(void **state)
{
    struct event *events[2], *later;
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    push_n(&q, events, 2);
    event_queue_set_streaming(&q, true);
    assert_null(event_queue_next_unsent(&q));
    later = push(&q, 3, 10, 10, false, true);
    assert_ptr_equal(event_queue_next_unsent(&q), later);
    event_queue_mark_taken(&q, events[0]);
    assert_true(has_left(events[0]));
    event_unref(later);
    unref_n(events, 2);
    event_queue_done(&q);
}

static void end_of_streaming_leaves_only_what_is_kept(void **state)
{
    for (int keeping = 0; keeping < 2; keeping++) {
        struct event *events[3];
        struct event_queue q;

        event_queue_init(&q, LIMIT, keeping);
        event_queue_set_streaming(&q, true);
        push_n(&q, events, 3);
        event_queue_mark_sent(&q, events[0]);
        event_queue_set_streaming(&q, false);
        assert_null(event_queue_next_unsent(&q));
        assert_int_equal(q.n_events, keeping ? 3 : 0);
        assert_ptr_equal(event_queue_find(&q, 0, 0), keeping ? events[0] : NULL);

        event_queue_set_streaming(&q, true); /* a second subscriber gets no second copy */
        assert_null(event_queue_next_unsent(&q));
        unref_n(events, 3);
        event_queue_done(&q);
    }
}

static void streaming_that_is_on_already_loses_nothing(void **state)
{
    struct event *events[2];
    struct event_queue q;

    event_queue_init(&q, LIMIT, false);
    event_queue_set_streaming(&q, true);
    push_n(&q, events, 2);
    event_queue_set_streaming(&q, true);
    assert_ptr_equal(event_queue_next_unsent(&q), events[0]);
    unref_n(events, 2);
    event_queue_done(&q);
}

static void oldest_event_of_a_process_and_of_a_thread_is_found(void **state)
{
    static const struct {
        pid_t pid, tid;
    } threads[] = {{10, 10}, {20, 20}, {10, 11}, {20, 21}};
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    for (unsigned i = 0; i < LIMIT; i++)
        events[i] = push(&q, i + 1, threads[i].pid, threads[i].tid, false, true);
    assert_ptr_equal(event_queue_find(&q, 0, 0), events[0]);
    assert_ptr_equal(event_queue_find(&q, 20, 0), events[1]);
    assert_ptr_equal(event_queue_find(&q, 10, 11), events[2]);
    assert_ptr_equal(event_queue_find(&q, 0, 21), events[3]);
    assert_null(event_queue_find(&q, 10, 20));
    assert_null(event_queue_find(&q, 30, 0));
    event_queue_mark_taken(&q, events[1]);
    assert_ptr_equal(event_queue_find(&q, 20, 0), events[3]);
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void dropping_a_process_moves_the_stream_past_it(void **state)
{
    static const pid_t pids[LIMIT] = {10, 20, 20, 10};
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    event_queue_set_streaming(&q, true);
    for (unsigned i = 0; i < LIMIT; i++)
        events[i] = push(&q, i + 1, pids[i], pids[i], false, true);
    event_queue_mark_sent(&q, events[0]);
    assert_ptr_equal(event_queue_next_unsent(&q), events[1]);

    event_queue_drop_process(&q, 20);
    assert_true(has_left(events[1]) && has_left(events[2]));
    assert_ptr_equal(event_queue_next_unsent(&q), events[3]);
    assert_int_equal(q.n_events, 2);

    event_queue_drop_process(&q, 10);
    assert_null(event_queue_next_unsent(&q));
    assert_true(event_queue_is_empty(&q));
    assert_int_equal(q.lost, 0); /* given up, not lost */
    unref_n(events, LIMIT);
    event_queue_done(&q);
}

static void end_of_a_queue_gives_its_references_back(void **state)
{
    struct event *events[LIMIT];
    struct event_queue q;

    event_queue_init(&q, LIMIT, true);
    push_n(&q, events, LIMIT);
    event_queue_done(&q);
    for (unsigned i = 0; i < LIMIT; i++)
        assert_true(has_left(events[i]));
    unref_n(events, LIMIT);
}

/* ---- against a model ------------------------------------------------------------------------ */

enum { MODEL_MAX = 256, MODEL_LIMIT = 24, ROUNDS = 60000 };

/* Everything that a queue means, as plainly as it can be said: no cursor, every question a search.
 */
struct model {
    struct entry {
        uint64_t serial;
        pid_t pid, tid;
        bool unsent, untaken;
    } entries[MODEL_MAX];
    size_t n;
    uint64_t lost;
    bool streaming, keeping;
};

static void model_settle(struct model *m)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].unsent || m->entries[i].untaken)
            m->entries[kept++] = m->entries[i];
    m->n = kept;
}

static void model_push(struct model *m, uint64_t serial, pid_t pid, pid_t tid, bool stopped)
{
    if (!m->streaming && !m->keeping)
        return;
    if (m->n >= MODEL_LIMIT && !stopped)
        m->lost++;
    else
        m->entries[m->n++] = (struct entry){serial, pid, tid, m->streaming, m->keeping};
}

static void model_set_streaming(struct model *m, bool on)
{
    for (size_t i = 0; i < m->n && m->streaming != on; i++)
        m->entries[i].unsent = false;
    m->streaming = on;
    model_settle(m);
}

static void model_drop_process(struct model *m, pid_t pid)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].pid == pid)
            m->entries[i].unsent = m->entries[i].untaken = false;
    model_settle(m);
}

static struct entry *model_next_unsent(struct model *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].unsent)
            return &m->entries[i];
    return NULL;
}

static struct entry *model_find(struct model *m, pid_t pid, pid_t tid)
{
    for (size_t i = 0; i < m->n; i++) {
        struct entry *e = &m->entries[i];

        if (e->untaken && (pid == 0 || pid == e->pid) && (tid == 0 || tid == e->tid))
            return e;
    }
    return NULL;
}

static void assert_same_event(const struct event *e, const struct entry *entry)
{
    if (!entry) {
        assert_null(e);
        return;
    }
    assert_non_null(e);
    assert_int_equal(e->serial, entry->serial);
}

static void assert_same(const struct event_queue *q, struct model *m)
{
    const struct event *e = TAILQ_FIRST(&q->events);

    assert_int_equal(q->n_events, m->n);
    assert_int_equal(q->lost, m->lost);
    for (size_t i = 0; i < m->n; i++, e = TAILQ_NEXT(e, queue))
        assert_same_event(e, &m->entries[i]);
    assert_null(e);
    assert_same_event(event_queue_next_unsent(q), model_next_unsent(m));
}

static void send_one(struct event_queue *q, struct model *m)
{
    struct event *e = event_queue_next_unsent(q);
    struct entry *entry = model_next_unsent(m);

    assert_same_event(e, entry);
    if (!entry)
        return;
    event_queue_mark_sent(q, e);
    entry->unsent = false;
    model_settle(m);
}

static void take_one(struct event_queue *q, struct model *m, pid_t pid, pid_t tid)
{
    struct event *e = event_queue_find(q, pid, tid);
    struct entry *entry = model_find(m, pid, tid);

    assert_same_event(e, entry);
    if (!entry)
        return;
    event_queue_mark_taken(q, e);
    entry->untaken = false;
    model_settle(m);
}

static void do_anything(struct event_queue *q, struct model *m, struct random *r, uint64_t serial)
{
    pid_t pid = (pid_t)random_below(r, 4), tid = (pid_t)random_below(r, 3);
    uint32_t action = random_below(r, 100);

    if (action < 45) {
        /* As many may stop as there are threads: the model is bounded like the tracer. */
        bool stopped = m->n < MODEL_MAX && random_below(r, 4) == 0;
        struct event *e = event_new(
            &(struct event){.serial = serial, .pid = pid, .tid = tid, .stopped = stopped});

        assert_non_null(e);
        (void)event_queue_push(q, e);
        event_unref(e);
        model_push(m, serial, pid, tid, stopped);
    } else if (action < 68)
        send_one(q, m);
    else if (action < 92)
        take_one(q, m, pid, tid);
    else if (action < 97) {
        bool on = random_below(r, 2);

        event_queue_set_streaming(q, on);
        model_set_streaming(m, on);
    } else {
        event_queue_drop_process(q, pid);
        model_drop_process(m, pid);
    }
}

static void any_order_of_requests_agrees_with_a_plain_model(void **state)
{
    struct random r = {.x = 20110501};

    for (int keeping = 0; keeping < 2; keeping++) {
        struct model m = {.keeping = keeping};
        struct event_queue q;

        event_queue_init(&q, MODEL_LIMIT, keeping);
        for (uint64_t serial = 1; serial <= ROUNDS; serial++) {
            do_anything(&q, &m, &r, serial);
            assert_same(&q, &m);
        }
        assert_true(m.lost > 0); /* or the limit was never met */
        event_queue_done(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_that_nobody_wants_is_neither_kept_nor_lost),
        cmocka_unit_test(events_are_taken_in_their_order),
        cmocka_unit_test(events_are_streamed_in_their_order),
        cmocka_unit_test(event_beyond_the_limit_is_counted_as_lost),
        cmocka_unit_test(event_that_stops_a_thread_has_no_limit),
        cmocka_unit_test(event_stays_until_it_is_both_sent_and_taken),
        cmocka_unit_test(what_came_before_streaming_is_not_streamed),
        cmocka_unit_test(end_of_streaming_leaves_only_what_is_kept),
        cmocka_unit_test(streaming_that_is_on_already_loses_nothing),
        cmocka_unit_test(oldest_event_of_a_process_and_of_a_thread_is_found),
        cmocka_unit_test(dropping_a_process_moves_the_stream_past_it),
        cmocka_unit_test(end_of_a_queue_gives_its_references_back),
        cmocka_unit_test(any_order_of_requests_agrees_with_a_plain_model),
    };

    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
