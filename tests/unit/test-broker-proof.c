/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/broker/proof.h"
#include "daemon/broker/target.h"
#include "tests/unit/bus-fixture.h"

/* What is the proof of a process, as far as the broker can tell: here of this one. */

static struct target ourselves(void)
{
    struct target t = {.pid = getpid()};
    struct stat st;

    assert_return_code(stat("/proc/self/mem", &st), errno);
    t.memory_device = st.st_dev;
    t.memory_inode = st.st_ino;
    return t;
}

static bool is_proof(const char *path, int flags, bool observe)
{
    int fd = open(path, flags | O_CLOEXEC);
    struct target t = ourselves();
    struct proof p;

    assert_return_code(fd, errno);
    proof_of_fd(fd, &p);
    assert_true(p.given);
    close(fd);
    return proof_is_of(&p, &t, observe);
}

static void own_memory_is_one_for_what_it_was_opened_for(void **state)
{
    int held = open("/proc/self/mem", O_RDONLY | O_CLOEXEC); /* or it may get another number */

    assert_true(is_proof("/proc/self/mem", O_RDWR, false));
    assert_true(is_proof("/proc/self/mem", O_RDWR, true));
    assert_true(is_proof("/proc/self/mem", O_RDONLY, true));
    assert_false(is_proof("/proc/self/mem", O_RDONLY, false));
    assert_false(is_proof("/proc/self/mem", O_WRONLY, true));
    assert_false(is_proof("/proc/self/mem", O_PATH, true));
    close(held);
}

static void another_file_is_none(void **state)
{
    assert_false(is_proof("/dev/null", O_RDWR, false));
    assert_false(is_proof("/proc/self/maps", O_RDONLY, true));
    assert_false(is_proof("/tmp", O_RDONLY, true));
}

static void nothing_is_one_of_a_process_whose_memory_is_not_known(void **state)
{
    struct target t = {.pid = getpid()};
    struct proof p;
    int fd = memfd_create("proof", MFD_CLOEXEC);

    proof_of_fd(fd, &p);
    assert_false(proof_is_of(&p, &t, false));
    p = (struct proof){.given = true, .reads = true, .writes = true};
    assert_false(proof_is_of(&p, &t, false));
    close(fd);
    proof_of_fd(fd, &p); /* of what is closed */
    assert_false(proof_is_of(&p, &t, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_memory_is_one_for_what_it_was_opened_for),
        cmocka_unit_test(another_file_is_none),
        cmocka_unit_test(nothing_is_one_of_a_process_whose_memory_is_not_known),
    };

    return cmocka_run_group_tests_name("proof, for the broker", tests, NULL, NULL);
}
