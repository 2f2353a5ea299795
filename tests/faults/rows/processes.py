"""Rows about processes: killed, stopped, restarted, joining and leaving."""

from __future__ import annotations

import asyncio
import signal

from case import Case
from records import Op
from ring import Load, Worker, microseconds

from rows import again, moving_limit, row, trio


@row("kill", "kill -9 of an owner")
async def kill(case: Case) -> None:
    ring = await trio(case)
    await case.begin()
    victims = case.random.sample(ring.workers, case.size.repeats)
    async with case.fault():
        for victim in victims:
            down = case.is_down(victim, cold=True)
            await victim.end(signal.SIGKILL)
            await case.last(case.size.during)
            await again(case, victim)
            down.until = microseconds()
    await ring.agree()
    await case.end()


@row("stop", "SIGSTOP beyond suspicion and leases")
async def stop(case: Case) -> None:
    ring = await trio(case)
    await case.begin()
    victims = case.random.sample(ring.workers, case.size.repeats)
    async with case.fault():
        for victim in victims:
            down, since = case.is_down(victim), microseconds()
            victim.send(signal.SIGSTOP)
            await case.last(case.size.during)
            victim.send(signal.SIGCONT)
            case.stood_still(victim, since)
            down.until = microseconds()
    await case.end()




@row("restart", "rolling restart, a quarter at a time")
async def restart(case: Case) -> None:
    ring, size = case.ring, case.size
    for language in size.rolling:
        await ring.add(language)
    await ring.connect()
    await case.begin()
    quarter = len(ring.live) // 4
    order = case.random.sample(ring.workers, len(ring.live))
    async with case.fault():
        for start in range(0, len(order), quarter):
            leavers = order[start : start + quarter]
            for worker, code in zip(leavers, await asyncio.gather(*(w.end(signal.SIGTERM) for w in leavers)), strict=True):
                if code != 0:
                    case.wrong(f"{worker} ended with code {code} on SIGTERM: {worker.complaints()}")
            for worker in leavers:
                await again(case, worker)
            await ring.agree()
            await case.last(size.during / 4)
    # Of what a leaver gives little is lost (S32); the program of a node that is back loads its own keys at once (S33).
    case.moves = lambda ops: sum(op.op == "get" for op in ops) // 20 + size.keys
    case.limit = moving_limit
    await case.end()


@row("leave", "a member leaves in order, for good")
async def leave(case: Case) -> None:
    ring = await trio(case)
    await case.begin()
    leaver = case.pick()
    lost = {key for key, owner in enumerate(await leaver.owners()) if owner == leaver.address}
    async with case.fault():
        left = microseconds()
        ring.gone(leaver)
        if (code := await leaver.end(signal.SIGTERM)) != 0:
            case.wrong(f"{leaver} ended with code {code} on SIGTERM: {leaver.complaints()}")
        await ring.agree()
        await case.last(case.size.during)
    case.out.notes.append(f"it owned {len(lost)} of {case.size.keys} keys")
    # One in twenty of the gets that its keys had from then on (S32).
    case.moves = lambda ops: sum(op.op == "get" and op.key in lost and op.at >= left for op in ops) // 20
    case.limit = moving_limit
    await case.end()


@row("churn", "members join and leave at random")
async def churn(case: Case) -> None:
    ring, size = case.ring, case.size
    ring.load = Load(readers=2, pause_ms=25, writes=4)
    for language in size.trio:
        await ring.add(language)
    await ring.connect()
    ring.parts = size.crowd
    await case.begin()
    changes = moved = 0
    owners = await ring.workers[0].owners()
    async with case.fault():
        while changes < size.changes or len(ring.live) < size.crowd:
            free = [slot for slot in range(size.crowd) if slot not in ring.live]
            if free and (len(ring.live) <= 3 or case.random.random() < 0.65):
                await join(case, case.random.choice(free))
            else:
                await part(case, case.pick())
            changes += 1
            before, owners = owners, await ring.workers[0].owners()
            moved += sum(one != other for one, other in zip(before, owners, strict=True))
    case.out.notes.append(f"{changes} changes, up to {size.crowd} members, {moved} keys moved")
    # While views differ a key may be loaded by the owner in each (S7).
    case.moves = lambda ops: 2 * moved
    case.limit = moving_limit
    await ring.agree()
    await case.end()


async def join(case: Case, slot: int) -> None:
    newcomer = await case.ring.add(case.random.choice(("c", "c", "c", "python", "nodejs")), slot)
    await case.ring.connect()
    await case.ring.begin(newcomer)


async def part(case: Case, leaver: Worker) -> None:
    """In order, or one time in four killed."""
    number = signal.SIGKILL if case.random.random() < 0.25 else signal.SIGTERM
    case.ring.gone(leaver)
    if (code := await leaver.end(number)) not in (0, -signal.SIGKILL):
        case.wrong(f"{leaver} ended with code {code} on SIGTERM: {leaver.complaints()}")
    await case.ring.connect()
