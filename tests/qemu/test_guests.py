# SPDX-License-Identifier: BSD-2-Clause
"""Those of the whole guests that are quick to boot; the others: make test-guests."""
from guest_boots import test_guest_gnumach, test_guest_kernels, test_guest_memtest

__all__ = ["test_guest_gnumach", "test_guest_kernels", "test_guest_memtest"]
