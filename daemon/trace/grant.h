/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a session may trace of a process.
 *
 * The tracer has CAP_SYS_PTRACE, and the kernel lets such a tracer keep what gains privilege: a
 * set-user-id program that is executed under it gets its user and stays traced
 * (security/commoncap.c:cap_bprm_creds_from_file(), ptracer_capable()). So the tracer itself sees
 * to it that nobody gains anything through it. A session comes with the credentials that it may
 * trace at the most, and a thread's are compared with them
 *
 *  - right after it is seized, which is serialised with exec (both take cred_guard_mutex) and asks
 *    for PTRACE_EVENT_EXEC in one go: whatever the thread executed before is seen here, and
 *    whatever comes after in its exec stop;
 *  - in each exec stop, before any session is told of it;
 *  - at the first stop of a child that is followed.
 *
 * What is beyond is not traced for that session: an attach fails, and what was traced is lost to it
 * (reason `privilege`), while the program runs on with its privileges. */

struct credentials {
    uid_t uids[3]; /* real, effective, saved */
    gid_t gids[3];
    uint64_t permitted;      /* capabilities */
    uint64_t user_namespace; /* inode; 0: unknown, which is no grant's */
    bool dumpable;           /* it may be read by who has its credentials, prctl(2) */
};

/* Of one thread of a process, as /proc has them. -ESRCH, -EACCES, -EPROTO */
int credentials_read(pid_t pid, pid_t tid, struct credentials *ret);

#define GRANT_USERS_MAX 3u

/* Shared by reference; not changed once it is made. */
struct grant {
    unsigned references;
    uint64_t permitted; /* at the most */
    uint64_t user_namespace;
    bool undumpable;       /* it may be that */
    bool by_proof;         /* the caller has to prove that it may, with each attach: proof.h */
    bool one_program;      /* what it executes next takes another grant: renew.h */
    uint64_t observe_usec; /* for which an observer may hold the process at first: observe.h */
    uint64_t raised_usec;  /* and a tracer be in a raised class: batch.h */
    unsigned raised_share; /* of the time that passes, one such part comes back */
    char *program;         /* that one, as /proc tells its path */
    size_t program_size;
    size_t n_users;
    uid_t users[GRANT_USERS_MAX];
    size_t n_groups;
    gid_t groups[];
};

/* With one reference; a copy; the times are as much as there can be. NULL when memory ran out, or
 * with more than GRANT_USERS_MAX users. */
struct grant *grant_new(const uid_t *users, size_t n_users, const gid_t *groups, size_t n_groups);

/* For one program alone, by its path; a copy. -ENOMEM */
int grant_set_program(struct grant *g, const void *path, size_t size);

struct grant *grant_ref(struct grant *g);   /* accepts NULL: everything is granted */
struct grant *grant_unref(struct grant *g); /* accepts NULL, returns NULL */

/* Whether it is for what has a user's rights and no others. */
bool grant_is_plain(const struct grant *g, uid_t uid);

/* Whether both are for the same; either may be NULL. Pure. */
bool grant_is_same(const struct grant *a, const struct grant *b);

/* Whether credentials are within a grant; with NULL all are. Pure. */
bool grant_covers(const struct grant *g, const struct credentials *c);

static inline bool grant_survives_exec(const struct grant *g)
{
    return !g || !g->one_program;
}

/* Whether a thread is, as it is now. 0; -EKEYREJECTED: it is beyond; -ESRCH: it is gone; errors of
 * credentials_read(), by which nothing is granted. */
int grant_check(const struct grant *g, pid_t pid, pid_t tid);

/* The same of its rights alone, whatever program it is. */
int grant_check_rights(const struct grant *g, pid_t pid, pid_t tid);
