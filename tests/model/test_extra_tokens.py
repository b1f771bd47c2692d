"""The extension point for encoder tokens: positions, gradients, and a reward that they cannot inform."""

import pytest
import torch

from rewact.act.extra_tokens import ExtraTokens

from .conftest import CAMERA, ROBOT_STATE, make_batch, make_policy


class HintToken(ExtraTokens):
    def __init__(self, dim):
        super().__init__()
        self.embed = torch.nn.Linear(1, dim)
        self.pos_embed = torch.nn.Parameter(torch.randn(1, dim))

    def forward(self, batch, batch_size):
        return [(self.embed(batch["hint"].view(batch_size, 1)), self.pos_embed)]

    def neutral(self, batch_size):
        return [self.embed.bias.expand(batch_size, -1)]


@pytest.mark.parametrize("head_input", ["observation", "decoder"])
@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_token_moves_the_actions_and_not_the_reward(head_input, use_vae, training):
    inputs = {
        "observation.images.a": CAMERA,
        "observation.images.b": CAMERA,
        "observation.state": ROBOT_STATE,
    }
    policy = make_policy("act", inputs, reward_head_input=head_input, use_vae=use_vae, dropout=0.0)
    policy.model.extra_tokens = HintToken(policy.config.dim_model)
    policy.train(training)
    batch = policy.add_image_list(make_batch(policy))

    def run(hint):
        torch.manual_seed(3)
        return policy.model({**batch, "hint": torch.full((3,), hint)})

    (actions, _, logits), (other_actions, _, other_logits) = run(0.0), run(5.0)
    assert not torch.equal(actions, other_actions)
    assert torch.equal(logits, other_logits)

    run(5.0)[0].sum().backward()
    assert policy.model.extra_tokens.embed.weight.grad.abs().sum() > 0
    assert policy.model.extra_tokens.pos_embed.grad.abs().sum() > 0


def test_plain_weights_load_beside_the_token():
    policy = make_policy("act")
    plain_state = policy.state_dict()
    policy.model.extra_tokens = HintToken(policy.config.dim_model)
    missing, unexpected = policy.load_state_dict(plain_state, strict=False)
    assert not unexpected
    assert all(name.startswith("model.extra_tokens.") for name in missing)
