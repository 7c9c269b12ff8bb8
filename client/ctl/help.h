/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct verb;

/* Print on standard output. `verb` may be NULL: the help of ptracectl. */
void help_print(const struct verb *verb);
void help_print_version(void);
