# SPDX-License-Identifier: MIT
"""The labelling page: a small web server on the labels of one dataset."""
