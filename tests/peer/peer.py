#!/usr/bin/env python3
"""An independent peer of the Burdock protocol, version 1: it dials, over one path, UDP or TCP.

Written from docs/protocol.md alone; Python 3.11, standard library only.
Licence: MIT OR Apache-2.0.

    peer.py LINK [--transport udp|tcp] [--identity HEX] [--count N] [--expect M]
    peer.py --self-test vectors.json

It sends "python 0" .. "python N-1" on channel 0, prints every message that it receives, and closes
the session when all of its own were taken and M came. Exit status 0; else 1 and one sentence.
REQ-.. are the numbers of the specification. The cryptography is slow and not constant in time.
"""
import argparse, base64, collections, hashlib, hmac, ipaddress, json, random, re
import secrets, select, socket, struct, sys, time

INIT, RESP, DATA = 0x08, 0x09, 0x0B
PACKET, OVERHEAD, WINDOW, REPLAY = 1200, 32, 64, 8192                # REQ-PKT-1, 8; REQ-TIME-7
MAX_MESSAGE, SESSION_CREDIT, CHANNEL_CREDIT, MAX_PACKET = 262_144, 4_194_304, 1_048_576, 16_384
MAX_OFFSET, MAX_STARTED, ACK_DELAY = 2**62 - 1, 65_536, 0.025
PROTOCOL, LIMIT = 1, 2


class Failure(Exception):
    """The session cannot go on; the sentence for the user."""


class Violation(Failure):
    """The other side broke a rule that ends the session with a CLOSE of this code."""
    def __init__(self, sentence, code=PROTOCOL):
        super().__init__(sentence)
        self.code = code


# ---- Primitives: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439), BLAKE2s, HKDF ----

def x25519(scalar, point=(9).to_bytes(32, "little")):
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & (2**254 - 8) | 2**254
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap != now:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def dh(secret, public):
    shared = x25519(secret, public)
    if shared == bytes(32):
        raise Failure("a DH result is zero")
    return shared


ROUNDS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def chacha20_block(key, counter, nonce):
    start = struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce)
    s, mask = list(start), 0xFFFFFFFF
    for a, b, c, d in ROUNDS * 10:
        for x, y, z, r in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = s[x] + s[y] & mask
            t = s[z] ^ s[x]
            s[z] = (t << r | t >> 32 - r) & mask
    return struct.pack("<16I", *(a + b & mask for a, b in zip(s, start)))


def chacha20(key, nonce, data):
    pad = b"".join(chacha20_block(key, 1 + i, nonce) for i in range((len(data) + 63) // 64))
    return bytes(a ^ b for a, b in zip(data, pad))


def aead_tag(key, nonce, ad, cipher):
    one_time = chacha20_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    text = (ad + bytes(-len(ad) % 16) + cipher + bytes(-len(cipher) % 16)
            + struct.pack("<QQ", len(ad), len(cipher)))
    total = 0
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i:i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(one_time[16:32], "little")) % 2**128).to_bytes(16, "little")


def seal(key, number, ad, plain):
    nonce = bytes(4) + struct.pack("<Q", number)                     # REQ-PKT-6
    cipher = chacha20(key, nonce, plain)
    return cipher + aead_tag(key, nonce, ad, cipher)


def unseal(key, number, ad, sealed):
    """The plaintext, or None when the tag is wrong."""
    nonce, cipher = bytes(4) + struct.pack("<Q", number), sealed[:-16]
    if len(sealed) < 16 or not hmac.compare_digest(aead_tag(key, nonce, ad, cipher), sealed[-16:]):
        return None
    return chacha20(key, nonce, cipher)


def blake(data):
    return hashlib.blake2s(data).digest()


def hkdf(ck, data):
    mac = lambda key, text: hmac.new(key, text, hashlib.blake2s).digest()
    t = mac(ck, data)
    o1 = mac(t, b"\x01")
    o2 = mac(t, o1 + b"\x02")
    return o1, o2, mac(t, o2 + b"\x03")


def mac1(responder_public, text):
    return hashlib.blake2s(text, key=blake(b"burdock mac1" + responder_public), digest_size=16).digest()


# ---- The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the initiator's side ----

class Handshake:
    def __init__(self, static, ephemeral, responder, psk, header):
        self.static, self.ephemeral, self.responder, self.psk = static, ephemeral, responder, psk
        self.header, self.steps = header, []
        self.h = self.ck = blake(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.k = bytes(32)
        self.mark("start")
        self.mix_hash(b"burdock" + header, "MixHash(prologue)")
        self.mix_hash(responder, "MixHash(rs)")

    def mark(self, after):
        if after:
            self.steps.append({"after": after, "ck": self.ck.hex(), "h": self.h.hex(), "k": self.k.hex()})

    def mix_hash(self, data, after=None):
        self.h = blake(self.h + data)
        self.mark(after)

    def mix_key(self, data, after):
        self.ck, self.k, _ = hkdf(self.ck, data)
        self.mark(after)

    def mix_ephemeral(self, public):
        self.mix_hash(public, "e: MixHash(e.public)")
        self.mix_key(public, "e: MixKey(e.public)")

    def encrypt(self, plain, after):
        cipher = seal(self.k, 0, self.h, plain)
        self.mix_hash(cipher, after)
        return cipher

    def init_packet(self, payload):
        public = x25519(self.ephemeral)
        self.mix_ephemeral(public)
        self.mix_key(dh(self.ephemeral, self.responder), "es")
        sealed_static = self.encrypt(x25519(self.static), "s")
        self.mix_key(dh(self.static, self.responder), "ss")
        packet = self.header + public + sealed_static + self.encrypt(payload, "payload 1")
        return packet + mac1(self.responder, packet) + bytes(16)

    def open_resp(self, packet):
        """(payload 2, k1, k2), or None; a bad RESP leaves no trace in the state (REQ-HS-3)."""
        before = self.h, self.ck, self.k, list(self.steps)
        try:
            public = packet[8:40]
            self.mix_ephemeral(public)
            self.mix_key(dh(self.ephemeral, public), "ee")
            self.mix_key(dh(self.static, public), "se")
            self.ck, extra, self.k = hkdf(self.ck, self.psk)
            self.mix_hash(extra, "psk")
            payload = unseal(self.k, 0, self.h, packet[40:])
            if payload is not None:
                self.mix_hash(packet[40:], "payload 2")
                return payload, *hkdf(self.ck, b"")[:2]
        except Failure:
            pass
        self.h, self.ck, self.k, self.steps = before
        return None


Limits = collections.namedtuple("Limits", "max_message session channel max_packet")
OUR_LIMITS = (struct.pack(">IIIIHB", 0, MAX_MESSAGE, SESSION_CREDIT, CHANNEL_CREDIT, MAX_PACKET, 1) + b"\x01")


def make_payload1(half, dial, invite_id, size=0):
    return (struct.pack(">QQII", half, 0, dial, 0) + invite_id + OUR_LIMITS).ljust(size, b"\0")


def read_payload2(payload):
    """The fields of payload 2; Failure when it is invalid (REQ-HS-4)."""
    try:
        index, our_index, half, our_half, dial, verdict = struct.unpack_from(">IIQQIB", payload)
        at, code = 29, None
        if verdict == 3:
            code, at = struct.unpack_from(">H", payload, at)[0], at + 2
        _, message, session, channel, packet, count = struct.unpack_from(">IIIIHB", payload, at + 1)
        at += 20 + count
        if not index or verdict > 3 or packet < PACKET or count > 8 or at > len(payload):
            raise Failure("a field of the RESP is out of range")
        while len(payload) - at >= 2 and payload[at:at + 2] != b"\0\0":
            kind, length = struct.unpack_from(">HH", payload, at)
            at += 4 + length
            if kind % 2 == 0 or kind == 1 or at > len(payload):      # TLV 1 belongs into payload 1
                raise Failure("a TLV of the RESP is invalid")
    except struct.error:
        raise Failure("the RESP is cut")
    if any(payload[at:]):
        raise Failure("the padding of the RESP is not zero")
    return index, our_index, half, our_half, dial, verdict, code, Limits(message, session, channel, packet)


# ---- Varints and frames ----

def varint(n):
    for size, top in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if n < 1 << 8 * size - 2:
            return (top << 8 * size - 2 | n).to_bytes(size, "big")
    raise ValueError("no varint is so large")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Violation("a frame was cut")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        first = self.take(1)
        rest = self.take((1 << (first[0] >> 6)) - 1)
        return int.from_bytes(first + rest, "big") & (1 << 8 * (1 + len(rest)) - 2) - 1

    def counted(self):
        return self.take(self.varint())


# b: u8; w: epoch, u32; v: varint; c: counted; 8: eight bytes; ACK and CLOSE have more to them.
FRAMES = {0x00: ("PAD", ""), 0x01: ("PING", ""), 0x02: ("ACK", "wv"), 0x03: ("CONFIRM", ""),
          0x04: ("CHANNEL_ACK", "bvv"), 0x05: ("CREDIT_SESSION", "v"), 0x06: ("CREDIT_CHANNEL", "bv"),
          0x08: ("STREAM", "bvc"), 0x0A: ("DGRAM", "bvvvvc"), 0x0C: ("CHALLENGE", "8"), 0x0D: ("RESPONSE", "8"),
          0x0E: ("USE_PATH", "vw"), 0x0F: ("PATH_CLOSE", "wv"), 0x10: ("CLOSE", "v"), 0x11: ("CLOSE_ACK", "")}
TYPES = {name: (kind, layout) for kind, (name, layout) in FRAMES.items()}
NOT_ELICITING = {"PAD", "ACK", "CLOSE", "CLOSE_ACK"}                 # REQ-FRM-1


def encode_frame(name, *fields):
    kind, layout = TYPES[name]
    out = varint(kind)
    for how, value in zip(layout, fields):
        out += {"b": lambda: bytes([value]), "w": lambda: struct.pack(">I", value), "v": lambda: varint(value),
                "c": lambda: varint(len(value)) + value, "8": lambda: value}[how]()
    if name == "ACK":                                                # fields[2]: (low, high), the highest first
        (low, high), *rest = fields[2]
        out += varint(high) + varint(len(rest)) + varint(high - low)
        for next_low, next_high in rest:
            out += varint(low - next_high - 2) + varint(next_high - next_low)
            low = next_low
    elif name == "CLOSE":
        out += varint(len(fields[1])) + b"".join(bytes([c]) + varint(o) for c, o in fields[1])
        out += varint(len(fields[2])) + fields[2]
    return out


def read_frames(plain):
    """Yield (name, fields) one by one, so that the frames before a bad one are acted on (REQ-FRM-2)."""
    r = Reader(plain)
    while r.at < len(plain):
        start, kind = r.at, r.varint()
        if kind not in FRAMES or r.at - start != 1:
            raise Violation(f"frame type {kind:#x} is unknown or not in its shortest form")
        name, layout = FRAMES[kind]
        fields = [{"b": lambda: r.take(1)[0], "w": lambda: int.from_bytes(r.take(4), "big"), "v": r.varint,
                   "c": r.counted, "8": lambda: r.take(8)}[how]() for how in layout]
        if name == "ACK":                                            # REQ-FRM-3
            high, more, first = r.varint(), r.varint(), r.varint()
            ranges = [(high - first, high)]
            if more > 31:
                raise Violation("an ACK has more than 32 ranges")
            for _ in range(more):
                high = ranges[-1][0] - r.varint() - 2
                ranges.append((high - r.varint(), high))
            if ranges[-1][0] < 0:
                raise Violation("an ACK goes below packet 0")
            fields.append(ranges)
        elif name == "CLOSE":                                        # REQ-FRM-7
            count = r.varint()
            if count > 64:
                raise Violation("a CLOSE has more than 64 offsets")
            fields += [[(r.take(1)[0], r.varint()) for _ in range(count)], r.counted()]
            if len(fields[2]) > 256 or not is_utf8(fields[2]):
                raise Violation("the reason of a CLOSE is too long or not UTF-8")
        if name in ("CLOSE", "PATH_CLOSE") and fields[name == "PATH_CLOSE"] > 65_535:
            raise Violation("a code is out of range")
        if name == "STREAM" and fields[1] + len(fields[2]) > MAX_OFFSET:
            raise Violation("a STREAM frame goes beyond the last offset")      # REQ-FRM-5
        yield name, fields


def is_utf8(data):
    try:
        return data.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


class Ranges:
    """Sets of numbers as sorted, disjoint [low, high] spans: packet numbers and stream bytes."""
    def __init__(self):
        self.spans = []

    def __contains__(self, n):
        return any(low <= n <= high for low, high in reversed(self.spans))

    def add(self, low, high):
        """Add low..=high; return the parts of it that are new."""
        new, kept, at, union_low, union_high = [], [], low, low, high
        for a, b in self.spans:
            if b < low - 1 or a > high + 1:
                kept.append((a, b))
                continue
            if a > at:
                new.append((at, a - 1))
            at, union_low, union_high = max(at, b + 1), min(union_low, a), max(union_high, b)
        if at <= high:
            new.append((at, high))
        self.spans = sorted(kept + [(union_low, union_high)])
        return new


# ---- Links ----

Link = collections.namedtuple("Link", "key host udp tcp invite_id psk")


def base32(text, size):
    try:
        raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        raise Failure("the link has text that is not base32")
    if len(raw) != size or base64.b32encode(raw).decode().rstrip("=") != text.upper():
        raise Failure("a part of the link has the wrong length, or unused bits that are not zero")
    return raw


def parse_link(text):
    shape = re.fullmatch(r"(?i:burdock)://([^@?/]+)(?:@(\[[^]]+\]|[^:?\[\]]+):(\d{1,5}))?(?:\?(.+))?", text)
    if not shape or len(text) > 2048:
        raise Failure("this is not a burdock link")
    key, host, port, query = shape.groups()
    pairs = [part.partition("=")[::2] for part in query.split("&")] if query else []
    options = dict(pairs)
    if len(options) < len(pairs) or set(options) - {"tcp", "udp", "i2p", "invite"}:
        raise Failure("the link has an unknown parameter, or one twice")
    if not host:
        raise Failure("the link has no host to dial")
    udp, tcp = int(port), int(port)
    if "udp" in options:
        if options["udp"] != "off":
            raise Failure("udp= has only one value, off")
        udp = None
    if "tcp" in options:
        if options["tcp"] != "off" and not re.fullmatch(r"\d{1,5}", options["tcp"]):
            raise Failure("tcp= is a port or off")
        tcp = None if options["tcp"] == "off" else int(options["tcp"])
    if (udp is None and tcp is None) or any(p is not None and not 0 < p < 65536 for p in (udp, tcp)):
        raise Failure("the link has no valid port")
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    invite_id, psk = bytes(8), bytes(32)                             # REQ-HS-1
    if "invite" in options:
        first, _, second = options["invite"].partition(".")
        invite_id, psk = base32(first, 8), base32(second, 32)
        if not any(invite_id):
            raise Failure("the id of the invite is zero")
    return Link(base32(key, 32), host, udp, tcp, invite_id, psk)


# ---- Carriers: one UDP address pair, or one TCP stream ----

class Udp:
    stream, transport = False, 0

    def __init__(self, host, port, deadline):
        family, _, _, _, self.target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket = socket.socket(family, socket.SOCK_DGRAM)

    def send(self, packet):
        try:
            self.socket.sendto(packet, self.target)
        except OSError:
            pass                                                     # as if it were lost

    def receive(self, timeout):
        """The next packet, from any source (REQ-PKT-5), or None."""
        if select.select([self.socket], [], [], max(0, timeout))[0]:
            try:
                return self.socket.recvfrom(65_535)[0]
            except OSError:
                return None

    def refuse(self, why):                                           # REQ-PKT-4
        """A packet that is not allowed here: it is dropped."""


class Tcp:
    stream, transport = True, 1

    def __init__(self, host, port, deadline):
        self.socket = socket.create_connection((host, port), max(0.1, deadline - time.monotonic()))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, packet):
        self.socket.sendall(struct.pack(">H", len(packet)) + packet)     # REQ-PKT-2

    def receive(self, timeout):
        until = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 2:
                length = int.from_bytes(self.buffer[:2], "big")
                if not 17 <= length <= MAX_PACKET:
                    self.refuse("a packet of a length that no stream has")
                if len(self.buffer) >= 2 + length:
                    packet, self.buffer = self.buffer[2:2 + length], self.buffer[2 + length:]
                    return packet
            if not select.select([self.socket], [], [], max(0, until - time.monotonic()))[0]:
                return None
            data = self.socket.recv(65_536)
            if not data:
                raise Failure("the other side closed the stream")
            self.buffer += data

    def refuse(self, why):
        self.socket.close()
        raise Failure(f"the other side sent {why}")


# ---- Dialling ----

def dial(link, carrier, static, deadline):
    """Complete one handshake and return its session."""
    index, half, dial_number = random_u(32), random_u(64), 1
    header = struct.pack(">BBBBI", INIT, 1, 0, carrier.transport, index)
    shake = Handshake(static, secrets.token_bytes(32), link.key, link.psk, header)
    init = shake.init_packet(make_payload1(half, dial_number, link.invite_id, 0 if carrier.stream else 1064))
    started = time.monotonic()
    carrier.send(init)
    sent, wait, bad = 1, 1.0, 0
    resend_at = started + wait * random.uniform(0.75, 1)
    while time.monotonic() < deadline:
        packet = carrier.receive(min(deadline, resend_at) - time.monotonic())
        if packet is None:
            if not carrier.stream and time.monotonic() >= resend_at:
                carrier.send(init)                                   # REQ-HS-2, 15: the same bytes
                sent, wait = sent + 1, min(16.0, wait * 2)
            if time.monotonic() >= resend_at:
                resend_at = time.monotonic() + wait * random.uniform(0.75, 1)
            continue
        length_fits = 105 <= len(packet) <= PACKET if carrier.stream else len(packet) == PACKET
        if not length_fits or packet[:8] != struct.pack(">BBHI", RESP, 1, 0, index):
            carrier.refuse("a packet that is not a RESP to this INIT")
            continue
        opened = shake.open_resp(packet)
        try:
            if opened is None:
                raise Failure("the other side sent a RESP that cannot be opened")
            payload, k1, k2 = opened
            peer_index, index_echo, peer_half, half_echo, dial_echo, verdict, code, limits = read_payload2(payload)
            if (index_echo, half_echo, dial_echo) != (index, half, dial_number) or not peer_half:
                raise Failure("the RESP does not echo this INIT")    # REQ-HS-6
        except Failure:
            bad += 1
            if carrier.stream or bad >= 8:                           # REQ-HS-3
                raise
            continue
        if verdict == 3:
            raise Failure(f"the other side says that this session ended, with code {code}")
        took = time.monotonic() - started
        chooser = x25519(static) < link.key                          # REQ-PATH-1
        return Session(carrier, k1, k2, index, peer_index, limits, chooser, took if sent == 1 else 0.333)
    raise Failure("nobody completed the handshake in time")


def random_u(bits):
    return secrets.randbelow(2**bits - 1) + 1


# ---- The session ----

class Inbound:
    """One channel in: bytes by offset, cut into messages."""
    def __init__(self):
        self.base = self.taken = self.highest = 0
        self.bytes, self.have, self.told = bytearray(), Ranges(), CHANNEL_CREDIT

    @property
    def received(self):
        spans = self.have.spans
        return spans[0][1] + 1 if spans and spans[0][0] == 0 else 0

    def gaps(self):
        return len(self.have.spans) - (self.received > 0)

    def put(self, offset, data):
        end = offset + len(data)
        self.highest = max(self.highest, end)
        self.bytes.extend(bytes(max(0, end - self.taken - len(self.bytes))))
        for low, high in self.have.add(offset, end - 1) if data else ():     # REQ-CH-6: what came first stays
            self.bytes[low - self.taken:high + 1 - self.taken] = data[low - offset:high + 1 - offset]

    def next_message(self):
        ready = self.received - self.taken
        size = 1 << (self.bytes[0] >> 6) if ready else 1
        if ready < size:
            return None
        length = Reader(bytes(self.bytes[:size])).varint()
        if length > MAX_MESSAGE:
            raise Violation("a message is longer than max_message", LIMIT)    # REQ-CH-7
        if ready < size + length:
            return None
        message = bytes(self.bytes[size:size + length])
        del self.bytes[:size + length]
        self.taken += size + length
        return message


Sent = collections.namedtuple("Sent", "time frames")


class Session:
    def __init__(self, carrier, k_send, k_receive, index, peer_index, limits, chooser, round_trip):
        self.carrier, self.k_send, self.k_receive = carrier, k_send, k_receive
        self.index, self.peer_index, self.limits = index, peer_index, limits
        self.smoothed, self.deviation, self.probes, self.last_eliciting = round_trip, round_trip / 2, 0, 0.0
        self.next_number, self.in_flight = 0, {}
        self.taken_numbers, self.highest_at, self.ack_owed = Ranges(), 0.0, False
        self.due = {("CONFIRM",): None}                              # REQ-HS-13; a dict for its order
        if chooser:
            self.due["USE_PATH",] = None                             # REQ-PATH-2
        self.resend, self.replies = collections.deque(), collections.deque()
        self.waiting, self.outbox, self.out_at, self.out_end = collections.deque(), b"", 0, 0
        self.channel_credit, self.session_credit = collections.defaultdict(lambda: limits.channel), limits.session
        self.arrived, self.taken, self.started = 0, 0, collections.deque()
        self.inbound, self.session_told = collections.defaultdict(Inbound), SESSION_CREDIT
        self.received_messages, self.over, self.close_at, self.close_until, self.close_seen = 0, False, None, None, None
        self.figures = collections.Counter()

    # -- packets --

    def pto(self):                                                   # REQ-TIME-5
        return self.smoothed + max(4 * self.deviation, 0.001) + ACK_DELAY

    def send_packet(self, frames, eliciting):
        header = struct.pack(">B3xIQ", DATA, self.peer_index, self.next_number)
        plain = b"".join(encode_frame(*f) for f in frames)
        self.carrier.send(header + seal(self.k_send, self.next_number, header, plain))
        now = time.monotonic()
        if eliciting:
            self.in_flight[self.next_number] = Sent(now, frames)
            self.last_eliciting = now
        self.next_number += 1                                        # REQ-PKT-7
        self.figures["packets out"] += 1

    def take_packet(self, packet):
        """Check one packet (REQ-PKT-4, 8, 9, 10) and act on its frames."""
        if not OVERHEAD <= len(packet) <= MAX_PACKET or packet[:4] != b"\x0b\0\0\0" \
                or int.from_bytes(packet[4:8], "big") != self.index:
            self.figures["packets dropped"] += 1
            return self.carrier.refuse("a packet that is not DATA for this path")
        number, spans = int.from_bytes(packet[8:16], "big"), self.taken_numbers.spans
        highest = spans[-1][1] if spans else -1
        stale = number != highest + 1 if self.carrier.stream else \
            number in self.taken_numbers or number <= highest - REPLAY
        plain = None if stale else unseal(self.k_receive, number, packet[:16], packet[16:])
        if plain is None:
            self.figures["packets dropped"] += 1
            return self.carrier.refuse("a packet with a wrong number or tag")
        self.taken_numbers.add(number, number)
        self.taken_numbers.spans = [s for s in self.taken_numbers.spans if s[1] > max(highest, number) - REPLAY]
        if number > highest:
            self.highest_at = time.monotonic()
        self.figures["packets in"] += 1
        for name, fields in read_frames(plain):
            self.ack_owed |= name not in NOT_ELICITING
            if self.close_seen is None or name == "CLOSE":           # REQ-CLOSE-3
                getattr(self, "on_" + name.lower(), lambda *_: None)(*fields)

    def flush(self):
        """Send what is due, as far as the window of 64 packets allows (REQ-TIME-7)."""
        while True:
            frames, room = [], PACKET - OVERHEAD
            if self.ack_owed:                                        # REQ-TIME-1, 2, 3
                delay = int((time.monotonic() - self.highest_at) * 1e6)
                frames.append(("ACK", self.peer_index, delay, self.taken_numbers.spans[:-33:-1]))
                room -= len(encode_frame(*frames[0]))
            plain_ack = len(frames)
            if len(self.in_flight) < WINDOW:
                frames += self.next_frames(room)
            if not frames:
                return
            self.ack_owed = False
            self.send_packet(frames, len(frames) > plain_ack)

    def next_frames(self, room):
        frames = []
        while self.replies and room >= 9:
            frames.append(self.replies.popleft())
            room -= 9
        while self.due and room >= 20:
            what = next(iter(self.due))
            del self.due[what]
            frames.append(self.newest(*what))
            room -= len(encode_frame(*frames[-1]))
        while self.resend and room >= len(encode_frame(*self.resend[0])):
            frames.append(self.resend.popleft())
            room -= len(encode_frame(*frames[-1]))
        self.start_messages()
        if self.outbox and not self.resend and room > 20:
            piece, self.outbox = self.outbox[:room - 20], self.outbox[room - 20:]
            frames.append(("STREAM", 0, self.out_at, piece))
            self.out_at += len(piece)
        return frames

    def newest(self, name, channel=None):
        """A frame with its newest values (REQ-FRM-9, REQ-CH-8)."""
        if name == "CHANNEL_ACK":
            return name, channel, self.inbound[channel].received, self.inbound[channel].taken
        if name == "CREDIT_CHANNEL":
            self.inbound[channel].told = self.inbound[channel].taken + CHANNEL_CREDIT
            return name, channel, self.inbound[channel].told
        if name == "CREDIT_SESSION":
            self.session_told = sum(c.taken for c in self.inbound.values()) + SESSION_CREDIT
            return name, self.session_told
        return (name, 1, self.peer_index) if name == "USE_PATH" else (name,)

    def start_messages(self):
        while self.waiting and len(self.started) < MAX_STARTED:      # REQ-CH-1, 2; one channel: its end is the sum
            message = varint(len(self.waiting[0])) + self.waiting[0]
            end = self.out_end + len(message)
            if end > min(self.channel_credit[0], self.session_credit):
                return
            self.waiting.popleft()
            self.started.append(end)
            self.outbox, self.out_end = self.outbox + message, end

    def say(self, message):
        longest = min(self.limits.max_message, self.limits.session - 8, self.limits.channel - 8)
        if len(message) > longest:                                   # REQ-CH-3
            raise Failure("a message is longer than the other side takes")
        self.waiting.append(message)

    # -- loss --

    def say_again(self, frames):
        """What a lost packet said (REQ-FRM-9)."""
        for frame in frames:
            if frame[0] == "STREAM":
                if frame[2] + len(frame[3]) > self.arrived:
                    self.resend.append(frame)
                    self.figures["frames said again"] += 1
            elif frame[0] not in ("ACK", "PING", "RESPONSE"):
                self.due[frame[:2] if frame[0] in ("CHANNEL_ACK", "CREDIT_CHANNEL") else frame[:1]] = None
                self.figures["frames said again"] += 1

    def probe_at(self):
        """When the next timer is due: the CLOSE (REQ-CLOSE-1), or the PTO (REQ-TIME-5; none on a stream)."""
        times = [self.close_at] if self.close_at else []
        if self.in_flight and not self.carrier.stream:
            times.append(self.last_eliciting + max(min(self.pto() * 2**self.probes, 10), self.pto()))
        return min(times, default=float("inf"))

    def on_timer(self):
        if time.monotonic() < self.probe_at():
            return
        if self.close_at:
            return self.send_close()
        self.probes += 1
        self.figures["probes"] += 1
        for number in [n for n in sorted(self.in_flight) if self.in_flight[n].frames][:2] or [None]:
            if number is not None:                                   # its frames go into a new packet, or a PING
                self.say_again(self.in_flight[number].frames)
                self.in_flight[number] = self.in_flight[number]._replace(frames=[])
            self.send_packet(self.next_frames(PACKET - OVERHEAD) or [("PING",)], True)

    # -- frames --

    def on_ack(self, epoch, delay, ranges):
        if epoch != self.index:
            return
        if ranges[0][1] >= self.next_number:
            raise Violation("an ACK names a packet that was never sent")
        new = [n for n in self.in_flight if any(low <= n <= high for low, high in ranges)]
        if not new:
            return
        self.probes = 0
        if ranges[0][1] in new:                                      # a sample of the round trip
            sample = time.monotonic() - self.in_flight[ranges[0][1]].time
            self.deviation = 0.75 * self.deviation + 0.25 * abs(self.smoothed - sample)
            self.smoothed = 0.875 * self.smoothed + 0.125 * sample
        for number in new:
            del self.in_flight[number]
        if not self.carrier.stream:                                  # REQ-TIME-4, by number; by time the PTO has to do
            for number in sorted(n for n in self.in_flight if n <= ranges[0][1] - 3):
                self.say_again(self.in_flight.pop(number).frames)

    def on_confirm(self):
        raise Violation("the responder sent CONFIRM")                # REQ-FRM-4

    def on_dgram(self, *_):
        raise Violation("a DGRAM came")                              # REQ-FRM-5

    def on_challenge(self, data):
        self.replies.append(("RESPONSE", data))                      # REQ-FRM-6

    def on_stream(self, channel, offset, data):
        c = self.inbound[channel]
        if offset + len(data) > c.told:                              # REQ-CH-7
            raise Violation("a STREAM frame goes beyond the credit of its channel", LIMIT)
        if len(data) and offset + len(data) > c.taken:
            cut = max(0, c.taken - offset)
            c.put(offset + cut, data[cut:])
        c.highest = max(c.highest, offset + len(data))
        if sum(x.highest for x in self.inbound.values()) > self.session_told:
            raise Violation("the credit of the session was passed", LIMIT)
        if c.gaps() > 1024 or sum(x.gaps() for x in self.inbound.values()) > 4096:
            raise Violation("there are too many gaps", LIMIT)
        while (message := c.next_message()) is not None:
            sys.stdout.write(message.decode("utf-8", "replace").removesuffix("\n") + "\n")
            sys.stdout.flush()
            self.received_messages += 1
            for what in (("CHANNEL_ACK", channel), ("CREDIT_CHANNEL", channel), ("CREDIT_SESSION",)):
                self.due[what] = None                                # REQ-CH-8, 9, 10

    def on_channel_ack(self, channel, received, taken):
        if received > (self.out_at if channel == 0 else 0) or taken > received:
            raise Violation("a CHANNEL_ACK is above what was sent")  # REQ-CH-10
        if channel == 0:
            self.arrived, self.taken = max(self.arrived, received), max(self.taken, taken)
            while self.started and self.started[0] <= self.taken:    # REQ-CH-4
                self.started.popleft()
                self.figures["messages taken"] += 1

    def on_credit_session(self, offset):
        self.session_credit = max(self.session_credit, offset)       # REQ-CH-5

    def on_credit_channel(self, channel, offset):
        self.channel_credit[channel] = max(self.channel_credit[channel], offset)

    def on_path_close(self, epoch, code):
        if epoch == self.index:
            raise Failure(f"the other side closed the only path, with code {code}")

    def on_close(self, code, finals, reason):
        self.close_seen = code, finals, reason
        self.send_packet([("CLOSE_ACK",)], False)                    # REQ-CLOSE-3

    def on_close_ack(self):
        self.over = self.close_at is not None

    # -- the course of a session --

    def send_close(self, code=0):
        finals = [(0, self.out_end)] if self.arrived < self.out_end else []
        self.send_packet([("CLOSE", code, finals, b"")], False)
        now = time.monotonic()
        self.close_until = self.close_until or now + 5
        if now >= self.close_until:                                  # that was the last one
            raise Failure("everything was delivered, but no CLOSE_ACK came within 5 s")
        self.close_at = self.close_until if self.carrier.stream else min(now + self.pto(), self.close_until)

    def step(self, deadline):
        if self.close_seen is None:
            self.flush()
        now = time.monotonic()
        if now >= deadline:
            raise Failure(f"the time is over: {self.figures['messages taken']} messages taken, "
                          f"{self.received_messages} received")
        packet = self.carrier.receive(max(0, min(self.probe_at(), deadline) - now))
        while packet is not None:
            self.take_packet(packet)
            packet = self.carrier.receive(0) if not self.over else None
        self.on_timer()

    def run(self, messages, expect, deadline):
        try:
            for message in messages:
                self.say(message)
            complete = False
            while not self.over and self.close_seen is None:
                self.step(deadline)
                complete = not self.waiting and not self.started and self.received_messages >= expect
                if complete and not self.in_flight and not self.due and not self.close_at:
                    self.send_close()                                # the last CHANNEL_ACK has arrived, too
            if self.close_seen:
                self.answer_closes(deadline)
                code, finals, reason = self.close_seen
                cut = any(self.inbound[c].received < end for c, end in finals)    # REQ-CLOSE-2
                if code or cut or not complete:
                    raise Failure(f"the other side closed the session too early, with code {code} "
                                  f"{reason.decode()!r}{', and bytes are missing' if cut else ''}")
        except Violation as broken:                                  # REQ-CLOSE-4
            self.send_close(broken.code)
            raise

    def answer_closes(self, deadline):
        until = min(deadline, time.monotonic() + 3 * self.pto())     # REQ-CLOSE-3
        while time.monotonic() < until:
            try:
                packet = self.carrier.receive(until - time.monotonic())
            except Failure:
                return                                               # the stream ended, as it should
            if packet is not None:
                self.take_packet(packet)


# ---- The self-test and the command line ----

def self_test(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    checks = 0

    def same(what, got, wanted):
        nonlocal checks
        got = got.hex() if isinstance(got, (bytes, bytearray)) else got
        if got != wanted:
            raise Failure(f"{what} is {got!r}, not {wanted!r}")
        checks += 1

    raw = bytes.fromhex
    initiator, responder = vectors["initiator"], vectors["responder"]
    for side in (initiator, responder):
        for kind in ("static", "ephemeral"):
            same(kind, x25519(raw(side[kind + "_secret"])), side[kind + "_public"])
    same("mac1 key", blake(b"burdock mac1" + raw(responder["static_public"])), responder["mac1_key"])
    same("link", parse_link(responder["link"]).key, responder["static_public"])
    invite = parse_link(responder["link_with_invite"])
    same("invite id", invite.invite_id, vectors["datagram"]["invite_id"])
    same("invite secret", invite.psk, vectors["datagram"]["psk"])
    for name in ("stream", "datagram"):
        v = vectors[name]
        init, resp = raw(v["init"]), raw(v["resp"])
        shake = Handshake(raw(initiator["static_secret"]), raw(initiator["ephemeral_secret"]),
                          raw(responder["static_public"]), raw(v["psk"]), init[:8])
        same("prologue", b"burdock" + init[:8], v["prologue"])
        same("INIT", shake.init_packet(raw(v["payload1"])), v["init"])
        for at in (9, 40, len(resp) - 1):                            # a bad RESP changes nothing
            same("a bad RESP", shake.open_resp(resp[:at] + bytes([resp[at] ^ 1]) + resp[at + 1:]), None)
        payload, k1, k2 = shake.open_resp(resp)
        same("payload 2", payload, v["payload2"])
        same("steps", shake.steps, v["steps"])
        same("handshake hash", shake.h, v["handshake_hash"])
        same("k1", k1, v["key_initiator_to_responder"])
        same("k2", k2, v["key_responder_to_initiator"])
        peer_index, _, _, half, dial_number, *_ = read_payload2(payload)
        built = make_payload1(half, dial_number, raw(v["invite_id"]))
        same("payload 1", built, v["payload1"][:2 * len(built)])
        for key, side in ((k1, "initiator"), (k2, "responder")):
            d = v["data_from_" + side]
            packet, frames = raw(d["packet"]), raw(d["frames"])
            same("DATA", packet[:16] + seal(key, d["number"], packet[:16], frames), d["packet"])
            same("plaintext", unseal(key, d["number"], packet[:16], packet[16:]), d["frames"])
            same("a wrong tag", unseal(key, d["number"], packet[:16], packet[16:-1] + b"\0"), None)
            same("frames", b"".join(encode_frame(n, *f) for n, f in read_frames(frames)), d["frames"])
    for v in vectors["varints"]:
        same("varint", varint(v["value"]), v["bytes"])
        same("varint", Reader(raw(v["bytes"])).varint(), v["value"])
    for v in vectors["frames"]:
        (name, fields), = read_frames(raw(v["bytes"]))
        same("frame", name, v["frame"])
        same(name, encode_frame(name, *fields), v["bytes"])
        numbers = [int(n) for n in re.findall(r"\b\d+\b", v["says"])]
        same(name, list(flat(fields)), numbers + list(b"bye" if '"bye"' in v["says"] else b""))
    print(f"{checks} checks passed")


def flat(value):
    for x in value:
        yield from (x,) if isinstance(x, int) else flat(x)


def main():
    parser = argparse.ArgumentParser(description="An independent peer of the Burdock protocol.")
    parser.add_argument("link", nargs="?")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--identity", help="the static secret, 64 hexadecimal digits; default: a fresh one")
    parser.add_argument("--count", type=int, default=20, help="how many messages to send")
    parser.add_argument("--expect", type=int, default=0, help="how many messages to wait for")
    parser.add_argument("--timeout", type=float, default=20, help="seconds for all of it")
    parser.add_argument("--self-test", metavar="VECTORS")
    options = parser.parse_args()
    try:
        if options.self_test:
            return self_test(options.self_test)
        if not options.link:
            parser.error("a link is needed")
        link = parse_link(options.link)
        static = bytes.fromhex(options.identity) if options.identity else secrets.token_bytes(32)
        port = getattr(link, options.transport)
        if port is None or len(static) != 32:
            raise Failure("the link has no such transport, or the identity has not 32 bytes")
        started = time.monotonic()
        deadline = started + options.timeout
        carrier = {"udp": Udp, "tcp": Tcp}[options.transport](link.host, port, deadline)
        session = dial(link, carrier, static, deadline)
        session.run([f"python {i}".encode() for i in range(options.count)], options.expect, deadline)
        figures = ", ".join(f"{count} {what}" for what, count in session.figures.items())
        print(f"closed in {time.monotonic() - started:.3f} s: {session.received_messages} messages received, {figures}",
              file=sys.stderr)
    except (Failure, OSError, ValueError) as error:
        print(f"peer.py: {error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
