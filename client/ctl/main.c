/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/help.h"
#include "client/ctl/output.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* `run` has a code of its own for failures, since the others may be its program's status. */
static int code_of_failure(const struct context *c, int code)
{
    return c->verb && c->verb->id == VERB_RUN ? CTL_RUN_FAILED : code;
}

static int run(struct context *c, int argc, char **argv)
{
    int r, first;

    r = options_parse(&c->options, argc, argv, &c->verb, &first);
    if (r != CTL_OK)
        return code_of_failure(c, r);
    if (c->options.help)
        help_print(c->verb);
    else if (c->options.version)
        help_print_version();
    else
        return c->verb->run(c, argc - first, argv + first);
    return CTL_OK;
}

/* A full disk or a closed pipe shows only when the buffer is written out. */
static int finish_output(void)
{
    bool failed = ferror(stdout);

    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return CTL_OK;
    report_error("Failed to write to standard output: %s", strerror(errno ?: EIO));
    return CTL_FAILURE;
}

int main(int argc, char *argv[])
{
    struct context c = {0};
    int r, code;

    r = output_reserve_standard();
    if (r < 0)
        return CTL_FAILURE;
    code = run(&c, argc, argv);
    context_done(&c);
    r = finish_output();
    return r == CTL_OK ? code : code_of_failure(&c, r);
}
