use computesdk_engine::*;
use std::io::{Read, Write};
use tokio::io::AsyncReadExt;
const PY: &str = r#"
import socket,sys,time
host,port,n,size=sys.argv[1],int(sys.argv[2]),int(sys.argv[3]),int(sys.argv[4])
c=[];f=[];t=[]
buf=bytearray(1<<20)
for i in range(n):
    a=time.perf_counter()
    s=socket.create_connection((host,port))
    b=time.perf_counter()
    s.sendall(size.to_bytes(8,'big'))
    got=s.recv_into(buf)
    d=time.perf_counter()
    while True:
        k=s.recv_into(buf)
        if not k: break
        got+=k
    e=time.perf_counter()
    assert got==size,got
    s.close(); c.append(b-a); f.append(d-a); t.append(e-a)
for v in (c,f,t): v.sort()
m=lambda v: v[len(v)//2]*1e6
print(f"connect {m(c):.0f} us, first byte {m(f):.0f} us, all {m(t):.0f} us, {size/m(t):.0f} MB/s")
"#;
#[tokio::main]
async fn main() {
    let addr = std::env::args().nth(1).unwrap_or("192.0.2.2".into());
    let l = std::net::TcpListener::bind((addr.as_str(), 0)).unwrap();
    let port = l.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for s in l.incoming() {
            let mut s = s.unwrap();
            std::thread::spawn(move || {
                let mut b = [0; 8];
                s.read_exact(&mut b).unwrap();
                let mut n = u64::from_be_bytes(b) as usize;
                let chunk = vec![7u8; 1 << 20];
                s.set_nodelay(true).unwrap();
                while n > 0 {
                    let k = n.min(chunk.len());
                    s.write_all(&chunk[..k]).unwrap();
                    n -= k;
                }
            });
        }
    });
    let engine = Engine::start(EngineOptions::default()).await.unwrap();
    let mut spec = SandboxSpec::default();
    spec.network = NetworkPolicy::ranges(&[addr.clone()]).unwrap();
    let sb = engine.create(&spec).await.unwrap();
    for (n, size) in [(200, 1), (100, 1 << 20), (3, 1 << 29)] {
        for _ in 0..2 {
            let (a2,) = (addr.clone(),);
            let out = tokio::task::spawn_blocking(move || {
                std::process::Command::new("/usr/bin/python3")
                    .args(["-c", PY, &a2, &port.to_string(), &n.to_string(), &size.to_string()])
                    .output()
                    .unwrap()
            })
            .await
            .unwrap();
            print!("direct  {}", String::from_utf8_lossy(&out.stdout));
            let ex = sb
                .exec(ExecSpec {
                    argv: ["/usr/bin/python3", "-c", PY, &addr, &port.to_string(), &n.to_string(), &size.to_string()]
                        .iter()
                        .map(|s| s.to_string())
                        .collect(),
                    cwd: "/".into(),
                    env: vec![],
                    stdio: [Stdio::Null, Stdio::Piped, Stdio::Merged],
                    ..Default::default()
                })
                .await
                .unwrap();
            let mut s = String::new();
            ex.take_stdout().unwrap().read_to_string(&mut s).await.unwrap();
            print!("sandbox {s}");
        }
    }
    engine.shut_down().await;
}
