# SPDX-License-Identifier: MIT
"""What install.py does: apply and undo patch sets, make environments, build wheels. Standard library only."""
