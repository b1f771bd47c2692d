# SPDX-License-Identifier: MIT
"""A network small enough that a test of it takes no time."""

SMALL_ACT = {
    "dim_model": 32,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1,
    "latent_dim": 4,
}
