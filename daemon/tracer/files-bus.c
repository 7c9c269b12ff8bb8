/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/image.h"
#include "daemon/trace/process.h"
#include "daemon/tracer/memory-bus.h"

struct whole_file {
    const char *method, *name, *what;
    size_t max;
    const char *max_name, *remedy;
};

/* A file of /proc/PID as a reply. An empty one says that its memory is gone: none of these is ever
 * empty before. */
static int reply_file(sd_bus_message *m, const struct process *p, const struct whole_file *file,
                      sd_bus_error *error)
{
    _cleanup_free_string_ char *bytes = NULL;
    size_t size;
    int r = image_read(p, file->name, file->max, &bytes, &size);

    if (r >= 0 && size == 0)
        r = -ESRCH;
    if (r == -E2BIG)
        return memory_explain_limit(error, file->method, file->max_name, file->max, "bytes",
                                    file->remedy);
    if (r < 0)
        return memory_explain(error, r, p->pidref.pid, file->what);
    return memory_reply_bytes(m, bytes, size);
}

int files_method_open_maps(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process *p;
    int fd, r = memory_find(m, userdata, &p, error);

    if (r < 0)
        return r;
    r = image_open(p, "maps", O_RDONLY, &fd);
    if (r < 0)
        return memory_explain(error, r, p->pidref.pid, "open the maps");
    return memory_reply_opened(m, userdata, fd);
}

int files_method_read_maps(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct whole_file file = {
        .method = "ReadMaps",
        .name = "maps",
        .what = "read the maps",
        .max = PTRACED_MAPS_MAX,
        .max_name = "MapsMax",
        .remedy = "OpenMaps gives them as a file",
    };
    struct process *p;
    int r = memory_find(m, userdata, &p, error);

    return r < 0 ? r : reply_file(m, p, &file, error);
}

int files_method_read_auxv(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct whole_file file = {
        .method = "ReadAuxv",
        .name = "auxv",
        .what = "read the auxiliary vector",
        .max = 65536,
        .max_name = "AuxvMax",
        .remedy = "ReadMemory reads it where the process has it",
    };
    struct process *p;
    int r = memory_find(m, userdata, &p, error);

    return r < 0 ? r : reply_file(m, p, &file, error);
}

/* ---- Command line -------------------------------------------------------------------------- */

/* Arguments are any bytes but NUL, so they go as arrays of bytes. A program that has written over
 * them may have left none behind the last. */
static int append_arguments(sd_bus_message *reply, const char *bytes, size_t size)
{
    int r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "ay");

    for (size_t at = 0; at < size && r >= 0;) {
        size_t n = strnlen(bytes + at, size - at);

        r = sd_bus_message_append_array(reply, 'y', bytes + at, n);
        at += n + 1;
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

int files_method_get_command_line(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    _cleanup_free_string_ char *bytes = NULL;
    struct process *p;
    size_t size;
    int r = memory_find(m, userdata, &p, error);

    if (r < 0)
        return r;
    r = image_read(p, "cmdline", PTRACED_COMMAND_LINE_MAX, &bytes, &size);
    if (r == -E2BIG)
        return memory_explain_limit(error, "GetCommandLine", "CommandLineMax",
                                    PTRACED_COMMAND_LINE_MAX, "bytes",
                                    "ReadMemory reads it where the process has it");
    if (r < 0)
        return memory_explain(error, r, p->pidref.pid, "read the command line");
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = append_arguments(reply, bytes, size);
    return r < 0 ? r : sd_bus_message_send(reply);
}

/* ---- Mapped files -------------------------------------------------------------------------- */

static int explain_mapped_file(sd_bus_error *error, int failure, pid_t pid, uint64_t address)
{
    char what[80];

    snprintf(what, sizeof(what), "open what is mapped at 0x%" PRIx64, address);
    switch (-failure) {
    case ENOENT:
        return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                                 "Could not %s in process %d: no file is", what, pid);
    case EINVAL:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Could not %s in process %d: it is a device or the like, and "
                                 "regular files alone are opened",
                                 what, pid);
    case EPERM:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_PERMITTED,
            "Could not %s in process %d: that needs CAP_CHECKPOINT_RESTORE or "
            "CAP_SYS_ADMIN; ReadMaps gives the file's name, and ReadMemory its "
            "contents as far as they are mapped",
            what, pid);
    case EACCES:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                                 "Could not %s in process %d: the file may not be read", what, pid);
    case EOPNOTSUPP:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_SUPPORTED,
            "Could not %s in process %d: its first thread has ended, and Linux "
            "gives the mapped files of that one alone",
            what, pid);
    default:
        return memory_explain(error, failure, pid, what);
    }
}

static int open_mapped_file(const struct process *p, uint64_t address, int *ret_fd,
                            sd_bus_error *error)
{
    int r = image_open_mapped_file(p, address, ret_fd);

    return r < 0 ? explain_mapped_file(error, r, p->pidref.pid, address) : 0;
}

int files_method_open_mapped_file(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t address;
    struct process *p;
    int fd, r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "t", &address);
    if (r >= 0)
        r = open_mapped_file(p, address, &fd, error);
    return r < 0 ? r : memory_reply_fd(m, fd);
}

static int reply_part(sd_bus_message *m, int fd, uint64_t offset, size_t size, sd_bus_error *error)
{
    _cleanup_free_string_ char *buffer = malloc(size);
    ssize_t n;

    if (!buffer)
        return -ENOMEM;
    n = pread(fd, buffer, size, (off_t)offset);
    if (n < 0)
        return sd_bus_error_set_errnof(error, errno, "Could not read the mapped file: %s",
                                       strerror(errno));
    return memory_reply_bytes(m, buffer, (size_t)n);
}

int files_method_read_mapped_file(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_close_fd_ int fd = -1;
    uint64_t address, offset, size;
    struct process *p;
    int r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "ttt", &address, &offset, &size);
    if (r < 0)
        return r;
    if (size == 0 || offset > INT64_MAX || size > INT64_MAX - offset)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "No file has %" PRIu64 " bytes at offset %" PRIu64 " to read",
                                 size, offset);
    if (size > PTRACED_MEMORY_MESSAGE_MAX)
        return memory_explain_limit(error, "ReadMappedFile", "MemoryMessageMax",
                                    PTRACED_MEMORY_MESSAGE_MAX, "bytes",
                                    "use OpenMappedFile, or several calls");
    r = open_mapped_file(p, address, &fd, error);
    return r < 0 ? r : reply_part(m, fd, offset, size, error);
}

/* What can fail is no property: 0 where it is not known. */
int files_property_entry_point(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error)
{
    struct process_object o = {0};
    uint64_t entry_point = 0;
    int r = objects_find_process(userdata, path, &o, error);

    if (r < 0)
        return r;
    (void)image_entry_point(o.attachment->process, &entry_point);
    return sd_bus_message_append(reply, "t", entry_point);
}
