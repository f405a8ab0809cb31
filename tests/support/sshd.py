# SPDX-License-Identifier: Apache-2.0
"""A real sshd on loopback, with an account, keys, configuration and home of its own, and nothing left when it ends.

    with sshd.Machine(shell="/usr/bin/fish", files={".config/fish/config.fish": "echo hello\n"}) as far:
        far.ssh("echo there")                                      # a CompletedProcess
        subprocess.run([program, far.host], env=far.environment())

    python3 tests/support/sshd.py --run COMMAND...                 # with RUNHOUSE_TEST_SSH_HOST and PATH set
    RUNHOUSE_TEST_OWN_ACCOUNT=1 ...                                # even as root logs in to the same account

As root it makes an unprivileged account, of a name by chance, and removes it; else, or if it is told so, it logs in to the same
account, with HOME and XDG_RUNTIME_DIR elsewhere, and all that needs root raises Unavailable. Programs find an `ssh` in PATH
that reads our configuration and nobody else's.
"""
import atexit
import dataclasses
import itertools
import os
import pathlib
import pwd
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "faults"))
import byte_proxy

SSHD = "/usr/sbin/sshd"
SSH = "/usr/bin/ssh"
MARK = "RUNHOUSE_TEST_SSHD"  # in the environment of every program on this side that uses a machine: its folder
GECOS = "runhouse test of"   # and the process that made the account
is_root = os.geteuid() == 0
# Whether machines have accounts of their own; else this process's own one is logged in to, with another HOME.
makes_accounts = is_root and os.environ.get("RUNHOUSE_TEST_OWN_ACCOUNT") != "1"


class Unavailable(Exception):
    """What a machine cannot offer here, and why."""


@dataclasses.dataclass
class Tmpfs:
    """A small file system of its own, for a home or /tmp. `full` leaves no byte of it, `read_only` no way to write."""
    size: str = "64m"
    options: str = ""
    full: bool = False
    read_only: bool = False
    inodes: int | None = None


# ---- processes, by their ids

def start_of(pid):
    """When it started, in ticks: together with the id it names a process for ever. None if there is none, or a zombie."""
    try:
        parts = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
        return None if parts[0] in (b"Z", b"X") else int(parts[19])
    except (OSError, IndexError):
        return None


def processes():
    """Of all that run: id, parent, real user."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/status", "rb") as text:
                lines = dict(line.split(b":", 1) for line in text.read().splitlines() if b":" in line)
        except OSError:
            continue
        if lines.get(b"State", b"Z").split()[0] not in (b"Z", b"X"):
            yield int(entry), int(lines[b"PPid"]), int(lines[b"Uid"].split()[0])


def below(*roots):
    """All descendants of these processes, and themselves."""
    known, found, more = list(processes()), set(roots), bool(roots)
    while more:
        children = {pid for pid, parent, _ in known if parent in found} - found
        more, found = bool(children), found | children
    return {pid for pid, _, _ in known if pid in found}


def marked(name, value):
    """Those whose environment has it."""
    wanted, found = f"{name}={value}".encode(), set()
    for pid, _, _ in processes():
        try:
            with open(f"/proc/{pid}/environ", "rb") as text:
                if wanted in text.read().split(b"\0"):
                    found.add(pid)
        except OSError:
            pass
    return found - {os.getpid()}


def titled(executable, path):
    """Those of this executable that have something of this path in their command line."""
    found = set()
    for pid, _, _ in processes():
        try:
            if os.readlink(f"/proc/{pid}/exe") == executable and str(path).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
        except OSError:
            pass
    return found


def kill(pids, signal_number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            pass


def end(which, seconds=5):
    """Kills what `which()` names until it names nothing."""
    limit = time.monotonic() + seconds
    while pids := which():
        kill(pids)
        if time.monotonic() > limit:
            raise RuntimeError(f"processes that do not end: {pids}")
        time.sleep(0.005)


# ---- the account that is logged in to

class Account:
    """`home`: "plain", or a Tmpfs. `files`: text by path in it. A `runtime` folder is its XDG_RUNTIME_DIR."""

    def __init__(self, folder, name="one", shell="/bin/bash", files=None, home="plain"):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(mode=0o755)
        self.home, self.runtime = self.folder / "home", self.folder / "run"
        self.mounts = []
        if makes_accounts:
            self._add(shell)
        else:
            self.name, self.uid, self.gid = pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid()
            if shell != "/bin/bash" or home != "plain":
                raise Unavailable("another login shell, or home, needs root")
        try:
            for each in (self.home, self.runtime):
                self.own_folder(each)
            if isinstance(home, Tmpfs):
                self.mount(home, self.home, files or {})
            else:
                self.write(files or {})
        except BaseException:
            self.close()
            raise

    def own_folder(self, path, mode=0o700):
        """One more folder that is the account's."""
        path.mkdir(mode=mode)
        os.chown(path, self.uid, self.gid)
        return path

    def write(self, files):
        """Text files in its home, executable where they begin with #!."""
        for name, text in files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
            for each in [path, *[p for p in path.parents if self.home in p.parents]]:
                os.chown(each, self.uid, self.gid)

    def mount(self, what, where, files=()):
        """Puts a Tmpfs there, for all to see."""
        options = f"size={what.size},mode=0700,uid={self.uid},gid={self.gid}"
        options += f",nr_inodes={what.inodes}" if what.inodes else ""
        options += f",{what.options}" if what.options else ""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"mounting a tmpfs: {done.stderr.strip()}")
        self.mounts.append(where)
        self.write(dict(files))
        if what.full:
            self.fill(where)
        if what.read_only:
            subprocess.run(["mount", "-o", "remount,ro", where], check=True)

    def fill(self, where=None):
        """Leaves no byte in its home, if that is a Tmpfs."""
        with open((where or self.home) / "full", "wb", buffering=0) as rest:
            try:
                while rest.write(bytes(65536)) == 65536:
                    pass
                while rest.write(b"x") == 1:
                    pass
            except OSError:
                pass

    def processes(self):
        """Those that run there, without sshd's own."""
        if not makes_accounts:
            return marked("HOME", self.home)
        return {pid for pid, _, uid in processes() if uid == self.uid} - self._servers()

    def _servers(self):
        """Of sshd, the ones that have taken its uid: they are what ends a session."""
        found = set()
        for pid, _, uid in processes():
            try:
                if uid == self.uid and os.readlink(f"/proc/{pid}/exe").endswith(SSHD):
                    found.add(pid)
            except OSError:
                pass
        return found

    def stray_files(self):
        """What it left elsewhere."""
        if not makes_accounts:
            return []
        found = []
        for top in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
            for entry in os.scandir(top):
                try:
                    if entry.stat(follow_symlinks=False).st_uid == self.uid:
                        found.append(entry.path)
                except OSError:
                    pass
        return found

    def end_processes(self):
        """As a host does at logout that kills the processes of a user."""
        end(self.processes)

    def close(self):
        if makes_accounts:
            end(lambda: {pid for pid, _, uid in processes() if uid == self.uid})
            for path in self.stray_files():
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        else:
            end(self.processes)
        for where in reversed(self.mounts):
            subprocess.run(["umount", "--lazy", where], check=False)
        self.mounts = []
        if makes_accounts:
            remove_account(self.name)

    def _add(self, shell):
        for _ in range(20):
            self.name = "rh-" + secrets.token_hex(4)
            # A password of "!" would be a locked account, which sshd refuses without PAM.
            done = subprocess.run(["useradd", "--no-log-init", "--no-create-home", "--home-dir", self.home, "--shell", shell, "--password", "*",
                                   "--comment", f"{GECOS} {os.getpid()} {start_of(os.getpid())}", self.name], capture_output=True, text=True)
            if done.returncode == 0:
                entry = pwd.getpwnam(self.name)
                self.uid, self.gid = entry.pw_uid, entry.pw_gid
                return
            time.sleep(0.1)  # another test has the lock of /etc/passwd
        raise Unavailable(f"useradd: {done.stderr.strip()}")


def remove_account(name):
    for _ in range(20):
        if subprocess.run(["userdel", name], capture_output=True).returncode in (0, 6):
            return
        time.sleep(0.1)


def remove_tree(path):
    """Whatever the account did to the permissions in it."""
    if not makes_accounts:
        subprocess.run(["chmod", "-R", "u+rwX", path], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(path)


def sweep():
    """Removes what tests left that were killed: accounts, with what still runs in them, and folders."""
    for owner in pathlib.Path(tempfile.gettempdir()).glob("rh-sshd-*/owner"):
        try:
            pid, start = owner.read_text().split()
            if str(start_of(int(pid))) == start or owner.stat().st_uid != os.geteuid():
                continue
            end(lambda: marked(MARK, owner.parent) | titled(SSH, owner.parent) | below(*titled(SSHD, owner.parent)))
            for mount in pathlib.Path("/proc/self/mounts").read_text().splitlines():
                if (where := mount.split()[1]).startswith(f"{owner.parent}/"):
                    subprocess.run(["umount", "--lazy", where], check=False)
        except (OSError, ValueError):
            continue
        try:
            remove_tree(owner.parent)
        except FileNotFoundError:  # another test sweeps too
            pass
    for entry in pwd.getpwall():
        words = entry.pw_gecos.removeprefix(GECOS).split()
        if not makes_accounts or not entry.pw_gecos.startswith(GECOS) or len(words) != 2 or not words[0].isdigit():
            continue
        if str(start_of(int(words[0]))) == words[1]:
            continue
        end(lambda: {pid for pid, _, uid in processes() if uid == entry.pw_uid})
        remove_account(entry.pw_name)


# ---- servers

class Line(byte_proxy.ByteProxy):
    """A port of loopback behind which servers take their turns: with several, a login name that is several hosts.
    `each` are faults of every connection from now on, as a delay of seconds without end."""

    def __init__(self, ports):
        self._turns = itertools.cycle(("127.0.0.1", port) for port in ports)
        self.each = []
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.address[1]

    def _accept(self):
        self._far = next(self._turns)
        before = self.accepted
        super()._accept()
        if self.accepted > before:
            for fault in self.each:
                self._arm(self._connections[-1], fault)


class Server:
    """One sshd. `hostname` and `tmp` (a Tmpfs, as its /tmp) give it namespaces of its own, and need root."""

    def __init__(self, machine, name, account, lines=(), environment=None, hostname=None, tmp=None, host_key=None, root=None):
        self.machine, self.name, self.account = machine, name, account
        self.host_key = host_key or machine.key(f"{name}.host")
        self.log = machine.folder / f"{name}.log"
        self.configuration = machine.folder / f"{name}.sshd_config"
        self._lines, self._environment = list(lines), {"XDG_RUNTIME_DIR": str(account.runtime), **(environment or {})}
        if not makes_accounts:
            self._environment = {"HOME": str(account.home), **self._environment}
            if hostname or tmp or root:
                raise Unavailable("another host name, /tmp or system needs root")
        self._hostname, self._tmp, self._root = hostname, tmp, root
        self.port = None
        self.start()

    def start(self):
        """At the same port as before, if it ran before."""
        for _ in range(50):
            port = self.port or random.randrange(20000, 32000)  # below those of outgoing connections
            self._write(port)
            self.log.unlink(missing_ok=True)
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            limit = time.monotonic() + 10
            while time.monotonic() < limit and self.process.poll() is None:
                text = self.log.read_text() if self.log.exists() else ""
                if "Server listening on" in text:
                    self.port = port
                    return
                time.sleep(0.002)
            if self.process.poll() is None:
                self.process.kill()
            error = self.process.communicate()[1] + (self.log.read_text() if self.log.exists() else "")
            if "Address already in use" not in error:
                raise RuntimeError(f"sshd does not start: {error}")
        raise RuntimeError("no port for sshd")

    def _write(self, port):
        # First wins, so what is asked for comes first. SetEnv is one line, or only the first of them counts.
        variables = " ".join(f'"{name}={value}"' for name, value in self._environment.items() if value is not None)
        self.configuration.write_text("\n".join(self._lines + [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.machine.folder}/authorized_keys",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PrintMotd no",
            "UseDNS no",
            f"SetEnv {variables}" if variables else "",
            "AcceptEnv RUNHOUSE_WORKERS XDG_RUNTIME_DIR",  # what SetEnv sets does not give way to them
            "PermitRootLogin yes",
            f"AllowUsers {self.account.name}"]) + "\n")

    def _command(self):
        command = [SSHD, "-D", "-f", str(self.configuration), "-E", str(self.log)]
        if self._root:
            # Accounts are those of this system. Nothing is written to the other but in mounts that end with sshd.
            root, folder = self._root, self.machine.folder
            steps = [f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp", f"mount -t tmpfs -o mode=755 tmpfs {root}/run", f"mkdir -p {root}{folder} {root}/run/sshd",
                     f"mount --rbind {folder} {root}{folder}", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
            steps += [f"mount --bind /etc/{name} {root}/etc/{name}" for name in ("passwd", "group", "shadow")]
            return ["unshare", "--mount", "sh", "-ec", "; ".join(steps + [f'exec chroot {root} "$@"']), "sh", *command]
        if not self._hostname and not self._tmp:
            return command
        # Mounts beside the folder and moves: the folder itself may be below the /tmp that is hidden.
        steps = [f"hostname {shlex.quote(self._hostname)}"] if self._hostname else []
        if self._tmp:
            new = self.machine.folder / f"{self.name}.tmp"
            new.mkdir(exist_ok=True)
            inner = f"{new}/{self.machine.folder.name}"
            steps += [f"mount -t tmpfs -o size={self._tmp.size},mode=1777{',' + self._tmp.options if self._tmp.options else ''} tmpfs {new}",
                      f"mkdir {inner}", f"mount --rbind {self.machine.folder} {inner}", f"mount --move {new} /tmp"]
            if self._tmp.full:
                steps.append("cat /dev/zero >/tmp/full 2>/dev/null || true; while printf x >>/tmp/full; do :; done 2>/dev/null")
        return ["unshare", "--mount", "--uts", "sh", "-ec", "; ".join(steps + ['exec "$@"']), "sh", *command]

    def connections(self):
        """The processes that serve connections, without what they run for them."""
        found = set()
        for pid in below(self.process.pid) - {self.process.pid}:
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith(SSHD):
                    found.add(pid)
            except OSError:
                pass
        return found

    def drop(self):
        """Kills them: the sessions see their end, no more."""
        kill(self.connections())

    def stop(self):
        """It listens no more; what is connected stays."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def close(self):
        connected = below(self.process.pid) if self.process.poll() is None else set()
        self.stop()
        # What sshd started, and what went on after that, is the account's, which ends it.
        for pid in connected:
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith(SSHD):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


class Machine:
    """A host that can be reached as `host`, and, where nothing else is said, plainly.

    shell, files, home      of the account, see Account
    server, environment     lines for its sshd_config, and variables there; None unsets one
    client                  lines for `host` in the ssh configuration of this side
    hostname, tmp           see Server
    root                    the folder of another system, in which sshd runs
    through_proxy           `proxy` is a Line, so a byte_proxy.ByteProxy, between ssh and sshd

    Other hosts of the same configuration: unknown-key (no key is known), changed-key (another is), wrong-user-key,
    refused-port, no-such-name, silent (accepts, and says nothing).
    """

    def __init__(self, shell="/bin/bash", files=None, home="plain", server=(), environment=None, client=(), hostname=None, tmp=None,
                 through_proxy=False, host="far", root=None):
        if not os.path.exists(SSHD) or not os.path.exists(SSH):
            raise Unavailable("openssh-server or openssh-client is not installed")
        sweep()
        self.host = host
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rh-sshd-"))
        self.folder.chmod(0o755)  # the account must come through
        (self.folder / "owner").write_text(f"{os.getpid()} {start_of(os.getpid())}")
        self._closes = []
        self.servers = []
        self._known, self._hosts = [], {}
        atexit.register(self.close)
        try:
            self._make(shell, files, home, server, environment, client, hostname, tmp, through_proxy, root)
        except BaseException:
            self.close()
            raise

    def _make(self, shell, files, home, server, environment, client, hostname, tmp, through_proxy, root):
        if is_root:
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd confines its unprivileged part
        self.own = self.folder / "here"  # HOME of the programs on this side
        self.own.mkdir(mode=0o700)
        self.user_key = self.key("user")
        (self.folder / "authorized_keys").write_text((self.folder / "user.pub").read_text())
        self.account = self.add_account("one", shell, files, home)
        self.server = self.add_server("one", lines=server, environment=environment, hostname=hostname, tmp=tmp, root=root)
        self.proxy = None
        port = self.server.port
        if through_proxy:
            self.proxy = self.add_line([self.server])
            port = self.proxy.port
        self.add_host(self.host, port, client)
        self._add_bad_hosts(port)
        wrapper = self.folder / "bin" / "ssh"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {self.folder}/config ${{TEST_SSH_SETENV:+-o "SetEnv=$TEST_SSH_SETENV"}} "$@"\n')
        wrapper.chmod(0o755)

    def _add_bad_hosts(self, port):
        empty, other = self.folder / "no_known_hosts", self.folder / "other_known_hosts"
        empty.touch()
        self.key("other")
        other.write_text(f"[127.0.0.1]:{port} {(self.folder / 'other.pub').read_text()}")
        self._silent = socket.create_server(("127.0.0.1", 0))
        self._closes.append(self._silent.close)
        refused = socket.socket()
        refused.bind(("127.0.0.1", 0))  # and does not listen
        self._closes.append(refused.close)
        self.add_host("unknown-key", port, [f"UserKnownHostsFile {empty}"])
        self.add_host("changed-key", port, [f"UserKnownHostsFile {other}"])
        self.add_host("wrong-user-key", port, [f"IdentityFile {self.folder}/other"])
        self.add_host("refused-port", refused.getsockname()[1])
        self.add_host("no-such-name", port, ["HostName nowhere.invalid"])
        self.add_host("silent", self._silent.getsockname()[1])

    def key(self, name):
        """A new key pair."""
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def add_account(self, name, shell="/bin/bash", files=None, home="plain"):
        made = Account(self.folder, name, shell, files, home)
        self._closes.append(made.close)
        return made

    def add_server(self, name, account=None, **options):
        """One more sshd on this machine: for ProxyJump, or behind a Line. For the options see Server."""
        made = Server(self, name, account or self.account, **options)
        self.servers.append(made)
        self._closes.append(made.close)
        return made

    def add_line(self, servers):
        made = Line([s.port for s in servers])
        self._closes.append(made.close)
        return made

    def add_host(self, host, port, lines=(), account=None, server=None):
        """A name for a port, with its key known. Of the lines, as ever with ssh, the first of a keyword counts."""
        self._known.append(f"[127.0.0.1]:{port} {pathlib.Path(f'{(server or self.server).host_key}.pub').read_text()}")
        self._hosts[host] = list(lines) + [
            "HostName 127.0.0.1",
            f"Port {port}",
            f"User {(account or self.account).name}",
            # Of these, unlike all else, every one counts.
            *([] if any(line.startswith("IdentityFile ") for line in lines) else [f"IdentityFile {self.user_key}"]),
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {self.folder}/known_hosts",
            "GlobalKnownHostsFile /dev/null"]
        self.write_configuration()

    def write_configuration(self):
        (self.folder / "known_hosts").write_text("".join(self._known))
        text = "".join(f"Host {name}\n" + "".join(f"  {line}\n" for line in lines) for name, lines in self._hosts.items())
        (self.folder / "config").write_text(text)

    def environment(self, **variables):
        """For programs that are to find this machine."""
        return {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.own), "RUNHOUSE_TEST_SSH_HOST": self.host,
                MARK: str(self.folder), **variables}

    def ssh(self, *words, host=None, options=(), **more):
        """Runs a command there, without ever asking anything."""
        return subprocess.run(["ssh", "-T", "-o", "BatchMode=yes", *options, "--", host or self.host, *words], env=self.environment(),
                              **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 30,
                                 **({} if "input" in more else {"stdin": subprocess.DEVNULL}), **more})

    def processes(self):
        """What runs in all of its accounts, without sshd."""
        return set().union(*(c.__self__.processes() for c in self._closes if isinstance(getattr(c, "__self__", None), Account)))

    def near_processes(self):
        """What runs on this side with its environment: programs, ssh, masters of shared connections."""
        return marked(MARK, self.folder) | self.masters()

    def masters(self):
        """Of shared connections: they write their title over their environment, and the path of their socket is in it."""
        return titled(SSH, self.folder)

    def close(self):
        atexit.unregister(self.close)
        failures = []
        for each in [lambda: end(self.near_processes), *reversed(self._closes), lambda: remove_tree(self.folder)]:
            try:
                each()
            except Exception as e:
                failures.append(e)
        self._closes = []
        if failures:
            raise failures[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    if len(sys.argv) < 3 or sys.argv[1] != "--run":
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Without accounts of their own, TEST_SSH_SETENV may choose the run folder.
    with Machine(environment={} if makes_accounts else {"XDG_RUNTIME_DIR": None}) as far:
        return subprocess.run(sys.argv[2:], env=far.environment()).returncode


if __name__ == "__main__":
    sys.exit(main())
