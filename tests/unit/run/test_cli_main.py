"""The `intact` command as a whole: whatever happens to its surroundings, people see one line and an exit code of their own."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[3] / "docs/formats/vectors"


def intact(*arguments: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **surroundings}
    done = subprocess.run([sys.executable, "-m", "intact", *arguments], capture_output=True, text=True, env=environment)
    assert "Traceback" not in done.stderr
    return done


def test_help_names_the_command_and_its_exit_codes() -> None:
    done = intact("--help")
    assert done.returncode == 0
    assert "Usage: intact" in done.stdout and "11  a proof failed" in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2], "each command says what it does in one whole line"
    assert intact("--version").stdout.startswith("intact, version ")


def test_output_that_cannot_be_written_is_one_line_and_no_verdict() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "intact", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (13, "intact: No space left on device\n")


def test_a_reader_that_went_away_is_no_finding() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    export, key = str(VECTORS / "audit-export.jsonl"), str(VECTORS / "audit-key.vkey")
    verify = [sys.executable, "-m", "intact", "audit", "verify", export, "--key", key]
    done = subprocess.run(verify, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("content", ["a word", "- a list", "{", "\udcff"])
def test_a_kubeconfig_that_is_none_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content, errors="surrogateescape")
    done = intact("status", KUBECONFIG=str(tmp_path / "config"))
    assert done.returncode == 10
    assert "what does KUBECONFIG name?" in done.stderr


def test_a_registry_without_tls_is_told_from_one_that_is_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nthis is no TLS\n")

        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = intact("baseline", "build", f"docker://{address}/web:1", "-o", str(tmp_path / "b"))
    assert done.returncode == 12
    assert "--plain-http" in done.stderr


def test_a_device_or_a_link_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    link, target, fifo = tmp_path / "stdout", tmp_path / "target", tmp_path / "fifo"
    link.symlink_to(target)
    os.mkfifo(fifo)
    export, key = str(VECTORS / "audit-export.jsonl"), str(VECTORS / "audit-key.vkey")
    for there in (link, fifo, tmp_path):
        for command in (["baseline", "build", f"dir:{VECTORS}", "-o"], ["audit", "verify", export, "--key", key, "--save-checkpoint"]):
            done = intact(*command, str(there))
            assert (done.returncode, "never replaced" in done.stderr) == (10, True), done.stderr
    assert link.is_symlink() and fifo.is_fifo() and not target.exists()


def test_who_closes_stderr_has_the_same_result(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "intact", "baseline", "show", str(VECTORS / "signed.baseline")]
    open_ = subprocess.run(command, capture_output=True, text=True)
    closed = subprocess.run(["sh", "-c", 'exec "$0" "$@" 2>&-', *command], stdout=subprocess.PIPE, text=True)
    assert (closed.returncode, closed.stdout) == (0, open_.stdout)
