/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/introspect.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "tests/unit/bus-fixture.h"

#define SOMEBODY 4711u
#define SOMEBODY_ELSE 4712u

static const char *const interfaces[] = {
    PTRACED_MANAGER_INTERFACE,
    PTRACED_SESSION_INTERFACE,
    PTRACED_PROCESS_INTERFACE,
    PTRACED_THREAD_INTERFACE,
};

/* The error's name; NULL where the call is allowed. */
static const char *verdict(struct bus_fixture *f, enum broker_mode mode, uid_t caller,
                           const struct session *s, const char *interface, const char *member)
{
    static const char *const names[] = {SD_BUS_ERROR_ACCESS_DENIED, SD_BUS_ERROR_UNKNOWN_METHOD};
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct broker b = {.mode = mode};
    const struct caller c = {.broker = &b, .uid = caller, .name = (char[]){":1.1"}};

    list_init(&b.attaches);
    assert_return_code(
        sd_bus_message_new_method_call(f->sender, &m, NULL, PTRACED_ROOT_PATH, interface, member),
        0);
    if (auth_check(&c, s, m, &error) >= 0)
        return NULL;
    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (sd_bus_error_has_name(&error, names[i]))
            return names[i];
    fail_msg("an error that nobody expects: %s", error.name);
    return "";
}

/* Calls a function for each method in the contract's XML. */
static void for_each_method(struct bus_fixture *f,
                            void (*function)(struct bus_fixture *f, const char *interface,
                                             const char *member))
{
    for (size_t i = 0; i < ELEMENTSOF(interfaces); i++) {
        _cleanup_free_string_ char *xml = NULL;
        char member[64];
        size_t size;
        FILE *stream = open_memstream(&xml, &size);

        assert_non_null(stream);
        assert_return_code(introspect(interfaces[i], stream), 0);
        assert_return_code(fclose(stream), 0);
        for (const char *p = xml; (p = strstr(p, "<method name=\"")); p++) {
            assert_int_equal(sscanf(p, "<method name=\"%63[A-Za-z]\"", member), 1);
            function(f, interfaces[i], member);
        }
    }
}

static void root_may(struct bus_fixture *f, const char *interface, const char *member)
{
    const struct session others = {.uid = SOMEBODY};

    assert_null(verdict(f, BROKER_SYSTEM, 0, &others, interface, member));
}

static bool is_in(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

/* What says what a session traces, or does something to it, is for the connection that was
 * authorised. */
static void others_may_only_have_sessions(struct bus_fixture *f, const char *interface,
                                          const char *member)
{
    static const char *const of_any_connection[] = {"CreateSession", "GetSession", "ListSessions",
                                                    "ListTracees",   "ListLimits", "DetachAll",
                                                    "Unsubscribe",   "Close",      NULL};
    static const char *const of_root[] = {"OpenMemory",     "OpenMaps", "OpenMappedFile",
                                          "ReadMappedFile", "SetLimit", NULL};
    struct session held = {.uid = SOMEBODY, .holder = (char[]){":1.1"}};
    struct session own = {.uid = SOMEBODY, .holder = (char[]){":1.2"}};
    const struct session others = {.uid = SOMEBODY_ELSE, .holder = (char[]){":1.1"}};
    const bool process = strstr(interface, "Manager") || strstr(interface, "Session");
    const bool any = is_in(member, of_any_connection) && (process || strcmp(member, "Close") == 0);
    const char *verdict_held, *verdict_own;

    list_init(&held.attachments);
    list_init(&held.gone);
    list_init(&own.attachments);
    list_init(&own.gone);
    verdict_held = verdict(f, BROKER_SYSTEM, SOMEBODY, &held, interface, member);
    verdict_own = verdict(f, BROKER_SYSTEM, SOMEBODY, &own, interface, member);
    assert_int_equal(verdict_held == NULL, !is_in(member, of_root));
    assert_int_equal(verdict_own == NULL, any);
    if (!is_in(member, of_any_connection) || strcmp(member, "GetSession") == 0)
        assert_string_equal(verdict(f, BROKER_SYSTEM, SOMEBODY, &others, interface, member),
                            SD_BUS_ERROR_ACCESS_DENIED);
}

static void the_client_may(struct bus_fixture *f, const char *interface, const char *member)
{
    const struct session own = {.uid = SOMEBODY};

    assert_null(verdict(f, BROKER_EMBEDDED, SOMEBODY, &own, interface, member));
}

static void a_bus_owner_may(struct bus_fixture *f, const char *interface, const char *member)
{
    const struct session own = {.uid = geteuid()};

    assert_null(verdict(f, BROKER_USER, geteuid(), &own, interface, member));
    assert_string_equal(verdict(f, BROKER_USER, SOMEBODY_ELSE, &own, interface, member),
                        SD_BUS_ERROR_ACCESS_DENIED);
}

static void test_system_bus_is_for_root_and_for_who_is_authorised(void **state)
{
    for_each_method(*state, root_may);
    for_each_method(*state, others_may_only_have_sessions);
}

static void test_embedded_is_for_its_client(void **state)
{
    for_each_method(*state, the_client_may);
}

static void test_user_bus_is_for_its_owner(void **state)
{
    for_each_method(*state, a_bus_owner_may);
}

static void test_what_is_in_no_table_is_refused(void **state)
{
    static const enum broker_mode modes[] = {BROKER_EMBEDDED, BROKER_SYSTEM, BROKER_USER};

    for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
        assert_string_equal(
            verdict(*state, modes[i], 0, NULL, PTRACED_SESSION_INTERFACE, "Nonsense"),
            SD_BUS_ERROR_UNKNOWN_METHOD);
        assert_string_equal(verdict(*state, modes[i], 0, NULL, "org.ptraced.Other", "Close"),
                            SD_BUS_ERROR_UNKNOWN_METHOD);
        assert_string_equal(verdict(*state, modes[i], 0, NULL, NULL, "Close"),
                            SD_BUS_ERROR_UNKNOWN_METHOD);
    }
}

static void test_lists_show_what_may_be_seen(void **state)
{
    struct session s = {.uid = SOMEBODY, .holder = (char[]){":1.2"}};
    struct broker b = {.mode = BROKER_SYSTEM};
    const struct caller root = {.broker = &b, .name = (char[]){":1.1"}};
    const struct caller holder = {.broker = &b, .uid = SOMEBODY, .name = (char[]){":1.2"}};
    const struct caller own = {.broker = &b, .uid = SOMEBODY, .name = (char[]){":1.3"}};
    const struct caller other = {.broker = &b, .uid = SOMEBODY_ELSE, .name = (char[]){":1.2"}};

    list_init(&s.attachments);
    list_init(&s.gone);
    list_init(&b.attaches);
    assert_true(auth_may_see(&root, &s) && auth_may_see_processes(&root, &s));
    assert_true(auth_may_see(&holder, &s) && auth_may_see_processes(&holder, &s));
    assert_true(auth_may_see(&own, &s) && !auth_may_see_processes(&own, &s));
    assert_false(auth_may_see(&other, &s) || auth_may_see_processes(&other, &s));
    b.mode = BROKER_EMBEDDED;
    assert_true(auth_may_see(&other, &s) && auth_may_see_processes(&other, &s));
}

/* By another connection of the same user, of a persistent session. */
static void test_clearance_is_for_each_attachment(void **state)
{
    struct broker b = {.mode = BROKER_SYSTEM};
    struct session s = {
        .broker = &b, .uid = SOMEBODY, .holder = (char[]){":1.2"}, .persistent = true};
    struct caller c = {.broker = &b, .uid = SOMEBODY, .name = (char[]){":1.3"}};
    struct tracee tracee = {.broker = &b, .pid = 10};
    struct attachment first = {.session = &s, .tracee = &tracee, .pid = 10}, second = first,
                      child = first;
    struct attach attach = {.session = &s, .at_tracer = true};

    list_init(&s.attachments);
    list_init(&s.gone);
    list_init(&b.attaches);
    list_init(&c.clearances);
    list_init(&first.clearances);
    list_init(&second.clearances);
    list_init(&child.clearances);
    assert_true(auth_may_use_all(&c, &s) && auth_may_take_events(&c, &s)); /* nothing is there */
    s.adopted = true; /* or there is something that the broker does not know of */
    assert_false(auth_may_use_all(&c, &s));
    s.adopted = false;
    list_append(&s.attachments, &first.of_session);
    assert_false(auth_may_use(&c, &first) || auth_may_use_all(&c, &s));

    assert_return_code(clearance_give(&c, &first, ATTACH_OWN, true), 0);
    assert_false(auth_may_use(&c, &first)); /* the session may do more with it */
    assert_return_code(clearance_give(&c, &first, ATTACH_OWN, false), 0);
    assert_true(auth_may_use(&c, &first) && auth_may_use_all(&c, &s));
    assert_return_code(clearance_give(&c, &first, ATTACH_OWN, true), 0);
    assert_true(auth_may_use(&c, &first));

    list_append(&s.attachments, &second.of_session);
    assert_true(auth_may_use(&c, &first));
    assert_false(auth_may_use(&c, &second) || auth_may_use_all(&c, &s));
    second.observe = true;
    assert_return_code(clearance_give(&c, &second, ATTACH_OTHER, true), 0);
    assert_true(auth_may_use_all(&c, &s));

    list_append(&s.attachments, &child.of_session);
    assert_false(auth_may_use(&c, &child));
    assert_return_code(clearances_inherit(&child, &first), 0);
    assert_true(auth_may_use(&c, &child) && auth_may_use_all(&c, &s));
    assert_int_equal(clearance_find(&c, &child)->right, ATTACH_NOTHING);

    /* Another connection is about to attach something. */
    list_append(&b.attaches, &attach.attaches);
    assert_true(auth_may_use(&c, &first));
    assert_false(auth_may_use_all(&c, &s));
    attach.answered = true; /* or was, and has given up */
    assert_true(auth_may_use_all(&c, &s));
    /* It is to have control of what is observed. */
    attach = (struct attach){
        .session = &s, .is_sent = true, .target.pid = 10, .attaches = attach.attaches};
    assert_false(auth_may_use(&c, &second));
    assert_true(auth_may_use(&c, &first));
    attach.wish.observe = true;
    assert_true(auth_may_use(&c, &second));

    /* Its events may wait still when it is gone. */
    list_remove(&first.of_session);
    list_append(&s.gone, &first.of_session);
    assert_true(auth_may_use_all(&c, &s) && auth_may_take_events(&c, &s));
    clearance_free(LIST_FIRST(&first.clearances, struct clearance, of_attachment));
    assert_true(auth_may_use_all(&c, &s) && !auth_may_take_events(&c, &s));
    while (!list_empty(&c.clearances))
        clearance_free(LIST_FIRST(&c.clearances, struct clearance, of_caller));
    assert_false(auth_may_use(&c, &first));
    list_remove(&second.of_session);
    list_remove(&child.of_session);
    assert_true(auth_may_use_all(&c, &s) && !auth_may_take_events(&c, &s));
}

static void test_session_numbers(void **state)
{
    static const char *const bad[] = {
        "", "s", "1", "s01", "s 1", "s-1", "s+1", "s1x", "s1/2", "S1", "s18446744073709551616"};
    uint64_t number = 5;

    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_false(session_number(bad[i], &number));
    assert_int_equal(number, 5);
    assert_true(session_number("s1", &number));
    assert_int_equal(number, 1);
    assert_true(session_number("s18446744073709551615", &number));
    assert_true(number == UINT64_MAX);
}

int main(void)
{
#define WITH_BUS(test)                                                                             \
    cmocka_unit_test_setup_teardown(test, bus_fixture_setup, bus_fixture_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BUS(test_system_bus_is_for_root_and_for_who_is_authorised),
        WITH_BUS(test_embedded_is_for_its_client),
        WITH_BUS(test_user_bus_is_for_its_owner),
        WITH_BUS(test_what_is_in_no_table_is_refused),
        cmocka_unit_test(test_lists_show_what_may_be_seen),
        cmocka_unit_test(test_clearance_is_for_each_attachment),
        cmocka_unit_test(test_session_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
