/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/audit.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/macro.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* journalctl does it, which knows all about journals, pagers, and who may read what. */

#define ARGUMENTS_MAX 24

struct command {
    const char *words[ARGUMENTS_MAX];
    size_t n;
};

static void add(struct command *c, const char *word)
{
    if (c->n < ARGUMENTS_MAX - 1)
        c->words[c->n++] = word;
}

/* Anybody can write entries with our ids into the journal; what the journal adds itself, the unit,
 * nobody can forge. */
static int add_place(struct command *command, const struct options *o)
{
    switch (o->transport_given ? o->transport : PTRACED_TRANSPORT_SYSTEM) {
    case PTRACED_TRANSPORT_SYSTEM:
        add(command, "_SYSTEMD_UNIT=ptraced.service");
        return CTL_OK;
    case PTRACED_TRANSPORT_USER:
        add(command, "--user");
        add(command, "_SYSTEMD_USER_UNIT=ptraced.service");
        return CTL_OK;
    case PTRACED_TRANSPORT_MACHINE:
        add(command, "--machine");
        add(command, o->host);
        add(command, "_SYSTEMD_UNIT=ptraced.service");
        return CTL_OK;
    case PTRACED_TRANSPORT_REMOTE:
        return report_usage("The journal of another host is read there: ssh %s ptracectl log",
                            o->host);
    case PTRACED_TRANSPORT_EMBEDDED:
    case PTRACED_TRANSPORT_DIRECT: /* which no option asks for */
        break;
    }
    return report_usage("Embedded mode writes no journal.");
}

static void add_looks(struct command *command, const struct options *o, char lines[static 32])
{
    static const char *const outputs[] = {
        [JSON_OFF] = "--output=short-iso",
        [JSON_SHORT] = "--output=json",
        [JSON_PRETTY] = "--output=json-pretty",
    };

    add(command, outputs[o->json]);
    if (o->no_pager)
        add(command, "--no-pager");
    if (o->quiet) /* with it nobody is told what he may not read */
        add(command, "--quiet");
    if (o->lines > 0) {
        snprintf(lines, 32, "--lines=%llu", (unsigned long long)o->lines);
        add(command, lines);
    } else if (isatty(STDOUT_FILENO) && !o->no_pager && o->json == JSON_OFF)
        add(command, "--pager-end"); /* the last thousand */
}

int verb_log(struct context *c, int n_arguments, char **arguments)
{
    static const char *const kinds[] = {
        "MESSAGE_ID=" PTRACED_AUDIT_GRANT_ID,    "MESSAGE_ID=" PTRACED_AUDIT_REFUSAL_ID,
        "MESSAGE_ID=" PTRACED_AUDIT_REFUSALS_ID, "MESSAGE_ID=" PTRACED_AUDIT_ATTACH_ID,
        "MESSAGE_ID=" PTRACED_AUDIT_RELEASE_ID,  "MESSAGE_ID=" PTRACED_AUDIT_LOSS_ID,
        "MESSAGE_ID=" PTRACED_AUDIT_CHILDREN_ID, "MESSAGE_ID=" PTRACED_AUDIT_PERMITS_ID,
    };
    struct command command = {.words = {"journalctl"}, .n = 1};
    char lines[32];
    int r = add_place(&command, &c->options);

    if (r != CTL_OK)
        return r;
    add_looks(&command, &c->options, lines);
    for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
        add(&command, kinds[i]);
    execvp(command.words[0], (char *const *)command.words);
    report_error("Cannot run journalctl, which reads the journal: %s", strerror(errno));
    return CTL_FAILURE;
}
