/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/ctl/json.h"

struct written {
    struct json json;
    FILE *stream;
    char *text;
    size_t size;
};

static void start(struct written *w, enum json_mode mode)
{
    w->stream = open_memstream(&w->text, &w->size);
    assert_non_null(w->stream);
    json_start(&w->json, w->stream, mode);
}

static void expect(struct written *w, const char *expected)
{
    assert_int_equal(fclose(w->stream), 0);
    assert_string_equal(w->text, expected);
    free(w->text);
}

static void write_example(struct json *j)
{
    json_open_object(j, NULL);
    json_unsigned(j, "u", UINT64_MAX);
    json_integer(j, "i", INT64_MIN);
    json_open_array(j, "a");
    json_bool(j, NULL, true);
    json_string(j, NULL, NULL);
    json_open_object(j, NULL);
    json_close_object(j);
    json_close_array(j);
    json_open_array(j, "empty");
    json_close_array(j);
    json_string(j, "s", "x");
    json_close_object(j);
}

static void test_short(void **state)
{
    struct written w;

    start(&w, JSON_SHORT);
    write_example(&w.json);
    expect(&w, "{\"u\":18446744073709551615,\"i\":-9223372036854775808,"
               "\"a\":[true,null,{}],\"empty\":[],\"s\":\"x\"}\n");
}

static void test_pretty(void **state)
{
    struct written w;

    start(&w, JSON_PRETTY);
    write_example(&w.json);
    expect(&w, "{\n\t\"u\" : 18446744073709551615,\n\t\"i\" : -9223372036854775808,\n"
               "\t\"a\" : [\n\t\ttrue,\n\t\tnull,\n\t\t{}\n\t],\n\t\"empty\" : [],\n"
               "\t\"s\" : \"x\"\n}\n");
}

/* One value after another at the top: a line each. */
static void test_lines(void **state)
{
    struct written w;

    start(&w, JSON_SHORT);
    for (unsigned i = 0; i < 2; i++) {
        json_open_object(&w.json, NULL);
        json_unsigned(&w.json, "n", i);
        json_close_object(&w.json);
    }
    expect(&w, "{\"n\":0}\n{\"n\":1}\n");
}

static void test_escaping(void **state)
{
    struct written w;

    start(&w, JSON_SHORT);
    json_open_array(&w.json, NULL);
    json_string(&w.json, NULL,
                "\" \\ / \n \t \x01 \x1f \x7f gr\xc3\xb6\xc3\x9f"
                "e \xf0\x9f\x90\x9b");
    json_close_array(&w.json);
    expect(&w, "[\"\\\" \\\\ / \\n \\t \\u0001 \\u001f \\u007f gr\xc3\xb6\xc3\x9f"
               "e \xf0\x9f\x90\x9b\"]\n");
}

static void test_key_escaping(void **state)
{
    struct written w;

    start(&w, JSON_SHORT);
    json_open_object(&w.json, NULL);
    json_bool(&w.json, "a\"b", false);
    json_close_object(&w.json);
    expect(&w, "{\"a\\\"b\":false}\n");
}

/* Every depth has its own comma. */
static void test_depth(void **state)
{
    struct written w;

    start(&w, JSON_SHORT);
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
        json_open_array(&w.json, NULL);
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++) {
        json_unsigned(&w.json, NULL, i);
        json_close_array(&w.json);
    }
    assert_int_equal(fflush(w.stream), 0);
    assert_non_null(strstr(w.text, "[0],1],2],3]"));
    assert_int_equal(fclose(w.stream), 0);
    free(w.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short),        cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_key_escaping), cmocka_unit_test(test_depth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
