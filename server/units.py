"""Unit files for systemd, to be looked through before they are installed."""

from __future__ import annotations

import os
import sys
from typing import Final

from sharedmodel.errors import BadArgument

_SERVICE: Final = """\
# {name}.service, printed by `sharedmodel systemd`. Look through what is marked EDIT, then:
#   {install}
[Unit]
Description=Models served to the processes of this host
Documentation=man:systemd.service(5)

[Service]
Type=notify
# Ready when every model is ready or has failed; `systemctl status` shows how they stand.
# EDIT: the configuration.
ExecStart={command} serve {config} --runtime-dir {directory}
# It fails where the configuration has mistakes; the service goes on with the one before.
ExecReload={command} reload --runtime-dir {directory}
# The supervisor ends its hosts itself, running calls first.
KillMode=mixed
# EDIT: more than `grace` in the configuration, and than the largest model takes to load.
TimeoutStopSec=30
TimeoutStartSec=10min
WatchdogSec=60
Restart=on-failure
RestartSec=1
# A configuration with mistakes does not get better by itself.
RestartPreventExitStatus=2
# A host that the kernel ends for lack of memory is started again by its supervisor; the others go on.
OOMPolicy=continue
RuntimeDirectory=sharedmodel
RuntimeDirectoryMode=0700
# The lock and a socket of the .socket unit outlive a restart.
RuntimeDirectoryPreserve=yes
# A few descriptors a session.
LimitNOFILE=65536
{user}
# EDIT: a limit for everything together; the server finds it and stays within it.
#MemoryMax=8G
#CPUQuota=400%

NoNewPrivileges=yes
{hardening}
[Install]
WantedBy={target}
"""

_USER: Final = """
# EDIT: who serves, and so who may call: the sockets are this user's own.
#User=models
#Group=models
# EDIT: where model files are cached, if they may be downloaded.
#Environment=HF_HOME=/var/cache/sharedmodel
"""

_HARDENING: Final = """\
# Shared memory needs /dev/shm as others see it, callers are known by /proc, and some libraries compile
# code as they run, and GPUs are devices: so no PrivateDevices=, ProtectClock= (which keeps devices away as
# well), PrivateIPC=, ProtectProc= or MemoryDenyWriteExecute= here.
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
# EDIT: add AF_INET AF_INET6 if models may be downloaded or a gateway listens.
RestrictAddressFamilies=AF_UNIX
"""

_SOCKET: Final = """\
# {name}.socket, printed by `sharedmodel systemd --socket`: callers wait while the service starts. Then:
#   {install}
[Unit]
Description=Where the models of this host are called

[Socket]
ListenStream={directory}/host.sock
FileDescriptorName=host
# As many as may wait.
Backlog=1024
SocketMode=0600
DirectoryMode=0700
{user}
[Install]
WantedBy=sockets.target
"""

_SOCKET_USER: Final = """
# EDIT: as in the service.
#SocketUser=models
#SocketGroup=models
"""


def service(config: str | None, *, user: bool) -> str:
    """The .service unit. Raises BadArgument for a configuration that can't be read."""
    _check(config)
    return _SERVICE.format(
        name="sharedmodel",
        install=_install("sharedmodel.service", user),
        command=_command(),
        config=_word(os.path.abspath(config) if config else "/etc/sharedmodel/models.toml"),
        directory="%t/sharedmodel",
        user="" if user else _USER,
        # A user's manager may not do most of it.
        hardening="" if user else _HARDENING,
        target="default.target" if user else "multi-user.target",
    )


def listening(*, user: bool) -> str:
    """The .socket unit that goes with it."""
    return _SOCKET.format(
        name="sharedmodel",
        install=_install("sharedmodel.socket", user),
        directory="%t/sharedmodel",
        user="" if user else _SOCKET_USER,
    )


def _check(config: str | None) -> None:
    try:
        if config is not None:
            open(config, "rb").close()
    except OSError as exc:
        raise BadArgument(f"{config}: {exc.strerror}") from exc


def _install(unit: str, user: bool) -> str:
    if user:
        return (
            f"put it into ~/.config/systemd/user/; systemctl --user enable --now {unit}; "
            "loginctl enable-linger, for it to stay when you log out"
        )
    return f"put it into /etc/systemd/system/; systemctl enable --now {unit}"


def _command() -> str:
    script = os.path.join(os.path.dirname(sys.executable), "sharedmodel")
    if os.access(script, os.X_OK):
        return _word(script)
    return f"{_word(sys.executable)} -m sharedmodel.server.cli"


def _word(path: str) -> str:
    """As one word of a command line in a unit file."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != path or " " in path else path
