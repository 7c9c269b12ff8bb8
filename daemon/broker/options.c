/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "daemon/broker/options.h"

#define SHOWN_MAX 64u /* of what somebody else has written */

static int refuse_unknown(const char *key, const struct option_rule *rules, size_t n,
                          sd_bus_error *error)
{
    _cleanup_free_string_ char *shown = ptraced_escape(key, strnlen(key, SHOWN_MAX));
    char known[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < n && used + strlen(rules[i].key) + 3 < sizeof(known); i++) {
        strcpy(known + used, used ? ", " : "");
        strcat(known + used, rules[i].key);
        used += strlen(known + used);
    }
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                             "Unknown option \"%s\"; there are: %s", shown ? shown : "",
                             used ? known : "none");
}

static int read_value(sd_bus_message *m, const struct option_rule *rule, sd_bus_error *error)
{
    const char *contents;
    char type;
    int r;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    if (strcmp(contents, rule->type) != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "The option \"%s\" is of type %s, not %s", rule->key, rule->type,
                                 contents);
    if (!rule->ret)
        return sd_bus_message_skip(m, "v");
    return sd_bus_message_read(m, "v", rule->type, rule->ret);
}

static int read_option(sd_bus_message *m, const struct option_rule *rules, size_t n, uint32_t *seen,
                       sd_bus_error *error)
{
    const char *key;
    int r;

    r = sd_bus_message_read(m, "s", &key);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rules[i].key, key) != 0)
            continue;
        if (*seen & UINT32_C(1) << i)
            return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                     "The option \"%s\" is given twice", key);
        *seen |= UINT32_C(1) << i;
        return read_value(m, &rules[i], error);
    }
    return refuse_unknown(key, rules, n, error);
}

int options_read(sd_bus_message *m, const struct option_rule *rules, size_t n, sd_bus_error *error)
{
    uint32_t seen = 0;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = read_option(m, rules, n, &seen, error);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}
