# What is tried from inside a sandbox: python3 -c PROBE COMMAND ARGUMENT...
# Where programs are told of a proxy, connections are made through it.
import errno, hashlib, os, re, select, socket, ssl, sys, time

PROXY = os.environ.get("http_proxy")
WAIT = 40


class Answered(Exception):
    """The proxy said no, with this status."""


def word(error):
    if isinstance(error, Answered):
        return str(error)
    if isinstance(error, socket.timeout):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "noname"
    return errno.errorcode.get(error.errno, repr(error))


def direct(host, port, timeout=WAIT):
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    stream = socket.socket(family, kind, protocol)
    stream.settimeout(timeout)
    stream.connect(address)
    connected(stream)
    return stream


# Linux puts an ICMP error into the queue of errors, which wakes whoever polls, a moment before it is the error of the socket
# (tcp_v4_err): whoever asks in between takes the connection for one that was made.
def connected(stream):
    try:
        stream.getpeername()
    except OSError:
        hung_up = select.poll()
        hung_up.register(stream, 0)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            hung_up.poll(100)
            error = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "it was not connected")
        raise


def proxied(host, port, timeout=WAIT):
    stream = direct("127.0.0.1", 3128, timeout)
    name = "[%s]" % host if ":" in host else host
    stream.sendall(("CONNECT %s:%s HTTP/1.1\r\n\r\n" % (name, port)).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.recv(1)
        if not more:
            raise Answered("ended")
        head += more
    status = head.split()[1].decode()
    if status != "200":
        raise Answered(status)
    return stream


dial = proxied if PROXY else direct


def say(*words):
    print(*words, flush=True)


def timed(host, port, connect, timeout):
    begun = time.monotonic()
    try:
        connect(host, port, timeout).close()
        how = "ok"
    except (OSError, Answered) as error:
        how = word(error)
    say(host, port, how, int((time.monotonic() - begun) * 1000))


def targets(arguments):
    return [target.rsplit("|", 1) for target in arguments]


# HOST|PORT...: what connecting to each ends with, and after how many milliseconds.
def tcp(*arguments):
    for host, port in targets(arguments):
        timed(host, port, dial, WAIT)


# The same, whatever is said about a proxy.
def straight(*arguments):
    for host, port in targets(arguments):
        timed(host, port, direct, WAIT)


def impatient(seconds, *arguments):
    for host, port in targets(arguments):
        timed(host, port, dial, float(seconds))


# Bytes there, our end closed, and the same bytes back.
def echo(host, port, size):
    sent = os.urandom(int(size))
    with dial(host, port) as stream:
        back = hashlib.sha256()
        count = at = 0
        stream.setblocking(False)
        shut = False
        while True:
            writable = [stream] if not shut else []
            readable, writable, _ = select.select([stream], writable, [], WAIT)
            assert readable or writable, "nothing happens"
            if writable:
                if at < len(sent):
                    at += stream.send(sent[at : at + 65536])
                else:
                    stream.shutdown(socket.SHUT_WR)
                    shut = True
            if readable:
                part = stream.recv(65536)
                if not part:
                    break
                count += len(part)
                back.update(part)
    say(count, back.hexdigest() == hashlib.sha256(sent).hexdigest(), shut)


# Many connections at once, each with its own bytes.
def many(host, port, count):
    streams = [dial(host, port) for _ in range(int(count))]
    for number, stream in enumerate(streams):
        stream.sendall(b"number %d\n" % number)
    good = 0
    for number, stream in enumerate(streams):
        want = b"number %d\n" % number
        got = b""
        while len(got) < len(want):
            part = stream.recv(100)
            if not part:
                break
            got += part
        good += got == want
    say(good)


# Many connections, on which nothing is read, until the input ends.
def manydeaf(host, port, count):
    streams = []
    for number in range(int(count)):
        stream = dial(host, port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(b"deaf-%d\n" % number)
        streams.append(stream)
    say("connected")
    sys.stdin.read()


# As many connections as can be had, held until the input ends.
def hoard(host, port, count):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (int(count) + 100, int(count) + 100))
    streams = []
    for _ in range(int(count)):
        stream = socket.socket()
        streams.append(stream)
        if not PROXY:
            stream.setblocking(False)
            stream.connect_ex((host, int(port)))
            continue
        try:
            stream.connect(("127.0.0.1", 3128))
            stream.sendall(("CONNECT %s:%s HTTP/1.1\r\n\r\n" % (host, port)).encode())
        except OSError:
            pass
    say("begun")
    sys.stdin.read()


# Questions, as fast as they can be sent.
def questions(count):
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.connect(("192.0.0.1", 53))
    say("begun")
    for number in range(int(count)):
        label = b"q%d" % number
        name = bytes([len(label)]) + label + b"\x04test\x00"
        stream.send(number.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01")
    say("sent")


# Whatever address is ours: everything is, in here. What comes back is counted, for a while.
def spoof(source, port, host, to):
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.bind((source, int(port)))
    stream.settimeout(2)
    stream.sendto(b"x" * 77, (host, int(to)))
    try:
        say("back", len(stream.recv(1000)))
    except OSError as error:
        say(word(error))


# A connection from a chosen address of ours.
def bound(source, host, port):
    stream = socket.socket()
    stream.settimeout(5)
    try:
        stream.bind((source, 0))
        stream.connect((host, int(port)))
        connected(stream)
        say("ok")
    except OSError as error:
        say(word(error))


# The first bytes within the first packet, as far as the kernel does that.
def fastopen(host, port):
    stream = socket.socket()
    stream.sendto(b"early", socket.MSG_FASTOPEN, (host, int(port)))
    say(stream.recv(100).decode())


def ping(host):
    try:
        stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        stream.settimeout(1)
        stream.sendto(b"\x08\x00\x00\x00\x00\x00\x00\x01", (host, 0))
        say("answered", len(stream.recv(1000)))
    except OSError as error:
        say(word(error))


# A connection that lives until somebody ends it.
def hold(host, port, name):
    stream = dial(host, port)
    stream.sendall(name.encode() + b"\n")
    assert stream.recv(3) == b"ok\n"
    say("held")
    stream.settimeout(None)
    try:
        said = stream.recv(1)
        say("ended", "eof" if not said else "bytes")
    except OSError as error:
        say("ended", word(error))


# Connects, and reads nothing.
def deaf(host, port, name):
    stream = dial(host, port)
    stream.sendall(name.encode() + b"\n")
    say("connected")
    sys.stdin.read()


# Datagrams that are to come back, so many under way at a time.
def udp(host, port, size, count, window=1):
    size, count, window = int(size), int(count), int(window)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    stream = socket.socket(family, kind, protocol)
    stream.settimeout(2)
    begun = time.monotonic()
    good = sent = 0
    try:
        stream.connect(address)
        while good < count:
            while sent - good < window and sent < count:
                stream.send(sent.to_bytes(4, "big") + bytes(size - 4))
                sent += 1
            if len(stream.recv(70000)) != size:
                break
            good += 1
        how = "ok"
    except OSError as error:
        how = word(error)
    say(host, port, how, int((time.monotonic() - begun) * 1000), good)


# Bytes, written as in Python, with waits in between; and what comes back until it ends.
def raw(host, port, *parts):
    try:
        stream = dial(host, port)
    except (OSError, Answered) as error:
        return say("refused", word(error))
    converse(stream, parts)


# The same to the proxy itself.
def toproxy(*parts):
    converse(direct("127.0.0.1", 3128), parts)


def converse(stream, parts):
    begun = time.monotonic()
    got = b""
    try:
        for part in parts:
            if part == "READ":
                got += stream.recv(65536)
            else:
                stream.sendall(eval("b'''" + part + "'''"))
        while True:
            more = stream.recv(65536)
            if not more:
                how = "eof"
                break
            got += more
    except OSError as error:
        how = word(error)
    say(how, int((time.monotonic() - begun) * 1000), repr(got[:3000]))


# A handshake for one name on a connection for another.
def tls(host, port, name):
    try:
        stream = dial(host, port)
        context = ssl._create_unverified_context()
        stream = context.wrap_socket(stream, server_hostname=name or None)
        say("ok")
    except (ssl.SSLError, ConnectionError, Answered) as error:
        say("cut", type(error).__name__, str(error).replace("\n", " "))


# What names lead to.
def resolve(*names):
    for name in names:
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
            say(name, *sorted(found))
        except socket.gaierror as error:
            say(name, "noname" if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else error)


# A question straight to a name server.
def ask(server, name, over):
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    question += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\x00\x00\x01\x00\x01"
    kind = socket.SOCK_DGRAM if over == "udp" else socket.SOCK_STREAM
    stream = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
    stream.settimeout(5)
    try:
        stream.connect((server, 53))
        stream.sendall(question if over == "udp" else len(question).to_bytes(2, "big") + question)
        say(stream.recv(2000)[-4:].hex())
    except OSError as error:
        say(word(error))


# Sockets that would reach around the packet filter.
def sockets():
    def tried(name, make):
        try:
            make()
            say(name, "made")
        except OSError as error:
            say(name, word(error))

    def option(level, name, value):
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).setsockopt(level, name, value)

    tried("icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    tried("raw6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW))
    tried("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300))
    tried("netfilter", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
    tried("mark", lambda: option(socket.SOL_SOCKET, 36, 1))
    tried("transparent", lambda: option(socket.SOL_IP, 19, 1))
    tried("device", lambda: open("/dev/net/tun", "r+b", buffering=0))
    tried("gateway's port", lambda: socket.socket().bind(("127.0.0.1", 1)))


# Begins connections without end, for so many seconds.
def flood(host, port, seconds):
    until = time.monotonic() + float(seconds)
    begun = 0
    say("begun")
    while time.monotonic() < until:
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex((host, int(port)))
        stream.close()
        begun += 1
    say(begun)


# Waits for somebody who should not come.
def listen(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", int(port)))
    listener.listen()
    hidden = socket.socket(socket.AF_UNIX)
    hidden.bind("\0computesdk-neighbour")
    hidden.listen()
    say("listening")
    ready, _, _ = select.select([listener, hidden], [], [])
    stream, _ = ready[0].accept()
    say("reached")
    stream.recv(1)


def abstract(*names):
    for name in names:
        try:
            socket.socket(socket.AF_UNIX).connect("\0" + name)
            say(name, "ok")
        except OSError as error:
            say(name, word(error))


globals()[sys.argv[1]](*sys.argv[2:])
