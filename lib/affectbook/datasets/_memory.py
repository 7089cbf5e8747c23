"""How much memory is free: on the machine, and under the limit that a container may set."""

from __future__ import annotations

from pathlib import Path

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# By controller, which is "" in version 2: the folder, its limit, the use, and the parts of the use
# that the kernel gives back. Files that were read twice are "active", and given back as well.
_LAYOUTS = {
    "": ("", "memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
               ("total_inactive_file", "total_active_file")),
}  # fmt: skip


def free() -> int:
    """Return how many bytes a process may still take without swapping or being ended."""
    import psutil

    return min([psutil.virtual_memory().available, *_in_groups()])


def _in_groups() -> list[int]:
    """Return what is left under each limit that holds for this process; none without limits."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, own = line.split(":", 2)
        for name in _LAYOUTS.keys() & set(controllers.split(",")):
            folder, *names = _LAYOUTS[name]
            # A limit of each group above holds, too. In a container the path may be that of the
            # machine, which is not there; then only the top is.
            parts = Path(own).parts[1:]
            places = (_GROUPS.joinpath(folder, *parts[:n]) for n in range(len(parts) + 1))
            found += [_left(place, *names) for place in places]
    return [left for left in found if left is not None]


def _left(place: Path, limit: str, use: str, given_back: tuple[str, ...]) -> int | None:
    """Return the bytes left in one group, or None where it has no limit."""
    try:
        most = (place / limit).read_text(encoding="ascii").strip()
        if most == "max":
            return None
        used = int((place / use).read_text(encoding="ascii"))
        stat = (line.split() for line in (place / "memory.stat").read_text("ascii").splitlines())
        back = sum(int(value) for name, value in stat if name in given_back)
        return max(int(most) - max(used - back, 0), 0)
    except (OSError, ValueError):
        return None
