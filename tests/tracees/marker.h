/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Eight bytes at an address that meson.build gives to the linker (MARKER), the same in each program
 * that has some: what is read there tells whose memory it was, from the program's first moment on.
 */
#define TRACEE_MARKER(...)                                                                         \
    __attribute__((section(".marker"), used)) static const volatile char marker[8] = {__VA_ARGS__}
