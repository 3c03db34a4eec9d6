#!/usr/bin/env python3
"""Checks the golden vectors without DataMesh's code, from what docs/specs/ says.

Needs Python 3.10 and `cryptography` 44 or later (AES-GCM, ChaCha20, HKDF, Ed25519, Argon2id). BLAKE3 and the
Reed-Solomon code are written out below. Run: python3 testdata/verify.py
"""

import base64
import hashlib
import hmac
import struct
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = Path(__file__).parent


def vector(name):
    return bytes.fromhex((HERE / f"{name}.hex").read_text())


def check(what, holds):
    if not holds:
        raise SystemExit(f"WRONG: {what}")
    print(f"ok  {what}")


# BLAKE3, from section 2 of its paper.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
START, END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
M32 = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    v = [*cv, *IV[:4], counter & M32, counter >> 32, length, flags]
    m = struct.unpack("<16I", block.ljust(64, b"\0"))

    def g(a, b, c, d, x, y):
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & M32
            t = v[d] ^ v[a]
            v[d] = (t >> first | t << 32 - first) & M32
            v[c] = (v[c] + v[d]) & M32
            t = v[b] ^ v[c]
            v[b] = (t >> second | t << 32 - second) & M32

    for _ in range(7):
        g(0, 4, 8, 12, m[0], m[1])
        g(1, 5, 9, 13, m[2], m[3])
        g(2, 6, 10, 14, m[4], m[5])
        g(3, 7, 11, 15, m[6], m[7])
        g(0, 5, 10, 15, m[8], m[9])
        g(1, 6, 11, 12, m[10], m[11])
        g(2, 7, 8, 13, m[12], m[13])
        g(3, 4, 9, 14, m[14], m[15])
        m = [m[i] for i in PERMUTATION]
    low = [v[i] ^ v[i + 8] for i in range(8)]
    return low, low + [v[i + 8] ^ cv[i] for i in range(8)]


def left_length(length):
    """Bytes of the left subtree: the largest power of two of chunks that leaves some for the right."""
    return 1024 << ((length - 1) // 1024).bit_length() - 1


def last_block(data, index, key, flags):
    """What is left to compress of a subtree whose first chunk has this index."""
    if len(data) <= 1024:
        cv, blocks = key, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
        for i, block in enumerate(blocks):
            kind = flags | (START if i == 0 else 0) | (END if i + 1 == len(blocks) else 0)
            if i + 1 < len(blocks):
                cv = compress(cv, block, index, 64, kind)[0]
        return cv, blocks[-1], index, len(blocks[-1]), kind
    middle = left_length(len(data))
    left = chaining_value(data[:middle], index, key, flags)
    right = chaining_value(data[middle:], index + middle // 1024, key, flags)
    return key, left + right, 0, 64, flags | PARENT


def chaining_value(data, index, key=IV, flags=0):
    return struct.pack("<8I", *compress(*last_block(data, index, key, flags))[0])


def blake3(data, length=32, key=IV, flags=0):
    cv, block, _, size, kind = last_block(data, 0, key, flags)
    out, count = b"", 0
    while len(out) < length:
        out += struct.pack("<16I", *compress(cv, block, count, size, kind | ROOT)[1])
        count += 1
    return out[:length]


def blake3_derive(context, data):
    key = struct.unpack("<8I", blake3(context.encode(), flags=CONTEXT))
    return blake3(data, key=key, flags=MATERIAL)


# Reed-Solomon: docs/specs/segment.md, "Code".

EXP, LOG = [0] * 510, [0] * 256
x = 1
for power in range(255):
    EXP[power] = EXP[power + 255] = x
    LOG[x] = power
    x = x << 1 ^ (0x11D if x & 0x80 else 0)


def times(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def product(a, b):
    def cell(row, column):
        total = 0
        for i, value in enumerate(row):
            total ^= times(value, b[i][column])
        return total
    return [[cell(row, column) for column in range(len(b[0]))] for row in a]


def inverse(matrix):
    size = len(matrix)
    rows = [row + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for i in range(size):
        swap = next(r for r in range(i, size) if rows[r][i])
        rows[i], rows[swap] = rows[swap], rows[i]
        rows[i] = [times(value, EXP[255 - LOG[rows[i][i]]]) for value in rows[i]]
        for r in range(size):
            if r != i and rows[r][i]:
                rows[r] = [a ^ times(rows[r][i], b) for a, b in zip(rows[r], rows[i])]
    return [row[size:] for row in rows]


def generator(k, n):
    power = lambda base, e: 1 if e == 0 else 0 if base == 0 else EXP[LOG[base] * e % 255]
    vandermonde = [[power(row, column) for column in range(k)] for row in range(n)]
    return product(vandermonde, inverse(vandermonde[:k]))


def scaled(factor, data):
    table = bytes(times(factor, value) for value in range(256))
    return int.from_bytes(data.translate(table), "little")


def encode(data, k, m):
    parity = []
    for row in generator(k, k + m)[k:]:
        total = 0
        for factor, shard in zip(row, data):
            total ^= scaled(factor, shard)
        parity.append(total.to_bytes(len(data[0]), "little"))
    return parity


# The segments.

def suited_cell(k, length):
    for cell in (65536, 32768, 16384, 8192, 4096, 2048):
        filled = -length % (cell * k)
        if filled <= length // 8:
            return cell
    return 1024


def shards_of(k, m, length):
    ciphertext = blake3(struct.pack("<Q", length), length)
    cell = suited_cell(k, length)
    rows = -(-length // (cell * k))
    whole = ciphertext.ljust(rows * cell * k, b"\0")
    data = [b"".join(whole[(row * k + i) * cell:][:cell] for row in range(rows)) for i in range(k)]
    return cell, data + encode(data, k, m)


for k, m, length in ((4, 2, 20_000), (8, 4, 65_000), (16, 8, 100_000), (1, 5, 4000)):
    name = f"segment/{k}+{m}"
    cell, shards = shards_of(k, m, length)
    roots = [blake3(shard) for shard in shards]
    descriptor = struct.pack("<BBBBII", 1, 1, k, m, cell, length) + b"".join(roots) + b"\xEE" * 32
    check(f"{name}: {k + m} roots, descriptor", descriptor == vector(f"{name}.descriptor"))
    derived = blake3_derive("datamesh 2026 segment id v1", descriptor)
    check(f"{name}: segment id", derived == vector(f"{name}.id"))
    if k == 4:
        check(f"{name}: parity", b"".join(shards[4:]) == vector(f"{name}.parity"))
        shard, root = shards[2], roots[2]

# Cells 1 and 2 of the five of shard 2. The walk: the root's left subtree (cells 0 to 3) splits into
# (0, 1) and (2, 3); outside the range lie cell 0, cell 3, and the root's right subtree, cell 4.
proof = vector("segment/4+2.proof")
outside = [chaining_value(shard[i * 1024:][:1024], i) for i in (0, 3, 4)]
check("segment/4+2: proof, from the shard", proof == b"".join(outside))
given = [proof[i:i + 32] for i in range(0, 96, 32)]
inside = [chaining_value(shard[i * 1024:][:1024], i) for i in (1, 2)]
join = lambda a, b: struct.pack("<8I", *compress(IV, a + b, 0, 64, PARENT)[0])
left = join(join(given[0], inside[0]), join(inside[1], given[1]))
top = struct.pack("<8I", *compress(IV, left + given[2], 0, 64, PARENT | ROOT)[0])
check("segment/4+2: proof, against the root", top == root)

# The slice of three frames.

key, sealed = vector("segment/slice.key"), vector("segment/slice.sealed")
frames = [sealed[i:i + 1024] for i in range(0, len(sealed), 1024)]


def opened(number, last):
    nonce = struct.pack("<I", number) + bytes(8)
    authenticated = struct.pack("<BBIB", 1, 1, number, last)
    return AESGCM(key).decrypt(nonce, frames[number], authenticated)


plain = opened(0, 0) + opened(1, 0) + opened(2, 1)
check("segment/slice: opens", plain == bytes(i % 251 for i in range(2 * 1008 + 500)))
try:
    opened(2, 0)
    check("segment/slice: the last flag is authenticated", False)
except InvalidTag:
    check("segment/slice: the last flag is authenticated", True)

# The key tree of the words whose entropy is 32 times 0x7F.


def hkdf(salt, secret, info):
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def branch(label):
    return hkdf(b"datamesh key tree v1", b"\x7F" * 32, label)


def public(secret):
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


tree = dict(line.split() for line in (HERE / "keystore/tree.txt").read_text().splitlines())
check("keystore/tree: account", public(branch(b"identity")).hex() == tree["account"])
check("keystore/tree: grant", public(branch(b"grant")).hex() == tree["grant"])
check("keystore/tree: authority", public(branch(b"authority")).hex() == tree["authority"])
lease = hkdf(b"datamesh lease v1", branch(b"lease"), b"\1" * 32 + b"\2" * 32)
check("keystore/tree: lease key", public(lease).hex() == tree["lease"])

# The keystore.

file = vector("keystore/keystore")
magic, version, kdf, memory, passes, lanes = struct.unpack("<4sBBIII", file[:18])
check("keystore: header", (magic, version, kdf) == (b"DMKS", 1, 1))
salt, nonce, header, body = file[18:34], file[34:46], file[:46], file[46:]
password = b"correct horse battery staple"
key = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
keys = AESGCM(key.derive(password)).decrypt(nonce, body, header)
certificate = keys[1:1369]
account, device, log_key, _, issued = struct.unpack("<32s16s32s1216sQ", certificate[:1304])
check("keystore: opens", keys[0] == 1 and account.hex() == tree["account"])
signed = b"datamesh/1/log-certificate\0" + bytes(32) + certificate[:1304]
Ed25519PublicKey.from_public_bytes(account).verify(certificate[1304:], signed)
check("keystore: log certificate", True)
log_secret, *branches = (keys[i:i + 32] for i in range(1369, 1593, 32))
check("keystore: log key", public(log_secret) == log_key)
labels = (b"authority", b"grant", b"head", b"lease", b"dedup", b"encapsulation")
check("keystore: branches", branches == [branch(label) for label in labels])
count, epoch = struct.unpack("<HI", keys[1593:1599])
catalog_key = keys[1599:]
check("keystore: catalog key", (count, epoch, catalog_key) == (1, 0, branch(b"catalog/0")))
note_key = hkdf(b"datamesh device note v1", log_secret, device)
tag = hkdf(b"datamesh content tag v1", branch(b"dedup"), b"\3" * 32 + struct.pack("<Q", 5000))[:16]
check("keystore: content tag", tag == vector("keystore/content-tag"))
note = vector("keystore/note")
note = AESGCM(note_key).decrypt(note[:12], note[12:], b"datamesh device note v1")
check("keystore: note", note == b"a note")

# The epochs record: its slot is the account's id, blinded for the mesh, and its device list opens
# with the key of epoch 0.

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493


def point(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x & 1 != sign else x), y


def plus(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def multiple(scalar, base):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = plus(result, base)
        base, scalar = plus(base, base), scalar >> 1
    return result


mesh = b"\xE0" * 32
h = hashlib.sha512(b"datamesh blinded identity v1" + account + mesh).digest()
x, y = multiple(int.from_bytes(h, "little") % ORDER, point(account))
slot = (y | (x & 1) << 255).to_bytes(32, "little")
check("epochs/slot: blinded", slot == vector("epochs/slot"))
record = vector("epochs/record")
check("epochs/record: slot and log", record[1:49] == slot + b"datamesh epochs ")
signed = b"datamesh/1/head\0" + mesh + record[:-64]
Ed25519PublicKey.from_public_bytes(slot).verify(record[-64:], signed)
revision, length = struct.unpack("<QI", record[49:61])
sealed = record[61:61 + length]
object_key = hkdf(b"datamesh catalog object v1", branch(b"catalog/0"), sealed[5:37])
authenticated = sealed[:37] + b"\4datamesh epochs " + struct.pack("<Q", revision)
plain = AESGCM(object_key).decrypt(bytes(12), sealed[37:], authenticated)
length, version, epoch = struct.unpack("<IBI", plain[:9])
check("epochs/record: opens", (version, epoch, revision) == (1, 2, 2))
(length,) = struct.unpack("<I", plain[49:53])
earlier = AESGCM(branch(b"catalog/2")).decrypt(
    plain[53:65], plain[65:53 + length], b"datamesh earlier epochs v1" + struct.pack("<I", epoch))
check("epochs/record: earlier keys", earlier == branch(b"catalog/0") + branch(b"catalog/1"))

# Content of a version.

version = b"\xD0" * 16
suite, epoch, length = struct.unpack("<BII", vector("manifest/wrapped-key")[:9])
wrapped = vector("manifest/wrapped-key")[9:]
authenticated = b"datamesh version key v1" + version + struct.pack("<BI", suite, epoch)
version_key = AESGCM(catalog_key).decrypt(wrapped[:12], wrapped[12:], authenticated)
check("manifest/wrapped-key: unwraps", len(wrapped) == length and len(version_key) == 32)


def content(name, form):
    sealed = vector(f"manifest/{name}")
    authenticated = b"datamesh content v1" + version + bytes([form])
    return AESGCM(version_key).decrypt(sealed[:12], sealed[12:], authenticated)


check("manifest/content-inline: opens", content("content-inline", 1) == b"a small file\n")
manifest = vector("manifest/manifest")
check("manifest/content-manifest: opens", content("content-manifest", 2) == manifest)
number, size, _, known, count = struct.unpack("<BQ32sQI", manifest[:53])
slices = list(struct.iter_unpack("<32sIIIBB32s16sI", manifest[53:]))
check("manifest: layout", number == 1 and count == len(slices) == 3)
check("manifest: sizes", size == sum(entry[3] for entry in slices) and known == 3000)
check("manifest: epochs", [entry[8] for entry in slices] == [0, 1, 2])
check("manifest: frames", [1 << entry[4] for entry in slices] == [65536, 1024, 65536])

# Shares. What was drawn for the vectors are BLAKE3 hashes of a counter.


def drawn(seed, number):
    return blake3(struct.pack("<Q", seed << 32 | number))


def share(name, seed):
    """Key, revision and what is sealed of a share's head, whose signature is checked."""
    head, signer = vector(f"share/{name}"), drawn(seed, 1)
    key = head[1:33]
    check(f"share/{name}: slot and log", (key, head[33:49]) == (public(signer), b"datamesh share  "))
    Ed25519PublicKey.from_public_bytes(key).verify(head[-64:], b"datamesh/1/head\0" + mesh + head[:-64])
    return key, head[49:57], head[61:-64]


def opened_share(name, key, revision, sealed, header, secret, p):
    root = hkdf(b"datamesh share root v1", secret, key + p)
    body_key = hkdf(b"datamesh share key v1", root, key + sealed[header - 32:header])
    authenticated = b"datamesh share body v1" + mesh + key + revision + sealed[:header]
    padded = AESGCM(body_key).decrypt(bytes(12), sealed[header + 4:], authenticated)
    (length,) = struct.unpack("<I", padded[:4])
    body = padded[4:4 + length]
    check(f"share/{name}: opens", body[:15] == b"\1\x0a\0\0\0report.pdf" and body[-1] == 0)
    return body


key, revision, sealed = share("head-link", 1)
check("share/head-link: lock", (sealed[0], sealed[17]) == (1, 1))
body = opened_share("head-link", key, revision, sealed, 50, drawn(1, 2), b"\0")
shared_key, content_at = body[83:115], 120
shared = AESGCM(shared_key).decrypt(
    body[content_at:content_at + 12], body[content_at + 12:-1], b"datamesh content v1" + b"\xD0" * 16 + b"\1")
check("share/head-link: content opens", shared == b"a small file\n")
shared_hash = blake3_derive("datamesh 2026 share mark v1", body[:-1])
mark = hkdf(b"datamesh share mark v1", drawn(1, 1), shared_hash)[:16]
check("share/head-link: mark", mark == sealed[1:17])
key, revision, sealed = share("head-password", 2)
memory, passes, lanes = struct.unpack("<III", sealed[18:30])
stretched = Argon2id(salt=sealed[30:46], length=32, iterations=passes, lanes=lanes, memory_cost=memory)
stretched = stretched.derive(b"correct horse")
opened_share("head-password", key, revision, sealed, 78, drawn(2, 2), b"\1" + stretched)
ended = vector("share/head-ended")
signed = b"datamesh/1/head\0" + mesh + ended[:-64]
Ed25519PublicKey.from_public_bytes(ended[1:33]).verify(ended[-64:], signed)
check("share/head-ended: layout", ended[0] == 2 and ended[57:70] == bytes(8) + b"\1" + bytes(4))
contact = vector("share/head-contact")
signer = hkdf(b"datamesh contact v1", branch(b"encapsulation"), mesh)
check("share/head-contact: slot", contact[1:49] == public(signer) + b"datamesh contact")
check("share/head-contact: key", len(contact) == 61 + 1217 + 64 and contact[61] == 1)

DIGITS = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(text):
    number = 0
    for digit in text:
        number = number * 58 + DIGITS.index(digit)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


found, secret = vector("share/link").removeprefix(b"datamesh://share/").split(b"#")
found, secret = base58(found), base58(secret)
checksum = blake3_derive("datamesh 2026 share link checksum v1", found[:-4])[:4]
check("share/link: checksum", (found[0], found[1:33], found[-4:]) == (1, mesh, checksum))
checksum = blake3_derive("datamesh 2026 share link secret checksum v1", found[33:65] + secret[:-4])[:4]
check("share/link: secret", secret == b"\x09" * 32 + checksum)

# A stream under a password, as age version 1 has it.

stream = vector("age/stream")
lines = stream.split(b"\n")[:4]
unpadded = lambda text: base64.b64decode(text + b"=" * (-len(text) % 4))
name, salt, work = lines[1].removeprefix(b"-> ").split(b" ")
check("age/stream: header", (lines[0], name, work) == (b"age-encryption.org/v1", b"scrypt", b"10"))
wrapping = hashlib.scrypt(b"correct horse battery", salt=b"age-encryption.org/v1/scrypt" + unpadded(salt),
                          n=1 << int(work), r=8, p=1, dklen=32)
file_key = ChaCha20Poly1305(wrapping).decrypt(bytes(12), unpadded(lines[2]), None)
check("age/stream: file key", file_key == bytes(range(16)))
tag = hmac.digest(hkdf(b"", file_key, b"header"), b"\n".join(lines[:3]) + b"\n---", "sha256")
check("age/stream: tag", lines[3] == b"--- " + base64.b64encode(tag).rstrip(b"="))
payload = stream[sum(len(line) + 1 for line in lines):]
payload_key = hkdf(payload[:16], file_key, b"payload")
opened = ChaCha20Poly1305(payload_key).decrypt(bytes(11) + b"\1", payload[16:], None)
check("age/stream: opens", opened == b"an archive\n")
