/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <systemd/sd-bus.h>

/* Two ends of a real D-Bus connection over a socketpair, both in the test, so that what is read has
 * been marshalled, sent and received. */
struct bus_fixture {
    sd_bus *sender;
    sd_bus *receiver;
    sd_bus_message *received;
};

int bus_fixture_setup(void **state);
int bus_fixture_teardown(void **state);

/* An empty signal of the sender's, to be filled. The caller unrefs it. */
sd_bus_message *bus_fixture_message(struct bus_fixture *f);

/* Sends it and returns it as it arrives, to be read from its beginning. It belongs to the fixture
 * and is valid until the next call. */
sd_bus_message *bus_fixture_pass(struct bus_fixture *f, sd_bus_message *m);
