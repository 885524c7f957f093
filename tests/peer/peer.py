#!/usr/bin/env python3
"""An independent peer of the Burdock protocol, version 1: it dials, over one path, UDP or TCP.

Written from docs/protocol.md alone; Python 3.10, standard library only. MIT OR Apache-2.0.

    peer.py LINK [--transport udp|tcp] [--count N] [--expect M] [--loss PERCENT]
    peer.py --self-test docs/vectors.json

It sends "python 0" .. "python N-1" on channel 0, prints every message that it receives, and closes the session
when all of its own were taken and M came. Exit status 0; else 1 and one sentence. REQ-.. are the requirements
of the specification. The cryptography is slow and takes time that depends on secrets: for tests alone.
"""
import argparse, base64, collections, copy, hashlib, hmac, json, random, re
import secrets, select, socket, struct, sys, time

INIT, RESP, DATA = 0x08, 0x09, 0x0B
PACKET, OVERHEAD, MAX_PACKET, WINDOW, REPLAY = 1200, 32, 16_384, 64, 8192
MAX_MESSAGE, SESSION_CREDIT, CHANNEL_CREDIT = 262_144, 4_194_304, 1_048_576
ACK_DELAY, CLOSE_DEADLINE, PROTOCOL, LIMIT = 0.025, 5.0, 1, 2
PIECE = 1000                                        # bytes of a STREAM frame: it fits a packet with an ACK


class Failure(Exception):
    """The session cannot go on; the sentence for the user."""


class Violation(Failure):
    """The other side broke a rule that ends the session with a CLOSE of this code."""
    def __init__(self, sentence, code=PROTOCOL):
        super().__init__(sentence)
        self.code = code


# ---- X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439), BLAKE2s, HKDF ----

def x25519(scalar, point=(9).to_bytes(32, "little")):
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & (2**254 - 8) | 2**254
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in range(254, -1, -1):
        swap = k >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        e = aa - bb
        x2, z2, x3, z3 = aa * bb % p, e * (aa + 121665 * e) % p, (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
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
    stream = b"".join(chacha20_block(key, 1 + i, nonce) for i in range((len(data) + 63) // 64))
    return bytes(a ^ b for a, b in zip(data, stream))

def poly1305(key, nonce, ad, cipher):
    one_time = chacha20_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    text = ad + bytes(-len(ad) % 16) + cipher + bytes(-len(cipher) % 16) + struct.pack("<QQ", len(ad), len(cipher))
    total = 0
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i:i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(one_time[16:32], "little")) % 2**128).to_bytes(16, "little")

def seal(key, number, ad, plain):
    nonce = bytes(4) + struct.pack("<Q", number)                     # REQ-PKT-6
    cipher = chacha20(key, nonce, plain)
    return cipher + poly1305(key, nonce, ad, cipher)

def unseal(key, number, ad, sealed):
    """The plaintext, or None when the tag is wrong."""
    nonce, cipher = bytes(4) + struct.pack("<Q", number), sealed[:-16]
    return chacha20(key, nonce, cipher) if hmac.compare_digest(poly1305(key, nonce, ad, cipher), sealed[-16:]) else None

def blake(data):
    return hashlib.blake2s(data).digest()

def hkdf(ck, data):
    t = hmac.digest(ck, data, "blake2s")
    o1 = hmac.digest(t, b"\x01", "blake2s")
    o2 = hmac.digest(t, o1 + b"\x02", "blake2s")
    return o1, o2, hmac.digest(t, o2 + b"\x03", "blake2s")


# ---- The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the initiator's side ----

class Handshake:
    def __init__(self, static, ephemeral, responder, psk, header):
        self.static, self.ephemeral, self.responder, self.psk, self.header = static, ephemeral, responder, psk, header
        self.h = self.ck = blake(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.mix_hash(b"burdock" + header)
        self.mix_hash(responder)

    def mix_hash(self, data):
        self.h = blake(self.h + data)

    def mix_key(self, data):
        self.ck, self.k, _ = hkdf(self.ck, data)

    def encrypt(self, plain):
        cipher = seal(self.k, 0, self.h, plain)
        self.mix_hash(cipher)
        return cipher

    def init_packet(self, payload):
        public = x25519(self.ephemeral)
        self.mix_hash(public)
        self.mix_key(public)
        self.mix_key(dh(self.ephemeral, self.responder))
        sealed_static = self.encrypt(x25519(self.static))
        self.mix_key(dh(self.static, self.responder))
        packet = self.header + public + sealed_static + self.encrypt(payload)
        key = blake(b"burdock mac1" + self.responder)
        return packet + hashlib.blake2s(packet, key=key, digest_size=16).digest() + bytes(16)

    def open_resp(self, packet):
        """(payload 2, k1, k2)."""
        self.mix_hash(packet[8:40])
        self.mix_key(packet[8:40])
        self.mix_key(dh(self.ephemeral, packet[8:40]))
        self.mix_key(dh(self.static, packet[8:40]))
        self.ck, extra, self.k = hkdf(self.ck, self.psk)
        self.mix_hash(extra)
        payload = unseal(self.k, 0, self.h, packet[40:])
        if payload is None:
            raise Failure("the other side sent a RESP that cannot be opened")
        self.mix_hash(packet[40:])
        return payload, *hkdf(self.ck, b"")[:2]

Limits = collections.namedtuple("Limits", "max_message session channel max_packet")

def make_payload1(half, dial_number, invite_id):
    limits = struct.pack(">IIIIHB", 0, MAX_MESSAGE, SESSION_CREDIT, CHANNEL_CREDIT, MAX_PACKET, 1) + b"\x01"
    return struct.pack(">QQII", half, 0, dial_number, 0) + invite_id + limits

def read_payload2(payload):
    """(the responder's index, the echoes, its limits); Failure when it is invalid or says closed (REQ-HS-4, 6)."""
    try:
        index, our_index, half, our_half, dial_number, verdict = struct.unpack_from(">IIQQIB", payload)
        code, at = (struct.unpack_from(">H", payload, 29)[0], 31) if verdict == 3 else (None, 29)
        _, message, session, channel, packet, versions = struct.unpack_from(">IIIIHB", payload, at + 1)
        version, spoken = payload[at], payload[at + 20:at + 20 + versions]
        at += 20 + versions
        if version != 1 or 1 not in spoken:
            raise Failure("the RESP has another version")
        if not half or verdict > 3 or packet < PACKET or versions > 8:
            raise Failure("a field of the RESP is out of range")
        while any(payload[at:at + 2]):
            kind, length = struct.unpack_from(">HH", payload, at)
            at += 4 + length
            if kind % 2 == 0:
                raise Failure("the RESP has an extension that is not known here")
    except struct.error:
        raise Failure("the RESP is cut")
    if at > len(payload) or any(payload[at:]):
        raise Failure("the RESP is cut, or its padding is not zero")
    return index, (our_index, our_half, dial_number), code, Limits(message, session, channel, packet)


# ---- Frames ----

def varint(n):
    size, top = next((s, t) for s, t in ((1, 0), (2, 1), (4, 2), (8, 3)) if n < 1 << 8 * s - 2)
    return (top << 8 * size - 2 | n).to_bytes(size, "big")


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

# b: u8; w: epoch, u32; v: varint; c: counted; 8: eight bytes; t: text; a, o: the ranges of ACK, the offsets of CLOSE.
FRAMES = {0x00: ("PAD", ""), 0x01: ("PING", ""), 0x02: ("ACK", "wva"), 0x03: ("CONFIRM", ""),
          0x04: ("CHANNEL_ACK", "bvv"), 0x05: ("CREDIT_SESSION", "v"), 0x06: ("CREDIT_CHANNEL", "bv"),
          0x08: ("STREAM", "bvc"), 0x0A: ("DGRAM", "bvvvvc"), 0x0C: ("CHALLENGE", "8"), 0x0D: ("RESPONSE", "8"),
          0x0E: ("USE_PATH", "vw"), 0x0F: ("PATH_CLOSE", "wv"), 0x10: ("CLOSE", "vot"), 0x11: ("CLOSE_ACK", "")}
TYPES = {name: (kind, layout) for kind, (name, layout) in FRAMES.items()}
NOT_ELICITING = {"PAD", "ACK", "CLOSE", "CLOSE_ACK"}                 # REQ-FRM-1

def put_ranges(ranges):
    """(low, high) pairs, the highest first (REQ-FRM-3)."""
    (low, high), *rest = ranges
    out = varint(high) + varint(len(rest)) + varint(high - low)
    for next_low, next_high in rest:
        out += varint(low - next_high - 2) + varint(next_high - next_low)
        low = next_low
    return out

def take_ranges(r):
    high, more, first = r.varint(), r.varint(), r.varint()
    ranges = [(high - first, high)]
    for _ in range(min(more, 32)):
        high = ranges[-1][0] - r.varint() - 2
        ranges.append((high - r.varint(), high))
    if more > 31 or ranges[-1][0] < 0:
        raise Violation("an ACK has too many ranges, or goes below packet 0")
    return ranges

def take_offsets(r):
    count = r.varint()
    if count > 64:
        raise Violation("a CLOSE has more than 64 offsets")
    return [(r.take(1)[0], r.varint()) for _ in range(count)]

def take_text(r):
    text = r.take(r.varint())
    if len(text) > 256 or text.decode("utf-8", "ignore").encode() != text:
        raise Violation("the reason of a CLOSE is too long or not UTF-8")
    return text.decode()

PUT = {"b": lambda n: bytes([n]), "w": lambda n: struct.pack(">I", n), "v": varint, "8": bytes, "a": put_ranges,
       "c": lambda data: varint(len(data)) + data, "t": lambda text: PUT["c"](text.encode()),
       "o": lambda offsets: varint(len(offsets)) + b"".join(bytes([c]) + varint(o) for c, o in offsets)}
TAKE = {"b": lambda r: r.take(1)[0], "w": lambda r: int.from_bytes(r.take(4), "big"), "v": Reader.varint,
        "8": lambda r: r.take(8), "a": take_ranges, "c": lambda r: r.take(r.varint()), "o": take_offsets,
        "t": take_text}

def encode_frame(name, *fields):
    kind, layout = TYPES[name]
    return bytes([kind]) + b"".join(PUT[how](value) for how, value in zip(layout, fields))

def read_frames(plain):
    """Yields (name, fields) one by one, so that the frames before a bad one are acted on (REQ-FRM-2)."""
    r = Reader(plain)
    while r.at < len(plain):
        kind = r.take(1)[0]                                          # every known type has one byte
        if kind not in FRAMES:
            raise Violation(f"frame type {kind:#x} is unknown or not in its shortest form")
        name, layout = FRAMES[kind]
        fields = [TAKE[how](r) for how in layout]
        if (name in ("CLOSE", "PATH_CLOSE") and fields[name == "PATH_CLOSE"] > 65_535
                or name == "STREAM" and fields[1] + len(fields[2]) >= 2**62):
            raise Violation(f"a field of a {name} is out of range")
        yield name, fields


# ---- Links, and what carries packets ----

Link = collections.namedtuple("Link", "key host udp tcp invite_id psk")

def parse_link(text):
    shape = re.fullmatch(r"(?i:burdock)://(\w{52})@\[?([^]@?/]+?)\]?:(\d+)(?:\?(.+))?", text)
    if not shape:
        raise Failure("this is not a burdock link with a host")
    key, host, port, query = shape.groups()
    options = dict(part.split("=", 1) for part in query.split("&")) if query else {}
    base32 = lambda part: base64.b32decode(part.upper() + "=" * (-len(part) % 8))
    invite_id, _, psk = options.get("invite", "").partition(".")
    tcp = options.get("tcp", port)
    return Link(base32(key), host, None if "udp" in options else int(port), None if tcp == "off" else int(tcp),
                base32(invite_id) or bytes(8), base32(psk) or bytes(32))      # REQ-HS-1


class Udp:
    stream, transport = False, 0

    def __init__(self, host, port, loss):
        family, _, _, _, self.target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket, self.loss = socket.socket(family, socket.SOCK_DGRAM), loss

    def send(self, packet):
        if random.random() >= self.loss:
            self.socket.sendto(packet, self.target)

    def receive(self, timeout):
        """The next packet, from any source (REQ-PKT-5), or None."""
        if select.select([self.socket], [], [], max(0, timeout))[0]:
            packet = self.socket.recvfrom(65_535)[0]
            return packet if random.random() >= self.loss else None

    def refuse(self, why):
        """A packet that is not allowed here is dropped (REQ-PKT-4)."""


class Tcp:
    stream, transport = True, 1

    def __init__(self, host, port, _):
        self.socket, self.buffer = socket.create_connection((host, port), 10), b""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, packet):
        self.socket.sendall(struct.pack(">H", len(packet)) + packet)     # REQ-PKT-2

    def receive(self, timeout):
        while True:
            length = int.from_bytes(self.buffer[:2], "big")
            if len(self.buffer) >= 2 and not 17 <= length <= MAX_PACKET:
                self.refuse("a packet of a length that no stream has")
            if len(self.buffer) >= 2 + length > 2:
                packet, self.buffer = self.buffer[2:2 + length], self.buffer[2 + length:]
                return packet
            if not select.select([self.socket], [], [], max(0, timeout))[0]:
                return None
            data = self.socket.recv(65_536)
            if not data:
                raise Failure("the other side closed the stream")
            self.buffer += data

    def refuse(self, why):
        raise Failure(f"the other side sent {why}")

def dial(link, carrier, static, deadline):
    """Completes one handshake and returns its session."""
    index, half, dial_number = 1 + secrets.randbelow(2**32 - 1), 1 + secrets.randbelow(2**64 - 1), 1
    header = struct.pack(">BBBBI", INIT, 1, 0, carrier.transport, index)
    shake = Handshake(static, secrets.token_bytes(32), link.key, link.psk, header)
    payload = make_payload1(half, dial_number, link.invite_id)
    init = shake.init_packet(payload if carrier.stream else payload.ljust(1064, b"\0"))
    bad, wait, resend_at = 0, 1.0, 0.0
    while time.monotonic() < deadline:
        if time.monotonic() >= resend_at:                            # REQ-HS-2, 15: the same bytes
            carrier.send(init)
            wait, resend_at = min(16.0, wait * 2), deadline if carrier.stream else time.monotonic() + wait
        packet = carrier.receive(min(deadline, resend_at) - time.monotonic())
        if packet is None:
            continue
        length_fits = 56 <= len(packet) <= PACKET if carrier.stream else len(packet) == PACKET
        if not length_fits or packet[:8] != struct.pack(">BBHI", RESP, 1, 0, index):
            carrier.refuse("a packet that is not a RESP to this INIT")
            continue
        if bad >= 8:                                                 # REQ-HS-3
            continue
        try:
            payload, k1, k2 = copy.copy(shake).open_resp(packet)     # a bad one leaves no trace
            peer_index, echoes, code, limits = read_payload2(payload)
            if echoes != (index, half, dial_number):
                raise Failure("the RESP does not echo this INIT")    # REQ-HS-6
        except Failure:
            bad += 1
            if carrier.stream:                                       # REQ-HS-3
                raise
            continue
        if code is not None:
            raise Failure(f"the other side says that this session ended, with code {code}")
        return Session(carrier, k1, k2, index, peer_index, limits, chooser=x25519(static) < link.key)
    raise Failure("nobody completed the handshake in time")


# ---- The session ----

class Ranges:
    """A set of numbers as sorted, disjoint [low, high] spans."""
    def __init__(self):
        self.spans = []

    def __contains__(self, n):
        return any(low <= n <= high for low, high in self.spans)

    def add(self, low, high):
        near = [(a, b) for a, b in self.spans if b >= low - 1 and a <= high + 1]
        union = min([low] + [a for a, _ in near]), max([high] + [b for _, b in near])
        self.spans = sorted([span for span in self.spans if span not in near] + [union])


class Inbound:
    """One channel in: bytes by offset, cut into messages."""
    def __init__(self):
        self.received = self.taken = self.highest = 0
        self.told, self.pieces, self.ready = CHANNEL_CREDIT, {}, b""

    def put(self, offset, data):
        if offset + len(data) > self.received and len(data) > len(self.pieces.get(offset, b"")):
            self.pieces[offset] = data
        for at in sorted(self.pieces):                               # REQ-CH-6
            if at > self.received:
                break
            new = self.pieces.pop(at)[self.received - at:]
            self.ready, self.received = self.ready + new, self.received + len(new)

    def next_message(self):
        size = 1 << (self.ready[0] >> 6) if self.ready else 1
        if len(self.ready) < size:
            return None
        length = Reader(self.ready).varint()
        if length > MAX_MESSAGE:
            raise Violation("a message is longer than max_message", LIMIT)    # REQ-CH-7
        if len(self.ready) < size + length:
            return None
        message, self.ready = self.ready[size:size + length], self.ready[size + length:]
        self.taken += size + length
        return message


class Session:
    def __init__(self, carrier, k_send, k_receive, index, peer_index, limits, chooser):
        self.carrier, self.k_send, self.k_receive = carrier, k_send, k_receive
        self.index, self.peer_index, self.limits = index, peer_index, limits
        self.smoothed, self.deviation, self.probes, self.last_eliciting = 0.333, 0.333 / 2, 0, 0.0
        self.next_number, self.in_flight = 0, {}                     # number: (time, frames)
        self.seen, self.highest_at, self.ack_owed = Ranges(), 0.0, False
        # Frames to send. CHANNEL_ACK and CREDIT stand there without values, which are read when they go out.
        self.due = collections.deque([("CONFIRM",)] + [("USE_PATH", 1, peer_index)] * chooser)
        self.waiting, self.started = collections.deque(), collections.deque()    # messages; ends not yet taken
        self.out_end = self.arrived = 0
        self.channel_credit, self.session_credit = limits.channel, limits.session
        self.inbound, self.session_told = collections.defaultdict(Inbound), SESSION_CREDIT
        self.received_messages, self.over, self.close_seen = 0, False, None
        self.close_until, self.close_at = None, float("inf")         # the deadline, and when CLOSE is said again

    def pto(self):                                                   # REQ-TIME-5
        return self.smoothed + max(4 * self.deviation, 0.001) + ACK_DELAY

    def send_packet(self, frames):
        """Frames in flight are remembered; CLOSE is repeated by close()."""
        frames = [self.newest(*frame) for frame in frames]
        header = struct.pack(">B3xIQ", DATA, self.peer_index, self.next_number)
        plain = b"".join(encode_frame(*frame) for frame in frames)
        self.carrier.send(header + seal(self.k_send, self.next_number, header, plain))
        if any(frame[0] not in NOT_ELICITING for frame in frames):
            self.last_eliciting = time.monotonic()
            self.in_flight[self.next_number] = self.last_eliciting, frames
        self.next_number += 1                                        # REQ-PKT-7

    def newest(self, name, *fields):
        """A frame with its newest values (REQ-FRM-9, REQ-CH-8)."""
        channel = self.inbound[fields[0]] if name in ("CHANNEL_ACK", "CREDIT_CHANNEL") else None
        if name == "CHANNEL_ACK":
            return name, fields[0], channel.received, channel.taken
        if name == "CREDIT_CHANNEL":
            channel.told = channel.taken + CHANNEL_CREDIT
            return name, fields[0], channel.told
        if name == "CREDIT_SESSION":
            self.session_told = sum(c.taken for c in self.inbound.values()) + SESSION_CREDIT
            return name, self.session_told
        return name, *fields                                         # all others say what they say

    def flush(self):
        """Sends what is due, as far as a window of 64 packets allows (REQ-TIME-7)."""
        self.start_messages()
        while self.ack_owed or (self.due and len(self.in_flight) < WINDOW):
            frames = []
            if self.ack_owed:                                        # REQ-TIME-1, 2, 3
                delay = int((time.monotonic() - self.highest_at) * 1e6)
                frames.append(("ACK", self.peer_index, delay, self.seen.spans[:-17:-1]))
                self.ack_owed = False
            if len(self.in_flight) < WINDOW:
                frames += self.take_due(PACKET - OVERHEAD - sum(len(encode_frame(*f)) for f in frames))
            self.send_packet(frames)

    def take_due(self, room):
        frames = []
        while self.due and room >= (size := len(encode_frame(*self.newest(*self.due[0])))):
            frames.append(self.due.popleft())
            room -= size
        return frames

    def start_messages(self):
        while self.waiting and len(self.started) < 65_536:           # REQ-CH-1, 2; one channel: its end is the sum
            message = varint(len(self.waiting[0])) + self.waiting[0]
            if self.out_end + len(message) > min(self.channel_credit, self.session_credit):
                return
            self.waiting.popleft()
            for at in range(0, len(message), PIECE):
                self.due.append(("STREAM", 0, self.out_end + at, message[at:at + PIECE]))
            self.out_end += len(message)
            self.started.append(self.out_end)

    def say_again(self, frames):
        """What a lost packet said, if it still matters (REQ-FRM-9)."""
        for name, *fields in reversed(frames):
            if name in ("CHANNEL_ACK", "CREDIT_CHANNEL", "CREDIT_SESSION"):
                self.owe(name, *fields[:1] if name != "CREDIT_SESSION" else ())
            elif name in ("CONFIRM", "USE_PATH") or name == "STREAM" and fields[1] + len(fields[2]) > self.arrived:
                self.due.appendleft((name, *fields))

    def owe(self, *frame):
        if frame not in self.due:
            self.due.append(frame)

    def probe_at(self):
        """Of the next PTO; streams have none (REQ-TIME-5, 6)."""
        if self.carrier.stream or not self.in_flight:
            return float("inf")
        return self.last_eliciting + max(min(self.pto() * 2**self.probes, 10), self.pto())

    def probe(self):
        self.probes += 1
        for number in sorted(n for n in self.in_flight if self.in_flight[n][1])[:2]:
            sent, frames = self.in_flight[number]
            self.in_flight[number] = sent, []
            self.say_again(frames)
        self.send_packet(self.take_due(PACKET - OVERHEAD) or [("PING",)])

    def take_packet(self, packet):
        """Checks one packet (REQ-PKT-4, 8, 9, 10) and acts on its frames."""
        number = int.from_bytes(packet[8:16], "big")
        highest = self.seen.spans[-1][1] if self.seen.spans else -1
        stale = number != highest + 1 if self.carrier.stream else number in self.seen or number <= highest - REPLAY
        fits = OVERHEAD <= len(packet) <= MAX_PACKET and packet[:8] == struct.pack(">BxxxI", DATA, self.index)
        plain = unseal(self.k_receive, number, packet[:16], packet[16:]) if fits and not stale else None
        if plain is None:
            return self.carrier.refuse("a packet that is not the next one of this path")
        self.seen.add(number, number)
        if number > highest:
            self.highest_at = time.monotonic()
        for name, fields in read_frames(plain):
            if self.close_seen is None or name == "CLOSE":           # REQ-CLOSE-3
                self.ack_owed |= name not in NOT_ELICITING
                self.act(name, fields)

    def act(self, name, fields):
        """What a frame leads to; nothing in the case of those that are not named here."""
        match name, fields:
            case "ACK", (self.index, _, ranges):
                self.on_ack(ranges)
            case ("CONFIRM" | "DGRAM"), _:
                raise Violation(f"a {name} came")                    # REQ-FRM-4, 5
            case "CHALLENGE", (data,):
                self.due.append(("RESPONSE", data))                  # REQ-FRM-6
            case "STREAM", (channel, offset, data):
                self.on_stream(channel, offset, data)
            case "CHANNEL_ACK", (channel, received, taken):
                if received > (self.out_end if channel == 0 else 0) or taken > received:
                    raise Violation("a CHANNEL_ACK is above what was sent")      # REQ-CH-10
                self.arrived = max(self.arrived, received)
                while self.started and self.started[0] <= taken:     # REQ-CH-4
                    self.started.popleft()
            case "CREDIT_SESSION", (offset,):
                self.session_credit = max(self.session_credit, offset)           # REQ-CH-5
            case "CREDIT_CHANNEL", (0, offset):
                self.channel_credit = max(self.channel_credit, offset)
            case "PATH_CLOSE", (self.index, code):
                raise Failure(f"the other side closed the only path, with code {code}")
            case "CLOSE", (code, offsets, reason):
                cut = any(self.inbound[channel].received < end for channel, end in offsets)    # REQ-CLOSE-6
                self.close_seen = self.close_seen or (code, reason + " (bytes are missing)" * cut)
                self.send_packet([("CLOSE_ACK",)])                   # REQ-CLOSE-3
            case "CLOSE_ACK", _:
                self.over |= self.close_until is not None            # REQ-FRM-7

    def on_ack(self, ranges):
        largest = ranges[0][1]
        if largest >= self.next_number:
            raise Violation("an ACK names a packet that was never sent")
        new = [n for n in self.in_flight if any(low <= n <= high for low, high in ranges)]
        if largest in new:
            sample = time.monotonic() - self.in_flight[largest][0]
            self.deviation = 0.75 * self.deviation + 0.25 * abs(self.smoothed - sample)
            self.smoothed = 0.875 * self.smoothed + 0.125 * sample
        for number in new:
            self.probes = 0
            del self.in_flight[number]
        for number in sorted(self.in_flight) if not self.carrier.stream else ():
            if number <= largest - 3:                                # REQ-TIME-4; the PTO sees to losses by time
                self.say_again(self.in_flight.pop(number)[1])

    def on_stream(self, channel, offset, data):
        c, end = self.inbound[channel], offset + len(data)
        arrived = sum(x.highest for x in self.inbound.values()) + max(0, end - c.highest)
        if end > c.told or arrived > self.session_told:              # REQ-CH-7
            raise Violation("a STREAM frame goes beyond the credit", LIMIT)
        if data:
            c.highest = max(c.highest, end)
            c.put(offset, data)
        while (message := c.next_message()) is not None:
            print(message.decode("utf-8", "replace"), flush=True)
            self.received_messages += 1
            for frame in (("CHANNEL_ACK", channel), ("CREDIT_CHANNEL", channel), ("CREDIT_SESSION",)):
                self.owe(*frame)                                     # REQ-CH-8, 9, 10

    def listen(self, until):
        packet = self.carrier.receive(until - time.monotonic())
        while packet is not None and not self.over:
            self.take_packet(packet)
            packet = self.carrier.receive(0)

    def run(self, messages, expect, deadline):
        longest = min(self.limits.max_message, self.limits.session - 8, self.limits.channel - 8)    # REQ-CH-3
        if any(len(message) > longest for message in messages):
            raise Failure("a message is longer than the other side takes")
        self.waiting.extend(messages)
        try:
            while self.close_seen is None and not self.over:
                self.flush()
                self.close_in_peace(self.received_messages >= expect)
                if time.monotonic() >= deadline:
                    raise Failure(f"the time is over: {len(self.waiting) + len(self.started)} messages are not taken, "
                                  f"{self.received_messages} were received")
                self.listen(min(self.probe_at(), self.close_at, deadline))
                if time.monotonic() >= self.probe_at():
                    self.probe()
        except Violation as broken:                                  # REQ-CLOSE-5
            self.send_packet([("CLOSE", broken.code, [], "")])
            raise
        if self.close_seen:
            self.answer_closes()
            if self.close_until is None or self.close_seen[0]:
                raise Failure("the other side closed the session early, with code {} {}".format(*self.close_seen))

    def close_in_peace(self, complete):
        """CLOSE, when all is taken and acknowledged, the last CHANNEL_ACK too (REQ-CLOSE-1, 2)."""
        now = time.monotonic()
        if self.close_until is None:
            if not complete or self.waiting or self.started or self.in_flight or self.due:
                return
            self.close_until = self.close_at = now + CLOSE_DEADLINE
        elif now >= self.close_until:
            raise Failure("everything was delivered, but no CLOSE_ACK came within 5 s")
        elif now < self.close_at:
            return
        self.send_packet([("CLOSE", 0, [], "")])
        self.close_at = self.close_until if self.carrier.stream else min(self.close_until, now + self.pto())

    def answer_closes(self):
        until = time.monotonic() + max(3 * self.pto(), CLOSE_DEADLINE)
        try:
            while time.monotonic() < until:
                self.listen(until)
        except (Failure, OSError):
            pass                                                     # the stream ended, as it should


# ---- The self-test and the command line ----

def self_test(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    raw, checks = bytes.fromhex, []

    def same(what, got, wanted):
        if got != (raw(wanted) if isinstance(got, bytes) else wanted):
            raise Failure(f"{what} is {got!r}, not {wanted!r}")
        checks.append(what)

    initiator, responder = vectors["initiator"], vectors["responder"]
    same("public key", x25519(raw(initiator["static_secret"])), initiator["static_public"])
    link = parse_link(responder["link_with_invite"])
    same("key in the link", link.key, responder["static_public"])
    same("invite id", link.invite_id, vectors["datagram"]["invite_id"])
    for v in vectors["stream"], vectors["datagram"]:
        shake = Handshake(raw(initiator["static_secret"]), raw(initiator["ephemeral_secret"]), link.key,
                          raw(v["psk"]), raw(v["init"])[:8])
        same("INIT", shake.init_packet(raw(v["payload1"])), v["init"])
        payload, k1, k2 = shake.open_resp(raw(v["resp"]))
        same("payload 2", payload, v["payload2"])
        same("handshake hash", shake.h, v["handshake_hash"])
        built = make_payload1(*read_payload2(payload)[1][1:], raw(v["invite_id"]))
        same("payload 1", built, v["payload1"][:2 * len(built)])
        for key, name in (k1, "data_from_initiator"), (k2, "data_from_responder"):
            packet, frames = raw(v[name]["packet"]), v[name]["frames"]
            same("DATA", unseal(key, v[name]["number"], packet[:16], packet[16:]), frames)
            same("DATA", packet[:16] + seal(key, v[name]["number"], packet[:16], raw(frames)), v[name]["packet"])
    for v in vectors["varints"]:
        same("varint", varint(v["value"]), v["bytes"])
        same("varint", Reader(raw(v["bytes"])).varint(), v["value"])
    for v in vectors["frames"]:
        (name, fields), = read_frames(raw(v["bytes"]))
        same("frame", name, v["frame"])
        same(name, encode_frame(name, *fields), v["bytes"])
    print(f"{len(checks)} checks passed")

def main():
    parser = argparse.ArgumentParser(description="An independent peer of the Burdock protocol.")
    parser.add_argument("link", nargs="?")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--count", type=int, default=20, help="how many messages to send")
    parser.add_argument("--expect", type=int, default=0, help="how many messages to wait for")
    parser.add_argument("--timeout", type=float, default=20, help="seconds for all of it")
    parser.add_argument("--loss", type=float, default=0, help="percent of datagrams to drop, each way")
    parser.add_argument("--self-test", metavar="VECTORS")
    options = parser.parse_args()
    try:
        if options.self_test:
            return self_test(options.self_test)
        link, deadline = parse_link(options.link or ""), time.monotonic() + options.timeout
        port = getattr(link, options.transport)
        if port is None:
            raise Failure("the link does not have this transport")
        carrier = {"udp": Udp, "tcp": Tcp}[options.transport](link.host, port, options.loss / 100)
        session = dial(link, carrier, secrets.token_bytes(32), deadline)
        session.run([f"python {i}".encode() for i in range(options.count)], options.expect, deadline)
    except (Failure, OSError, ValueError) as error:
        print(f"peer.py: {error}.", file=sys.stderr)
        return 1

if __name__ == "__main__":
    sys.exit(main())
