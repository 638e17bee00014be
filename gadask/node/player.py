"""What one rollout process does: decode genomes, play their episodes, answer with rows.

The pool sends one job at a time (`packets.py`), and the process answers each. While it plays, the process polls one
word of shared memory: the pool writes a job's number there to stop that job, which no message could do.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.algorithms.algorithm import moving
from gadask.config import NoiseConfig
from gadask.contract import AnnouncedBehaviour
from gadask.envs import Env, make_env
from gadask.genomes.anchors import read_vectors
from gadask.genomes.noise import Noise, NoiseTable
from gadask.genomes.seeding import Stream
from gadask.genomes.stored import stored_path
from gadask.genomes.weights import decode, decode_vectors, mutate
from gadask.messages import Kind, Status
from gadask.node.jobs import (
    SEVERAL,
    STOP_ALL,
    WORDS_PER_PROCESS,
    Answer,
    DecodeJob,
    NewTask,
    PlannedEpisode,
    PlayJob,
    WriteJob,
)
from gadask.node.packets import receive, send
from gadask.observations import OBSERVED_SLOTS
from gadask.play.lanes import Beginning, Lanes, Played, open_lanes
from gadask.play.reference import policy_for
from gadask.play.rollout import Episode, play_episode
from gadask.policies import LanePolicy, Policy
from gadask.rows import BEHAVIOUR, MOMENTS, REASON, ROW, Rows, reason_content


def serve(
    channel: socket.socket, index: int, noise_config: NoiseConfig, digest: str, noise_fd: int, words_fd: int
) -> None:
    """Answer jobs until the pool closes the channel; then close the environments.

    The number of a task that was removed is answered with its negative once its environment is closed.
    """
    torch.set_num_threads(1)
    noise = NoiseTable.attach(noise_config, noise_fd, digest)
    words = np.frombuffer(mmap.mmap(words_fd, 0), np.int64).reshape(-1, WORDS_PER_PROCESS)[index]
    players: dict[int, Player] = {}
    send(channel, os.getpid())  # ready
    try:
        while True:
            message, fds = receive(channel)
            if message is None:
                return
            if isinstance(message, NewTask):
                players[message.number] = Player(message, fds[0], noise, index, words)
            elif isinstance(message, int):
                players.pop(message).close()
                send(channel, -message)
            else:
                job_number, job = message
                player = players[job.task_number]
                answer = player.play(job_number, job) if isinstance(job, PlayJob) else player.decode(job_number, job)
                send(channel, answer)
    finally:
        for player in players.values():
            player.close()


class Player:
    """One task's environment, policy and weights in one rollout process."""

    def __init__(self, new: NewTask, weights_fd: int, noise: NoiseTable, index: int, words: NDArray[np.int64]) -> None:
        """Map the node's shared weights; environment and policy are made with the first episode that needs them."""
        self._task = new.task
        self._noise = noise
        self._index = index
        self._words = words
        mapping = mmap.mmap(weights_fd, 4 * new.n_rows * new.task.n_params)
        os.close(weights_fd)  # the mapping has its own
        self._vectors = np.frombuffer(mapping, np.float32).reshape(-1, 1 + new.task.n_vectors, new.task.n_params)
        self._weights = torch.from_numpy(self._vectors)[:, 0]
        self._env: Env | None = None
        self._policy: Policy | None = None
        self._lanes: Lanes | None = None
        env_id, n_behaviour = new.task.env.id, new.task.n_behaviour
        self._behaviour = AnnouncedBehaviour(env_id, n_behaviour) if n_behaviour else None
        self._streams = [Stream() for _ in range(max(1, new.task.n_lanes))]  # for sampled actions, one a lane

    def decode(self, job_number: int, job: DecodeJob | WriteJob) -> Answer:
        """Fill one row of the node's weights, or some columns of it, or write one to a file."""
        self._begin_time()
        failure = ""
        for attempt in range(2):
            try:
                if isinstance(job, WriteJob):
                    self._vectors[job.row].tofile(job.path)
                else:
                    self._decode(job)
                break
            except (Exception, SystemExit) as error:  # whatever an environment or a policy raises becomes a reason
                if attempt == 1:
                    failure = _one_line(error)
        return Answer(job_number, Rows(), failure)

    def _decode(self, job: DecodeJob) -> None:
        task = self._task
        made_from = job.parts, self._noise, self._initialised, task.algorithm.step_weight
        moves = moving(task.algorithm)
        if moves is None:
            ancestor = self._weights[job.ancestor_row] if job.ancestor_row >= 0 else None
            decode(self._weights[job.row], *made_from, ancestor, anchor=lambda digest: self._anchor(digest)[0])
        else:
            decode_vectors(
                self._vectors[job.row],
                *made_from,
                moves.optimiser,
                job.updates,
                self._vectors[job.ancestor_row] if job.ancestor_row >= 0 else None,
                anchor=self._anchor,
                columns=job.columns,
                on_progress=self._begin_time,
            )

    def _begin_time(self) -> None:
        """Count the time of what is done, which has a deadline, from now on."""
        self._words[2] = time.monotonic_ns()

    def _initialised(self, noise: torch.Tensor) -> torch.Tensor:
        return self._made()[1].initialise(noise)  # made when asked for: with an ancestor no environment is needed

    def _anchor(self, digest: str) -> NDArray[np.float32]:
        path = stored_path(self._task.run_dir, digest)
        return read_vectors(path.parent, digest, self._task.n_params, self._task.n_vectors)

    def play(self, job_number: int, job: PlayJob) -> Answer:
        """Play the job's episodes, in order or in lanes; the rest of them is not played once the job is stopped."""
        table = np.zeros(len(job.episodes), ROW)
        attachments: dict[str, dict[int, bytes]] = {}
        words = self._words

        def stopped() -> bool:
            return int(words[0]) in (job_number, STOP_ALL)

        play = self._play_in_lanes if self._task.n_lanes else self._play_in_order
        for played in play(job, stopped):
            planned, episode = job.episodes[played.place], played.episode
            attached = played.attached
            if episode.status is Status.NONFINITE:
                attached = {REASON: reason_content(f"its return is {episode.return_}")} | attached
            if not _is_observed(job.kind, planned):
                attached = {name: content for name, content in attached.items() if name != MOMENTS}
            for name, content in attached.items():
                attachments.setdefault(name, {})[played.place] = content
            values = {
                "generation": job.generation,
                "slot": planned.slot,
                "episode": planned.episode,
                "steps": episode.steps,
                "frames": episode.frames,
                "seconds": played.seconds,
                "return": episode.return_,
                "start_s": played.start_s,
                "process": self._index,
                "kind": job.kind,
                "status": episode.status,
            }
            table[played.place] = tuple(values[name] for name in ROW.names or ())
        return Answer(job_number, Rows(table, attachments))

    def _play_in_order(self, job: PlayJob, stopped: Callable[[], bool]) -> Iterator[Played]:
        """Play one episode after the other, each with one retry."""
        for place, planned in enumerate(job.episodes):
            self._begin_time()
            self._words[1] = place
            start_s = time.time()
            start = time.perf_counter()
            episode = Episode(0.0, 0, 0, Status.STOPPED)
            attached: dict[str, bytes] = {}
            if not stopped():
                for attempt in range(2):
                    try:
                        env, policy = self._made()
                        self._load(policy.flat, planned, policy.mutate)
                        policy.normalise_by(job.normaliser)
                        seed, stream = self._seeds(job, planned, policy.actions.sampled)
                        played = play_episode(env, policy, seed, self._task.max_steps(job.kind), stopped, stream)
                        if (moments := policy.moments()) is not None:
                            attached[MOMENTS] = moments
                        if played.status is Status.OK and self._behaviour is not None:
                            attached[BEHAVIOUR] = self._behaviour(env.behaviour()).tobytes()
                        episode = played
                        break
                    except (Exception, SystemExit) as error:  # whatever an environment raises becomes a row
                        self._discard_env()
                        if attempt == 1:
                            episode = replace(episode, status=Status.ERROR)
                            attached = {REASON: reason_content(_one_line(error))}
            yield Played(place, episode, time.perf_counter() - start, start_s, attached)

    def _play_in_lanes(self, job: PlayJob, stopped: Callable[[], bool]) -> Iterator[Played]:
        """Play all episodes together; if that raises, play what is left of them one by one, each with one retry."""
        groups = deque([tuple(range(len(job.episodes)))])
        failed_alone = set()
        while groups:
            group = groups.popleft()
            self._begin_time()
            self._words[1] = group[0] if len(group) == 1 else SEVERAL
            start_s = time.time()
            start = time.perf_counter()
            left = dict.fromkeys(group)
            try:
                lanes = self._made_lanes()
                lanes.policy.normalise_by(job.normaliser)

                def begin(place: int, lane: int, policy: LanePolicy = lanes.policy) -> Beginning:
                    row = policy.rows[lane]
                    self._load(row, job.episodes[place], functools.partial(mutate, row))
                    return self._seeds(job, job.episodes[place], policy.sampled, lane)

                for played in lanes.play(group, self._task.max_steps(job.kind), begin, stopped):
                    yield played
                    del left[played.place]
                    if len(group) > 1:  # as long as episodes end, the process does not hang
                        self._begin_time()
            except (Exception, SystemExit) as error:  # whatever an environment raises becomes a row
                self._lanes = None
                if len(group) > 1:
                    groups.extend((place,) for place in left)
                elif group[0] not in failed_alone:
                    failed_alone.add(group[0])
                    groups.append(group)
                else:
                    episode = Episode(0.0, 0, 0, Status.ERROR)
                    attached = {REASON: reason_content(_one_line(error))}
                    yield Played(group[0], episode, time.perf_counter() - start, start_s, attached)

    def _seeds(self, job: PlayJob, planned: PlannedEpisode, sampled: bool, lane: int = 0) -> Beginning:
        """Return the environment's seed and, for a policy that samples its actions, a stream at its start."""
        task, kind = self._task, job.kind
        key = job.generation, task.task_slot(kind, planned.slot), planned.episode
        stream = self._streams[lane].at(task.run_seed, kind.action_purpose, *key) if sampled else None
        return task.env_seed(kind, job.generation, planned.slot, planned.episode), stream

    def _load(
        self,
        flat: torch.Tensor,
        planned: PlannedEpisode,
        write_child: Callable[[torch.Tensor, Noise, int, float], None],
    ) -> None:
        """Write the episode's weights to `flat`; those of a base's child are left to `write_child`."""
        if planned.row < 0:
            decode(flat, (planned.gene,), self._noise, self._made()[1].initialise, planned.weight)
        elif planned.gene < 0:
            flat.copy_(self._weights[planned.row])
        else:
            write_child(self._weights[planned.row], self._noise, planned.gene, planned.weight)

    def _made(self) -> tuple[Env, Policy]:
        """Return environment and policy, making what is missing."""
        if self._env is None:
            self._env = make_env(self._task.env)
        if self._policy is None:
            self._policy = self._made_policy(self._env)
            self._begin_time()  # random play is not the episode's
        return self._env, self._policy

    def _made_policy(self, env: Env) -> Policy:
        task = self._task
        if task.reference_env is None:
            return policy_for(env, task.env, task.policy, task.run_seed)
        with contextlib.closing(make_env(task.reference_env)) as other:
            return policy_for(other, task.reference_env, task.policy, task.run_seed)

    def _made_lanes(self) -> Lanes:
        """Return the lanes, made if they are missing."""
        if self._lanes is None:
            env = open_lanes(self._task.env, self._task.n_lanes)
            assert env is not None  # or the task would have no lanes
            policy = LanePolicy(self._made()[1], self._task.n_lanes)
            self._lanes = Lanes(env, policy, self._behaviour)
        return self._lanes

    def close(self) -> None:
        """Drop environment and weights."""
        self._discard_env()
        self._lanes = None
        del self._weights, self._vectors

    def _discard_env(self) -> None:
        """Drop an environment that raised, however it takes it."""
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(Exception, SystemExit):
                env.close()


def _is_observed(kind: Kind, planned: PlannedEpisode) -> bool:
    return kind is Kind.CHILD and planned.slot < OBSERVED_SLOTS and planned.episode == 0


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
