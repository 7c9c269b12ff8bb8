/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

/* What the keeper has found out about a process that somebody wants to trace. */

#define TARGET_COMM_MAX 64 /* 15 bytes, each escaped as four */

struct target {
    pid_t pid;
    pid_t tracer; /* 0: none */
    char comm[TARGET_COMM_MAX];
    char tracer_comm[TARGET_COMM_MAX];
    char *executable; /* escaped; NULL: none, or not to be told */
    void *program;    /* the same as it is; NULL: as above */
    size_t program_size;
    uid_t uids[3]; /* real, effective, saved */
    gid_t gids[3];
    uint64_t permitted;      /* capabilities */
    uint64_t user_namespace; /* 0: unknown */
    uint64_t memory_device;  /* of its /proc/PID/mem */
    uint64_t memory_inode;   /* 0: unknown */
    bool dumpable;
    bool kernel_thread;
    bool zombie;
    bool own;            /* one of ptraced's processes */
    bool tracer_own;     /* the tracer is one of our keeper's */
    uint32_t yama_scope; /* of the machine; 0 without Yama */
};

/* Reads the answer to Inspect. -EBADMSG where what is needed is missing. */
int target_read(sd_bus_message *reply, struct target *ret);
/* Frees what it owns, and makes it all zero. */
void target_done(struct target *t);

/* Whether the one that polkit was asked about still has those rights, and is that program. */
bool target_is_same(const struct target *t, const struct target *asked);

/* Whether it has that user's rights and no others, as far as it can tell by itself. */
bool target_is_plain(const struct target *t, uid_t uid);

/* 0 where it is of a kind that can be traced, which is no secret; else an error. */
int target_check_kind(const struct target *t, sd_bus_error *error);

/* The same, and that it can be traced now; an error that says why not, and its negative errno.
 * `ours` says whether its tracer, if it has one, is one of ptraced's. */
int target_check(const struct target *t, bool ours, sd_bus_error *error);
