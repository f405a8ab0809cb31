#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What our matcher says of known_hosts files, beside what ssh and ssh-keygen -F say of the same: known_hosts.py PROGRAM

PROGRAM is libssh2_program. Each row is a file, or several, and a real connect by both to one sshd, which has an ed25519 and an ecdsa key.
Ours never accepts what ssh refuses. Where ours refuses what ssh accepts, the row says so.
"""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import sshd

program = sys.argv[1]
passed = failed = 0
ALIAS = "gpu1.lab"


def key_line(path):
    return " ".join(pathlib.Path(f"{path}.pub").read_text().split()[:2])


class Rows:
    def __init__(self, far):
        self.far, self.count = far, 0
        self.folder = far.folder / "rows"
        self.folder.mkdir()

    def file(self, text):
        self.count += 1
        path = self.folder / f"{self.count}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def by_ssh(self, files, alias):
        options = [f"UserKnownHostsFile={' '.join(map(str, files))}", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "UpdateHostKeys=no"]
        if alias:
            options.append(f"HostKeyAlias={alias}")
        done = self.far.ssh("true", options=[word for o in options for word in ("-o", o)])
        said = done.stderr
        if done.returncode == 0:
            return "known", said
        if "revoked" in said.lower():
            return "revoked", said
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
            return "changed", said
        if re.search(r"No \S+ host key is known for", said):
            return "unknown", said
        return "other", said

    def by_us(self, files, alias):
        words = [program, "127.0.0.1", str(self.far.server.port), self.far.account.name, ",".join(map(str, files)), str(self.far.user_key), "", ""]
        done = subprocess.run(words + ([alias] if alias else []), input="", capture_output=True, text=True, timeout=30)
        line = done.stdout.strip()
        for word, kind in (("logged in", "known"), ("which is not known", "unknown"), ("another one is known", "changed"), ("is revoked", "revoked"),
                           ("cannot be checked", "unreadable"), ("an authority is to have signed", "authority")):
            if word in line:
                return kind, line
        return "other", line + done.stderr

    def row(self, what, *texts, alias=ALIAS, ours=None):
        """`ours`: what we say where it is not what ssh says."""
        global passed, failed
        files = [t if isinstance(t, pathlib.Path) else self.file(t) for t in texts]
        (theirs, said), (we, line) = self.by_ssh(files, alias), self.by_us(files, alias)
        holds = theirs != "other" and we == (ours or theirs) and not (we == "known" and theirs != "known")
        if len(files) == 1 and files[0].is_file() and ours is None:
            name = alias or f"[127.0.0.1]:{self.far.server.port}"
            found = subprocess.run(["ssh-keygen", "-F", name, "-f", files[0]], capture_output=True).returncode == 0
            if found != (theirs != "unknown"):
                # A line that ssh passes over for its key is found all the same; and without a port it is another name.
                holds = holds and (found or alias is None)
        passed, failed = passed + holds, failed + (not holds)
        if not holds:
            print(f"FAILED: {what}: ssh says {theirs}, we say {we}\n  {said.strip()}\n  {line}", flush=True)


def main():
    with sshd.Machine() as far:
        ecdsa = far.folder / "ecdsa"
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", ecdsa], check=True)
        rsa = far.folder / "rsa"
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa], check=True)
        far.server.close()
        far.server._lines += [f"HostKey {ecdsa}", f"HostKey {rsa}"]
        far.server.start()
        rows = Rows(far)
        key, other, second, third = key_line(far.server.host_key), key_line(far.folder / "other"), key_line(ecdsa), key_line(rsa)
        type_, blob = key.split()
        port = far.server.port
        row, a = rows.row, ALIAS

        row("known", f"{a} {key}\n")
        row("another key", f"{a} {other}\n")
        row("nothing", "")
        row("another host", f"other {key}\n")
        row("no end of line", f"{a} {key}")
        row("CRLF", f"other {other}\r\n{a} {key}\r\n")
        row("tabs and blanks", f"  \t{a}\t\t{key.replace(' ', chr(9))}  \t\n")
        row("a comment behind it", f"{a} {key} me@there and more\n")
        row("a comment before it", f"# {a} {other}\n\n#\n{a} {key}\n")
        row("a comment without its sign", f"this is no line\n{a} {key}\n")

        row("a pattern", f"*.lab {key}\n")
        row("a pattern of one sign", f"gpu?.lab {key}\n")
        row("all", f"* {key}\n")
        row("a pattern that does not fit", f"gpu??.lab {key}\n")
        row("in a list", f"x,{a},y {key}\n")
        row("in a list with a blank", f"x, {a} {key}\n")
        row("in upper case", f"{a.upper()} {key}\n")
        row("negated before", f"!{a},*.lab {key}\n")
        row("negated behind", f"*.lab,!{a} {key}\n")
        row("negated alone", f"!{a} {key}\n")
        row("negated, another", f"!x.lab,*.lab {key}\n")
        row("negated, and in another line", f"!{a},*.lab {other}\n*.lab {key}\n")
        row("an empty pattern", f",{a} {key}\n")
        row("a dot at its end", f"{a}. {key}\n")

        row("several keys, the right one last", f"{a} {other}\n{a} {key}\n")
        row("several keys, the right one first", f"{a} {key}\n{a} {other}\n")
        row("several hosts", "".join(f"h{i}.lab {other}\n" for i in range(10_000)) + f"{a} {key}\n")
        row("one line of 200,000 hosts", ",".join(f"h{i}.lab" for i in range(200_000)) + f" {other}\n{a} {key}\n")

        row("revoked", f"@revoked {a} {key}\n")
        row("revoked and known", f"{a} {key}\n@revoked {a} {key}\n")
        row("revoked for all", f"{a} {key}\n@revoked * {key}\n")
        row("another that is revoked", f"@revoked {a} {other}\n{a} {key}\n")
        row("revoked elsewhere", f"@revoked x.lab {key}\n{a} {key}\n")
        row("revoked, with tabs", f"@revoked\t{a}\t{key}\n{a} {key}\n", ours="revoked")
        row("revoked, CRLF", f"{a} {key}\r\n@revoked {a} {key}\r\n")
        row("a mark that is none", f"@other {a} {key}\n")
        row("in upper case, a mark is none", f"@REVOKED {a} {key}\n{a} {key}\n")
        row("an authority, and no certificate", f"@cert-authority {a} {other}\n", ours="authority")
        row("an authority, and a key", f"@cert-authority {a} {other}\n{a} {key}\n")
        row("an authority of others", f"@cert-authority *.org {other}\n{a} {key}\n")
        row("the key as an authority", f"@cert-authority {a} {key}\n", ours="authority")

        row("a key that is none", f"{a} ssh-ed25519 !!!!\n")
        row("a key that is short", f"{a} ssh-ed25519 AAAA\n{a} {key}\n")
        row("a key that is cut", f"{a} {key[:-8]}\n", ours="changed")
        row("a key of another type than it says", f"{a} ssh-rsa {blob}\n")
        row("no key", f"{a}\n{a} {type_}\n{a} {key}\n")
        row("a key of SSH 1", f"{a} 1024 35 12345678901234567890\n{a} {key}\n")
        row("a type that is not known", f"{a} ssh-new@example.org {blob}\n{a} {key}\n")
        row("a key that is revoked and cannot be read", f"@revoked {a} ssh-ed25519 AAAA\n{a} {key}\n", ours="unreadable")
        row("bytes that are no text", b"\xff\xfe\x00\x01 \x80\n" + f"{a} {key}\n".encode())
        row("a mark of UTF-8", b"\xef\xbb\xbf" + f"{a} {key}\n".encode())

        hashed = rows.file(f"{a} {key}\nx.lab {other}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
        row("hashed", hashed)
        row("hashed, another key", hashed.read_text().replace(key, other))
        hashed_other = rows.file(f"x.lab {key}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed_other], check=True, capture_output=True)
        row("hashed, another host", hashed_other)
        row("hashed, revoked", f"@revoked {hashed.read_text().splitlines()[0]}\n{a} {key}\n")
        row("a hash that is broken", f"|1|AAAA|BBBB= {key}\n")
        row("a hash that is broken, and the key", f"|1|AAAA {other}\n{a} {key}\n")

        row("with its port", f"[127.0.0.1]:{port} {key}\n", alias=None)
        row("with another port", f"[127.0.0.1]:{port + 1} {key}\n", alias=None)
        row("without its port", f"127.0.0.1 {key}\n", alias=None)
        row("without its port, another key", f"127.0.0.1 {other}\n", alias=None)
        row("another key with its port, the right one without", f"[127.0.0.1]:{port} {other}\n127.0.0.1 {key}\n", alias=None)
        row("a pattern with its port", f"[127.0.0.*]:{port} {key}\n", alias=None)
        row("a pattern for its port", f"[127.0.0.1]:* {key}\n", alias=None)
        row("revoked without its port", f"[127.0.0.1]:{port} {key}\n@revoked 127.0.0.1 {key}\n", alias=None, ours="revoked")
        row("a list of ports", f"[127.0.0.1]:22,[127.0.0.1]:{port} {key}\n", alias=None)

        row("its second key", f"{a} {second}\n")
        row("its first wrong, its second right", f"{a} {other}\n{a} {second}\n")
        row("both", f"{a} {second}\n{a} {key}\n")
        row("only its RSA key, which libssh2 does not take", f"{a} {third}\n", ours="changed")
        row("its second is revoked", f"{a} {key}\n@revoked {a} {second}\n")

        row("in the second file", "", f"{a} {key}\n")
        row("revoked in the second file", f"{a} {key}\n", f"@revoked {a} {key}\n")
        row("wrong in the first file, right in the second", f"{a} {other}\n", f"{a} {key}\n")
        row("a file that is not there", rows.folder / "none", f"{a} {key}\n")
        row("a folder for a file", rows.folder, f"{a} {key}\n", ours="unreadable")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
