"""Keys and commands of the Redis backend: the one source for the library and for the operator's ACL rules.

All keys of a thread carry the thread's encoded id as their hash tag, so that they live in one Cluster slot.

    <prefix>t:{<thread>}:order:<namespace>     sorted set: checkpoint id, by sequence number
    <prefix>t:{<thread>}:payload:<namespace>   hash: checkpoint id -> payload
    <prefix>t:{<thread>}:summary:<namespace>   hash: checkpoint id -> JSON summary
    <prefix>t:{<thread>}:namespaces            set of the namespaces
    <prefix>i:threads                          sorted set of thread ids, all with score 0: ordered by bytes
    <prefix>i:created                          sorted set: reference to a checkpoint, by milliseconds
    <prefix>i:metadata:<field>=<value>         sorted set: reference to a checkpoint, by milliseconds
    <prefix>claim                              owner of the prefix; written by the operator, out of reach of agents
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
