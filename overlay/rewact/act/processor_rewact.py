# SPDX-License-Identifier: MIT
# Those of `act`: rewards need no normalization, and pass through as they are.
from lerobot.policies.act.processor_act import make_act_pre_post_processors

make_rewact_pre_post_processors = make_act_pre_post_processors
