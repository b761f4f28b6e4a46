"""Small worlds whose optimum is known, to prove that learning works.

    rllib_ez/DelayedChain-v0   [6] f32         the best pay comes last
    rllib_ez/GridGoal-v0       [4] f32         the shortest way to a goal
    rllib_ez/DelayedCatch-v0   [32, 32, 3] u8  pay comes 1-3 steps after the deed, who knows when

Each has `optimal_action()`, `optimal_return` (of the present episode, undiscounted) and
`state()`, all that its future depends on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

_BLACK, _WHITE, _BLUE, _GREEN, _YELLOW = (
    np.array(rgb, np.uint8)
    for rgb in ((0, 0, 0), (230, 230, 230), (60, 120, 255), (40, 220, 90), (255, 200, 40))
)


class ToyWorld(gymnasium.Env[np.ndarray, int], ABC):
    """A world that knows how well it can be played."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    @property
    @abstractmethod
    def optimal_return(self) -> float:
        """The largest sum of rewards this episode allows, counted from its reset."""

    @abstractmethod
    def optimal_action(self) -> int:
        """An action of a policy that reaches `optimal_return`."""

    @abstractmethod
    def state(self) -> tuple[Any, ...]:
        """Everything that the future of this episode depends on, hashable."""

    @abstractmethod
    def picture(self) -> np.ndarray:
        """The world drawn as [H, W, 3] uint8."""

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture, enlarged, when made with render_mode='rgb_array'."""
        if self.render_mode is None:
            return None
        return np.kron(self.picture(), np.ones((8, 8, 1), np.uint8))


class DelayedChain(ToyWorld):
    """Six rooms: one action of three leads on, the others leave with 0.2; the end pays 1.

    The action that leads on is `room % 3`. Optimum 1, in 6 steps; at random 0.20.
    """

    rooms = 6
    leave_reward = 0.2

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = Box(0.0, 1.0, (self.rooms,), np.float32)
        self.action_space = Discrete(3)
        self._room = 0

    @property
    def optimal_return(self) -> float:
        """Always 1."""
        return 1.0

    def optimal_action(self) -> int:
        """Leads on."""
        return self._room % 3

    def state(self) -> tuple[int]:
        """The room."""
        return (self._room,)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Back to the first room."""
        super().reset(seed=seed)
        self._room = 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Goes on or leaves."""
        if action != self._room % 3:
            return self._obs(), self.leave_reward, True, False, {}
        if self._room == self.rooms - 1:
            return self._obs(), 1.0, True, False, {}
        self._room += 1
        return self._obs(), 0.0, False, False, {}

    def picture(self) -> np.ndarray:
        """A row of rooms, the present one blue."""
        cells = np.full((1, self.rooms, 3), _WHITE)
        cells[0, self._room] = _BLUE
        return np.kron(cells, np.ones((4, 4, 1), np.uint8))

    def _obs(self) -> np.ndarray:
        return np.eye(self.rooms, dtype=np.float32)[self._room]


class GridGoal(ToyWorld):
    """A 5 x 5 grid: start and goal are drawn anew; a step costs 0.05, the goal pays 1.

    Seen are (x, y, goal x, goal y) / 4. Actions: left, right, up, down; walls hold.
    Optimum 1 - 0.05 * (distance - 1), 0.88 on average; gymnasium cuts off after 20 steps.
    """

    side = 5
    step_cost = 0.05
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = Box(0.0, 1.0, (4,), np.float32)
        self.action_space = Discrete(len(self.moves))
        self._at = self._goal = (0, 0)
        self._optimal_return = 0.0

    @property
    def optimal_return(self) -> float:
        """The goal's pay less the cost of the shortest way."""
        return self._optimal_return

    def optimal_action(self) -> int:
        """First sideways, then up or down."""
        (x, y), (goal_x, goal_y) = self._at, self._goal
        if x != goal_x:
            return int(goal_x > x)
        return 2 + int(goal_y > y)

    def state(self) -> tuple[Any, ...]:
        """Place and goal."""
        return (self._at, self._goal)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws two different cells."""
        super().reset(seed=seed)
        cells = self.np_random.choice(self.side**2, 2, replace=False).tolist()
        self._at, self._goal = (divmod(cell, self.side) for cell in cells)
        distance = sum(abs(a - b) for a, b in zip(self._at, self._goal, strict=True))
        self._optimal_return = 1.0 - self.step_cost * (distance - 1)
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves one cell."""
        x, y = (
            min(max(place + move, 0), self.side - 1)
            for place, move in zip(self._at, self.moves[action], strict=True)
        )
        self._at = (x, y)
        reached = self._at == self._goal
        return self._obs(), 1.0 if reached else -self.step_cost, reached, False, {}

    def picture(self) -> np.ndarray:
        """The grid; blue is the player, yellow the goal."""
        cells = np.full((self.side, self.side, 3), _BLACK)
        cells[self._goal[1], self._goal[0]] = _YELLOW
        cells[self._at[1], self._at[0]] = _BLUE
        return np.kron(cells, np.ones((6, 6, 1), np.uint8))

    def _obs(self) -> np.ndarray:
        return np.array((*self._at, *self._goal), np.float32) / (self.side - 1)


class DelayedCatch(ToyWorld):
    """Three balls fall on a 5 x 5 grid; each one caught pays 1, but 1-3 steps later.

    How much later is drawn by chance and not shown; the paddle is green while pay is due. So
    the moment of a reward cannot be foretold, but the sum over some steps can. An episode
    has 15 steps; optimum 3, at random 0.6. Actions: left, stay, right.
    Cells have 6 pixels a side, more than the 4 that the augmentation shifts by; 32 pixels can
    be halved four times.
    """

    side = 5
    num_balls = 3
    max_delay = 3
    cell = 6

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = Box(0, 255, (32, 32, 3), np.uint8)
        self.action_space = Discrete(3)
        self._ball_columns = [0] * self.num_balls
        self._delays = [1] * self.num_balls
        self._paddle = self._time = self._pay_due_at = 0  # due at 0: nothing is due

    @property
    def optimal_return(self) -> float:
        """All balls can be caught: one falls 4 rows while the paddle has 4 moves."""
        return float(self.num_balls)

    def optimal_action(self) -> int:
        """Moves under the ball."""
        if self._ball() >= self.num_balls:
            return 1
        return 1 + int(np.sign(self._ball_columns[self._ball()] - self._paddle))

    def state(self) -> tuple[Any, ...]:
        """The draws of this episode and what has become of them."""
        draws = (*self._ball_columns, *self._delays)
        return (*draws, self._paddle, self._time, self._pay_due_at)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws the columns of the balls, the delays, and where the paddle starts."""
        super().reset(seed=seed)
        self._ball_columns = self.np_random.integers(self.side, size=self.num_balls).tolist()
        self._delays = self.np_random.integers(1, self.max_delay + 1, self.num_balls).tolist()
        self._paddle = int(self.np_random.integers(self.side))
        self._time = self._pay_due_at = 0
        return self.picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the paddle, then lets the ball fall one row."""
        ball = self._ball()
        self._paddle = min(max(self._paddle + int(action) - 1, 0), self.side - 1)
        self._time += 1
        paid = self._pay_due_at == self._time
        if paid:
            self._pay_due_at = 0
        landed = ball < self.num_balls and self._ball() > ball
        if landed and self._paddle == self._ball_columns[ball]:
            self._pay_due_at = self._time + self._delays[ball]
        over = self._time == self.num_balls * self._fall_steps() + self.max_delay
        return self.picture(), float(paid), over, False, {}

    def picture(self) -> np.ndarray:
        """The falling ball is yellow, the paddle blue, or green while pay is due."""
        pixels = np.zeros((32, 32, 3), np.uint8)
        if self._ball() < self.num_balls:
            row = self._time % self._fall_steps()
            self._fill(pixels, row, self._ball_columns[self._ball()], _YELLOW)
        self._fill(pixels, self.side - 1, self._paddle, _GREEN if self._pay_due_at else _BLUE)
        return pixels

    def _ball(self) -> int:
        """Number of the ball that falls now; `num_balls` once all have landed."""
        return min(self._time // self._fall_steps(), self.num_balls)

    def _fall_steps(self) -> int:
        return self.side - 1

    def _fill(self, pixels: np.ndarray, row: int, column: int, colour: np.ndarray) -> None:
        top, left = 1 + row * self.cell, 1 + column * self.cell
        pixels[top : top + self.cell, left : left + self.cell] = colour


def register_toy_worlds() -> None:
    """Gives gymnasium the ids above. `reward_threshold` is the mean optimum, less a little."""
    for name, threshold, max_steps in (
        ("DelayedChain", 1.0, None),
        ("GridGoal", 0.8, 20),
        ("DelayedCatch", 2.8, None),
    ):
        gymnasium.register(
            f"rllib_ez/{name}-v0",
            entry_point=f"rllib_ez.envs.toy:{name}",
            reward_threshold=threshold,
            max_episode_steps=max_steps,
        )
