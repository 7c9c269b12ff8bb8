# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all benches share: programs to trace, tools that trace them, samples and figures."""
