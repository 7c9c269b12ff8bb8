/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/insn-fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CS_32 0x23
#define CS_64 0x33
#define SS 0x2b
#define FLAGS_RANDOM UINT64_C(0xcd5) /* OF DF SF ZF AF PF CF */
#define FLAGS_FIXED UINT64_C(0x202)

static void map_page(uint64_t address)
{
    void *p = mmap(machine_at(address), MACHINE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    assert_ptr_equal(p, machine_at(address));
}

static void for_each_page(enum insn_isa isa, void (*f)(uint64_t))
{
    f(MACHINE_CODE);
    f(MACHINE_DATA);
    f(machine_copy(isa));
}

static void unmap_page(uint64_t address)
{
    munmap(machine_at(address), MACHINE_PAGE);
}

static int wait_for_stop(const struct machine *m)
{
    int status = 0;

    assert_int_equal(waitpid(m->pid, &status, 0), m->pid);
    assert_true(WIFSTOPPED(status));
    return WSTOPSIG(status);
}

/* Two processes that take turns take them fastest on one processor. */
static void share_a_processor(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void be_the_machine(pid_t parent) __attribute__((noreturn));
static void be_the_machine(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(1);
    raise(SIGSTOP);
    _exit(1);
}

int machine_stop(void **state)
{
    struct machine *m = *state;

    kill(m->pid, SIGKILL);
    assert_int_equal(waitpid(m->pid, NULL, 0), m->pid);
    for_each_page(m->isa, unmap_page);
    free(m);
    return 0;
}

bool machine_has(const struct insn_memory *mem)
{
    return mem->size == 0 || (mem->address >= MACHINE_DATA &&
                              mem->address <= MACHINE_DATA + MACHINE_PAGE - mem->size);
}

uint64_t machine_load(const struct insn_memory *mem)
{
    uint64_t value = 0;

    memcpy(&value, machine_at(mem->address), mem->size);
    return value;
}

void machine_store(const struct insn_memory *mem)
{
    if (mem->size > 0)
        memcpy(machine_at(mem->address), &mem->value, mem->size);
}

void machine_write_code(uint64_t address, const uint8_t *bytes, size_t n)
{
    memset(machine_at(address), 0xcc, MACHINE_PAGE);
    memcpy(machine_at(address), bytes, n);
}

static void set_registers_in_call(struct machine *m, const struct insn_cpu *cpu, uint64_t orig_rax)
{
    const uint64_t *g = cpu->regs;
    struct user_regs_struct u = m->regs;
    bool is_32 = m->isa == INSN_I386;

    u.rax = g[0], u.rcx = g[1], u.rdx = g[2], u.rbx = g[3];
    u.rsp = g[4], u.rbp = g[5], u.rsi = g[6], u.rdi = g[7];
    u.r8 = g[8], u.r9 = g[9], u.r10 = g[10], u.r11 = g[11];
    u.r12 = g[12], u.r13 = g[13], u.r14 = g[14], u.r15 = g[15];
    u.rip = cpu->ip;
    u.eflags = cpu->flags;
    u.fs_base = cpu->fs_base;
    u.gs_base = cpu->gs_base;
    u.orig_rax = orig_rax;
    u.cs = is_32 ? CS_32 : CS_64;
    u.ss = SS;
    u.ds = u.es = is_32 ? SS : 0;
    assert_int_equal(ptrace(PTRACE_SETREGS, m->pid, NULL, &u), 0);
}

static void set_registers(struct machine *m, const struct insn_cpu *cpu)
{
    set_registers_in_call(m, cpu, UINT64_MAX); /* restarts no system call */
}

static void get_registers(struct machine *m, struct insn_cpu *cpu)
{
    uint64_t *g = cpu->regs;
    struct user_regs_struct u;

    assert_int_equal(ptrace(PTRACE_GETREGS, m->pid, NULL, &u), 0);
    g[0] = u.rax, g[1] = u.rcx, g[2] = u.rdx, g[3] = u.rbx;
    g[4] = u.rsp, g[5] = u.rbp, g[6] = u.rsi, g[7] = u.rdi;
    g[8] = u.r8, g[9] = u.r9, g[10] = u.r10, g[11] = u.r11;
    g[12] = u.r12, g[13] = u.r13, g[14] = u.r14, g[15] = u.r15;
    cpu->ip = u.rip;
    cpu->flags = u.eflags;
    cpu->fs_base = u.fs_base;
    cpu->gs_base = u.gs_base;
}

int machine_step(struct machine *m, struct insn_cpu *cpu)
{
    int signo;

    set_registers(m, cpu);
    assert_int_equal(ptrace(PTRACE_SINGLESTEP, m->pid, NULL, NULL), 0);
    signo = wait_for_stop(m);
    get_registers(m, cpu);
    return signo;
}

int machine_run(struct machine *m, struct insn_cpu *cpu)
{
    int signo;

    set_registers(m, cpu);
    assert_int_equal(ptrace(PTRACE_CONT, m->pid, NULL, NULL), 0);
    signo = wait_for_stop(m);
    get_registers(m, cpu);
    cpu->ip--;
    return signo;
}

int machine_step_all(struct machine *m, struct machine_state *state)
{
    struct iovec start = {.iov_base = m->xstate, .iov_len = m->xstate_size};
    struct iovec end = {.iov_base = state->xstate, .iov_len = sizeof(state->xstate)};
    int signo;

    assert_int_equal(ptrace(PTRACE_SETREGSET, m->pid, (void *)NT_X86_XSTATE, &start), 0);
    signo = machine_step(m, &state->cpu);
    assert_int_equal(ptrace(PTRACE_GETREGSET, m->pid, (void *)NT_X86_XSTATE, &end), 0);
    return signo;
}

int machine_syscall(struct machine *m, struct insn_cpu *cpu)
{
    int signo;

    set_registers(m, cpu);
    assert_int_equal(ptrace(PTRACE_SYSCALL, m->pid, NULL, NULL), 0);
    signo = wait_for_stop(m);
    get_registers(m, cpu);
    return signo;
}

int machine_finish_syscall(struct machine *m, struct insn_cpu *cpu, long number)
{
    int signo;

    set_registers_in_call(m, cpu, (uint64_t)number);
    assert_int_equal(ptrace(PTRACE_SYSCALL, m->pid, NULL, NULL), 0);
    signo = wait_for_stop(m);
    get_registers(m, cpu);
    return signo;
}

/* The machine makes a system call; it has to succeed. */
static void call(struct machine *m, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct insn_cpu cpu = {.ip = MACHINE_CODE, .flags = FLAGS_FIXED};

    cpu.regs[0] = (uint64_t)number;
    cpu.regs[7] = a, cpu.regs[6] = b, cpu.regs[2] = c, cpu.regs[10] = d;
    assert_int_equal(machine_syscall(m, &cpu), SIGTRAP | 0x80);
    assert_int_equal(machine_finish_syscall(m, &cpu, number), SIGTRAP | 0x80);
    assert_int_equal(cpu.regs[0], 0);
}

/* Linux 5.13; older headers of libc have neither. */
#define GET_RSEQ_CONFIGURATION 0x420f

struct rseq_registration {
    uint64_t pointer;
    uint32_t size, signature, flags, pad;
};

/* Libc's: the kernel would write to it at each return, or raise SIGSEGV. */
static void unregister_rseq(struct machine *m)
{
    struct rseq_registration c = {};

    if (ptrace(GET_RSEQ_CONFIGURATION, m->pid, sizeof(c), &c) < 0 || !c.pointer)
        return;
    call(m, SYS_rseq, c.pointer, c.size, 1 /* RSEQ_FLAG_UNREGISTER */, c.signature);
}

static void unmap(struct machine *m, uint64_t from, uint64_t to)
{
    call(m, SYS_munmap, from, to - from, 0, 0);
}

/* What a random address may reach is what both runs of an instruction begin with. It executes
 * nothing of its own any more. */
static void unmap_the_rest(struct machine *m)
{
    enum insn_isa isa = m->isa;

    m->isa = INSN_X86_64;
    machine_write_code(MACHINE_CODE, (const uint8_t *)"\x0f\x05", 2);
    unregister_rseq(m);
    unmap(m, 0, MACHINE_CODE);
    unmap(m, MACHINE_CODE + MACHINE_PAGE, MACHINE_DATA);
    unmap(m, MACHINE_DATA + MACHINE_PAGE, machine_copy(isa));
    unmap(m, machine_copy(isa) + MACHINE_PAGE, (UINT64_C(1) << 47) - MACHINE_PAGE);
    m->isa = isa;
}

int machine_start(enum insn_isa isa, void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    pid_t parent = getpid();
    struct iovec iov;

    assert_non_null(m);
    m->isa = isa;
    for_each_page(isa, map_page);
    share_a_processor();
    m->pid = fork();
    assert_true(m->pid >= 0);
    if (m->pid == 0)
        be_the_machine(parent);
    *state = m;
    assert_int_equal(wait_for_stop(m), SIGSTOP);
    assert_int_equal(
        ptrace(PTRACE_SETOPTIONS, m->pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
    assert_int_equal(ptrace(PTRACE_GETREGS, m->pid, NULL, &m->regs), 0);
    iov = (struct iovec){.iov_base = m->xstate, .iov_len = sizeof(m->xstate)};
    assert_int_equal(ptrace(PTRACE_GETREGSET, m->pid, (void *)NT_X86_XSTATE, &iov), 0);
    m->xstate_size = iov.iov_len;
    unmap_the_rest(m);
    return 0;
}

uint64_t random_64(struct random *r)
{
    uint64_t high = random_below(r, UINT32_MAX);

    return high << 32 ^ random_below(r, UINT32_MAX) << 1 ^ random_below(r, 256);
}

static uint64_t random_pointer(struct random *r)
{
    return MACHINE_DATA + 512 + random_below(r, MACHINE_PAGE - 1024);
}

static uint64_t random_value(struct random *r)
{
    static const uint64_t edges[] = {
        0, 1, UINT64_MAX, INT64_MAX, INT32_MAX, UINT32_MAX, 0x80000000, 0x8000, 0x7f, 0x80, 0xff};
    uint32_t kind = random_below(r, 10);

    if (kind < 5)
        return random_pointer(r);
    if (kind < 7)
        return random_below(r, 16);
    if (kind < 9)
        return random_64(r);
    return edges[random_below(r, sizeof(edges) / sizeof(edges[0]))];
}

void machine_random(const struct machine *m, struct random *r, struct insn_cpu *ret)
{
    uint64_t *data = (uint64_t *)machine_at(MACHINE_DATA);
    bool is_32 = m->isa == INSN_I386;

    for (size_t k = 0; k < MACHINE_PAGE / sizeof(*data); k++)
        data[k] = random_below(r, 2) ? random_64(r) : random_64(r) >> 17;
    *ret = (struct insn_cpu){
        .ip = MACHINE_CODE,
        .flags = (random_64(r) & FLAGS_RANDOM) | FLAGS_FIXED,
        .fs_base = is_32 ? 0 : MACHINE_DATA,
        .gs_base = is_32 ? 0 : random_below(r, 64),
    };
    for (size_t k = 0; k < (is_32 ? 8 : 16); k++) {
        ret->regs[k] = random_value(r);
        if (is_32)
            ret->regs[k] &= UINT32_MAX;
    }
    if (random_below(r, 8))
        ret->regs[4] = random_pointer(r);
}

static uint8_t one_of(struct random *r, const char *bytes, size_t n)
{
    return (uint8_t)bytes[random_below(r, (uint32_t)n)];
}

#define ONE_OF(r, bytes) one_of(r, bytes, sizeof(bytes) - 1)

static size_t random_prefixes(const struct machine *m, struct random *r, uint8_t *bytes)
{
    size_t n = 0;

    if (!random_below(r, 5))
        bytes[n++] = ONE_OF(r, "\x66\x66\x66\x67\xf2\xf3\xf3\x2e\x3e\x64\x65");
    if (m->isa == INSN_X86_64 && random_below(r, 2))
        bytes[n++] = (uint8_t)(0x40 | random_below(r, 16));
    return n;
}

/* Prefixes of vectors with the bits that they need. */
static size_t random_vex(struct random *r, uint8_t *bytes)
{
    uint8_t map = (uint8_t)(1 + random_below(r, 3));

    bytes[1] = (uint8_t)(0xc0 | random_below(r, 64));
    bytes[2] = (uint8_t)(random_below(r, 256));
    switch (random_below(r, 3)) {
    case 0:
        bytes[0] = 0xc5;
        bytes[1] |= random_below(r, 2) ? 0x38 : 0; /* no third operand, which many want */
        return 2;
    case 1:
        bytes[0] = 0xc4;
        bytes[1] = (uint8_t)((bytes[1] & 0xe0) | map);
        return 3;
    default:
        bytes[0] = 0x62;
        bytes[1] = (uint8_t)((bytes[1] & 0xf0) | map);
        bytes[2] |= 4;
        bytes[3] = 0x08;
        return 4;
    }
}

static size_t random_opcode(struct random *r, uint8_t *bytes)
{
    uint32_t kind = random_below(r, 16);
    size_t n = 0;

    if (kind == 0)
        return random_vex(r, bytes);
    if (kind < 8)
        bytes[n++] = 0x0f;
    if (kind < 2)
        bytes[n++] = ONE_OF(r, "\x38\x3a");
    if (kind > 13) /* groups of which only a few members count */
        bytes[n] = ONE_OF(r, "\x63\x98\x99\x9c\x9d\xf5\xf6\xf7\xf8\xfc\xfe\xff\xff");
    return n;
}

/* Points displacements at the data. */
static void aim(const struct insn *i, struct random *r, uint8_t *bytes)
{
    const struct insn_x86 *x = &i->x86;
    bool no_base = x->base == X86_NO_REGISTER;
    uint32_t where = (uint32_t)random_pointer(r);
    size_t at = x->modrm_at + ((x->rm & 7) == 4 ? 2U : 1U);

    if (!x86_is_mem(x) || x->addrsize == 2 || x->mod == 1 || (x->mod == 0 && !no_base))
        return;
    if (x->ip_relative)
        where -= (uint32_t)MACHINE_CODE + i->length;
    else if (!no_base)
        where = random_below(r, 512);
    memcpy(bytes + at, &where, sizeof(where));
}

bool machine_random_insn(const struct machine *m, struct random *r, uint8_t *bytes,
                         struct insn *ret)
{
    size_t n;

    for (size_t k = 0; k < INSN_LENGTH_MAX; k++)
        bytes[k] = (uint8_t)random_below(r, 256);
    n = random_prefixes(m, r, bytes);
    n += random_opcode(r, bytes + n);
    if (!random_below(r, 3)) /* relative to the program counter */
        bytes[n + 1] = (bytes[n + 1] & 0x38) | 5;
    if (insn_decode(bytes, INSN_LENGTH_MAX, m->isa, 0, ret) < 0)
        return false;
    aim(ret, r, bytes);
    return insn_decode(bytes, INSN_LENGTH_MAX, m->isa, 0, ret) == 0;
}
