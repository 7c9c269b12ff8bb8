/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "client/ctl/help.h"
#include "client/ctl/options.h"
#include "client/ctl/verbs.h"
#include "config.h"

static void print_option(const struct option_help *h)
{
    char text[64];

    snprintf(text, sizeof(text), "%c%c --%s%s%s", h->letter ? '-' : ' ',
             h->letter ? h->letter : ' ', h->name, h->argument ? "=" : "",
             h->argument ? h->argument : "");
    printf("  %-28s %s\n", text, h->text);
}

/* The options that every verb takes (mask 0), or those of some verbs. */
static unsigned print_options(unsigned verbs)
{
    struct option_help h;
    unsigned n = 0;

    for (size_t i = 0; options_help_at(i, &h); i++) {
        if (verbs ? !(h.verbs & verbs) : h.verbs != 0)
            continue;
        print_option(&h);
        n++;
    }
    return n;
}

static void print_verb_help(const struct verb *verb)
{
    printf("ptracectl [OPTIONS...] %s %s\n\n%s.\n\nOptions of '%s':\n", verb->name, verb->arguments,
           verb->summary, verb->name);
    if (print_options(VERB_BIT(verb->id)) == 0)
        puts("  (none of its own)");
    puts("\n'ptracectl --help' shows the options that every verb takes, and the exit codes.");
}

static void print_exit_codes(void)
{
    puts("\nExit codes:\n"
         "  0  done; a tracee ended, or Ctrl-C ended 'events'\n"
         "  1  something failed that has no code of its own\n"
         "  2  wrong usage\n"
         "  3  no such process, thread or session, or the session does not trace it\n"
         "  4  not permitted, by the kernel or by policy\n"
         "  5  traced already, by something that is not ptraced\n"
         "  6  the service cannot be reached\n"
         "  7  a tracee or its tracer did not answer in time\n"
         "  'run' exits with the program's status, 128 + N where signal N killed it; 127: no such\n"
         "  program, 126: it cannot be executed, 125: ptracectl failed.");
}

void help_print(const struct verb *verb)
{
    const struct verb *v;

    if (verb) {
        print_verb_help(verb);
        return;
    }
    puts("ptracectl [OPTIONS...] VERB [ARGUMENTS...]\n\n"
         "Trace programs through the ptraced service, or without one.\n\nVerbs:");
    for (size_t i = 0; (v = verb_at(i)); i++) {
        char usage[64];

        snprintf(usage, sizeof(usage), "%s %s", v->name, v->arguments);
        printf("  %-36s %s\n", usage, v->summary);
    }
    puts("\nOptions:");
    print_options(0);
    puts("\nOptions of single verbs ('ptracectl VERB --help' shows those of one):");
    print_options(~0u);
    print_exit_codes();
}

void help_print_version(void)
{
    puts("ptracectl " PTRACED_VERSION);
}
