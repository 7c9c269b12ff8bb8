/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct log;

/* ptraced.conf and its drop-ins, as systemd's own daemons read theirs (systemd-system.conf(5)): the
 * first of /etc/ptraced/ptraced.conf, /run/..., /usr/local/lib/..., /usr/lib/..., and then
 * ptraced.conf.d/NAME.conf of all four folders, by their names; of two with one name the one that
 * comes first in that order counts, and one that is a link to /dev/null counts as none.
 *
 * Lines are KEY=VALUE in the section [Limits], the keys those of limits.h. What is wrong is told,
 * with its place, and ignored: a service whose file has a typing error is better than none. */

/* `root` goes before each path; "" but in tests. */
void config_read(const struct log *log, const char *root);
