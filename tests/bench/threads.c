/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>

#include "tests/bench/threads.h"

int thread_start(void *(*function)(void *), void *arg, size_t stack_size)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    r = pthread_attr_init(&attr);
    if (r != 0)
        return -r;
    r = pthread_attr_setstacksize(&attr, stack_size);
    if (r == 0)
        /* A guard page would be a mapping of its own, and of those there are 65,530. */
        r = pthread_attr_setguardsize(&attr, 0);
    if (r == 0)
        r = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (r == 0)
        r = pthread_create(&thread, &attr, function, arg);
    pthread_attr_destroy(&attr);
    return -r;
}
