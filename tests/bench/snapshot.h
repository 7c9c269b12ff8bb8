/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* How much of each stack a snapshot holds. */
#define SNAPSHOT_STACK (64u * 1024u)
