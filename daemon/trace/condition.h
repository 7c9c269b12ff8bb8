/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/trace/arch.h"

struct process;
struct regs;

/* What must hold for a breakpoint to count: a register or a piece of memory compared with a
 * constant, evaluated in the tracer, so that a hit that does not count costs no way to a client. */

enum condition_operator {
    CONDITION_EQUAL,
    CONDITION_NOT_EQUAL,
    CONDITION_LESS, /* unsigned */
    CONDITION_LESS_OR_EQUAL,
    CONDITION_GREATER,
    CONDITION_GREATER_OR_EQUAL,
    CONDITION_SIGNED_LESS,
    CONDITION_SIGNED_LESS_OR_EQUAL,
    CONDITION_SIGNED_GREATER,
    CONDITION_SIGNED_GREATER_OR_EQUAL,
    CONDITION_HAS_BITS, /* value & constant is not 0 */
    CONDITION_OPERATOR_MAX,
};

#define CONDITION_REGISTER_MAX 15u

struct condition {
    bool set;
    uint8_t operator;                      /* enum condition_operator */
    uint8_t size;                          /* of the memory: 1, 2, 4 or 8 bytes */
    char name[CONDITION_REGISTER_MAX + 1]; /* of the register; empty: memory */
    uint64_t address;
    uint64_t constant;
};

/* Both cut to `size` bytes first. Pure. */
bool condition_compare(enum condition_operator operator, unsigned size, uint64_t value,
                       uint64_t constant);

/* Whether it holds for a thread that stands. What cannot be read, or names no register of this
 * machine, holds: a stop too many can be looked into. */
bool condition_holds(const struct condition *c, struct process *p, struct regs *regs);

/* The operator's sign ("==", "<s", ...), and back. NULL and -EINVAL where there is none. */
const char *condition_operator_to_string(enum condition_operator operator);
int condition_operator_from_string(const char *sign);
