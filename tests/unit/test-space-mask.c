/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where breakpoints lie side by side, each byte that is read is the program's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/trace/space.h"

#define BASE 0x1000u
#define TEXT_SIZE 32u

/* Locations at these offsets; byte n of the program is n. */
static void check_every_read(uint64_t base, const unsigned *offsets, size_t n)
{
    struct location locations[TEXT_SIZE] = {0};
    struct space s = {.size = 1, .locations = locations, .n_locations = n};
    uint8_t text[TEXT_SIZE], buffer[TEXT_SIZE];

    for (unsigned i = 0; i < TEXT_SIZE; i++)
        text[i] = (uint8_t)i;
    for (size_t i = 0; i < n; i++) {
        locations[i].address = base + offsets[i];
        locations[i].original[0] = text[offsets[i]];
        text[offsets[i]] = 0xcc;
    }
    for (unsigned from = 0; from < TEXT_SIZE; from++)
        for (unsigned size = 1; size <= TEXT_SIZE - from; size++) {
            memcpy(buffer, text + from, size);
            space_mask(&s, base + from, buffer, size);
            for (unsigned i = 0; i < size; i++)
                assert_int_equal(buffer[i], from + i);
        }
}

static void neighbours(void **state)
{
    const unsigned offsets[] = {3, 4, 5, 6, 7, 8, 20, 22, 25, 31};

    check_every_read(BASE, offsets, sizeof(offsets) / sizeof(offsets[0]));
}

static void one_alone(void **state)
{
    check_every_read(BASE, (const unsigned[]){9}, 1);
}

static void at_the_ends_of_the_address_space(void **state)
{
    const unsigned offsets[] = {0, 1, 2, 30, 31};

    check_every_read(0, offsets, sizeof(offsets) / sizeof(offsets[0]));
    check_every_read(UINT64_MAX - TEXT_SIZE + 1, offsets, sizeof(offsets) / sizeof(offsets[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours),
        cmocka_unit_test(one_alone),
        cmocka_unit_test(at_the_ends_of_the_address_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
