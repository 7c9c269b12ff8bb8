/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct broker;

/* Everything below a session is served by the tracer that holds the process: its calls are copied
 * to that, and the answers back, descriptors included. To be called before the vtables are added,
 * ahead of which sd-bus asks us. */
int route_add(struct broker *b);
