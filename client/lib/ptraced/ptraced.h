/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PTRACED_PTRACED_H
#define PTRACED_PTRACED_H

/**
 * libptraced: trace programs through the ptraced service.
 *
 * Conventions, which are those of sd-bus:
 *
 * - Functions return 0 or a positive number on success and a negative errno on failure. What a
 *   failing function would have written through its ret arguments is untouched.
 * - Objects are opaque and reference-counted; *_ref() and *_unref() accept NULL and *_unref()
 *   returns NULL.
 * - A connection and everything made from it belong to one thread at a time. Different
 *   connections may be used by different threads at once.
 * - After a failure other than -EAGAIN and -EINTR, ptraced_get_error() gives the D-Bus error name
 *   and a sentence for people: what failed, on which process, why, and what to do.
 * - A connection does not survive fork(): the child gets -ECHILD.
 *
 * Errno values that come from the service (the error name is org.ptraced.Tracer1.Error.*):
 * -ESRCH NoSuchProcess or NoSuchThread, -EUNATCH NotAttached, -ENXIO NoSuchSession, -EBUSY
 * AlreadyTraced, -EPERM NotPermitted, -EACCES refused by policy (AccessDenied), -EOPNOTSUPP
 * NotSupported, -EINPROGRESS NotStopped, -ENOENT NoSuchBreakpoint, -ETXTBSY Excluded, -EAGAIN
 * NoEvent, -EINVAL InvalidOption, -EDQUOT LimitExceeded, -ETIMEDOUT TimedOut, -EOWNERDEAD
 * TracerGone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptraced ptraced;
typedef struct ptraced_session ptraced_session;
typedef struct ptraced_event ptraced_event;
typedef struct ptraced_spawn_options ptraced_spawn_options;

/* ---- Connections ------------------------------------------------------------------------- */

/** Which way a connection goes. */
enum ptraced_transport {
    PTRACED_TRANSPORT_SYSTEM,   /**< the system bus */
    PTRACED_TRANSPORT_USER,     /**< the caller's session bus */
    PTRACED_TRANSPORT_EMBEDDED, /**< a broker and keeper of the connection's own */
    PTRACED_TRANSPORT_REMOTE,   /**< the system bus of another host, through ssh */
    PTRACED_TRANSPORT_MACHINE,  /**< the system bus of a local container */
    PTRACED_TRANSPORT_DIRECT,   /**< a socket to the service, nothing between */
};

/** Connects to the service on the system bus; the bus starts it when it isn't running. -ENOENT or
 *  another errno of connect(2) where there is no bus. It does not wait for anybody: the service
 *  itself is first asked by the first call, and by ptraced_ping(). */
int ptraced_open_system(ptraced **ret);

/** The same on the caller's session bus. */
int ptraced_open_user(ptraced **ret);

/** Starts a broker and a keeper of this connection's own, with the caller's privileges and the
 *  kernel's own rules as policy. They are no children of the caller: it will see no SIGCHLD of
 *  theirs and need not wait for them, whatever it does about SIGCHLD; only process 1 and a child
 *  subreaper are given them to wait for, as they are given everybody's. No key on the caller's
 *  terminal reaches them; what they have to say goes to its standard error. They end, and let every
 *  tracee run on, when the connection is closed or the caller dies. -ENOENT where the programs are
 *  not found: beside the library in a build tree, else where they were configured to be installed
 *  (no variable of the environment is looked at). */
int ptraced_open_embedded(ptraced **ret);

/** The system bus of another host, through ssh, as sd_bus_open_system_remote(3) does it. */
int ptraced_open_remote(ptraced **ret, const char *host);

/** The system bus of a local container, as sd_bus_open_system_machine(3) does it. */
int ptraced_open_machine(ptraced **ret, const char *machine);

/** The bus at a D-Bus address, taken for the system bus. */
int ptraced_open_address(ptraced **ret, const char *address);

/** The service itself at the other end of a connected stream socket. The descriptor stays the
 *  caller's. */
int ptraced_open_fd(ptraced **ret, int fd);

ptraced *ptraced_ref(ptraced *p);

/** Drops a reference; the last one closes the connection. Sessions of `client` lifetime end with it
 *  and their tracees run on. */
ptraced *ptraced_unref(ptraced *p);
void ptraced_unrefp(ptraced **p);

/** Whether polkit may ask somebody, through the agent of the caller's desktop or terminal, where an
 *  attach, or ptraced_authorize(), takes a permission (ALLOW_INTERACTIVE_AUTHORIZATION of the D-Bus
 *  specification), or ptraced_close_session(), ptraced_get_session_info() or ptraced_set_limit();
 *  for all other calls nobody is asked. Off at first: then what would have to be asked is refused
 * at once, with -EACCES. While it is on, these calls and ptraced_spawn() return when there is an
 *  answer, however long that takes. 0;
 *  -EINVAL: no connection; -ECHILD: it was opened before a fork(2), by the parent. */
int ptraced_set_interactive(ptraced *p, bool interactive);

/** Asks the service whether it is there, which starts it where the bus knows how. 0, or e.g.
 *  -EHOSTUNREACH where nothing answers to the name. */
int ptraced_ping(ptraced *p);

enum ptraced_transport ptraced_get_transport(ptraced *p);

/** The version of the service, owned by the connection and valid until its end. */
int ptraced_get_version(ptraced *p, const char **ret);

/** The last failure: D-Bus error name and a sentence, both owned by the connection and valid until
 *  the next call on it. Either may be NULL: the name where the failure is not the service's. Each
 *  ret may be NULL. */
void ptraced_get_error(ptraced *p, const char **ret_name, const char **ret_message);

/* ---- Somebody else's event loop ------------------------------------------------------------ */

/** The descriptor to poll, owned by the connection. */
int ptraced_get_fd(ptraced *p);

/** The events to poll for (POLLIN, POLLOUT); ask again before each poll. */
int ptraced_get_events(ptraced *p);

/** When ptraced_process() wants to be called at the latest: CLOCK_MONOTONIC, in usec, or
 *  UINT64_MAX. 0: at once, there is something to do already. */
int ptraced_get_timeout(ptraced *p, uint64_t *ret_usec);

/** Handles what has arrived, without blocking. 1: something was done, call again; 0: nothing is
 *  left. Events then wait in ptraced_session_get_event(.., 0, ..). While a session has 4,096 of
 *  them that nobody took, nothing more is read; only a call that waits for an answer, or for an
 *  event of another session, goes on reading. -ECONNRESET: the connection has ended. */
int ptraced_process(ptraced *p);

/* ---- Sessions ------------------------------------------------------------------------------- */

enum ptraced_session_flags {
    /** Stays when the connection ends: until Close, or the service's limits. Queues from the
     *  start. */
    PTRACED_SESSION_PERSISTENT = 1 << 0,
};

/** Makes a session and receives its events from the start. @param name shown in lists; NULL for the
 *  program's own name. */
int ptraced_session_new(ptraced *p, const char *name, unsigned flags, ptraced_session **ret);

/** Takes up a session that exists, by its id ("s1"); `subscribe` asks for its events. A session
 *  that the connection has an object of is that same object, with one reference more. */
int ptraced_session_get(ptraced *p, const char *id, bool subscribe, ptraced_session **ret);

ptraced_session *ptraced_session_ref(ptraced_session *s);

/** Drops a reference; the last one also drops the events that nobody took, and the subscription. A
 *  session outlives its object: it ends with ptraced_session_close(), and one of client lifetime
 *  with its connection. */
ptraced_session *ptraced_session_unref(ptraced_session *s);
void ptraced_session_unrefp(ptraced_session **s);

const char *ptraced_session_get_id(ptraced_session *s);
ptraced *ptraced_session_get_connection(ptraced_session *s);

/** Ends the session: all its tracees run on. A second close fails with -ENXIO. */
int ptraced_session_close(ptraced_session *s);

/** The same by a session's id, without an object of it. Another user's session takes polkit's
 *  `manage`, of who is not root. -ENXIO: there is no such session. */
int ptraced_close_session(ptraced *p, const char *id);

/** Events so far that found no room in the session's queue, or that this library could not keep. */
int ptraced_session_get_lost_events(ptraced_session *s, uint64_t *ret);

/** One line of a list. Strings are owned by the list. */
struct ptraced_session_info {
    const char *id;
    const char *name;
    uid_t uid;
};
struct ptraced_tracee_info {
    const char *session;
    pid_t pid;
    uid_t uid;
    unsigned threads;
};
struct ptraced_thread_info {
    pid_t tid;
    char state[16]; /**< running, stepping, stopping, stopped, group-stop, exiting */
};

/** Lists, as the caller may see them. *ret is one allocation that the caller free()s, strings
 *  included; the return value is the number of entries. */
int ptraced_list_sessions(ptraced *p, struct ptraced_session_info **ret);
int ptraced_list_tracees(ptraced *p, struct ptraced_tracee_info **ret);
int ptraced_list_threads(ptraced_session *s, pid_t pid, struct ptraced_thread_info **ret);

/** One session by its id, though the caller may not see it in a list: another user's takes polkit's
 *  `manage`. *ret is for free(). */
int ptraced_get_session_info(ptraced *p, const char *id, struct ptraced_session_info **ret);

/** A limit of the service's, as in ptraced.conf(5). */
struct ptraced_limit_info {
    const char *name;
    const char *what; /**< of what it is, in words */
    uint64_t value;
    uint64_t used; /**< by the caller's user; of root: by the user that has the most.
                        UINT64_MAX: the service does not tell */
};
int ptraced_list_limits(ptraced *p, struct ptraced_limit_info **ret);

/** Sets one until the service ends: polkit's `manage`, of who is not root. -EINVAL: there is none
 * of that name, or it cannot have that value. */
int ptraced_set_limit(ptraced *p, const char *name, uint64_t value);

/* ---- Attaching ------------------------------------------------------------------------------ */

enum ptraced_follow {
    PTRACED_FOLLOW_DEFAULT, /**< threads: follow; children: none */
    PTRACED_FOLLOW_NONE,
    PTRACED_FOLLOW_EVENTS, /**< attach, with events */
};

/** What to attach how. All zero but the size is the default: every thread and every thread to come,
 *  no children, every kind of event but system calls and seccomp reported, nothing stopped. */
struct ptraced_attach_options {
    size_t size; /**< sizeof(struct ptraced_attach_options), always; lets the structure grow.
                      -EINVAL: smaller; -E2BIG: asks for what this library does not know */
    enum ptraced_follow threads;
    enum ptraced_follow children;
    bool stop;          /**< stop it at once */
    const char **kinds; /**< NULL-terminated kinds to report; NULL: all but
                             syscall-enter, syscall-exit and seccomp */
    const char **stops; /**< NULL-terminated kinds that also stop the thread; NULL: none but the
                             effect of an interrupt */
};

/** Attaches to every thread of a process. @param o may be NULL. Returns when all are attached (and,
 *  with `stop`, stopped). -EBUSY (AlreadyTraced) names the tracer in the error message. */
int ptraced_attach(ptraced_session *s, pid_t pid, const struct ptraced_attach_options *o);

/** The same, free of pid reuse. The caller keeps its pidfd. -EOPNOTSUPP on another host. */
int ptraced_attach_pidfd(ptraced_session *s, int pidfd, const struct ptraced_attach_options *o);

/** Attaches to one thread. 1 where it is new, 0 where the session had it already. */
int ptraced_attach_thread(ptraced_session *s, pid_t tid, const struct ptraced_attach_options *o);

/** Authorises this connection for a process that another one has attached in a persistent session:
 *  proved by the library where the kernel would let the caller trace it, and else asked of polkit.
 *  Children that are followed from there go with it. -EUNATCH (NotAttached): the session does not
 *  trace it. */
int ptraced_authorize(ptraced_session *s, pid_t pid);

/** Chooses anew which kinds of a process are reported and which stop, both as in the attach
 *  options: NULL is every kind but system calls and seccomp, and none. */
int ptraced_set_event_filter(ptraced_session *s, pid_t pid, const char **kinds, const char **stops);

/* ---- Control -------------------------------------------------------------------------------- */

/** pid 0: every process of the session; tid 0: every thread of the process. A single thread: both
 *  given. */

/** Stops; the effect is an event of kind `stop` for each thread. For one thread: 1, or 0 where it
 *  was stopped already. For a process it returns when its threads stand, except those that the
 *  kernel cannot stop now. */
int ptraced_interrupt(ptraced_session *s, pid_t pid, pid_t tid);

/** Gives up the session's stop. For one thread: 1, or 0 where there was nothing to continue. */
int ptraced_continue(ptraced_session *s, pid_t pid, pid_t tid);

/** Lets go; the tracee runs on, or stays job-control stopped if it was. For one thread: 1, or 0
 *  where it was not attached any more. */
int ptraced_detach(ptraced_session *s, pid_t pid, pid_t tid);

/** Sends a signal to a process of the session, SIGKILL included. */
int ptraced_signal(ptraced_session *s, pid_t pid, int signo);

/* ---- Events --------------------------------------------------------------------------------- */

/** In the order of the contract; PTRACED_EVENT_UNKNOWN is a kind that a newer daemon sends. */
enum ptraced_event_kind {
    PTRACED_EVENT_UNKNOWN = -1,
    PTRACED_EVENT_STOP,
    PTRACED_EVENT_SIGNAL,
    PTRACED_EVENT_GROUP_STOP,
    PTRACED_EVENT_CLONE,
    PTRACED_EVENT_FORK,
    PTRACED_EVENT_VFORK,
    PTRACED_EVENT_VFORK_DONE,
    PTRACED_EVENT_EXEC,
    PTRACED_EVENT_EXIT,
    PTRACED_EVENT_EXITED,
    PTRACED_EVENT_KILLED,
    PTRACED_EVENT_LOST,
    PTRACED_EVENT_STEP,
    PTRACED_EVENT_BREAKPOINT,
    PTRACED_EVENT_WATCHPOINT,
    PTRACED_EVENT_SYSCALL_ENTER,
    PTRACED_EVENT_SYSCALL_EXIT,
    PTRACED_EVENT_SECCOMP,
};

/** The session's next event. @param timeout_usec 0: does not block; UINT64_MAX: waits as long as it
 *  takes; else relative, in usec. *ret is the caller's, to be ptraced_event_unref()ed; it belongs
 *  to no connection. -EAGAIN: none within that time. -EINTR: a signal handler has run. Once no
 *  event is left: -ENXIO: the session has ended; -ECONNRESET: the connection has.
 *
 *  A service that is restarted keeps its sessions; events go on then, but in a persistent one for
 *  those alone who are root or whom polkit lets without a question. Where it does not come back
 *  within ten seconds, the session counts as ended. */
int ptraced_session_get_event(ptraced_session *s, uint64_t timeout_usec, ptraced_event **ret);

/** The events of the threads that this session holds now. *ret is an array of the return value's
 *  length; unref each and free() the array. */
int ptraced_session_list_stopped(ptraced_session *s, ptraced_event ***ret);

ptraced_event *ptraced_event_ref(ptraced_event *e);
ptraced_event *ptraced_event_unref(ptraced_event *e);
void ptraced_event_unrefp(ptraced_event **e);

uint64_t ptraced_event_get_serial(const ptraced_event *e);
uint64_t ptraced_event_get_usec(const ptraced_event *e); /**< CLOCK_MONOTONIC */
pid_t ptraced_event_get_pid(const ptraced_event *e);
pid_t ptraced_event_get_tid(const ptraced_event *e);
enum ptraced_event_kind ptraced_event_get_kind(const ptraced_event *e);
const char *ptraced_event_get_kind_name(const ptraced_event *e);
bool ptraced_event_get_stopped(const ptraced_event *e);

/** A number or truth value of the details, by its key ("child", "signal", "status", ...). -ENODATA
 *  where the event has none of that name or it is a string. One of type `t` is given bit for bit:
 *  cast it back. */
int ptraced_event_get_detail(const ptraced_event *e, const char *key, int64_t *ret);
/** A string of the details, owned by the event, or NULL. */
const char *ptraced_event_get_detail_string(const ptraced_event *e, const char *key);
/** Numbers of the details, such as the six "arguments" of a system call; owned by the event.
 *  -ENODATA: the event has none of that name. */
int ptraced_event_get_detail_numbers(const ptraced_event *e, const char *key, const uint64_t **ret,
                                     size_t *ret_n);
/** What argument number *ret_argument (0 to 5) of a system call points to, the i-th that the
 *  session's filter had captured; the bytes are owned by the event. -ENODATA past the last. */
int ptraced_event_get_capture(const ptraced_event *e, unsigned i, unsigned *ret_argument,
                              const void **ret, size_t *ret_size);
/** The key of detail number i, and its type (i, u, x, t, b, s; N: numbers; C: captures) through
 *  ret_type; NULL past the last. */
const char *ptraced_event_get_detail_key(const ptraced_event *e, unsigned i, char *ret_type);

/* ---- Starting programs ---------------------------------------------------------------------- */

/** How ptraced_spawn() starts a program. The program belongs to the caller: its session, cgroup and
 *  credentials are the caller's, and it is the caller's child, to be waited for by it. */
int ptraced_spawn_options_new(ptraced_spawn_options **ret);
ptraced_spawn_options *ptraced_spawn_options_free(ptraced_spawn_options *o);
void ptraced_spawn_options_freep(ptraced_spawn_options **o);

/** argv[0] is looked up in the caller's PATH as execvpe(3) does it. The array is copied.
 *  Required. */
int ptraced_spawn_options_set_argv(ptraced_spawn_options *o, char *const argv[]);
/** The whole environment; without it, the caller's. */
int ptraced_spawn_options_set_environment(ptraced_spawn_options *o, char *const envp[]);
int ptraced_spawn_options_set_directory(ptraced_spawn_options *o, const char *path);
/** Standard input, output and error; -1 leaves one as it is. They stay the caller's, and are used
 *  at the start. */
int ptraced_spawn_options_set_stdio(ptraced_spawn_options *o, int in, int out, int err);
/** A terminal of its own: the program leads a new session whose controlling terminal this is, and
 *  its standard input, output and error where set_stdio() set none. The descriptor stays the
 *  caller's. */
int ptraced_spawn_options_set_terminal(ptraced_spawn_options *o, int tty_fd);
/** A process group of its own; with `foreground`, the one in the foreground of the caller's
 *  controlling terminal, where the caller has one and is in its foreground itself. Taking it back
 *  in the end is the caller's. */
int ptraced_spawn_options_set_process_group(ptraced_spawn_options *o, bool foreground);
/** personality(ADDR_NO_RANDOMIZE). */
int ptraced_spawn_options_set_randomize(ptraced_spawn_options *o, bool randomize);
/** How to attach; NULL for the default. Its `stop` stops the program at the exec, before its first
 *  instruction. Copied. */
int ptraced_spawn_options_set_attach(ptraced_spawn_options *o,
                                     const struct ptraced_attach_options *a);

/** Starts a program so that it is traced from its first instruction; its first event is `exec`
 *  (where the options report that). Its signal mask and ignored signals are the caller's. Where
 *  Yama wants it, the program names its tracer with PR_SET_PTRACER. When anything fails, nothing of
 *  it is left: neither a process nor a tracee nor an event; the errno is that of what failed, and
 *  ptraced_get_error() says which step it was (-ENOENT: no such program). A program that the
 *  session may not keep past its exec, e.g. for the privilege that it gains by it, runs; its first
 *  event is then `lost`. -EOPNOTSUPP where the service is on another host or in a container. */
int ptraced_spawn(ptraced_session *s, const ptraced_spawn_options *o, pid_t *ret_pid);

#ifdef __cplusplus
}
#endif

#endif
