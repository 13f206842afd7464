"""nchan, a push server written in C: an nginx with one worker, asked as the other servers are."""

import http.client
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.cli.embedded.ports import free_port

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
BETWEEN_SECONDS = 0.1
START_SECONDS = 10.0
_CONFIGURATION = """
load_module {module};
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /publish {{
      nchan_publisher;
      nchan_channel_id all;
      nchan_message_buffer_length 10;
      client_body_buffer_size 16k;
    }}
    location = /jmap/eventsource {{
      nchan_subscriber eventsource;
      nchan_channel_id all;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


class Nchan:
    """All subscribers are on one channel, in the memory of the one worker."""

    def __init__(self, folder: Path) -> None:
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert nginx is not None, _how_to_install("nginx")
        assert MODULE.exists(), _how_to_install(str(MODULE))
        self.port = free_port()
        path = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        path.write_text(
            _CONFIGURATION.format(
                module=MODULE, user=user, folder=folder, port=self.port, files=files
            )
        )
        self._process = subprocess.Popen(
            [nginx, "-p", str(folder), "-c", str(path), "-e", "stderr"]
        )
        self._publisher = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self._worker = self._wait_for_worker()

    def ask(self, command: str) -> float:
        """As `tests.benchmarks.servers` answers `memory` and `broadcast COUNT`."""
        name, _, argument = command.partition(" ")
        if name == "memory":
            resident = Path(f"/proc/{self._worker}/statm").read_text().split()[1]
            return int(resident) * os.sysconf("SC_PAGE_SIZE")
        start = self._cpu_seconds()
        for number in range(int(argument)):
            self._publish(number)
            time.sleep(BETWEEN_SECONDS)
        return self._cpu_seconds() - start

    def close(self) -> None:
        self._publisher.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _publish(self, number: int) -> None:
        states = {"Email": f"s{number}", "Mailbox": f"s{number}"}
        body = {"@type": "StateChange", "changed": {"ashared": states}}
        self._publisher.request(
            "POST",
            "/publish",
            json.dumps(body, separators=(",", ":")),
            {"X-EventSource-Event": "state", "Content-Type": "application/json"},
        )
        answer = self._publisher.getresponse()
        answer.read()
        assert answer.status in (201, 202), answer.status

    def _cpu_seconds(self) -> float:
        """Of the worker, to the nanosecond."""
        return int(Path(f"/proc/{self._worker}/schedstat").read_text().split()[0]) / 1e9

    def _wait_for_worker(self) -> int:
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "nginx ended"
            for child in children.read_text().split():
                if b"worker process" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
            time.sleep(0.05)
        raise AssertionError("nginx has no worker")


@contextmanager
def nchan() -> Iterator[Nchan]:
    with tempfile.TemporaryDirectory() as folder:
        running = Nchan(Path(folder))
        try:
            yield running
        finally:
            running.close()


def _how_to_install(what: str) -> str:
    return (
        f"{what} is missing: apt-get install --no-install-recommends nginx-light libnginx-mod-nchan"
    )
