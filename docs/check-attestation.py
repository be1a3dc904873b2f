#!/usr/bin/env python3
"""Checks an attestation without forkscope, from docs/attestation.md alone.

    python3 check-attestation.py RUN PUBLIC_KEY

Needs pyarrow, and openssl on the path. Checks the signature, the digest of every file
of the run but run.json, and the Merkle root over the rows. Exit code 1 and a line per
fault if something is wrong.
"""

import base64
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq


def sha256(data):
    return hashlib.sha256(data).digest()


def root(hashes):
    """RFC 6962, section 2.1, over hashed leaves."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:]))


def encoded(value, kind):
    """The canonical bytes of one value (forkscope/rows/1)."""
    if value is None:
        return b"\x00"
    if pa.types.is_boolean(kind):
        return b"\x01" + bytes([value])
    if pa.types.is_unsigned_integer(kind):
        return b"\x02" + struct.pack("<Q", value)
    if pa.types.is_signed_integer(kind):
        return b"\x03" + struct.pack("<q", value)
    if pa.types.is_float32(kind):
        return b"\x04" + struct.pack("<f", value)
    if pa.types.is_float64(kind):
        return b"\x05" + struct.pack("<d", value)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = value.encode()
        return b"\x06" + struct.pack("<Q", len(text)) + text
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        entries = b"".join(encoded(v, kind.value_type) for v in value)
        return b"\x08" + struct.pack("<Q", len(value)) + entries
    raise SystemExit(f"a column holds {kind}, which has no canonical bytes")


def table_root(path):
    table = pq.read_table(path)
    leaves = []
    for batch in table.to_batches():
        for row in batch.to_pylist():
            cells = b"".join(encoded(row[f.name], f.type) for f in table.schema)
            leaves.append(sha256(b"\x00" + cells))
    return len(leaves), root(leaves).hex()


def signature_holds(envelope, public_key):
    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    with tempfile.TemporaryDirectory() as folder:
        message_file, signature_file = pathlib.Path(folder, "m"), pathlib.Path(folder, "s")
        message_file.write_bytes(message)
        signature_file.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public_key, "-rawin",
                   "-in", str(message_file), "-sigfile", str(signature_file)]
        return subprocess.run(command, capture_output=True).returncode == 0


def main(run, public_key):
    run = pathlib.Path(run)
    envelope = json.loads((run / "attestation.json").read_bytes())
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    faults = []
    if not signature_holds(envelope, public_key):
        faults.append("the signature is not of this key")
    for entry in predicate["files"]:
        path = run / entry["name"]
        if entry["name"] == "run.json":
            continue
        if not path.is_file():
            faults.append(f"{entry['name']} is missing")
        elif sha256(path.read_bytes()).hex() != entry["sha256"]:
            faults.append(f"{entry['name']} was changed")
    leaves = []
    for table in predicate["merkle"]["tables"]:
        if table_root(run / table["name"]) != (table["rows"], table["root"]):
            faults.append(f"rows of {table['name']} have another root")
        text = json.dumps(table, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        leaves.append(sha256(b"\x00" + text.encode()))
    if root(leaves).hex() != predicate["merkle"]["root"]:
        faults.append("the tables have another root")
    for fault in faults:
        print(fault)
    if not faults:
        print(f"holds: {len(predicate['files'])} files, {predicate['merkle']['leaves']} rows")
    return bool(faults)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
