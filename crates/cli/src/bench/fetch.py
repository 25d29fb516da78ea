# Fetches so many bytes, so often; prints the nanoseconds of each.
import socket, sys, time

host, port, times, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
buffer = bytearray(1 << 20)
for _ in range(times):
    started = time.perf_counter_ns()
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(size.to_bytes(8, "big"))
        got = 0
        while part := connection.recv_into(buffer):
            got += part
    if got != size:
        sys.exit(f"{got} bytes of {size}")
    print(time.perf_counter_ns() - started, flush=True)
