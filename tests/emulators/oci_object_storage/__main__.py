"""Run the emulator: ``python -m tests.emulators.oci_object_storage --directory=… --port=…``.

The token of the administration's paths comes from ``$ADMIN_TOKEN``.
"""

import argparse
import logging
import os
from pathlib import Path

from aiohttp import web

from tests.emulators.oci_object_storage.service import make_application


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where buckets and keys are kept")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--namespace", default="tenancy", help="the Object Storage namespace of the tenancy")
    parser.add_argument("--region", default="eu-frankfurt-1")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    application = make_application(
        arguments.directory, arguments.namespace, arguments.region, os.environ["ADMIN_TOKEN"]
    )
    web.run_app(application, host="127.0.0.1", port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
