# Sends as many bytes as it is asked for, on each connection: the number comes first, in eight bytes.
import socket, sys, threading

CHUNK = bytes(1 << 20)


def serve(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while len(asked) < 8:
            more = connection.recv(8 - len(asked))
            if not more:
                return
            asked += more
        left = int.from_bytes(asked, "big")
        while left:
            left -= connection.send(CHUNK[: min(left, len(CHUNK))])


listener = socket.create_server((sys.argv[1], 0), backlog=64)
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
