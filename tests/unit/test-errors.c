/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"

/* Written down a second time on purpose: a client may rely on these numbers. */
static const struct {
    const char *name;
    int number;
} errors[] = {
    {PTRACED_ERROR_NO_SUCH_SESSION, ENXIO},     {PTRACED_ERROR_NO_SUCH_PROCESS, ESRCH},
    {PTRACED_ERROR_NO_SUCH_THREAD, ESRCH},      {PTRACED_ERROR_NOT_ATTACHED, EUNATCH},
    {PTRACED_ERROR_ALREADY_TRACED, EBUSY},      {PTRACED_ERROR_NOT_PERMITTED, EPERM},
    {PTRACED_ERROR_NOT_SUPPORTED, EOPNOTSUPP},  {PTRACED_ERROR_NOT_STOPPED, EINPROGRESS},
    {PTRACED_ERROR_NO_EVENT, EAGAIN},           {PTRACED_ERROR_INVALID_OPTION, EINVAL},
    {PTRACED_ERROR_LIMIT_EXCEEDED, EDQUOT},     {PTRACED_ERROR_TIMED_OUT, ETIMEDOUT},
    {PTRACED_ERROR_TRACER_GONE, EOWNERDEAD},    {PTRACED_ERROR_BAD_ADDRESS, EFAULT},
    {PTRACED_ERROR_NO_SUCH_BREAKPOINT, ENOENT}, {PTRACED_ERROR_EXCLUDED, ETXTBSY},
};

static int number_of(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(errors); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    return 0;
}

/* The header itself is read, so that a name added there without a number cannot be forgotten. */
static void every_name_in_the_header_has_a_number(void **state)
{
    FILE *f = fopen(ERRORS_H, "re");
    size_t n = 0;
    char line[256];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        char name[128];

        if (sscanf(line, "#define PTRACED_ERROR_%*s \"%127[^\"]\"", name) != 1)
            continue;
        n++;
        if (number_of(name) == 0)
            fail_msg("%s has no number in this test", name);
        assert_int_equal(sd_bus_error_get_errno(&SD_BUS_ERROR_MAKE_CONST(name, "")),
                         number_of(name));
    }
    fclose(f);
    assert_int_equal(n, ELEMENTSOF(errors));
}

static void error_that_is_set_gives_its_number_back(void **state)
{
    for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL, copy = SD_BUS_ERROR_NULL;

        assert_int_equal(sd_bus_error_setf(&error, errors[i].name, "Process %d: why", 1),
                         -errors[i].number);
        assert_int_equal(sd_bus_error_get_errno(&error), errors[i].number);
        assert_true(sd_bus_error_has_name(&error, errors[i].name));
        assert_true(sd_bus_error_has_names(&error, errors[i].name));
        assert_string_equal(error.message, "Process 1: why");
        assert_int_equal(sd_bus_error_copy(&copy, &error), -errors[i].number);
        assert_string_equal(copy.name, errors[i].name);
    }
}

static void different_failures_can_be_told_apart(void **state)
{
    for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
        assert_int_not_equal(errors[i].number, EIO); /* what sd-bus makes of an unknown name */
        for (size_t k = 0; k < i; k++) {
            bool both_gone = errors[i].number == ESRCH && errors[k].number == ESRCH;

            assert_string_not_equal(errors[i].name, errors[k].name);
            if (!both_gone) /* a process and a thread that are gone */
                assert_int_not_equal(errors[i].number, errors[k].number);
        }
    }
}

static void names_are_valid_and_below_our_prefix(void **state)
{
    static const char prefix[] = "org.ptraced.Tracer1.Error.";

    for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
        assert_memory_equal(errors[i].name, prefix, sizeof(prefix) - 1);
        assert_true(sd_bus_interface_name_is_valid(errors[i].name));
    }
}

static void second_registration_changes_nothing(void **state)
{
    ptraced_errors_register();
    error_that_is_set_gives_its_number_back(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_in_the_header_has_a_number),
        cmocka_unit_test(error_that_is_set_gives_its_number_back),
        cmocka_unit_test(different_failures_can_be_told_apart),
        cmocka_unit_test(names_are_valid_and_below_our_prefix),
        cmocka_unit_test(second_registration_changes_nothing),
    };

    ptraced_errors_register();
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
