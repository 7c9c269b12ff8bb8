/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/keeper/keeper.h"

/* The broker's way in: D-Bus, peer to peer, one broker at a time. */

/* Serves the broker at the other end of a connected stream socket. Takes the descriptor in any
 * case. */
int connection_serve(struct keeper *k, int fd);

/* Listens on a socket that was handed over, or on one made at `path`. Accepts brokers from then
 * on; they have to run as root, as the keeper's own user or as the broker's. */
int connection_listen_fd(struct keeper *k, int fd);
int connection_listen_path(struct keeper *k, const char *path);

/* Drops the connected broker, if any. */
void connection_drop(struct keeper *k);

/* The same, and lets no other one in. Accepts a half-built keeper. */
void connection_close(struct keeper *k);
