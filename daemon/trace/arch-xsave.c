/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/trace/arch-xsave.h"

#define BIT(component) (UINT64_C(1) << (component))
#define SSE_OR_AVX (BIT(ARCH_XSAVE_SSE) | BIT(ARCH_XSAVE_AVX))

#define X87_CONTROL_END 24u /* behind the last data pointer; MXCSR follows */
#define FCTRL_INITIAL 0x037fu
#define MXCSR_INITIAL 0x1f80u

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static uint64_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

void arch_xsave_probe(struct arch_xsave *ret)
{
    unsigned eax, ebx, ecx, edx;

    *ret = (struct arch_xsave){0};
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return;
    ret->features = read_xcr0();
    for (unsigned i = ARCH_XSAVE_AVX; i < ARCH_XSAVE_COMPONENT_MAX; i++)
        if (ret->features & BIT(i)) {
            __cpuid_count(0xd, i, eax, ebx, ecx, edx);
            ret->components[i].size = eax;
            ret->components[i].offset = ebx;
        }
}
#else
void arch_xsave_probe(struct arch_xsave *ret)
{
    *ret = (struct arch_xsave){0};
}
#endif

static bool is_legacy(unsigned component)
{
    return component <= ARCH_XSAVE_SSE || component == ARCH_XSAVE_MXCSR;
}

int arch_xsave_find(const struct arch_xsave *x, unsigned component, size_t area_size)
{
    size_t offset, size;

    if (area_size < ARCH_XSAVE_HEADER_END)
        return -EOPNOTSUPP;
    if (is_legacy(component))
        return 0;
    if (component >= ARCH_XSAVE_COMPONENT_MAX || !(x->features & BIT(component)))
        return -EOPNOTSUPP;
    offset = x->components[component].offset;
    size = x->components[component].size;
    if (offset < ARCH_XSAVE_HEADER_END || size > area_size || offset > area_size - size)
        return -EOPNOTSUPP;
    return (int)offset;
}

static size_t base_of(const struct arch_xsave *x, unsigned component)
{
    return is_legacy(component) ? 0 : x->components[component].offset;
}

static uint64_t present(const void *area)
{
    uint64_t bits;

    memcpy(&bits, (const uint8_t *)area + ARCH_XSAVE_BV_OFFSET, sizeof(bits));
    return bits;
}

static bool is_present(const void *area, unsigned component)
{
    uint64_t mask = component == ARCH_XSAVE_MXCSR ? SSE_OR_AVX : BIT(component);

    return present(area) & mask;
}

/* Zero, but for two control registers. */
static void read_initial(unsigned component, size_t offset, void *ret, size_t size)
{
    const uint16_t fctrl = FCTRL_INITIAL;
    const uint32_t mxcsr = MXCSR_INITIAL;

    memset(ret, 0, size);
    if (component == ARCH_XSAVE_X87 && offset == 0 && size >= sizeof(fctrl))
        memcpy(ret, &fctrl, sizeof(fctrl));
    if (component == ARCH_XSAVE_MXCSR && size >= sizeof(mxcsr))
        memcpy(ret, &mxcsr, sizeof(mxcsr));
}

void arch_xsave_read(const struct arch_xsave *x, unsigned component, size_t offset,
                     const void *area, void *ret, size_t size)
{
    if (is_present(area, component))
        memcpy(ret, (const uint8_t *)area + base_of(x, component) + offset, size);
    else
        read_initial(component, offset, ret, size);
}

/* What lay in the component's bytes was nobody's value. */
static void initialize(const struct arch_xsave *x, unsigned component, uint8_t *area)
{
    if (component == ARCH_XSAVE_X87) {
        read_initial(component, 0, area, X87_CONTROL_END);
        memset(area + ARCH_XSAVE_ST_OFFSET, 0, ARCH_XSAVE_XMM_OFFSET - ARCH_XSAVE_ST_OFFSET);
        return;
    }
    if ((BIT(component) & SSE_OR_AVX) && !is_present(area, ARCH_XSAVE_MXCSR))
        read_initial(ARCH_XSAVE_MXCSR, 0, area + ARCH_XSAVE_MXCSR_OFFSET, sizeof(uint32_t));
    if (component == ARCH_XSAVE_SSE)
        memset(area + ARCH_XSAVE_XMM_OFFSET, 0, 16 * sizeof(uint64_t[2]));
    else
        memset(area + base_of(x, component), 0, x->components[component].size);
}

static void make_present(const struct arch_xsave *x, unsigned component, uint8_t *area)
{
    uint64_t bits = present(area);

    if (is_present(area, component))
        return;
    if (component == ARCH_XSAVE_MXCSR)
        component = ARCH_XSAVE_SSE;
    initialize(x, component, area);
    bits |= BIT(component);
    memcpy(area + ARCH_XSAVE_BV_OFFSET, &bits, sizeof(bits));
}

void arch_xsave_write(const struct arch_xsave *x, unsigned component, size_t offset, void *area,
                      const void *value, size_t size)
{
    make_present(x, component, area);
    memcpy((uint8_t *)area + base_of(x, component) + offset, value, size);
}
