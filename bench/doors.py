"""Upstream itself as a door, and nginx. `peers` and `gateways` have the others."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trustme

from bench.door import Door, Missing, Upstream, free_port, started
from bench.processes import announced, process

NGINX: Final = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    keepalive_requests 1000000;
    upstream fake {{ server {address}; keepalive 4096; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://fake;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            {tls}
        }}
    }}
}}
"""
NGINX_TLS: Final = "proxy_ssl_trusted_certificate {ca_file}; proxy_ssl_verify on; proxy_ssl_name localhost;"


@contextlib.contextmanager
def upstream(folder: Path, *, tls: bool) -> Iterator[Upstream]:
    """Start the fake upstream; with TLS, on a certificate that is made for this run."""
    command, ca_file = [sys.executable, "-m", "bench.upstream"], ""
    if tls:
        authority = trustme.CA()
        made = authority.issue_cert("127.0.0.1", "localhost")
        cert, key, ca_file = (str(folder / name) for name in ("upstream.pem", "upstream.key", "authority.pem"))
        made.cert_chain_pems[0].write_to_path(cert)
        made.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(ca_file)
        command += ["--cert", cert, "--key", key]
    with process(command, stdout=subprocess.PIPE) as child:
        yield Upstream(announced(child), ca_file, child.pid)


def direct(to: Upstream) -> Door:
    """No gateway."""
    return Door("direct", to.url, {"x-api-key": "unused"}, ca_file=to.ca_file, upstream_pid=to.pid)


@contextlib.contextmanager
def nginx(to: Upstream, folder: Path) -> Iterator[Door]:
    """nginx as a reverse proxy with one worker: no gateway can cost less. It keeps its access log, as they do."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing("no nginx is installed")
    port, file = free_port(), folder / "nginx.conf"
    scheme, _, address = to.url.partition("://")
    tls = NGINX_TLS.format(ca_file=to.ca_file) if to.ca_file else ""
    file.write_text(NGINX.format(folder=folder, address=address, port=port, scheme=scheme, tls=tls))
    command = [found, "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    with started(command, Door("nginx", f"http://127.0.0.1:{port}"), folder / "nginx.log") as door:
        yield door
