"""An agent that never stops saving, and writes down each save once the store has acknowledged it.

It runs in pods, as a program of its own and with the library of its image; `saving` reads what it writes.
"""

import asyncio
import os
import signal
import time

import locus_memory

PAUSE_SECONDS = 0.2


async def main() -> None:
    """Save until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("library", locus_memory.__file__, flush=True)
    async with locus_memory.checkpointer() as checkpointer:
        number = 0
        while not stop.is_set():
            begin = time.monotonic()
            try:
                saved = await checkpointer.save({"number": number}, os.environ["THREAD_ID"])
            except Exception as error:  # noqa: BLE001 - written down, for the test to see
                print("failed", number, repr(error), flush=True)
            else:
                print("saved", number, saved, f"{time.monotonic() - begin:.3f}", flush=True)
            number += 1
            await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
