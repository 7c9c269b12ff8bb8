/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of which everybody knows what it holds, and with edges of every kind.
 *
 *     holds-patterns KIB [UID [FILE]]
 *
 * It says "ready pattern=A none=A readonly=A hole=A zero=A text=A file=A", each an address: KIB of
 * 32-bit words, word i being i * 2654435761; a page without access, one that is read-only, one that
 * is not there; /dev/zero, mapped; a function that returns 0x11223344; FILE, mapped. At each line
 * it says value=N, what that function returned, and first=N, the pattern's first word. With a UID
 * that is not 0 it takes that user's place, and stays dumpable. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define PAGE 4096ul

/* The constant is an operand of one of its instructions, and no compiler knows what it returns. */
__attribute__((noinline)) static unsigned gives_its_number(void)
{
    unsigned number = 0x11223344;

    __asm__ volatile("" : "+r"(number));
    return number;
}

static void become(uid_t uid)
{
    if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        tracee_fail("setresuid");
    if (prctl(PR_SET_DUMPABLE, 1) < 0 || prctl(PR_SET_PDEATHSIG, 9) < 0)
        tracee_fail("prctl");
}

/* One mapping of all, so that nothing of somebody else's lies at its end. */
static uint32_t *map_pattern(size_t size)
{
    char *base =
        mmap(NULL, size + 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t *words = (uint32_t *)base;

    if (base == MAP_FAILED)
        tracee_fail("mmap");
    for (size_t i = 0; i < size / sizeof(*words); i++)
        words[i] = (uint32_t)i * 2654435761u;
    if (mprotect(base + size, PAGE, PROT_NONE) < 0 ||
        mprotect(base + size + PAGE, PAGE, PROT_READ) < 0)
        tracee_fail("mprotect");
    return words;
}

static void *map_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

    if (p == MAP_FAILED)
        tracee_fail(path);
    close(fd);
    return p;
}

int main(int argc, char **argv)
{
    size_t size = tracee_number(argc, argv, 1, 64) * 1024;
    unsigned long uid = tracee_number(argc, argv, 2, 0);
    void *zero, *file = NULL;
    char line[64], *pattern;
    uint32_t *words;

    tracee_start();
    if (uid != 0)
        become((uid_t)uid);
    zero = map_file("/dev/zero");
    if (argc > 3)
        file = map_file(argv[3]);
    words = map_pattern(size);
    pattern = (char *)words;
    /* Last, when nothing more is mapped that the hole would attract. */
    if (munmap(pattern + size + 2 * PAGE, PAGE) < 0)
        tracee_fail("munmap");
    tracee_say("ready pattern=%lu none=%lu readonly=%lu hole=%lu zero=%lu text=%lu file=%lu",
               (unsigned long)pattern, (unsigned long)(pattern + size),
               (unsigned long)(pattern + size + PAGE), (unsigned long)(pattern + size + 2 * PAGE),
               (unsigned long)zero, (unsigned long)gives_its_number, (unsigned long)file);
    while (tracee_listen(line))
        tracee_say("value=%u first=%u", gives_its_number(), *(volatile uint32_t *)words);
    return 0;
}
