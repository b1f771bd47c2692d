# SPDX-License-Identifier: MIT
"""`dev`: find or fetch a checkout, patch it, install it editable."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from installer import console, environment, fetch, patching, undo
from installer.environment import RUNTIME, TESTING, Environment
from installer.locate import find_checkout
from installer.releases import DEFAULT, Release, find_release
from installer.transaction import write_state
from verify.checkout import Checkout, is_in_repository, looks_like_lerobot, project_file
from verify.errors import ExitCode, RewactError
from verify.gitcmd import require_git
from verify.parity import smoke
from verify.plan import Plan


@dataclass(frozen=True)
class Setup:
    """What `dev` made ready. `changed`: something was written or installed."""

    checkout: Checkout
    environment: Environment | None
    changed: bool


def open_or_fetch(project: Path, directory: Path | None, version: str | None) -> Checkout:
    """The named checkout, else the one found nearby, else a release fetched to ./lerobot."""
    require_git()
    if directory is not None:
        if looks_like_lerobot(directory) and not is_in_repository(directory):
            fetch.make_repository(directory.resolve())
        return Checkout(directory)
    release = find_release(version) if version else DEFAULT
    found = find_checkout(project, release.version if version else None)
    if found is not None:
        return Checkout(found)
    target = Path.cwd() / "lerobot"
    if target.exists() and version:
        target = Path.cwd() / f"lerobot-{release.version}"
    return Checkout(_copy_at(target, release))


def _copy_at(directory: Path, release: Release) -> Path:
    """A directory that holds LeRobot; the release is fetched to it where nothing is there.

    Raises:
        RewactError: NOT_LEROBOT where something else is.
    """
    if not looks_like_lerobot(directory):
        if directory.exists():
            raise RewactError(
                ExitCode.NOT_LEROBOT,
                f"{directory} exists, but is not a LeRobot clone: rename it, or name a clone.",
            )
        fetch.new_clone(release, directory)
    return directory


def require_version(checkout: Checkout, plan: Plan, version: str | None) -> None:
    """Refuses a checkout that is another release than the one that was asked for.

    Raises:
        RewactError: USAGE, or UNSUPPORTED_VERSION where there is no such release.
    """
    if version is None:
        return
    wanted = find_release(version)
    if plan.fitted or plan.patch_set.tag != wanted.tag:
        found = f"a LeRobot near {plan.patch_set.tag}" if plan.fitted else f"LeRobot {plan.patch_set.tag}"
        raise RewactError(
            ExitCode.USAGE,
            f"{checkout.root} is {found}, not {wanted.tag} as --lerobot says: leave --lerobot out, or name "
            "another clone.",
        )


def dev_own(project: Path) -> Setup:
    """`dev` for the commands that run the product: on a patched clone nearby, else on a copy of their own.

    A clone that happens to lie here is not theirs to patch.
    """
    directory = find_checkout(project, patched=True) or _copy_at(project / "lerobot", DEFAULT)
    return dev(project, directory, None, install=True)


def dev_apart(project: Path, release: Release) -> Setup:
    """`dev` for one release in a checkout and an environment of its own, both beside install.py."""
    directory = _copy_at(project / f"lerobot-{release.version}", release)
    return dev(project, directory, None, install=True, prefix=project / f".venv-{release.version}")


def dev(
    project: Path,
    directory: Path | None,
    version: str | None,
    *,
    install: bool,
    exact: bool = False,
    prefix: Path | None = None,
) -> Setup:
    """Patches a checkout and, unless told otherwise, installs it editable with what training needs."""
    checkout = open_or_fetch(project, directory, version)

    def accept(plan: Plan) -> None:
        require_version(checkout, plan, version)
        if install:
            find_release(plan.patch_set.tag)  # what it needs has to be known, before it is patched

    plan = patching.install(project, checkout, exact=exact, accept=accept)
    if not install:
        if plan.fitted:
            console.step("not tried: without the installation nothing can run")
        return Setup(checkout, None, bool(plan.changes))
    release = find_release(plan.patch_set.tag)
    if plan.fitted:
        release = replace(release, python=max(release.python, required_python(checkout.root)))
    env = environment.choose(release, project, prefix, checkout=checkout.root)
    installed = _install_editable(env, checkout, release)
    note_environment(checkout, env)
    # Noted once it is tried: a run that was killed before has not.
    note, tried = environment.read_note(env.prefix), f"{plan.fingerprint} {checkout.commit()}"
    if plan.fitted and (plan.changes or note.get("tried") != tried):
        _try_out(project, checkout, env)
        environment.write_note(env.prefix, note | {"tried": tried})
    return Setup(checkout, env, bool(plan.changes) or installed)


def note_environment(checkout: Checkout, env: Environment) -> None:
    """Remembers where it was installed, so that undo can take its console scripts out of there."""
    state = checkout.state()
    if state is not None and state.environment != str(env.prefix):
        with undo.locked(checkout):
            write_state(checkout, replace(state, environment=str(env.prefix)))


def required_python(root: Path) -> tuple[int, int]:
    """The oldest Python that a checkout says it runs on; (0, 0) where it does not say."""
    found = re.search(r'^requires-python\s*=\s*">=\s*(\d+)\.(\d+)', project_file(root), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _try_out(project: Path, checkout: Checkout, env: Environment) -> None:
    """Runs what was fitted; where it does not work the patches are taken out again."""
    console.step("trying it: imports, training steps, and with the head off the same as without the patches")
    try:
        console.step(smoke(checkout, str(env.python.executable)))
    except RewactError as error:
        undo.uninstall(project, checkout)
        raise RewactError(error.code, f"{error}\nThe patches are taken out again.") from None


def _install_editable(env: Environment, checkout: Checkout, release: Release) -> bool:
    """Makes the environment hold this checkout, editable; returns whether anything had to be done."""
    extras = ",".join(release.extras)
    others = [*RUNTIME, *TESTING]
    # An editable install notices edits of the source by itself, but not of its entry points and requirements.
    digest = hashlib.sha256((checkout.root / "pyproject.toml").read_bytes()).hexdigest()
    note = {"checkout": str(checkout.root), "pyproject": digest, "extras": extras}

    def install() -> None:
        console.step(
            f"installing {checkout.root} editable in {env.prefix} (the first time this downloads PyTorch)"
        )
        environment.pip_install(env, ["--editable", f"{checkout.root}[{extras}]", *others])

    return environment.ensure(env, note, [f"lerobot[{extras}]", *others], install, checkout.root)
