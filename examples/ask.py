"""Asks the agent one thing and ends, for Jobs (`agent/job.yaml`): the next pod finds what was saved."""

import os

from agent import make_agent

if __name__ == "__main__":
    print(make_agent().run_sync(os.environ["MESSAGE"], thread_id=os.environ["THREAD_ID"]).text)
