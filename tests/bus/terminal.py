# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that somebody sits before."""

import os
import pty
import select
import termios
import time


class Terminal:
    """A program in the foreground of a terminal of its own, which starts by calling a function."""

    def __init__(self, execute):
        self.text = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                execute()
            finally:
                os._exit(127)

    def read_until(self, words, timeout=20):
        """None: until everybody has closed the terminal."""
        deadline = time.monotonic() + timeout
        while words is None or words not in self.text:
            if not select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"{words!r} was not shown within {timeout} s, but {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError: # EIO: nobody has it open any more
                data = b""
            if not data:
                if words is None:
                    return
                raise EOFError(f"it ended without {words!r}: {self.text!r}")
            self.text += data.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text):
        """What is typed before the echo is off is thrown away: so it is with passwords."""
        deadline = time.monotonic() + 10
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody turns the echo off: {self.text!r}")
            time.sleep(0.002)
        os.write(self.fd, text.encode())

    def end(self):
        """The exit status, or minus the signal."""
        self.read_until(None)
        self.has_echo = bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)
        return self.close()

    def close(self):
        """The terminal hangs up on who is still there."""
        if self.status is None:
            os.close(self.fd)
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status
