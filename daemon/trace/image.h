/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process;

/* What /proc tells of a traced process's memory as a whole: its maps, what is mapped there, its
 * auxiliary vector, its command line. The leader may be a zombie while others live, and has no
 * memory then; so a thread that lives is asked, of those that we trace, since under Yama that is
 * what gives us the right. -ESRCH everywhere: no thread with memory is left. */

/* Opens a file of /proc/PID by its name, close-on-exec. */
int image_open(const struct process *p, const char *name, int flags, int *ret_fd);

/* Reads such a file whole, into a buffer for the caller to free, with a NUL behind it that does not
 * count. -E2BIG: it is longer than `max`. cmdline and environ are the program's own memory: they
 * can block as a read of that can. */
int image_read(const struct process *p, const char *name, size_t max, char **ret, size_t *ret_size);

/* The value of an entry (AT_ENTRY, ...) of an auxiliary vector as in /proc/PID/auxv, of 64-bit or
 * 32-bit words: its entries tell which. -ENOENT: it has none. Pure. */
int image_find_auxv(const void *auxv, size_t size, uint64_t type, uint64_t *ret);

/* How far what a program may read goes on from an address, in mappings that follow one another:
 * `max` bytes at the most. `maps` is what image_open() gives for that name. -ENOENT: nothing is
 * mapped there; -ENOTTY: Linux can tell from 6.11 on (PROCMAP_QUERY). */
int image_readable_size(int maps, uint64_t address, uint64_t max, uint64_t *ret);

/* Where the program starts, AT_ENTRY. */
int image_entry_point(const struct process *p, uint64_t *ret);

/* Whether these bytes are all in one mapping of private text: -EFAULT: nothing is mapped there;
 * -EACCES: it is not executable, or shared with others, whom a change would reach. */
int image_check_text(const struct process *p, uint64_t address, size_t size);

/* The file that is mapped at an address, for reading, whatever has become of its name. Regular
 * files alone: to open a device could have an effect. -EFAULT: nothing is mapped there; -ENOENT: no
 * file is; -EINVAL: it is no regular one; -EPERM: this needs CAP_CHECKPOINT_RESTORE or
 * CAP_SYS_ADMIN (fs/proc/base.c:proc_map_files_get_link()); -EACCES: we may not read it;
 * -EOPNOTSUPP: the leader has ended, and only it has map_files. */
int image_open_mapped_file(const struct process *p, uint64_t address, int *ret_fd);
