# SPDX-License-Identifier: MIT
"""Reads patch sets and checkouts, plans and proves; it never writes into a checkout."""
