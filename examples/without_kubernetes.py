"""The same agent on a laptop: a URL in the environment takes the place of the binding.

    export LOCUS_CHECKPOINT_URL=file:///tmp/conversations
    python examples/without_kubernetes.py user-c42 "I'm planning a trip to Tokyo."
    python examples/without_kubernetes.py user-c42 "What were we discussing?"

`postgresql://`, `redis://` and the others work alike; `locus_memory.urls` lists them.
"""

import sys

from agent import make_agent

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    thread_id, message = sys.argv[1:]
    print(make_agent().run_sync(message, thread_id=thread_id).text)
