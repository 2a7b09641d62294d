#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# targets: apps/hello/weir-hello
"""wrk against the hello service and against nginx, each answering the same 14 bytes from one core,
with the client on another. CPU time a request is measured with spinning off."""
import pathlib
import subprocess
import sys
import tempfile

import peers

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type text/plain; return 200 "Hello, world!\\n"; }}
  }}
}}
"""

# name, connections, requests sent at once
CASES = (("hello.1", 1, 1), ("hello.64", 64, 1), ("pipelined.64x16", 64, 16))


def wrk(server, cpu, connections, depth, seconds):
    """returns requests a second, the median latency in us, and CPU us of the server a request."""
    before = server.cpu_seconds()
    told = subprocess.run(
        peers.pinned(cpu, ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s",
                           pathlib.Path(__file__).with_suffix(".lua"),
                           f"http://127.0.0.1:{server.port}/", "--", depth]),
        check=True, capture_output=True, text=True).stdout
    used = server.cpu_seconds() - before
    line = next(line for line in told.splitlines() if line.startswith("weir "))
    requests, duration, median, errors = map(int, line.split()[1:])
    if errors or not requests:
        raise RuntimeError(f"wrk met {errors} errors in {requests} requests:\n{told}")
    return requests * 1e6 / duration, median, used * 1e6 / requests


def main():
    report = peers.Report("http", __doc__, seconds=2)
    report.parse()
    server_cpu, client_cpu = peers.cpus()
    if server_cpu == client_cpu:
        report.note("One CPU: server and client share it.")
    hello = [peers.BUILD / "apps/hello/weir-hello", "--shards", 1, "--port"]
    with tempfile.TemporaryDirectory() as folder:
        port = peers.free_port()
        configuration = pathlib.Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, port=port))
        one, two = peers.free_port(), peers.free_port()
        # nginx reads its built-in log path before the configuration: -e.
        with peers.Server(["/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", configuration],
                          port, server_cpu) as nginx, \
             peers.Server([*hello, one], one, server_cpu) as ours, \
             peers.Server([*hello, two, "--no-spin"], two, server_cpu) as sleeper:
            for name, connections, depth in CASES:
                if not report.wanted(f"http.{name}"):
                    continue
                rate = report.add(f"http.{name}.rate", "per_s", "higher", "nginx")
                median = report.add(f"http.{name}.p50", "us", "lower", "nginx")
                cpu = report.add(f"http.{name}.cpu", "us", "lower", "nginx")

                def run_ours():
                    figures = wrk(ours, client_cpu, connections, depth, report.seconds)
                    rate.ours.append(figures[0])
                    median.ours.append(figures[1])
                    cpu.ours.append(wrk(sleeper, client_cpu, connections, depth,
                                        report.seconds)[2])

                def run_nginx():
                    figures = wrk(nginx, client_cpu, connections, depth, report.seconds)
                    rate.peer.append(figures[0])
                    median.peer.append(figures[1])
                    cpu.peer.append(figures[2])

                report.alternate(run_ours, run_nginx)
    report.note("cpu is the server's time a request, in user and kernel, with spinning off.")
    report.note("p50 of pipelined requests is that of a batch, as wrk measures it.")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
