"""The server does what its OpenAPI document says: schemathesis tries it."""

import subprocess
import sys
from pathlib import Path

from tests.servers.checkpoint import CheckpointServer

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "ignored_auth"),
)


def test_the_server_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    with CheckpointServer("memory:", directory=tmp_path / "server") as server:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.base_url}/openapi.json"),
            *("--header", f"Authorization: Bearer {server.password}", "--checks", ",".join(CHECKS)),
            *("--max-examples", "5", "--seed", "1", "--generation-database", "none", "--suppress-health-check", "all"),
            # Frames are tried in test_http_server.py: the tool cannot write them.
            *("--exclude-path-regex", "/v1/put.*", "--phases", "examples,coverage"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "Tested: 24" in done.stdout
