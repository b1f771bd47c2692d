# SPDX-License-Identifier: MIT
r"""Label a dataset in the browser: rewards, outcomes and human control, with the videos above the curve.

Labels are kept under `rewact_extensions/` in the dataset's folder, where training finds them; each change is
stored at once. `?` on the page shows its keys. Ctrl+C ends it.

Examples:

```
lerobot-label-page --dataset.repo_id=me/pick
```

With a trained policy's curve beside the labels, or one from a file:
```
lerobot-label-page \
    --dataset.repo_id=me/pick \
    --policy.path=outputs/train/pick/checkpoints/last/pretrained_model
lerobot-label-page --dataset.repo_id=me/pick --predictions=sarm_progress.parquet
```

For others in the same network, who need the address with its token; and upload the labels at the end:
```
lerobot-label-page --dataset.repo_id=me/pick --host=0.0.0.0 --push_to_hub=true
```
"""

import logging
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.tools import DataOptions, PolicyOptions, require_readable, require_writable

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.page.app import LabelPage
    from rewact.page.book import LabelBook
    from rewact.page.predictions import Predictions

# As in training: seconds that the timestamp of a frame and its picture in the video may lie apart.
TOLERANCE_S = 1e-4


@dataclass
class LabelPageConfig:
    dataset: DataOptions
    policy: PolicyOptions | None = None
    # A file with a curve: `*_progress.parquet`, or an advantages file. Default: that in the dataset's folder.
    predictions: str | None = None
    # Address to listen on. Any but this machine's own asks for a token.
    host: str = "127.0.0.1"
    # Its port.
    port: int = 8642
    # Upload the label files to the dataset's repository when the page is ended.
    push_to_hub: bool = False
    # The policy's names for those observations that the dataset calls otherwise.
    rename_map: dict[str, str] = field(default_factory=dict)
    # Frames that the policy reads at once.
    batch_size: int = 32
    # Videos made for the page; the folder may be deleted at any time. Default: beside LeRobot's other caches.
    cache_dir: Path | None = None
    # Where predictions are kept for the next run and the other tools. Default: beside LeRobot's other caches.
    values_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.policy is not None and self.predictions is not None:
            raise ValueError("give either --policy.path or --predictions, not both")
        for name in ("keypoints_path", "outcomes_path", "control_modes_path"):
            if getattr(self.dataset.reward, name) is not None:
                raise ValueError(
                    f"--dataset.reward.{name}: the page labels the files in the dataset's folder; "
                    "apply this one to them with lerobot-label-rewards --labels"
                )
        require_readable(self)
        self.dataset.reward.refuse_unread(self.dataset.reward.given(), ("interpolation",))
        if not 0 <= self.port < 65536:
            raise ValueError(f"--port must be a number from 0 to 65535, got {self.port}")


def label_page(cfg: LabelPageConfig) -> None:
    """Serve the page until it is interrupted, then upload the labels if asked to."""
    import uvicorn

    from rewact.labels.hub import LABEL_FILES, open_metadata, push_label_files
    from rewact.page.guard import LOOPBACK

    with listen(cfg.host, cfg.port) as listener:
        meta = open_metadata(cfg.dataset)
        page = make_page(cfg, meta)
        token = None if cfg.host in LOOPBACK else secrets.token_urlsafe(24)
        for sentence in page.problems():
            logging.warning(sentence)
        address = page_address(cfg.host, listener.getsockname()[1], token)
        before = {name for name in LABEL_FILES if (Path(meta.root) / name).exists()}
        # Requests are not logged: their addresses hold the token. The application logs its failures itself;
        # the server has tracebacks of videos that play when it is ended.
        config = uvicorn.Config(
            page.app(cfg.host, token), log_level="critical", access_log=False, timeout_graceful_shutdown=2
        )
        with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
            logging.info("Label %s at %s (Ctrl+C ends)", meta.repo_id, address)
            uvicorn.Server(config).run(sockets=[listener])
    if cfg.push_to_hub:
        cleared = [name for name in before if not (Path(meta.root) / name).exists()]
        push_label_files(meta, cleared, cfg.dataset.revision)


def make_page(cfg: LabelPageConfig, meta: "LeRobotDatasetMetadata") -> "LabelPage":
    """The page of a dataset, with its model at work if it has one.

    Raises:
        ValueError: if a setting does not fit the dataset.
    """
    from lerobot.utils import constants
    from rewact.labels.hub import is_cached, pull_label_files
    from rewact.page.app import LabelPage
    from rewact.page.book import LabelBook
    from rewact.page.media import Media
    from rewact.values.runner import choose_episodes, episode_loader

    cache = cfg.cache_dir or Path(constants.HF_LEROBOT_HOME) / "label_page"
    require_writable("--cache_dir", cache)
    episodes = choose_episodes(cfg.dataset, meta)
    load = partial(episode_loader(cfg.dataset, TOLERANCE_S), episodes)
    media = Media(meta, load, cache / "media")
    notices = []
    if not media.is_complete(episodes):
        try:
            load()  # which downloads what is missing
        except Exception as error:  # the Hub's or LeRobot's: what is there can still be labelled
            logging.debug("traceback", exc_info=error)
            reason = str(error).strip().partition("\n")[0]
            notices.append(f"parts of {meta.repo_id} are missing and cannot be downloaded: {reason}")
    pull_label_files(meta)
    if is_cached(Path(meta.root)) and not cfg.push_to_hub:
        notices.append(
            f"{meta.root} is the Hub's cache of one commit: keep the labels with --push_to_hub=true, or "
            "label a copy of your own with --dataset.root"
        )
    if "keypoints" not in cfg.dataset.reward.sources:
        notices.append("keypoints are not among --dataset.reward.sources: training will not use them")
    book = LabelBook(meta, cfg.dataset.reward, episodes)
    return LabelPage(book, media, _predictions(cfg, meta, book, notices), notices)


def _predictions(
    cfg: LabelPageConfig, meta: "LeRobotDatasetMetadata", book: "LabelBook", notices: list[str]
) -> "Predictions":
    """A model's curves, if there is one. A file that nobody asked for and that is broken is a notice."""
    from rewact.page.predictions import CheckpointPredictions, Predictions, StoredPredictions, find_stored
    from rewact.values.checkpoint import require_renamed
    from rewact.values.predictor import RewardPredictor
    from rewact.values.runner import episode_loader
    from rewact.values.store import open_store

    policy = None if cfg.policy is None else load_policy_config(cfg.policy)
    require_renamed(cfg.rename_map, [] if policy is None else [policy], meta)
    if policy is not None:
        predictor = RewardPredictor(policy, meta, cfg.rename_map)
        model = CheckpointPredictions(
            predictor,
            episode_loader(cfg.dataset, TOLERANCE_S),
            book.episodes,
            open_store(predictor, meta, cfg.values_dir),
            cfg.batch_size,
            book.touch,
        )
        model.start()
        return model
    if cfg.predictions is not None:
        return StoredPredictions(Path(cfg.predictions), book.table, book.episodes)
    path = None if "parquet" in cfg.dataset.reward.sources else find_stored(book.table)
    try:
        return Predictions() if path is None else StoredPredictions(path, book.table, book.episodes)
    except ValueError as error:
        notices.append(str(error))
        return Predictions()


def listen(host: str, port: int) -> socket.socket:
    """A socket at that address.

    Raises:
        OSError: naming the address, if it is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # who comes before the page is ready waits
    except OSError as error:
        listener.close()
        option = "--host" if isinstance(error, socket.gaierror) else "--port"
        raise OSError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}); choose another with {option}"
        ) from error
    return listener


def page_address(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def main() -> None:
    run_tool(LabelPageConfig, label_page, __doc__)


if __name__ == "__main__":
    main()
