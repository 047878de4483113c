"""MuJoCo as a good guest: it draws without a screen, and warns through the log."""

from __future__ import annotations

import ctypes.util
import functools
import logging
import os
import sys

log = logging.getLogger("heredity")

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def has_screen() -> bool:
    """Whether windows could be opened here; taken for granted where it cannot be seen."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform != "linux" or bool(screen)


def choose_opengl() -> None:
    """Without a screen, have MuJoCo draw through EGL or OSMesa, whichever is installed.

    It would try GLFW, which needs a screen. Who has set ``MUJOCO_GL`` has chosen. It is looked at
    when what draws is imported, so this is called before.
    """
    if has_screen() or "MUJOCO_GL" in os.environ:
        return
    for name, library in _LIBRARIES.items():
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = name
            return


def log_mujoco_warnings() -> None:
    """Have MuJoCo's warnings logged, each kind once.

    By itself it prints each one, and writes it into ``MUJOCO_LOG.TXT`` in the current folder. In
    3.17 a deprecated word in its own HalfCheetah is enough for that.
    """
    import mujoco

    mujoco.set_mju_user_warning(_log)


def _log(message: str | bytes) -> None:
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    # A simulation that has become unstable says so with the time, at each step.
    _log_once(text.partition("Time = ")[0].strip())


@functools.cache
def _log_once(text: str) -> None:
    log.log(logging.DEBUG if "deprecated" in text else logging.WARNING, "MuJoCo: %s", text)
