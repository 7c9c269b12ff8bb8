/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* What takes polkit's `manage`: sessions of other users, and limits. */

static int check_id(ptraced *p, const char *id)
{
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (!ptraced_session_id_valid(id))
        return connection_fail(p, -EINVAL, "This is no id of a session: %s", id ? id : "(null)");
    return 0;
}

_public_ int ptraced_close_session(ptraced *p, const char *id)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    char path[PTRACED_PATH_MAX];
    ptraced_session *s;
    int r;

    r = check_id(p, id);
    if (r < 0)
        return r;
    r = connection_new_call(p, ptraced_path_session(path, id), PTRACED_SESSION_INTERFACE, "Close",
                            &m);
    if (r < 0)
        return r;
    r = connection_send_asking(p, m, NULL);
    if (r < 0)
        return r;
    s = session_find(p, id);
    if (s)
        session_end(s);
    return 0;
}

static int read_properties(sd_bus_message *m, const char **ret_name, uint32_t *ret_uid)
{
    const char *key;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
            return r;
        if (strcmp(key, "Name") == 0)
            r = sd_bus_message_read(m, "v", "s", ret_name);
        else if (strcmp(key, "Uid") == 0)
            r = sd_bus_message_read(m, "v", "u", ret_uid);
        else
            r = sd_bus_message_skip(m, "v");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r;
}

static int make_info(ptraced *p, const char *id, const char *name, uid_t uid,
                     struct ptraced_session_info **ret)
{
    size_t id_size = strlen(id) + 1, name_size = strlen(name) + 1;
    struct ptraced_session_info *info = malloc(sizeof(*info) + id_size + name_size);
    char *text;

    if (!info)
        return connection_fail(p, -ENOMEM, "Out of memory.");
    text = (char *)(info + 1);
    info->id = memcpy(text, id, id_size);
    info->name = memcpy(text + id_size, name, name_size);
    info->uid = uid;
    *ret = info;
    return 0;
}

_public_ int ptraced_get_session_info(ptraced *p, const char *id, struct ptraced_session_info **ret)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL, *reply = NULL;
    char path[PTRACED_PATH_MAX];
    const char *name = "";
    uint32_t uid = (uint32_t)-1;
    int r;

    r = check_id(p, id);
    if (r < 0)
        return r;
    r = connection_new_call(p, ptraced_path_session(path, id), "org.freedesktop.DBus.Properties",
                            "GetAll", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "s", PTRACED_SESSION_INTERFACE);
    if (r < 0)
        return connection_fail(p, r, "Failed to make a request: %s", strerror(-r));
    r = connection_send_asking(p, m, &reply);
    if (r < 0)
        return r;
    r = read_properties(reply, &name, &uid);
    if (r >= 0 && uid == (uint32_t)-1)
        r = -EBADMSG;
    if (r < 0)
        return connection_fail(p, r, "The properties of session %s cannot be read.", id);
    return make_info(p, id, name, uid, ret);
}

_public_ int ptraced_set_limit(ptraced *p, const char *name, uint64_t value)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = connection_new_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "SetLimit", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "st", name, value);
    if (r < 0)
        return connection_fail(p, r, "There is no limit of such a name.");
    return connection_send_asking(p, m, NULL);
}
