"""The key and certificate of a server, made here: who holds the certificate knows the server."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from balsam.conf.postgres import cluster
from balsam.conf.postgres.account import Account
from balsam.conf.postgres.binaries import Binaries
from balsam.conf.project import Project
from balsam.errors import LaunchError
from balsam.platform import commands

_TIMEOUT_SECONDS = 60.0
_DAYS = 36500

#: A file and no options, which older versions of the program do not have. Clients compare the
#: certificate, not the name in it, so it stays valid wherever the project goes.
_REQUEST = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = balsam
[extensions]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
"""


def certificate(project: Project) -> Path:
    """The certificate, which is its own root."""
    return project.cluster_dir / "server.crt"


def ensure(project: Project, programs: Binaries, runner: Account) -> str:
    """Have a key and a certificate; why there can be no TLS here, or nothing if there can."""
    if not _server_knows_tls(project, programs, runner):
        return f"the Postgres in {programs.directory} is built without it"
    key = project.cluster_dir / "server.key"
    if key.is_file() and certificate(project).is_file():
        return ""
    if shutil.which("openssl") is None:
        return "the program openssl, which makes the certificate, is not installed"
    try:
        return _make(project, key, runner)
    except (OSError, LaunchError) as error:
        return f"no certificate can be made ({error})"


def _server_knows_tls(project: Project, programs: Binaries, runner: Account) -> bool:
    argv = [*runner.prefix, programs.program("postgres"), "-C", "ssl_library"]
    with contextlib.suppress(LaunchError):
        done = commands.run(
            [*argv, "-D", str(project.cluster_dir)], _TIMEOUT_SECONDS, cluster.environment()
        )
        return done.returncode == 0 and bool(done.stdout.strip())
    return False


def _make(project: Project, key: Path, runner: Account) -> str:
    with tempfile.TemporaryDirectory(prefix=".certificate-", dir=project.database_dir) as scratch:
        request, new_key, new = (Path(scratch, name) for name in ("request", "key", "crt"))
        request.write_text(_REQUEST)
        new_key.touch(0o600)
        parameters = Path(scratch, "curve")
        for argv in (
            ["openssl", "ecparam", "-name", "prime256v1", "-out", str(parameters)],
            [
                *("openssl", "req", "-new", "-x509", "-nodes", "-sha256", "-days", str(_DAYS)),
                *("-newkey", f"ec:{parameters}", "-config", str(request)),
                *("-keyout", str(new_key), "-out", str(new)),
            ],
        ):
            done = commands.run(argv, _TIMEOUT_SECONDS)
            if done.returncode != 0:
                told = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
                return f"openssl failed: {told[-1]}"
        new_key.chmod(0o600)
        new.chmod(0o644)
        runner.give(new_key, new)
        new.rename(certificate(project))
        new_key.rename(key)
    return ""
