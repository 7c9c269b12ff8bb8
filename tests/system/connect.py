# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connects to a machine's system bus as one of its users, from inside of its process ids, and hands the
connection out: a bus knows who has connected, and polkit asks it. Is that process until the other end
of the socket closes.

    nsenter --pid ... python3 connect.py SOCKET BUS_FOLDER UID GID [GROUP...]
"""

import os
import socket
import sys


def main():
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.chdir(sys.argv[2]) # which the user could not pass through from out here
    uid, gid, *groups = map(int, sys.argv[3:])
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    bus = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bus.connect("system_bus_socket")
    socket.send_fds(channel, [str(os.getpid()).encode()], [bus.fileno()])
    bus.close()
    channel.recv(1)


main()
