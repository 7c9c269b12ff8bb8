/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/macro.h"

const struct arch *arch_by_general_size(size_t size)
{
    const struct arch *const all[] = {&arch_x86_64, &arch_i386, &arch_aarch64};

    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        if (all[i]->general_size == size)
            return all[i];
    return NULL;
}

/* Entry AT_PHENT has the size of a program header. No auxv of the one width shows the other's
 * entry when it is read so: a type takes a whole word, and no size is zero. */
static bool has_header_size_64(const uint8_t *auxv, size_t size)
{
    Elf64_auxv_t entry;

    for (size_t i = 0; i + sizeof(entry) <= size; i += sizeof(entry)) {
        memcpy(&entry, auxv + i, sizeof(entry));
        if (entry.a_type == AT_NULL)
            break;
        if (entry.a_type == AT_PHENT)
            return entry.a_un.a_val == sizeof(Elf64_Phdr);
    }
    return false;
}

static bool has_header_size_32(const uint8_t *auxv, size_t size)
{
    Elf32_auxv_t entry;

    for (size_t i = 0; i + sizeof(entry) <= size; i += sizeof(entry)) {
        memcpy(&entry, auxv + i, sizeof(entry));
        if (entry.a_type == AT_NULL)
            break;
        if (entry.a_type == AT_PHENT)
            return entry.a_un.a_val == sizeof(Elf32_Phdr);
    }
    return false;
}

const struct arch *arch_by_auxv(const void *auxv, size_t size)
{
#if defined(__x86_64__)
    const struct arch *wide = &arch_x86_64, *narrow = &arch_i386;
#elif defined(__aarch64__)
    const struct arch *wide = &arch_aarch64, *narrow = NULL;
#else
    const struct arch *wide = NULL, *narrow = NULL;
#endif

    if (has_header_size_64(auxv, size))
        return wide;
    return has_header_size_32(auxv, size) ? narrow : NULL;
}

const struct arch_register *arch_find_register(const struct arch *a, const char *name)
{
    for (size_t i = 0; i < a->n_registers; i++)
        if (strcmp(a->registers[i].name, name) == 0)
            return &a->registers[i];
    return NULL;
}

int arch_find_set(const struct arch *a, const char *name)
{
    for (size_t i = 0; i < a->n_sets; i++)
        if (strcmp(a->sets[i].name, name) == 0)
            return (int)i;
    return -ENOENT;
}

/* All parts are checked before one is touched. */
static int check(const struct arch *a, const struct arch_register *r,
                 const struct arch_xsave *xsave, size_t set_size, size_t size)
{
    if (size != r->size)
        return -EINVAL;
    for (size_t i = 0; i < ARCH_PARTS_MAX && r->parts[i].size > 0; i++) {
        const struct arch_part *p = &r->parts[i];
        int base = 0;

        if (a->sets[r->set].is_xsave)
            base = arch_xsave_find(xsave, p->component, set_size);
        if (base < 0)
            return base;
        if ((size_t)base + p->offset + p->size > set_size)
            return -EOPNOTSUPP;
    }
    return 0;
}

int arch_get(const struct arch *a, const struct arch_register *r, const struct arch_xsave *xsave,
             const void *set, size_t set_size, void *ret, size_t size)
{
    uint8_t *value = ret;
    int error = check(a, r, xsave, set_size, size);

    if (error < 0)
        return error;
    for (size_t i = 0; i < ARCH_PARTS_MAX && r->parts[i].size > 0; i++) {
        const struct arch_part *p = &r->parts[i];

        if (a->sets[r->set].is_xsave)
            arch_xsave_read(xsave, p->component, p->offset, set, value, p->size);
        else
            memcpy(value, (const uint8_t *)set + p->offset, p->size);
        value += p->size;
    }
    return 0;
}

int arch_put(const struct arch *a, const struct arch_register *r, const struct arch_xsave *xsave,
             void *set, size_t set_size, const void *value, size_t size)
{
    const uint8_t *from = value;
    int error = check(a, r, xsave, set_size, size);

    if (error < 0)
        return error;
    if (r->read_only)
        return -EPERM;
    for (size_t i = 0; i < ARCH_PARTS_MAX && r->parts[i].size > 0; i++) {
        const struct arch_part *p = &r->parts[i];

        if (a->sets[r->set].is_xsave)
            arch_xsave_write(xsave, p->component, p->offset, set, from, p->size);
        else
            memcpy((uint8_t *)set + p->offset, from, p->size);
        from += p->size;
    }
    return 0;
}

uint64_t arch_get_role(const struct arch *a, enum arch_role role, const void *set)
{
    const struct arch_place *place = &a->roles[role];
    uint64_t value = 0;

    memcpy(&value, (const uint8_t *)set + place->offset, place->size);
    return value;
}

void arch_put_role(const struct arch *a, enum arch_role role, void *set, uint64_t value)
{
    const struct arch_place *place = &a->roles[role];

    memcpy((uint8_t *)set + place->offset, &value, place->size);
}

bool arch_has_role(const struct arch *a, enum arch_role role, const struct arch_register *r)
{
    const struct arch_place *place = &a->roles[role];

    return r->set == place->set && r->parts[0].offset == place->offset;
}

static int64_t signed_role(const struct arch *a, enum arch_role role, const void *set)
{
    uint64_t value = arch_get_role(a, role, set);

    return a->roles[role].size == sizeof(uint32_t) ? (int32_t)value : (int64_t)value;
}

/* The kernel's own error numbers, which no program sees: include/linux/errno.h. */
static bool is_restart(int64_t result)
{
    enum {
        RESTART_SYS = 512,
        RESTART_NO_INTR = 513,
        RESTART_NO_HANDLER = 514,
        RESTART_BLOCK = 516,
    };

    return result == -RESTART_SYS || result == -RESTART_NO_INTR || result == -RESTART_NO_HANDLER ||
           result == -RESTART_BLOCK;
}

bool arch_will_restart(const struct arch *a, const void *general)
{
    return a->restarts_relative && signed_role(a, ARCH_SYSCALL, general) >= 0 &&
           is_restart(signed_role(a, ARCH_RESULT, general));
}
