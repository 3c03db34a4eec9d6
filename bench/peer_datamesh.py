"""DataMesh: 7 nodes as processes on loopback, 4+2, driven by the command line through one node's daemon.

Runs inside the shared peer harness, beside the other systems and on the same data:

    PYTHONPATH=<harness> DATAMESH=<program> python3 bench/peer_datamesh.py
    <harness>/run_all.sh out.jsonl baseline <this file's absolute path without .py> peer_tahoe

The client is the command of node 1's home, so node 1 also holds shards. Every acknowledgement is
synced by the holders; every byte that comes back is compared by the harness.
"""
import json, os, shutil, sys, time
from common import *

dm = which("datamesh", E("DATAMESH"))
if not dm:
    sys.exit("datamesh not built: set DATAMESH")
NODES = int(E("DATAMESH_NODES", "7"))
version = out_of([dm, "--version"]).split()[-1]
b = Bench("datamesh", version, f"4+2, {NODES} storage nodes, command line over the daemon",
          "client-side AES-256-GCM", "RS 4+2")
with b:
    password = os.path.join(b.root, "password")
    with open(password, "w") as f:
        f.write("only for this benchmark\n")
    env = {"DATAMESH_PASSWORD_FILE": password}
    home = lambda i: b.dir(f"n{i}")
    R = lambda i, *a, **k: b.run([dm, "--home", home(i), *a], env=env, **k)
    stores = [os.path.join(home(i), "node", "store") for i in range(1, NODES + 1)]

    def service(i):
        b.start(f"n{i}", [dm, "--home", home(i), "service", "--listen", "/ip4/127.0.0.1/tcp/0",
                          "--storage", "16GiB", "--domain", f"zone-{i}/host-{i}", "--operator", f"op-{i}"],
                env=env)
        b.wait_for(lambda: os.path.exists(os.path.join(home(i), "status.json")), f"node {i}")

    R(1, "init", "--non-interactive", "--words-out", os.path.join(b.root, "words"))
    service(1)
    ticket = R(1, "-q", "invite").split()[0]
    for i in range(2, NODES + 1):
        R(i, "join", ticket)
        service(i)
    b.wait_for(lambda: len(json.loads(out_of(
        [dm, "--home", home(1), "--json", "peers"], env={**os.environ, **env}))) == NODES, "peers")

    d = b.data
    for w in ("w1", "w2"):
        nb, before = d[w + "_bytes"], du(stores)
        b.throughput(w.upper(), "put", lambda: R(1, "-q", "put", "-r", "--", d[w + "_dir"], w), nb, len(d[w]), stores=stores)
        b.overhead(w.upper(), before, stores, nb)
        o = b.dir("out", w)
        b.throughput(w.upper(), "get", lambda: R(1, "-q", "get", "-r", "--", w, o), nb, len(d[w]), stores=stores,
                     verify=lambda: b.check_tree(o, d[w + "_dir"]))
        shutil.rmtree(o)
    lat = {"put": [], "get": []}
    ok = True

    def one():
        global ok
        for i, f in enumerate(d["w3"][:W3_N]):
            got = os.path.join(b.dir("one"), str(i))
            t = time.perf_counter(); R(1, "-q", "put", "--", f, f"l{i}"); lat["put"].append(time.perf_counter() - t)
            t = time.perf_counter(); R(1, "-q", "get", "--", f"l{i}", got); lat["get"].append(time.perf_counter() - t)
            ok = ok and sha256(got) == d["sha"][f]

    m = b.timed(one)
    for op in ("put", "get"):
        b.latency("W3", op, lat[op], m, sha256_ok=ok, note="one command each, its start included")
    b.failed |= not ok

    # Two nodes with the most bytes die for good, but not the client's own.
    for i in sorted(range(2, NODES + 1), key=lambda i: -du(stores[i - 1])[1])[:2]:
        b.kill(f"n{i}")
    o = b.dir("out", "w4")
    b.throughput("W4", "get-degraded", lambda: R(1, "-q", "get", "-r", "--", "w1", o), d["w1_bytes"], len(d["w1"]),
                 stores=stores, verify=lambda: b.check_tree(o, d["w1_dir"]), killed=2)
