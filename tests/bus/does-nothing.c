/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include <systemd/sd-bus.h>

/* A service of the name that it is given, with nothing to do: what carries anything is refused, all
 * else is answered with nothing. No service on the same bus can be quicker. It ends with the bus.
 */

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    if (!sd_bus_message_is_empty(m))
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "There is nothing like that");
    return sd_bus_reply_method_return(m, NULL);
}

static int serve(const char *name)
{
    sd_bus *bus;
    int r;

    r = sd_bus_open_system(&bus);
    if (r < 0)
        return r;
    r = sd_bus_add_fallback(bus, NULL, "/", on_call, NULL);
    if (r >= 0)
        r = sd_bus_request_name(bus, name, 0);
    while (r >= 0) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    sd_bus_unref(bus);
    return r;
}

int main(int argc, char *argv[])
{
    return argc == 2 && serve(argv[1]) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
