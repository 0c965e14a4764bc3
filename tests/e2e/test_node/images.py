"""What the node runs for an image name: directories of the host laid over its file system."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class ImageRoot:
    """One image: the host's files, with ``mounts`` laid over them.

    Args:
        mounts: path in the container -> directory or file of the host, shown there read-only.
        env: default environment.
        working_dir: default working directory.
        entrypoint: what a container without ``command`` starts.
        cmd: arguments for ``entrypoint``, unless the container has ``args``.
        user: user id of a container without ``runAsUser``.
    """

    mounts: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": SYSTEM_PATH})
    working_dir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: int = 0

    @classmethod
    def of_this_python(
        cls,
        *sources: Path,
        entrypoint: tuple[str, ...] = (),
        cmd: tuple[str, ...] = (),
        user: int = 0,
        working_dir: str = "/",
    ) -> "ImageRoot":
        """Describe an image with the running interpreter, its packages and the ``sources`` directories.

        Everything has the same path in the container as on the host, so that scripts and editable
        installs of a virtual environment find their files.
        """
        directories = {str(path.resolve()) for path in (*sources, Path(sys.prefix), Path(sys.base_prefix))}
        return cls(
            mounts={path: path for path in sorted(directories - {"/", "/usr"})},
            env={"PATH": f"{sys.prefix}/bin:{SYSTEM_PATH}", "PYTHONUNBUFFERED": "1"},
            working_dir=working_dir,
            entrypoint=entrypoint,
            cmd=cmd,
            user=user,
        )


def save_images(path: Path, images: Mapping[str, ImageRoot]) -> None:
    """Write ``images`` by name to ``path``, atomically: the node reads it at every start."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({name: asdict(image) for name, image in images.items()}, indent=1))
    temporary.replace(path)


def load_image(path: Path, name: str) -> ImageRoot | None:
    """Read the image called ``name`` from ``path``; None if there is none."""
    entry = json.loads(path.read_text()).get(name)
    if entry is None:
        return None
    return ImageRoot(**(entry | {"entrypoint": tuple(entry["entrypoint"]), "cmd": tuple(entry["cmd"])}))
