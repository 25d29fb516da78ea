use computesdk_engine::*;
use tokio::io::AsyncReadExt;
#[tokio::main]
async fn main() {
    let mut o = EngineOptions::default();
    if std::env::var("PROXY").is_ok() {
        o.way_out = WayOut::Proxy;
    }
    let engine = Engine::start(o).await.unwrap();
    let mut spec = SandboxSpec::default();
    let p = std::env::var("POLICY").unwrap_or("egress".into());
    spec.network = match p.split_once(':') {
        Some(("cidr", l)) => NetworkPolicy::ranges(&l.split(',').map(String::from).collect::<Vec<_>>()).unwrap(),
        Some(("domain", l)) => NetworkPolicy::names(&l.split(',').map(String::from).collect::<Vec<_>>()).unwrap(),
        _ if p == "none" => NetworkPolicy::Nothing,
        _ => NetworkPolicy::Internet,
    };
    let t = std::time::Instant::now();
    let sb = engine.create(&spec).await.unwrap();
    println!("create {:?}", t.elapsed());
    for a in std::env::args().skip(1) {
        let t = std::time::Instant::now();
        let ex = sb
            .exec(ExecSpec {
                argv: vec!["sh".into(), "-c".into(), format!("{a} 2>&1")],
                cwd: "/root".into(),
                env: vec![("PATH".into(), engine.image().path.clone())],
                stdio: [Stdio::Null, Stdio::Piped, Stdio::Null],
                ..Default::default()
            })
            .await
            .unwrap();
        let mut s = String::new();
        ex.take_stdout().unwrap().read_to_string(&mut s).await.unwrap();
        println!("$ {a}\n{s}-> {:?} {:?}", ex.wait().await, t.elapsed());
    }
    if let Some(n) = sb.network_notice() {
        println!("{n}");
    }
    let mut ev = sb.events();
    sb.terminate().await.unwrap();
    while let Some(e) = ev.next().await {
        if let EventKind::Network(d) = e.kind {
            println!(
                "{:?} {:?} {:?} {:?}:{} {:?} {}/{}",
                d.connection, d.verdict, d.host, d.address, d.port, d.reason, d.sent, d.received
            )
        } else {
            println!("{:?}", e.kind)
        }
    }
    engine.shut_down().await;
}
