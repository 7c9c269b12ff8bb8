/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <string.h>

#include "client/ctl/agent.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"
#include "client/ctl/table.h"
#include "client/ctl/verbs.h"

/* LIMIT=VALUE. *ret_name is a copy. */
static int parse_setting(const char *argument, char **ret_name, uint64_t *ret_value)
{
    const char *equals = strchr(argument, '=');

    if (!equals || equals == argument)
        return report_usage("Neither a limit nor its value: '%s'. It is LIMIT=VALUE.", argument);
    if (parse_count(equals + 1, ret_value) < 0)
        return report_usage("Not a value of a limit: '%s'", argument);
    *ret_name = strndup(argument, (size_t)(equals - argument));
    return *ret_name ? CTL_OK : report_no_memory();
}

static int set_limit(struct context *c, const char *argument)
{
    _cleanup_free_ char *name = NULL;
    uint64_t value;
    int r;

    r = parse_setting(argument, &name, &value);
    if (r != CTL_OK)
        return r;
    r = ptraced_set_limit(c->connection, name, value);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to set the limit %s", name);
    return CTL_OK;
}

/* Nothing is set where one of them cannot be read. */
static int check_settings(int n_arguments, char **arguments)
{
    for (int i = 0; i < n_arguments; i++) {
        _cleanup_free_ char *name = NULL;
        uint64_t value;
        int r = parse_setting(arguments[i], &name, &value);

        if (r != CTL_OK)
            return r;
    }
    return CTL_OK;
}

static int set_limits(struct context *c, int n_arguments, char **arguments)
{
    int r = CTL_OK;

    if (lookup_is_asked(c))
        agent_open_to_manage(c);
    for (int i = 0; i < n_arguments && r == CTL_OK; i++)
        r = set_limit(c, arguments[i]);
    agent_close();
    return r;
}

static int add_row(struct table *t, const struct ptraced_limit_info *limit)
{
    bool counted = limit->used != UINT64_MAX;

    if (table_add_text(t, limit->name) < 0 || table_add_number(t, limit->value) < 0 ||
        (counted ? table_add_number(t, limit->used) : table_add_text(t, NULL)) < 0 ||
        table_add_text(t, limit->what) < 0)
        return report_no_memory();
    return CTL_OK;
}

static int list_limits(struct context *c)
{
    static const struct column columns[] = {
        {"LIMIT", "limit"}, {"VALUE", "value"}, {"USED", "used"}, {"OF", "of"}};
    _cleanup_(table_done) struct table table = TABLE(columns);
    _cleanup_free_ struct ptraced_limit_info *limits = NULL;
    int r = CTL_OK, n = ptraced_list_limits(c->connection, &limits);

    if (n < 0)
        return report_failure(c, n, 0, "Failed to list limits");
    for (int i = 0; i < n && r == CTL_OK; i++)
        r = add_row(&table, &limits[i]);
    if (r == CTL_OK)
        table_print(&table, &c->options, "limit", "limits");
    return r;
}

int verb_limits(struct context *c, int n_arguments, char **arguments)
{
    int r;

    r = check_settings(n_arguments, arguments);
    if (r == CTL_OK)
        r = context_connect(c);
    if (r != CTL_OK)
        return r;
    return n_arguments > 0 ? set_limits(c, n_arguments, arguments) : list_limits(c);
}
