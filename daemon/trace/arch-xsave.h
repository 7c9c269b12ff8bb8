/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The area that x86's XSAVE writes, in its standard format, which is what NT_X86_XSTATE has on
 * every processor: 512 bytes as of FXSAVE, a header, then components whose places differ between
 * processors. A bit in the header says whether a component is there; without it the component has
 * its initial value and its bytes mean nothing (Intel SDM, volume 1, chapter 13). */

enum arch_xsave_component {
    ARCH_XSAVE_X87 = 0,
    ARCH_XSAVE_SSE = 1,
    ARCH_XSAVE_AVX = 2,      /* the upper halves of ymm0-15 */
    ARCH_XSAVE_OPMASK = 5,   /* k0-7 */
    ARCH_XSAVE_ZMM_HIGH = 6, /* the upper halves of zmm0-15 */
    ARCH_XSAVE_HIGH_ZMM = 7, /* zmm16-31 */
    ARCH_XSAVE_PKRU = 9,
    ARCH_XSAVE_COMPONENT_MAX = 20,
    /* Not a component of the processor's: it is there where SSE or AVX is. */
    ARCH_XSAVE_MXCSR = 64,
};

/* Offsets that no processor changes. */
#define ARCH_XSAVE_MXCSR_OFFSET 24u
#define ARCH_XSAVE_ST_OFFSET 32u
#define ARCH_XSAVE_XMM_OFFSET 160u
#define ARCH_XSAVE_BV_OFFSET 512u
#define ARCH_XSAVE_HEADER_END 576u

struct arch_xsave {
    uint64_t features; /* XCR0: a bit for each component that the system has switched on */
    struct {
        uint32_t offset;
        uint32_t size;
    } components[ARCH_XSAVE_COMPONENT_MAX]; /* of 0 and 1 the places are fixed */
};

/* What this computer's processor says (CPUID leaf 0xD; costs a few exits in a virtual machine, so
 * it is asked once). On other machines, and without XSAVE, all zero. */
void arch_xsave_probe(struct arch_xsave *ret);

/* Where a component's bytes begin; -EOPNOTSUPP: not on this processor, or not in this area. */
int arch_xsave_find(const struct arch_xsave *x, unsigned component, size_t area_size);

/* `size` bytes at `offset` of a component, or their initial value. The component must be in the
 * area. */
void arch_xsave_read(const struct arch_xsave *x, unsigned component, size_t offset,
                     const void *area, void *ret, size_t size);

/* Writes them, and makes the component one that is there, the rest of which has its initial
 * value. */
void arch_xsave_write(const struct arch_xsave *x, unsigned component, size_t offset, void *area,
                      const void *value, size_t size);
