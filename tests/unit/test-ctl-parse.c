/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/ctl/kinds.h"
#include "client/ctl/parse.h"
#include "client/ctl/signame.h"
#include "client/ctl/text.h"

/* What a user types, and what a user is shown. */

static void test_pid(void **state)
{
    static const char *const bad[] = {"", "0", "-1", "+1", " 1", "1 ", "1x", "x", "0x10", "1:2"};
    pid_t pid = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(parse_pid(bad[i], &pid), -EINVAL);
    assert_int_equal(parse_pid("2147483648", &pid), -ERANGE);
    assert_int_equal(parse_pid("4294967297", &pid), -ERANGE);
    assert_int_equal(parse_pid("99999999999999999999999999", &pid), -ERANGE);
    assert_int_equal(pid, 7); /* untouched */

    assert_int_equal(parse_pid("2147483647", &pid), 0);
    assert_int_equal(pid, 2147483647);
    assert_int_equal(parse_pid("007", &pid), 0);
    assert_int_equal(pid, 7);
}

static void test_target(void **state)
{
    pid_t pid, tid;

    assert_int_equal(parse_target("12", &pid, &tid), 0);
    assert_int_equal(pid, 12);
    assert_int_equal(tid, 0);
    assert_int_equal(parse_target("12:34", &pid, &tid), 0);
    assert_int_equal(pid, 12);
    assert_int_equal(tid, 34);

    assert_int_equal(parse_target("12:", &pid, &tid), -EINVAL);
    assert_int_equal(parse_target(":34", &pid, &tid), -EINVAL);
    assert_int_equal(parse_target("12:0", &pid, &tid), -EINVAL);
    assert_int_equal(parse_target("12:34:56", &pid, &tid), -EINVAL);
    assert_int_equal(pid, 12);
    assert_int_equal(tid, 34);
}

static void test_count(void **state)
{
    uint64_t n;

    assert_int_equal(parse_count("18446744073709551615", &n), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(parse_count("18446744073709551616", &n), -ERANGE);
    assert_int_equal(parse_count("0", &n), -EINVAL);
    assert_int_equal(parse_count("-3", &n), -EINVAL);
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"run", "events", "sessions", "status"};

    assert_string_equal(parse_nearest("sesions", words, 4), "sessions");
    assert_string_equal(parse_nearest("event", words, 4), "events");
    assert_string_equal(parse_nearest("statsu", words, 4), "status");
    assert_string_equal(parse_nearest("rnu", words, 4), "run");
    assert_null(parse_nearest("detach", words, 4));
    assert_null(parse_nearest("", words, 4));
    assert_null(parse_nearest("xy", words, 4));
    assert_null(parse_nearest("a-word-that-is-longer-than-any-verb-ever-was", words, 4));
}

static void test_kinds(void **state)
{
    const char *names[KINDS_MAX + 1], *bad;
    unsigned mask = 0;
    size_t length;

    assert_int_equal(kinds_parse("exec,vfork-done", &mask, &bad, &length), 0);
    assert_int_equal(mask, KIND_BIT(PTRACED_EVENT_EXEC) | KIND_BIT(PTRACED_EVENT_VFORK_DONE));
    assert_int_equal(kinds_parse("lost", &mask, &bad, &length), 0);
    assert_ptr_equal(kinds_names(mask, names), names);
    assert_string_equal(names[0], "vfork-done");
    assert_string_equal(names[1], "exec");
    assert_string_equal(names[2], "lost");
    assert_null(names[3]);
    assert_null(kinds_names(0, names));
}

static void test_bad_kinds(void **state)
{
    static const char *const lists[] = {"", ",", "exec,", ",exec", "exec,Exec", "exe", "vfork-"};
    unsigned mask = 0;

    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        const char *bad;
        size_t length;

        assert_int_equal(kinds_parse(lists[i], &mask, &bad, &length), -EINVAL);
        assert_true(bad >= lists[i] && bad + length <= lists[i] + strlen(lists[i]));
    }
    assert_int_equal(mask, 0);
}

static void test_signals(void **state)
{
    char name[SIGNAME_MAX];

    assert_string_equal(signame(SIGKILL, name), "SIGKILL");
    assert_string_equal(signame(SIGUSR1, name), "SIGUSR1");
    assert_string_equal(signame(SIGRTMIN, name), "SIGRTMIN");
    assert_string_equal(signame(SIGRTMIN + 3, name), "SIGRTMIN+3");
    assert_string_equal(signame(32, name), "SIGRT_0"); /* one that libc keeps for itself */
    assert_string_equal(signame(0, name), "signal 0");
    assert_string_equal(signame(99, name), "signal 99");
    assert_string_equal(signame(-2147483647 - 1, name), "signal -2147483648");
}

static void test_printable(void **state)
{
    char s[] = "a\x1b[1m\nb\x7f \xc2\x9b"
               "31m gr\xc3\xb6\xc3\x9f"
               "e \xc2";

    text_make_printable(s, strlen(s));
    assert_string_equal(s, "a?[1m?b? ??31m gr\xc3\xb6\xc3\x9f"
                           "e \xc2");
    assert_int_equal(text_width("gr\xc3\xb6\xc3\x9f"
                                "e"),
                     5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pid),     cmocka_unit_test(test_target),
        cmocka_unit_test(test_count),   cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_kinds),   cmocka_unit_test(test_bad_kinds),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_printable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
