/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spins with known values in its registers, until somebody makes the last general one (r15, or esi
 * where it is built for 32 bits) zero; then says what it finds in them.
 *
 * General registers have the value 0x1010101 times (their number in `names` and 1), byte n of
 * vector register i is 16 * i + n, and st0 is 1.0. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/tracees/tracee.h"

#ifdef __x86_64__
static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rbp", "rdi", "r8",
                                    "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
enum { VECTORS = 16 };
#else
static const char *const names[] = {"eax", "ebx", "ecx", "edx", "ebp", "edi", "esi"};
enum { VECTORS = 8 };
#endif
enum { WORDS = sizeof(names) / sizeof(names[0]) };

/* The assembly below knows where things lie. */
struct state {
    uint8_t vectors[VECTORS][32];
    uint8_t st0[16];
    unsigned long avx; /* whether ymm registers are used */
    unsigned long words[WORDS];
};

#ifdef __x86_64__
_Static_assert(offsetof(struct state, st0) == 512, "st0");
_Static_assert(offsetof(struct state, avx) == 528, "avx");
_Static_assert(offsetof(struct state, words) == 536, "words");
#else
_Static_assert(offsetof(struct state, st0) == 256, "st0");
_Static_assert(offsetof(struct state, avx) == 272, "avx");
_Static_assert(offsetof(struct state, words) == 276, "words");
#endif

/* Loads all registers, spins, stores all registers. */
void known_registers_spin(struct state *s);

/* clang-format off */
#ifdef __x86_64__
__asm__(
    ".text\n"
    ".type known_registers_spin, @function\n"
    "known_registers_spin:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    push %rdi\n"
    "    fninit; fldt 512(%rdi)\n"
    "    cmpq $0, 528(%rdi); jne 1f\n"
    "    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    movdqu 32*\\i(%rdi), %xmm\\i\n"
    "    .endr\n"
    "    jmp 2f\n"
    "1:  .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    vmovdqu 32*\\i(%rdi), %ymm\\i\n"
    "    .endr\n"
    "2:  lea 536(%rdi), %rsi\n"
    "    mov 0(%rsi), %rax; mov 8(%rsi), %rbx; mov 16(%rsi), %rcx; mov 24(%rsi), %rdx\n"
    "    mov 32(%rsi), %rbp; mov 40(%rsi), %rdi; mov 48(%rsi), %r8; mov 56(%rsi), %r9\n"
    "    mov 64(%rsi), %r10; mov 72(%rsi), %r11; mov 80(%rsi), %r12; mov 88(%rsi), %r13\n"
    "    mov 96(%rsi), %r14; mov 104(%rsi), %r15\n"
    "3:  pause; test %r15, %r15; jnz 3b\n"
    "    mov (%rsp), %rsi; add $536, %rsi\n"
    "    mov %rax, 0(%rsi); mov %rbx, 8(%rsi); mov %rcx, 16(%rsi); mov %rdx, 24(%rsi)\n"
    "    mov %rbp, 32(%rsi); mov %rdi, 40(%rsi); mov %r8, 48(%rsi); mov %r9, 56(%rsi)\n"
    "    mov %r10, 64(%rsi); mov %r11, 72(%rsi); mov %r12, 80(%rsi); mov %r13, 88(%rsi)\n"
    "    mov %r14, 96(%rsi); mov %r15, 104(%rsi)\n"
    "    pop %rdi\n"
    "    fstpt 512(%rdi)\n"
    "    cmpq $0, 528(%rdi); jne 4f\n"
    "    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    movdqu %xmm\\i, 32*\\i(%rdi)\n"
    "    .endr\n"
    "    jmp 5f\n"
    "4:  .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    vmovdqu %ymm\\i, 32*\\i(%rdi)\n"
    "    .endr\n"
    "    vzeroupper\n"
    "5:  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "    ret\n"
    ".size known_registers_spin, . - known_registers_spin\n");
#else
__asm__(
    ".text\n"
    ".type known_registers_spin, @function\n"
    "known_registers_spin:\n"
    "    push %ebx; push %ebp; push %edi; push %esi\n"
    "    mov 20(%esp), %esi\n"
    "    fninit; fldt 256(%esi)\n"
    "    cmpl $0, 272(%esi); jne 1f\n"
    "    .irp i, 0,1,2,3,4,5,6,7\n"
    "    movdqu 32*\\i(%esi), %xmm\\i\n"
    "    .endr\n"
    "    jmp 2f\n"
    "1:  .irp i, 0,1,2,3,4,5,6,7\n"
    "    vmovdqu 32*\\i(%esi), %ymm\\i\n"
    "    .endr\n"
    "2:  add $276, %esi\n"
    "    mov 0(%esi), %eax; mov 4(%esi), %ebx; mov 8(%esi), %ecx; mov 12(%esi), %edx\n"
    "    mov 16(%esi), %ebp; mov 20(%esi), %edi; mov 24(%esi), %esi\n"
    "3:  pause; test %esi, %esi; jnz 3b\n"
    "    mov 20(%esp), %esi; add $276, %esi\n"
    "    mov %eax, 0(%esi); mov %ebx, 4(%esi); mov %ecx, 8(%esi); mov %edx, 12(%esi)\n"
    "    mov %ebp, 16(%esi); mov %edi, 20(%esi); movl $0, 24(%esi)\n"
    "    sub $276, %esi\n"
    "    fstpt 256(%esi)\n"
    "    cmpl $0, 272(%esi); jne 4f\n"
    "    .irp i, 0,1,2,3,4,5,6,7\n"
    "    movdqu %xmm\\i, 32*\\i(%esi)\n"
    "    .endr\n"
    "    jmp 5f\n"
    "4:  .irp i, 0,1,2,3,4,5,6,7\n"
    "    vmovdqu %ymm\\i, 32*\\i(%esi)\n"
    "    .endr\n"
    "    vzeroupper\n"
    "5:  pop %esi; pop %edi; pop %ebp; pop %ebx\n"
    "    ret\n"
    ".size known_registers_spin, . - known_registers_spin\n");
#endif
/* clang-format on */

static void fill(struct state *s)
{
    const long double one = 1;

    for (unsigned i = 0; i < WORDS; i++)
        s->words[i] = 0x1010101ul * (i + 1);
    for (unsigned i = 0; i < VECTORS; i++)
        for (unsigned n = 0; n < 32; n++)
            s->vectors[i][n] = (uint8_t)(16 * i + n);
    memcpy(s->st0, &one, 10);
    s->avx = __builtin_cpu_supports("avx") != 0;
}

static void say_bytes(const char *name, const uint8_t *bytes, unsigned n)
{
    char hex[65];

    for (unsigned i = 0; i < n; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", bytes[i]);
    tracee_say("%s %s", name, hex);
}

int main(void)
{
    struct state s = {0};

    tracee_start();
    fill(&s);
    tracee_say("ready %s", s.avx ? "avx" : "sse");
    known_registers_spin(&s);
    for (unsigned i = 0; i < WORDS; i++)
        tracee_say("%s %lx", names[i], s.words[i]);
    say_bytes("st0", s.st0, 10);
    for (unsigned i = 0; i < VECTORS; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%s%u", s.avx ? "ymm" : "xmm", i);
        say_bytes(name, s.vectors[i], s.avx ? 32 : 16);
    }
    tracee_say("end");
    return 0;
}
