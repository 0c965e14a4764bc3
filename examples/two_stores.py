"""One pod, two stores (`agent/two-stores.yaml`): what has to last in one, what may expire in the other.

The pod's annotation names both. The first is the default, as if it were the only one; each has its name.
"""

import os

from agent import make_agent

if __name__ == "__main__":
    message, thread_id = os.environ["MESSAGE"], os.environ["THREAD_ID"]
    print(f"to be kept: {make_agent().run_sync(message, thread_id=thread_id).text}")
    draft = make_agent("conversations-redis").run_sync("What were we discussing?", thread_id=thread_id)
    print(f"draft: {draft.text}")
