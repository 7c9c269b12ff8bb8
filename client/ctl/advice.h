/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* What is behind a failure and what can be done about it: a sentence or two that the caller frees,
 * or NULL where there is nothing to add. `r` is the negative errno, `said` what the user has been
 * told already (it is not said again), `pid` the process or 0. `local`: the process is one of this
 * machine, so that /proc can be asked. `embedded`: the command would work in embedded mode too,
 * and was not tried there. */
char *advice_for(int r, const char *said, pid_t pid, bool local, bool embedded);
