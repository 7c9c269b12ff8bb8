/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "tests/unit/bus-fixture.h"
#include "tests/unit/random.h"

/* Unicode, table 3-7: the well-formed byte sequences, as ranges for each byte. */
static const struct {
    size_t length;
    struct {
        uint8_t low, high;
    } bytes[4];
} well_formed[] = {
    {1, {{0x00, 0x7f}}},
    {2, {{0xc2, 0xdf}, {0x80, 0xbf}}},
    {3, {{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}}},
    {3, {{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {3, {{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}}},
    {3, {{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}}},
};

/* The length of the sequence that begins there, or 0. */
static size_t well_formed_at(const uint8_t *p, size_t n)
{
    for (size_t row = 0; row < ELEMENTSOF(well_formed); row++) {
        size_t length = well_formed[row].length, i;

        for (i = 0; i < length && i < n; i++)
            if (p[i] < well_formed[row].bytes[i].low || p[i] > well_formed[row].bytes[i].high)
                break;
        if (i == length)
            return length;
    }
    return 0;
}

static void assert_well_formed(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t n = strlen(text);

    for (size_t i = 0; i < n;) {
        size_t length = well_formed_at(p + i, n - i);

        if (length == 0)
            fail_msg("'%s' is no UTF-8", text);
        i += length;
    }
}

/* What the escaped string stands for. */
static size_t unescape(const char *text, char *bytes)
{
    size_t n = 0;

    for (const char *p = text; *p;) {
        unsigned byte;
        int used = 0;

        if (*p != '\\') {
            bytes[n++] = *p++;
            continue;
        }
        assert_int_equal(sscanf(p, "\\x%2x%n", &byte, &used), 1);
        assert_int_equal(used, 4);
        bytes[n++] = (char)byte;
        p += used;
    }
    return n;
}

static void assert_escaped(const char *bytes, size_t n, const char *expected)
{
    _cleanup_free_string_ char *escaped = ptraced_escape(bytes, n);

    assert_non_null(escaped);
    assert_string_equal(escaped, expected);
}

#define ASSERT_ESCAPED(bytes, expected) assert_escaped(bytes, sizeof(bytes) - 1, expected)
#define ASSERT_KEPT(bytes) assert_escaped(bytes, sizeof(bytes) - 1, bytes)

static void printable_text_is_kept(void **state)
{
    ASSERT_KEPT("");
    ASSERT_KEPT("bash");
    ASSERT_KEPT(" !\"#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~");
    ASSERT_KEPT("gr\xc3\xbc\xc3\x9f");
    ASSERT_KEPT("\xe2\x82\xac \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x90\xa7");
}

static void edges_of_each_length_are_kept(void **state)
{
    ASSERT_KEPT("\xc2\xa0");         /* U+00A0: the first after the C1 controls */
    ASSERT_KEPT("\xdf\xbf");         /* U+07FF */
    ASSERT_KEPT("\xe0\xa0\x80");     /* U+0800 */
    ASSERT_KEPT("\xed\x9f\xbf");     /* U+D7FF: before the surrogates */
    ASSERT_KEPT("\xee\x80\x80");     /* U+E000: behind them */
    ASSERT_KEPT("\xef\xbf\xbd");     /* U+FFFD */
    ASSERT_KEPT("\xf0\x90\x80\x80"); /* U+10000 */
    ASSERT_KEPT("\xf4\x8f\xbf\xbd"); /* U+10FFFD */
}

static void ill_formed_bytes_are_escaped(void **state)
{
    ASSERT_ESCAPED("\x80", "\\x80");
    ASSERT_ESCAPED("\xbf", "\\xbf");
    ASSERT_ESCAPED("\xfe\xff", "\\xfe\\xff");
    ASSERT_ESCAPED("\xc0\x80", "\\xc0\\x80");                   /* overlong NUL */
    ASSERT_ESCAPED("\xc1\xbf", "\\xc1\\xbf");                   /* overlong U+007F */
    ASSERT_ESCAPED("\xc0\xaf", "\\xc0\\xaf");                   /* overlong / */
    ASSERT_ESCAPED("\xe0\x9f\xbf", "\\xe0\\x9f\\xbf");          /* overlong U+07FF */
    ASSERT_ESCAPED("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"); /* overlong U+FFFF */
    ASSERT_ESCAPED("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* surrogates */
    ASSERT_ESCAPED("\xed\xbf\xbf", "\\xed\\xbf\\xbf");
    ASSERT_ESCAPED("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* U+110000 */
    ASSERT_ESCAPED("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
    ASSERT_ESCAPED("\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80");
    ASSERT_ESCAPED("\xc3", "\\xc3"); /* cut off */
    ASSERT_ESCAPED("\xe2\x82", "\\xe2\\x82");
    ASSERT_ESCAPED("\xf0\x9f\x90", "\\xf0\\x9f\\x90");
}

static void what_follows_an_ill_formed_byte_is_kept(void **state)
{
    ASSERT_ESCAPED("a\xc3(b", "a\\xc3(b");
    ASSERT_ESCAPED("\xe2\x82z", "\\xe2\\x82z");
    ASSERT_ESCAPED("\xe2\xc3\xbc", "\\xe2\xc3\xbc");
    ASSERT_ESCAPED("\xc3\xc3\xbc", "\\xc3\xc3\xbc");
    ASSERT_ESCAPED("\xf0\x9f\xe2\x82\xac", "\\xf0\\x9f\xe2\x82\xac");
}

static void controls_are_escaped(void **state)
{
    ASSERT_ESCAPED("a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd");
    ASSERT_ESCAPED("\x1b[31mred", "\\x1b[31mred");
    ASSERT_ESCAPED("\x7f", "\\x7f");
    ASSERT_ESCAPED("a\0b", "a\\x00b");
    ASSERT_ESCAPED("\xc2\x80\xc2\x9b\xc2\x9f", "\\xc2\\x80\\xc2\\x9b\\xc2\\x9f"); /* C1 */
}

static void what_turns_or_breaks_a_line_is_escaped(void **state)
{
    ASSERT_ESCAPED("\xe2\x80\xae"
                   "txt.exe",
                   "\\xe2\\x80\\xaetxt.exe");          /* U+202E */
    ASSERT_ESCAPED("\xe2\x80\xaa", "\\xe2\\x80\\xaa"); /* U+202A */
    ASSERT_ESCAPED("\xe2\x81\xa6", "\\xe2\\x81\\xa6"); /* U+2066 */
    ASSERT_ESCAPED("\xe2\x81\xa9", "\\xe2\\x81\\xa9"); /* U+2069 */
    ASSERT_ESCAPED("\xe2\x80\x8e", "\\xe2\\x80\\x8e"); /* U+200E */
    ASSERT_ESCAPED("\xe2\x80\x8f", "\\xe2\\x80\\x8f"); /* U+200F */
    ASSERT_ESCAPED("\xd8\x9c", "\\xd8\\x9c");          /* U+061C */
    ASSERT_ESCAPED("\xe2\x80\xa8", "\\xe2\\x80\\xa8"); /* U+2028 */
    ASSERT_ESCAPED("\xe2\x80\xa9", "\\xe2\\x80\\xa9"); /* U+2029 */
}

static void noncharacters_are_escaped(void **state)
{
    ASSERT_ESCAPED("\xef\xbf\xbe", "\\xef\\xbf\\xbe"); /* U+FFFE */
    ASSERT_ESCAPED("\xef\xbf\xbf", "\\xef\\xbf\\xbf");
    ASSERT_ESCAPED("\xef\xb7\x90", "\\xef\\xb7\\x90");          /* U+FDD0 */
    ASSERT_ESCAPED("\xef\xb7\xaf", "\\xef\\xb7\\xaf");          /* U+FDEF */
    ASSERT_ESCAPED("\xf0\x9f\xbf\xbe", "\\xf0\\x9f\\xbf\\xbe"); /* U+1FFFE */
    ASSERT_ESCAPED("\xf4\x8f\xbf\xbf", "\\xf4\\x8f\\xbf\\xbf"); /* U+10FFFF */
}

static void backslash_is_escaped_so_that_nothing_is_ambiguous(void **state)
{
    ASSERT_ESCAPED("\\", "\\x5c");
    ASSERT_ESCAPED("\\x41", "\\x5cx41");
    ASSERT_ESCAPED("C:\\n", "C:\\x5cn");
}

static void assert_reversible(const char *bytes, size_t n)
{
    _cleanup_free_string_ char *escaped = ptraced_escape(bytes, n), *back = NULL;

    assert_non_null(escaped);
    assert_well_formed(escaped);
    back = malloc(strlen(escaped) + 1);
    assert_non_null(back);
    assert_int_equal(unescape(escaped, back), n);
    assert_memory_equal(back, bytes, n);
}

static void every_pair_of_bytes_gives_utf8_and_can_be_told_again(void **state)
{
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            assert_reversible((const char[]){(char)a, (char)b}, 2);
}

/* Bytes near the edges of table 3-7, where a decoder goes wrong. */
static void random_bytes_give_utf8_and_can_be_told_again(void **state)
{
    static const uint8_t edges[] = {0x00, 0x0a, 0x41, 0x5c, 0x7f, 0x80, 0x8f, 0x90,
                                    0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xe2,
                                    0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff};
    struct random r = {.x = 37};

    for (unsigned round = 0; round < 50000; round++) {
        size_t n = random_below(&r, 12);
        char bytes[12];

        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)edges[random_below(&r, ELEMENTSOF(edges))];
        assert_reversible(bytes, n);
    }
}

/* Every character: sd-bus, which refuses what it does not like, must take the result. */
static void sd_bus_takes_every_result(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    for (uint32_t c = 0x800; c < 0x10000; c++) {
        const char bytes[] = {(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)),
                              (char)(0x80 | (c & 0x3f))};
        _cleanup_free_string_ char *escaped = ptraced_escape(bytes, sizeof(bytes));

        assert_non_null(escaped);
        if (sd_bus_message_append(m, "s", escaped) < 0)
            fail_msg("sd-bus refuses U+%04X as '%s'", c, escaped);
    }
    for (unsigned c = 1; c < 256; c++) {
        _cleanup_free_string_ char *escaped = ptraced_escape((const char[]){(char)c}, 1);

        assert_non_null(escaped);
        assert_return_code(sd_bus_message_append(m, "s", escaped), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_text_is_kept),
        cmocka_unit_test(edges_of_each_length_are_kept),
        cmocka_unit_test(ill_formed_bytes_are_escaped),
        cmocka_unit_test(what_follows_an_ill_formed_byte_is_kept),
        cmocka_unit_test(controls_are_escaped),
        cmocka_unit_test(what_turns_or_breaks_a_line_is_escaped),
        cmocka_unit_test(noncharacters_are_escaped),
        cmocka_unit_test(backslash_is_escaped_so_that_nothing_is_ambiguous),
        cmocka_unit_test(every_pair_of_bytes_gives_utf8_and_can_be_told_again),
        cmocka_unit_test(random_bytes_give_utf8_and_can_be_told_again),
        cmocka_unit_test_setup_teardown(sd_bus_takes_every_result, bus_fixture_setup,
                                        bus_fixture_teardown),
    };

    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
