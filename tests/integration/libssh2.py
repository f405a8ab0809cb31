#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions of libssh2 against a real sshd: who is let in, commands, connections from there, and what breaks.

    libssh2.py PROGRAM
"""
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support" / "faults"))
import byte_proxy
import sshd

program = sys.argv[1]
passed = failed = 0


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what} {seen}", flush=True)


class Session:
    def __init__(self, far, port=None, known=None, key=None, agent="", passphrase="", user=None):
        known = known or far.folder / "known_hosts"
        key = far.user_key if key is None else key
        self.process = subprocess.Popen([program, "127.0.0.1", str(port or far.server.port), user or far.account.name, str(known), str(key), agent, passphrase],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.first = self.line()

    def line(self, seconds=40):
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        text = self.process.stdout.readline().rstrip("\n")
        timer.cancel()
        return text

    def tell(self, text):
        self.process.stdin.write(text + "\n")

    def ask(self, text):
        self.tell(text)
        return self.line()

    def end(self):
        try:
            return self.process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            check("a program ends", False)
            return ""


def first_line(far, **options):
    one = Session(far, **options)
    one.end()
    return one.first


def let_in(far):
    check("a key in a file", first_line(far) == "logged in")
    line = first_line(far, known=far.folder / "no_known_hosts")
    check("a host that is not known is refused, with what to add", line.startswith("host_key_refused: ") and "SHA256:" in line and
          f"[127.0.0.1]:{far.server.port} ssh-ed25519 AAAA" in line, line)
    line = first_line(far, known=far.folder / "other_known_hosts")
    check("one whose key has changed, with where that is said", line.startswith("host_key_refused: ") and "other_known_hosts:1" in line and "ssh-keygen -R" in line, line)
    line = first_line(far, key=far.folder / "other")
    check("a key that is not let in", line.startswith("authentication_failed: ") and "It takes: publickey; tried: " in line, line)
    line = first_line(far, key="")
    check("no key", line.startswith("authentication_failed: ") and "tried: nothing" in line, line)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        line = first_line(far, port=silent.getsockname()[1])
        check("one that says nothing", line.startswith("host_unreachable: ") and 4 < time.monotonic() - started < 20, line)
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    line = first_line(far, port=unused.getsockname()[1])
    check("a port where nobody listens", line.startswith("host_unreachable: ") and "refused" in line, line)

    secret = far.folder / "secret"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "what it is", "-f", secret], check=True)
    with open(far.folder / "authorized_keys", "a") as keys:
        keys.write((far.folder / "secret.pub").read_text())
    check("a key with a passphrase", first_line(far, key=secret, passphrase="what it is") == "logged in")
    line = first_line(far, key=secret, passphrase="another")
    check("another passphrase", line.startswith("authentication_failed: ") and "secret" in line, line)
    line = first_line(far, key=secret)
    check("no passphrase", line.startswith("authentication_failed: ") and "needs a passphrase" in line, line)

    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(far.folder / "agent")], stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            if (far.folder / "agent").exists():
                break
            time.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(far.folder / "agent")}
        subprocess.run(["ssh-add", "-q", far.folder / "other"], env=environment, check=True)
        line = first_line(far, key="", agent=str(far.folder / "agent"))
        check("an agent's key that is not let in is named", line.startswith("authentication_failed: ") and "the agent's ssh-ed25519 SHA256:" in line, line)
        subprocess.run(["ssh-add", "-q", far.user_key], env=environment, check=True)
        check("an agent with the right one", first_line(far, key="", agent=str(far.folder / "agent")) == "logged in")
    finally:
        agent.terminate()
        agent.wait()
    line = first_line(far, key="", agent=str(far.folder / "agent"))
    check("an agent that is gone", line.startswith("authentication_failed: ") and "does not answer" in line, line)


def odd_agents(far):
    for what, serve in (("closes", lambda near: None), ("says nothing", lambda near: time.sleep(12)), ("says what is none", lambda near: near.sendall(b"\xff" * 4096))):
        path = far.folder / f"agent_that_{what.replace(' ', '_')}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def attend():
                near, _ = listener.accept()
                with near:
                    near.recv(4096)
                    serve(near)
            threading.Thread(target=attend, daemon=True).start()
            started = time.monotonic()
            line = first_line(far, key="", agent=str(path))
            check(f"an agent that {what}", "authentication_failed: " in line and time.monotonic() - started < 15, line)


def commands(far):
    one = Session(far)
    check("what a command says, and how it ended", (line := one.ask("r0 echo out; echo err >&2; exit 3")).startswith("4 other, exited with code 3, said 'err"), line)
    one.line()
    check("what it is told, to the end", (line := one.ask("r5000000 cat")) == "5000000 same, exited with code 0, said ''", line)
    check("what it is told and does not read", "exited with code 0" in (line := one.ask("r5000000 exec 0<&-; sleep 0.2")), line)
    check("what it says and nobody asked", (line := one.ask("r0 head -c 30000000 /dev/zero")).startswith("30000000 other, exited with code 0"), line)
    check("one that is killed", "exited with code -1" in (line := one.ask("r0 kill -9 $$")), line)
    check("one that is not there", "exited with code 127" in (line := one.ask("r0 /no/such/program")), line)
    one.line()
    line = one.ask("m20 sleep 3")
    check("more than the host takes are refused, each", line == "10 well, 10 refused", line)  # MaxSessions is 10
    check("and then it takes others", (line := one.ask("m5 true")) == "5 well, 0 refused", line)

    with socket.create_server(("127.0.0.1", 0)) as server:
        def echo():
            near, _ = server.accept()
            with near:
                while data := near.recv(65536):
                    near.sendall(data)
        thread = threading.Thread(target=echo)
        thread.start()
        check("a connection from there", (line := one.ask(f"c3000000 {server.getsockname()[1]}")).startswith("3000000 same"), line)
        thread.join()
    check("one that is refused there", "the host refused it" in (line := one.ask("c10 1")), line)
    check("one that is given up", (line := one.ask("x100 sleep 2")) == "ended", line)
    check("ends when nothing is left", one.end() == "")
    one = Session(far)
    check("the session ends with its last command", (line := one.ask("e")) == "ended", line)
    one.end()


def broken(far):
    one = Session(far)
    one.tell("r1000000000 cat")
    time.sleep(0.5)
    far.server.drop()
    check("a connection that breaks", "the connection broke" in (line := one.line()), line)
    check("ends what comes after", "the connection broke" in (line := one.ask("r10 cat")), line)
    one.end()
    with byte_proxy.ByteProxy(("127.0.0.1", 0), ("127.0.0.1", far.server.port)) as proxy:
        with open(far.folder / "known_all", "a") as known:
            known.write(f"[127.0.0.1]:{proxy.address[1]} {pathlib.Path(f'{far.server.host_key}.pub').read_text()}")
        one = Session(far, port=proxy.address[1], known=far.folder / "known_all")
        check("through a proxy", one.first == "logged in", one.first)
        proxy.arm(byte_proxy.Fault("flip", direction="down", bytes=2_000_000, mask=0x10))
        line = one.ask("r20000000 cat")
        check("a byte that was changed ends the session", "the connection broke" in line, line)
        one.end()


def passwords():
    """As root, for an account of its own."""
    if not sshd.makes_accounts:
        print("skipped: passwords need root")
        return
    for what, lines in (("a password", ["PasswordAuthentication yes"]), ("a password that is asked for", ["UsePAM yes", "KbdInteractiveAuthentication yes"])):
        with sshd.Machine(server=lines) as far:
            subprocess.run(["chpasswd"], input=f"{far.account.name}:what it is", text=True, check=True)
            check(what, (line := first_line(far, key="", passphrase="what it is")) == "logged in", line)
            line = first_line(far, key="", passphrase="another")
            check(f"{what}: a wrong one, three times", line.startswith("authentication_failed: ") and line.count("a password") + line.count("answers to its questions") >= 3, line)
            if "UsePAM yes" in lines:
                with sshd.Machine(server=[*lines, "AuthenticationMethods publickey,keyboard-interactive"]) as strict:
                    subprocess.run(["chpasswd"], input=f"{strict.account.name}:what it is", text=True, check=True)
                    check("a key, and then a password", (answer := first_line(strict, passphrase="what it is")) == "logged in", answer)
                    answer = first_line(strict)
                    check("a key alone does not do then", answer.startswith("authentication_failed: "), answer)
            line = first_line(far, key="")
            check(f"{what}: none", line.startswith("authentication_failed: "), line)


def main():
    with sshd.Machine() as far:
        (far.folder / "known_all").write_text(f"* {pathlib.Path(f'{far.server.host_key}.pub').read_text()}")
        for scenario in (let_in, odd_agents, commands, broken):
            started = time.monotonic()
            scenario(far)
            print(f"{time.monotonic() - started:6.1f} s  {scenario.__name__}", flush=True)
    passwords()
    with sshd.Machine(server=["RekeyLimit 1M"]) as far:
        (far.folder / "known_all").write_text(f"* {pathlib.Path(f'{far.server.host_key}.pub').read_text()}")
        one = Session(far)
        check("keys are changed again and again, in both directions", (line := one.ask("r20000000 cat")) == "20000000 same, exited with code 0, said ''", line)
        one.end()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
