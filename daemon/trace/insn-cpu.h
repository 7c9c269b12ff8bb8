/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "daemon/trace/insn.h"

struct arch;

/* Between the general register set of a thread and what insn.h works on. -EOPNOTSUPP: a machine
 * whose instructions are not known here. */
int insn_cpu_load(const struct arch *arch, const uint8_t *general, struct insn_cpu *ret,
                  enum insn_isa *ret_isa);
void insn_cpu_store(const struct arch *arch, const struct insn_cpu *cpu, uint8_t *general);
