/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How far PTRACE_SINGLEBLOCK goes on this machine. A virtual machine may accept it and yet step one
 * instruction, since nobody gives it the processor's branch trap; so it is tried out. */
enum block_step {
    BLOCK_STEP_UNKNOWN,
    BLOCK_STEP_NONE,        /* the kernel has no such request; ours is a step then */
    BLOCK_STEP_INSTRUCTION, /* it is accepted, and is a step */
    BLOCK_STEP_BLOCK,       /* to behind the next branch that is taken */
};

/* Tries it out, on a child that is gone by the time this returns: half a second at the most, some
 * 200 usec as a rule. Nobody else may wait for children meanwhile. What keeps it from being tried
 * (no process can be made, somebody kills the child) is a negative errno. */
int block_step_probe(enum block_step *ret);
