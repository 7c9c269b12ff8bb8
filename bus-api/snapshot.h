/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* What Process.Snapshot() returns: a sealed memfd, byte for byte. All numbers are little-endian; no
 * structure has padding that is not named; offsets count from the start of the file, 0 where there
 * is nothing.
 *
 *     header                 at 0, header_size bytes
 *     registers and stacks   where the table says, each at a multiple of 16
 *     table of threads       at threads_offset, n_threads times thread_size bytes
 *
 * A reader checks magic and version, and takes its strides from header_size and thread_size: later
 * minor additions come behind what is here. What is reserved is 0. */

#define PTRACED_SNAPSHOT_MAGIC "ptrcsnap" /* without its terminating zero */
#define PTRACED_SNAPSHOT_VERSION 1u
#define PTRACED_SNAPSHOT_ALIGNMENT 16u
#define PTRACED_SNAPSHOT_SETS 8u /* register sets there is room for */

struct ptraced_snapshot_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t header_size;
    uint32_t thread_size;
    uint32_t n_threads;
    uint64_t threads_offset;
    uint64_t size; /* of the file */
    uint32_t pid;
    uint32_t n_sets;     /* of `sets`; the others are empty */
    uint32_t stack_size; /* that was asked for */
    uint32_t reserved;
    /* CLOCK_MONOTONIC, microseconds: before the first thread was told to stop, when all stood, when
     * all that ran before ran again. */
    uint64_t began_usec;
    uint64_t stood_usec;
    uint64_t ended_usec;
    char sets[PTRACED_SNAPSHOT_SETS][16]; /* names, padded with zeros */
};

enum ptraced_snapshot_flags {
    /* It could not be stopped in time (it waits for its vfork child, sleeps uninterruptibly, or was
     * past its end): nothing is known beyond its name and its state. */
    PTRACED_SNAPSHOT_RUNNING = 1 << 0,
    /* A session holds it, before and after. */
    PTRACED_SNAPSHOT_HELD = 1 << 1,
    /* It stands at a signal that it has not got yet, which is `siginfo`. */
    PTRACED_SNAPSHOT_SIGNAL = 1 << 2,
    /* So many threads were born meanwhile that there was no room for its registers and stack. */
    PTRACED_SNAPSHOT_NO_ROOM = 1 << 3,
};

struct ptraced_snapshot_thread {
    uint32_t tid;
    uint32_t flags;        /* enum ptraced_snapshot_flags */
    char comm[16];         /* as the program set it: any bytes, padded with zeros */
    char state[16];        /* before the snapshot: "running", "group-stop", ..., as Thread.State */
    char architecture[16]; /* "x86_64", ..., whose its registers are; empty: none are here */
    uint8_t kernel_state; /* before the snapshot: 'R', 'S', 'D', ..., as in proc(5); '?': unknown */
    uint8_t reserved[7];
    uint64_t registers_offset; /* of the sets that it has, in the order of the header's, each
                                  rounded up to PTRACED_SNAPSHOT_ALIGNMENT */
    uint32_t set_sizes[PTRACED_SNAPSHOT_SETS]; /* 0: it has no such set, and no bytes are there */
    uint64_t stack_pointer;
    uint64_t stack_address; /* in the program, of the first byte of the stack that is here: the
                               stack pointer, less the red zone where the machine has one */
    uint64_t stack_offset;
    uint64_t stack_size;  /* less than asked for where what the program may read ended */
    uint8_t siginfo[128]; /* the kernel's siginfo_t, of a 64-bit program's layout */
};

_Static_assert(sizeof(struct ptraced_snapshot_header) == 208, "part of the contract");
_Static_assert(sizeof(struct ptraced_snapshot_thread) == 264, "part of the contract");
