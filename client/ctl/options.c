/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/exit-code.h"
#include "client/ctl/kinds.h"
#include "client/ctl/macro.h"
#include "client/ctl/options.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* One table says all about the options: it makes getopt's arrays, --help, and the check of which
 * verb takes what. An option sets a bool, keeps its argument, or has a function that reads it. */
struct option_spec {
    struct option_help help;
    bool *(*flag)(struct options *o);
    const char **(*string)(struct options *o);
    int (*read)(struct options *o, const char *value);
};

#define ACCESSOR(field, type)                                                                      \
    static type *at_##field(struct options *o)                                                     \
    {                                                                                              \
        return &o->field;                                                                          \
    }

ACCESSOR(help, bool)
ACCESSOR(version, bool)
ACCESSOR(no_pager, bool)
ACCESSOR(no_legend, bool)
ACCESSOR(no_ask_password, bool)
ACCESSOR(quiet, bool)
ACCESSOR(follow, bool)
ACCESSOR(stop, bool)
ACCESSOR(all, bool)
ACCESSOR(output, const char *)
ACCESSOR(session, const char *)
ACCESSOR(name, const char *)

static int set_transport(struct options *o, enum ptraced_transport transport, const char *host)
{
    o->transport_given = true;
    o->transport = transport;
    o->host = host;
    return CTL_OK;
}

static int read_system(struct options *o, const char *value)
{
    return set_transport(o, PTRACED_TRANSPORT_SYSTEM, NULL);
}

static int read_user(struct options *o, const char *value)
{
    return set_transport(o, PTRACED_TRANSPORT_USER, NULL);
}

static int read_embedded(struct options *o, const char *value)
{
    return set_transport(o, PTRACED_TRANSPORT_EMBEDDED, NULL);
}

static int read_host(struct options *o, const char *value)
{
    return set_transport(o, PTRACED_TRANSPORT_REMOTE, value);
}

static int read_machine(struct options *o, const char *value)
{
    return set_transport(o, PTRACED_TRANSPORT_MACHINE, value);
}

static int read_json(struct options *o, const char *value)
{
    if (strcmp(value, "short") == 0)
        o->json = JSON_SHORT;
    else if (strcmp(value, "pretty") == 0)
        o->json = JSON_PRETTY;
    else if (strcmp(value, "off") == 0)
        o->json = JSON_OFF;
    else
        return report_usage("--json= takes short, pretty or off, not '%s'.", value);
    return CTL_OK;
}

static int read_pid(struct options *o, const char *value)
{
    pid_t pid, *more;

    if (parse_pid(value, &pid) < 0)
        return report_usage("Not a process id: '%s'", value);
    more = reallocarray(o->pids, o->n_pids + 1, sizeof(*more));
    if (!more)
        return report_no_memory();
    o->pids = more;
    o->pids[o->n_pids++] = pid;
    return CTL_OK;
}

static int read_kinds(const char *value, unsigned *mask)
{
    const char *bad;
    size_t length;

    if (kinds_parse(value, mask, &bad, &length) < 0)
        return report_usage("Not a kind of event: '%.*s'. There are: %s.", (int)length, bad,
                            kinds_all());
    return CTL_OK;
}

static int read_events(struct options *o, const char *value)
{
    return read_kinds(value, &o->events);
}

static int read_stops(struct options *o, const char *value)
{
    return read_kinds(value, &o->stops);
}

static int read_lines(struct options *o, const char *value)
{
    if (parse_count(value, &o->lines) < 0)
        return report_usage("Not a number of events: '%s'", value);
    return CTL_OK;
}

static int read_threads(struct options *o, const char *value)
{
    if (strcmp(value, "follow") == 0)
        o->threads = PTRACED_FOLLOW_EVENTS;
    else if (strcmp(value, "none") == 0)
        o->threads = PTRACED_FOLLOW_NONE;
    else
        return report_usage("--threads= takes follow or none, not '%s'.", value);
    return CTL_OK;
}

#define FOLLOWING (VERB_BIT(VERB_RUN) | VERB_BIT(VERB_EVENTS))
#define ATTACHING (FOLLOWING | VERB_BIT(VERB_ATTACH))
#define HOLDING (VERB_BIT(VERB_EVENTS) | VERB_BIT(VERB_ATTACH))
#define CONTROLLING (VERB_BIT(VERB_INTERRUPT) | VERB_BIT(VERB_CONTINUE) | VERB_BIT(VERB_DETACH))
#define IN_SESSION                                                                                 \
    (CONTROLLING | VERB_BIT(VERB_EVENTS) | VERB_BIT(VERB_ATTACH) | VERB_BIT(VERB_THREADS))

/* clang-format off */
static const struct option_spec specs[] = {
    {{"system", 0, NULL, "Use the system service"}, .read = read_system},
    {{"user", 0, NULL, "Use the service of your session bus"}, .read = read_user},
    {{"embedded", 0, NULL, "Use no service: trace with a broker of its own"},
     .read = read_embedded},
    {{"host", 'H', "USER@HOST", "Use the service of another host, by ssh"}, .read = read_host},
    {{"machine", 'M', "NAME", "Use the service of a local container"}, .read = read_machine},
    {{"json", 0, "MODE", "Print JSON: short, pretty or off"}, .read = read_json},
    {{"no-pager", 0, NULL, "Do not show lists in a pager"}, .flag = at_no_pager},
    {{"no-legend", 0, NULL, "Print lists without header and summary"}, .flag = at_no_legend},
    {{"no-ask-password", 0, NULL, "Do not ask for permission or a password"},
     .flag = at_no_ask_password},
    {{"quiet", 'q', NULL, "Say nothing but errors"}, .flag = at_quiet},
    {{"help", 'h', NULL, "Show this help, or that of a verb"}, .flag = at_help},
    {{"version", 0, NULL, "Show the version"}, .flag = at_version},

    {{"follow", 'f', NULL, "Trace children too", ATTACHING}, .flag = at_follow},
    {{"events", 'e', "KIND[,KIND...]", "Report these kinds of events alone", ATTACHING},
     .read = read_events},
    {{"output", 'o', "FILE", "Write events to FILE, - for standard output", FOLLOWING},
     .string = at_output},
    {{"pid", 'p', "PID", "Attach to this process; may be repeated", VERB_BIT(VERB_EVENTS)},
     .read = read_pid},
    {{"session", 's', "SESSION", "Use this session", IN_SESSION}, .string = at_session},
    {{"lines", 'n', "N", "End after N events, or show the last N entries", VERB_BIT(VERB_EVENTS) | VERB_BIT(VERB_LOG)}, .read = read_lines},
    {{"threads", 0, "follow|none", "Whether threads to come are traced", HOLDING},
     .read = read_threads},
    {{"stops", 0, "KIND[,KIND...]", "These kinds stop the thread until 'continue'", HOLDING},
     .read = read_stops},
    {{"stop", 0, NULL, "Stop the processes at once", VERB_BIT(VERB_ATTACH)}, .flag = at_stop},
    {{"name", 0, "NAME", "The new session's name", VERB_BIT(VERB_ATTACH)}, .string = at_name},
    {{"all", 0, NULL, "All of the session, or of all your sessions", CONTROLLING},
     .flag = at_all},
};
/* clang-format on */

#define N_SPECS ELEMENTSOF(specs)
#define LONG_BASE 256 /* what getopt returns for specs[i] in long form is LONG_BASE + i */

struct parser {
    struct options *options;
    struct option longs[N_SPECS + 1];
    char shorts[2 + 2 * N_SPECS + 1];
    uint32_t seen; /* bit i: specs[i] was given */
};

_Static_assert(N_SPECS <= 32, "struct parser.seen is too small");

static void parser_start(struct parser *p, struct options *o)
{
    char *s = p->shorts + 2;

    *p = (struct parser){.options = o};
    /* "+": stop at the first argument that is no option; ":": tell a missing argument apart */
    memcpy(p->shorts, "+:", 2);
    for (size_t i = 0; i < N_SPECS; i++) {
        const struct option_help *h = &specs[i].help;

        p->longs[i] = (struct option){
            .name = h->name,
            .has_arg = h->argument ? required_argument : no_argument,
            .val = LONG_BASE + (int)i,
        };
        if (h->letter == 0)
            continue;
        *s++ = h->letter;
        if (h->argument)
            *s++ = ':';
    }
    opterr = 0;
}

/* The word that getopt stands on after it has refused a letter: the one before optind when that
 * letter was its last one, else the one at optind. */
static const char *refused_word(char *const argv[])
{
    const char *before = argv[optind - 1];

    if (optopt == 0 || optopt >= LONG_BASE)
        return before;
    if (before[0] == '-' && before[1] != '-' && before[strlen(before) - 1] == optopt)
        return before;
    return argv[optind] ? argv[optind] : before;
}

/* Misspelt, or shortened so much that it begins several. */
static int fail_unknown(const char *word)
{
    const char *names[N_SPECS], *nearest = NULL;
    char name[32];

    for (size_t i = 0; i < N_SPECS; i++)
        names[i] = specs[i].help.name;
    if (strncmp(word, "--", 2) == 0) {
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
        nearest = parse_nearest(name, names, N_SPECS);
    }
    return nearest ? report_usage("No such option: '%s'. Did you mean '--%s'?", word, nearest)
                   : report_usage("No such option: '%s'", word);
}

static int fail_option(int c, char *const argv[])
{
    const char *word = refused_word(argv);

    if (c == ':')
        return report_usage("'%s' needs an argument.", argv[optind - 1]);
    if (optopt >= LONG_BASE)
        return report_usage("'%s' takes no argument.", word);
    if (isdigit(optopt))
        return report_usage("Not a process id: '%s'", word);
    return fail_unknown(word);
}

static size_t find_spec(int c)
{
    size_t i = 0;

    if (c >= LONG_BASE)
        return (size_t)(c - LONG_BASE);
    while (specs[i].help.letter != c)
        i++;
    return i;
}

static int apply(struct parser *p, size_t i, const char *value)
{
    const struct option_spec *spec = &specs[i];

    p->seen |= UINT32_C(1) << i;
    if (spec->read)
        return spec->read(p->options, value);
    if (spec->flag)
        *spec->flag(p->options) = true;
    else
        *spec->string(p->options) = value;
    return CTL_OK;
}

/* Reads options from *index on; *index is then the first word that is none. With `permute` options
 * are taken from between the other words, which end up behind them. */
static int parse_words(struct parser *p, int argc, char **argv, bool permute, int *index)
{
    const char *shorts = permute ? p->shorts + 1 : p->shorts;
    int c, r;

    optind = 0; /* glibc: start anew */
    argc -= *index - 1;
    argv += *index - 1;
    while ((c = getopt_long(argc, argv, shorts, p->longs, NULL)) >= 0) {
        if (c == '?' || c == ':')
            return fail_option(c, argv);
        r = apply(p, find_spec(c), optarg);
        if (r != CTL_OK)
            return r;
    }
    *index += optind - 1;
    return CTL_OK;
}

static int check_verb(const struct parser *p, const struct verb *verb, int n_arguments)
{
    for (size_t i = 0; i < N_SPECS; i++) {
        unsigned verbs = specs[i].help.verbs;

        if ((p->seen & UINT32_C(1) << i) && verbs != 0 && !(verbs & VERB_BIT(verb->id)))
            return report_usage("'%s' does not take --%s.", verb->name, specs[i].help.name);
    }
    if (n_arguments < verb->min_arguments)
        return report_usage("Something is missing: ptracectl %s %s", verb->name, verb->arguments);
    if (verb->max_arguments >= 0 && n_arguments > verb->max_arguments)
        return report_usage("Too many arguments: ptracectl %s%s%s", verb->name,
                            *verb->arguments ? " " : "", verb->arguments);
    return CTL_OK;
}

static int parse_verb(const char *word, const struct verb **ret)
{
    const struct verb *verb = verb_find(word), *nearest;

    if (!verb) {
        nearest = verb_nearest(word);
        return nearest ? report_usage("No such verb: '%s'. Did you mean '%s'?", word, nearest->name)
                       : report_usage("No such verb: '%s'", word);
    }
    *ret = verb;
    return CTL_OK;
}

int options_parse(struct options *o, int argc, char **argv, const struct verb **ret_verb,
                  int *ret_first)
{
    const struct verb *verb = NULL;
    struct parser p;
    int r, index = 1;

    *o = (struct options){0};
    *ret_verb = NULL;
    parser_start(&p, o);

    r = parse_words(&p, argc, argv, false, &index);
    if (r != CTL_OK)
        return r;
    if (index >= argc)
        return o->help || o->version ? CTL_OK : report_usage("What shall be done? No verb given.");
    r = parse_verb(argv[index], &verb);
    if (r != CTL_OK)
        return r;
    *ret_verb = verb; /* even if the rest is wrong: `run` has exit codes of its own */
    index++;
    /* What follows the program of `run` is the program's. */
    r = parse_words(&p, argc, argv, verb->id != VERB_RUN, &index);
    if (r != CTL_OK || o->help || o->version)
        return r;
    *ret_first = index;
    return check_verb(&p, verb, argc - index);
}

void options_done(struct options *o)
{
    free(o->pids);
    o->pids = NULL;
    o->n_pids = 0;
}

bool options_help_at(size_t i, struct option_help *ret)
{
    if (i >= N_SPECS)
        return false;
    *ret = specs[i].help;
    return true;
}
