# SPDX-License-Identifier: LGPL-2.1-or-later
"""Idle costs nothing: no system call, no wake-up, little memory.

PTRACED_TEST_IDLE_SECONDS says how long to look, 5 unless told.
"""

import os
import shutil
import signal
import subprocess
import time

import harness
import procfs
from circles import Circles
from service import build_option, sanitized

SECONDS = float(os.environ.get("PTRACED_TEST_IDLE_SECONDS", "5"))
BROKER_KIB = 6 * 1024
OTHERS_KIB = 4 * 1024


class Idle:
    def our_processes(self):
        return self.service.daemons.running()

    def tracers(self):
        return self.service.daemons.tracers()

    def system_calls(self, pids):
        """What strace sees of these processes meanwhile. Its coming wakes them, for the kernel does not
        restart epoll_wait(), and so does its leaving: neither counts."""
        log = os.path.join(self.scratch, "strace")
        command = ["strace", "-f", "-ttt", "-o", log] + [word for pid in pids for word in ("-p", str(pid))]
        strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        try:
            attached = [strace.stderr.readline() for _ in pids]
            self.assertTrue(all("attached" in line for line in attached), attached)
            time.sleep(0.3)
            start = time.time()
            time.sleep(SECONDS)
            end = time.time()
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=10)
        with open(log) as f:
            return [line.strip() for line in f if start <= float(line.split()[1]) <= end]

    def assert_idle(self):
        """The tracers have a tracer already, their keeper: how often they ran tells it of them."""
        time.sleep(0.5)
        tracers = self.tracers()
        self.assertTrue(tracers)
        self.await_rest(tracers)
        before = {pid: procfs.context_switches(pid) for pid in tracers}
        if shutil.which("strace"):
            self.assertEqual(self.system_calls((self.service.broker.pid, self.service.keeper.pid)), [])
        else:
            time.sleep(SECONDS)
        self.assertEqual({pid: procfs.context_switches(pid) for pid in tracers}, before)

    def await_rest(self, tracers, timeout=20):
        """On a loaded machine what they were asked for before may not be done yet."""
        deadline = time.monotonic() + timeout
        seen = None
        while (now := {pid: procfs.context_switches(pid) for pid in tracers}) != seen:
            self.assertLess(time.monotonic(), deadline, "they do not come to rest")
            seen = now
            time.sleep(0.5)

    def test_nothing_attached(self):
        self.connect().manager.get("Version")
        self.assert_idle()

    def test_attached_to_a_quiet_process(self):
        session = self.new_session(queue=True)
        running, held = self.tracee("many-threads", 10), self.tracee("many-threads", 10)
        session.attach(running.pid)
        session.attach(held.pid, stop=True)
        waiter = session.send("GetEvent", "t", 2**64 - 1)
        session.client.reply(waiter)
        session.drain()
        session.send("GetEvent", "t", 2**64 - 1)
        self.assert_idle()

    def test_waiting_for_one_thread_while_another_s_event_lies_there(self):
        session = self.new_session(queue=True)
        tracee = self.tracee("many-threads", 2)
        process = session.attach(tracee.pid)
        held, quiet = (process.thread(tid) for tid in tracee.threads())
        held.interrupt()
        quiet.send("GetEvent", "t", 60000000)
        self.assert_idle()

    def test_after_load(self):
        session = self.new_session()
        tracee = self.tracee("threads-come-and-go", 4, 200)
        for _ in range(10):
            process = session.attach(tracee.pid, stop=True)
            process.continue_()
            session.events_for(0.05)
            process.detach()
        session.close()
        tracee.quit()
        tracee.wait()
        self.assert_idle()

    def check_memory(self):
        if sanitized() or build_option("buildtype") == "debug":
            self.skipTest("sanitizers and builds without optimisation take more")

    def test_memory_with_nothing_attached(self):
        self.check_memory()
        self.connect().manager.get("Version")
        time.sleep(0.2)
        self.assertLess(procfs.resident_kib(self.service.broker.pid), BROKER_KIB)
        self.assertLess(procfs.resident_kib(self.service.keeper.pid), OTHERS_KIB)
        for pid in self.tracers():
            self.assertLess(procfs.resident_kib(pid), OTHERS_KIB)

    def test_memory_with_threads(self):
        self.check_memory()
        threads = 2000
        tracee = self.tracee("many-threads", threads)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        self.assertEqual(len(process.list_threads()), threads)
        process.continue_()
        self.assertLess(procfs.resident_kib(self.service.broker.pid), BROKER_KIB)
        self.assertLess(procfs.resident_kib(self.service.keeper.pid), OTHERS_KIB)
        self.assertLess(procfs.resident_kib(procfs.tracer_pid(tracee.pid)), OTHERS_KIB + threads)

    def test_memory_after_load(self):
        self.check_memory()
        session = self.new_session(lifetime="persistent")
        tracee = self.tracee("threads-come-and-go", 4, 100)
        session.attach(tracee.pid)
        self.assert_wait(lambda: session.get("LostEvents") > 1000, "a full queue overflows", timeout=30)
        tracer = procfs.tracer_pid(tracee.pid)
        self.assertLess(procfs.resident_kib(tracer), OTHERS_KIB + 1024)
        self.assertLess(procfs.resident_kib(self.service.broker.pid), BROKER_KIB)
        self.assertLess(procfs.resident_kib(self.service.keeper.pid), OTHERS_KIB)


class IdleOnTheBus(Idle, harness.OnTheBus):
    def test_while_a_subscriber_is_behind(self):
        circles = Circles(self.tracee("runs-in-circles", 1))
        session = self.new_session()
        process = session.attach(circles.pid)
        id = process.add_breakpoint(circles.start, report_only=True)
        other = self.connect().session(session.id)
        self.assert_wait(lambda: other.get("LostEvents") > 20000, "its queue overflows",
                         timeout=180 if sanitized() else 60)
        other.process(circles.pid).remove_breakpoint(id)
        self.assert_idle()


class IdleEmbedded(Idle, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
