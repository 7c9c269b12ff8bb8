/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "daemon/broker/configuration.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/log.h"
#include "tests/unit/bus-fixture.h"

static char root[] = "/tmp/ptraced-config-XXXXXX";
static char said[65536]; /* what config_read() has written to standard error */

static void write_file(const char *path, const char *text)
{
    char whole[256];
    FILE *f;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *p = whole + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(whole, 0755);
        *p = '/';
    }
    f = fopen(whole, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_return_code(fclose(f), errno);
}

static void read_all(void)
{
    const struct log log = {.level = LOG_INFO, .target = LOG_TARGET_CONSOLE};
    int kept = dup(STDERR_FILENO), fd = open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    ssize_t n;

    assert_true(kept >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    config_read(&log, root);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    n = pread(fd, said, sizeof(said) - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    close(fd);
    close(kept);
}

static void no_file_is_no_fault(void **state)
{
    unsigned before = limit_value(LIMIT_SESSIONS);

    read_all();
    assert_string_equal(said, "");
    assert_int_equal(limit_value(LIMIT_SESSIONS), before);
}

/* Every key, with the value that it has without the file. */
static void the_file_that_is_installed_tells_the_defaults(void **state)
{
    unsigned before[_LIMIT_MAX];
    char text[8192] = "", line[256];
    size_t n = 0;
    FILE *f = fopen(PTRACED_CONF, "re");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        const char *value = line[0] == '#' && line[1] >= 'A' && line[1] <= 'Z' ? line + 1 : line;

        strcat(text, value);
        n += value != line && strchr(value, '=');
    }
    fclose(f);
    for (size_t i = 0; i < _LIMIT_MAX; i++)
        before[i] = limit_value((enum limit)i);
    write_file("/etc/ptraced/ptraced.conf", text);
    read_all();
    assert_string_equal(said, "");
    for (size_t i = 0; i < _LIMIT_MAX; i++)
        assert_int_equal(limit_value((enum limit)i), before[i]);
    assert_int_equal(n, _LIMIT_MAX - 1); /* UnreadMax is not to be set */
}

static void the_first_file_and_every_drop_in_count(void **state)
{
    write_file("/usr/lib/ptraced/ptraced.conf", "[Limits]\nSessionsMax=1\nTraceesMax=1\n");
    write_file("/etc/ptraced/ptraced.conf", "# ours\n[Limits]\n SessionsMax = 7 \n");
    write_file("/usr/lib/ptraced/ptraced.conf.d/10-a.conf", "[Limits]\nTraceesMax=8\n");
    write_file("/run/ptraced/ptraced.conf.d/20-b.conf", "[Limits]\nTraceesMax=9\n");
    write_file("/usr/lib/ptraced/ptraced.conf.d/30-c.conf", "[Limits]\nTraceesMax=1\n");
    write_file("/etc/ptraced/ptraced.conf.d/30-c.conf", "[Limits]\nWaitersMax=5\n");
    write_file("/etc/ptraced/ptraced.conf.d/readme", "[Limits]\nWaitersMax=6\n");
    read_all();
    assert_string_equal(said, "");
    assert_int_equal(limit_value(LIMIT_SESSIONS), 7);
    assert_int_equal(limit_value(LIMIT_TRACEES), 9);
    assert_int_equal(limit_value(LIMIT_WAITERS), 5);
}

static void a_link_to_nowhere_hides_a_drop_in(void **state)
{
    char path[128];

    write_file("/usr/lib/ptraced/ptraced.conf.d/40-d.conf", "[Limits]\nWaitersMax=1\n");
    snprintf(path, sizeof(path), "%s/etc/ptraced/ptraced.conf.d/40-d.conf", root);
    assert_return_code(symlink("/dev/null", path), errno);
    read_all();
    assert_string_equal(said, "");
    assert_int_equal(limit_value(LIMIT_WAITERS), 5);
}

static void what_is_wrong_is_told_with_its_place_and_ignored(void **state)
{
    static const char *const expected[] = {
        "50-e.conf:2: there is no Sessions=",
        "50-e.conf:3: SessionsMax= takes a number, not \"many\"",
        "50-e.conf:4: SessionsMax= takes a number, not \"-1\"",
        "50-e.conf:5: SessionsMax= can be 1 to 100000, not 0",
        "50-e.conf:6: SessionsMax= takes a number, not \"99999999999999999999\"",
        "50-e.conf:7: a line is KEY=VALUE",
        "50-e.conf:8: there is no UnreadMax=",
        "50-e.conf:9: CallersMax= can be 1 to 470, not 471",
        "50-e.conf:10: there is no section [Other]",
    };

    write_file("/etc/ptraced/ptraced.conf.d/50-e.conf",
               "[Limits]\nSessions=1\nSessionsMax=many\nSessionsMax=-1\nSessionsMax=0\n"
               "SessionsMax=99999999999999999999\nSessionsMax\nUnreadMax=5\nCallersMax=471\n[Other]"
               "\nSessionsMax=3\n");
    read_all();
    for (size_t i = 0; i < ELEMENTSOF(expected); i++)
        if (!strstr(said, expected[i]))
            fail_msg("nothing says \"%s\":\n%s", expected[i], said);
    assert_int_equal(limit_value(LIMIT_SESSIONS), 7);
}

static void a_change_goes_before_the_file_until_it_is_the_same(void **state)
{
    unsigned before = 0;

    assert_int_equal(limit_change("Sessions", 1, &before), -ENOENT);
    assert_int_equal(limit_change("UnreadMax", 1, &before), -ENOENT);
    assert_int_equal(limit_change("SessionsMax", 0, &before), -ERANGE);
    assert_int_equal(limit_change("SessionsMax", LIMIT_VALUE_MAX + 1, &before), -ERANGE);
    assert_int_equal(limit_change("SessionsMax", UINT64_C(1) << 32 | 1, &before), -ERANGE);
    assert_int_equal(limit_change("CallersMax", 471, &before), -ERANGE);
    assert_false(limits_are_changed());

    assert_return_code(limit_change("SessionsMax", 3, &before), 0);
    assert_int_equal(before, 7);
    assert_int_equal(limit_value(LIMIT_SESSIONS), 3);
    read_all();
    assert_int_equal(limit_value(LIMIT_SESSIONS), 3);
    assert_true(limits_are_changed());

    assert_return_code(limit_change("SessionsMax", 7, &before), 0);
    assert_int_equal(before, 3);
    assert_false(limits_are_changed());
}

static int setup_group(void **state)
{
    return mkdtemp(root) ? 0 : -1;
}

static int teardown_group(void **state)
{
    char command[sizeof(root) + 16];

    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_file_is_no_fault),
        cmocka_unit_test(the_file_that_is_installed_tells_the_defaults),
        cmocka_unit_test(the_first_file_and_every_drop_in_count),
        cmocka_unit_test(a_link_to_nowhere_hides_a_drop_in),
        cmocka_unit_test(what_is_wrong_is_told_with_its_place_and_ignored),
        cmocka_unit_test(a_change_goes_before_the_file_until_it_is_the_same),
    };

    return cmocka_run_group_tests_name("broker-config", tests, setup_group, teardown_group);
}
