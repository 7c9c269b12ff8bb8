/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/trace/condition.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/regs.h"

static const char *const signs[CONDITION_OPERATOR_MAX] = {
    [CONDITION_EQUAL] = "==",
    [CONDITION_NOT_EQUAL] = "!=",
    [CONDITION_LESS] = "<",
    [CONDITION_LESS_OR_EQUAL] = "<=",
    [CONDITION_GREATER] = ">",
    [CONDITION_GREATER_OR_EQUAL] = ">=",
    [CONDITION_SIGNED_LESS] = "<s",
    [CONDITION_SIGNED_LESS_OR_EQUAL] = "<=s",
    [CONDITION_SIGNED_GREATER] = ">s",
    [CONDITION_SIGNED_GREATER_OR_EQUAL] = ">=s",
    [CONDITION_HAS_BITS] = "&",
};

const char *condition_operator_to_string(enum condition_operator operator)
{
    return operator<CONDITION_OPERATOR_MAX ? signs[operator] : NULL;
}

int condition_operator_from_string(const char *sign)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(signs); i++)
        if (strcmp(sign, signs[i]) == 0)
            return (int)i;
    return -EINVAL;
}

static uint64_t cut(uint64_t v, unsigned size)
{
    return size >= sizeof(v) ? v : v & ((UINT64_C(1) << (8 * size)) - 1);
}

static int64_t extend(uint64_t v, unsigned size)
{
    unsigned unused = size >= sizeof(v) ? 0 : 64 - 8 * size;

    return (int64_t)(v << unused) >> unused;
}

bool condition_compare(enum condition_operator operator, unsigned size, uint64_t value,
                       uint64_t constant)
{
    const uint64_t u = cut(value, size), v = cut(constant, size);
    const int64_t i = extend(value, size), j = extend(constant, size);

    switch (operator) {
    case CONDITION_EQUAL:
        return u == v;
    case CONDITION_NOT_EQUAL:
        return u != v;
    case CONDITION_LESS:
        return u < v;
    case CONDITION_LESS_OR_EQUAL:
        return u <= v;
    case CONDITION_GREATER:
        return u > v;
    case CONDITION_GREATER_OR_EQUAL:
        return u >= v;
    case CONDITION_SIGNED_LESS:
        return i < j;
    case CONDITION_SIGNED_LESS_OR_EQUAL:
        return i <= j;
    case CONDITION_SIGNED_GREATER:
        return i > j;
    case CONDITION_SIGNED_GREATER_OR_EQUAL:
        return i >= j;
    case CONDITION_HAS_BITS:
        return (u & v) != 0;
    case CONDITION_OPERATOR_MAX:
        break;
    }
    return true;
}

static bool register_holds(const struct condition *c, struct regs *regs)
{
    const struct arch_register *reg = arch_find_register(regs->arch, c->name);
    uint64_t value = 0;

    if (!reg || reg->size > sizeof(value) || regs_get_register(regs, reg, &value, reg->size) < 0)
        return true;
    return condition_compare(c->operator, reg->size, value, c->constant);
}

bool condition_holds(const struct condition *c, struct process *p, struct regs *regs)
{
    uint64_t value = 0;

    if (!c->set)
        return true;
    if (c->name[0])
        return register_holds(c, regs);
    if (memory_read(p, c->address, &value, c->size) != (ssize_t)c->size)
        return true;
    return condition_compare(c->operator, c->size, value, c->constant);
}
