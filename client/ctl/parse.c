/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "client/ctl/macro.h"
#include "client/ctl/parse.h"

#define WORD_MAX 31u

/* The n bytes at s, all of them digits. strtoull() would take signs and leading space. */
static int parse_digits(const char *s, size_t n, uint64_t *ret)
{
    uint64_t v = 0;

    if (n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return -ERANGE;
    *ret = v;
    return 0;
}

static int parse_pid_n(const char *s, size_t n, pid_t *ret)
{
    uint64_t v;
    int r;

    r = parse_digits(s, n, &v);
    if (r < 0)
        return r;
    if (v == 0)
        return -EINVAL;
    if (v > INT_MAX)
        return -ERANGE;
    *ret = (pid_t)v;
    return 0;
}

int parse_pid(const char *s, pid_t *ret)
{
    return parse_pid_n(s, strlen(s), ret);
}

int parse_target(const char *s, pid_t *ret_pid, pid_t *ret_tid)
{
    const char *colon = strchrnul(s, ':');
    pid_t pid, tid = 0;
    int r;

    r = parse_pid_n(s, (size_t)(colon - s), &pid);
    if (r < 0)
        return r;
    if (*colon != '\0') {
        r = parse_pid(colon + 1, &tid);
        if (r < 0)
            return r;
    }
    *ret_pid = pid;
    *ret_tid = tid;
    return 0;
}

int parse_count(const char *s, uint64_t *ret)
{
    uint64_t v;
    int r;

    r = parse_digits(s, strlen(s), &v);
    if (r < 0)
        return r;
    if (v == 0)
        return -EINVAL;
    *ret = v;
    return 0;
}

/* Levenshtein's distance, one row at a time; both words are at most WORD_MAX long. */
static unsigned distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    unsigned row[WORD_MAX + 1];

    for (unsigned j = 0; j <= n_b; j++)
        row[j] = j;
    for (unsigned i = 1; i <= n_a; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (best > row[j] + 1)
                best = row[j] + 1;
            if (best > row[j - 1] + 1)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n_b];
}

const char *parse_nearest(const char *word, const char *const *words, size_t n)
{
    size_t length = strlen(word);
    const char *nearest = NULL;
    unsigned least = 3; /* three slips are another word */

    if (length > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(words[i]);
        unsigned d;

        /* What is typed short is a beginning: "sess", "int". */
        if (length >= 2 && strncmp(word, words[i], length) == 0)
            return words[i];
        if (other > WORD_MAX)
            continue;
        d = distance(word, length, words[i], other);
        if (d < least && d < length) {
            least = d;
            nearest = words[i];
        }
    }
    return nearest;
}
