"""An agent's game as moving pictures: an animated GIF or a window."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rllib_ez.envs import EpisodeResult, VectorEnv, play_episodes
from rllib_ez.errors import EnvironmentSpecError, SettingError
from rllib_ez.runs.evaluation import Player, make_evaluation_env

SMALLEST_SIDE = 256  # pixels; smaller pictures are enlarged
MOST_PICTURES = 1500  # longer games are thinned out
FRAMES_PER_SECOND = 30


def check_video_path(path: Path) -> None:
    """Raises SettingError unless the file can be written as a GIF."""
    if path.suffix.lower() != ".gif":
        raise SettingError(f"video must end in .gif (the one supported format), got {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise SettingError(f"video must lie in a folder that exists, got {str(path)!r}")


def record_episode(agent: Player, seed: int, path: Path) -> EpisodeResult:
    """Plays the episode with this seed and writes it as an animated GIF."""
    check_video_path(path)
    pictures: list[np.ndarray] = []
    result = play_shown(agent, seed, show=pictures.append)
    write_gif(pictures, path)
    return result


def play_shown(agent: Player, seed: int, *, show: Callable[[np.ndarray], None]) -> EpisodeResult:
    """Plays one episode; `show` gets a picture [H, W, 3] u8 after each step."""
    env = make_evaluation_env(agent.card, 1, render=True)

    def on_step(playing: VectorEnv) -> None:
        show(enlarged(picture_of(playing)))

    stack = agent.card.model.frame_stack
    try:
        played = play_episodes(agent.policy, env, seeds=[seed], frame_stack=stack, on_step=on_step)
        return next(iter(list(played)))
    finally:
        env.close()


def picture_of(env: VectorEnv) -> np.ndarray:
    """The first environment, drawn."""
    from gymnasium.error import Error

    try:
        return env.render(0)
    except (Error, ImportError) as error:
        raise EnvironmentSpecError(
            f"the environment must be able to draw itself, got {error} "
            "(pip install 'rllib-ez[play]' brings pygame)"
        ) from error


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Small pictures by a whole factor, so that pixels stay sharp."""
    factor = max(1, -(-SMALLEST_SIDE // min(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def write_gif(pictures: list[np.ndarray], path: Path) -> None:
    """Writes pictures [H, W, 3] u8; a long game is shown in fewer pictures, as fast as it was."""
    from PIL import Image

    stride = -(-len(pictures) // MOST_PICTURES)
    images = [Image.fromarray(picture) for picture in pictures[::stride]]
    duration = max(20, 1000 * stride // FRAMES_PER_SECOND)  # ms; browsers slow down below 20
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0)


def has_display() -> bool:
    """Whether a window could be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """Shows pictures at the speed of play; closing it stops the play."""

    def __init__(self, title: str) -> None:
        import pygame

        pygame.init()
        pygame.display.set_caption(title)
        self._pygame, self._clock = pygame, pygame.time.Clock()

    def show(self, picture: np.ndarray) -> None:
        """Draws one picture [H, W, 3] u8 and waits for its time."""
        pygame = self._pygame
        screen = pygame.display.get_surface() or pygame.display.set_mode(picture.shape[1::-1])
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                raise KeyboardInterrupt
        screen.blit(pygame.surfarray.make_surface(picture.swapaxes(0, 1)), (0, 0))
        pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Closes it."""
        self._pygame.quit()
