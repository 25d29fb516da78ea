//! tmp
#![allow(clippy::print_stdout, missing_docs, clippy::unwrap_used)]
use computesdk_engine::*;
use tokio::io::AsyncReadExt;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let t = std::time::Instant::now();
    let engine = Engine::start(EngineOptions::default()).await.unwrap();
    println!("started {:?} {:?}", t.elapsed(), engine.rung());
    for i in 0..3 {
    let t = std::time::Instant::now();
    let sb = engine.create(&SandboxSpec::default()).await.unwrap();
    println!("created {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let mut spec = ExecSpec::default();
    let cmds = std::env::args().skip(1).collect::<Vec<_>>();
    spec.argv = if i == 0 && !cmds.is_empty() { cmds } else { vec!["sh".into(), "-c".into(), "echo hi; id; hostname".into()] };
    spec.cwd = "/root".into();
    spec.env = vec![("PATH".into(), engine.image().path.clone())];
    let e = sb.exec(spec).await.unwrap();
    drop(e.take_stdin());
    let (mut o, mut r) = (String::new(), String::new());
    e.take_stdout().unwrap().read_to_string(&mut o).await.unwrap();
    e.take_stderr().unwrap().read_to_string(&mut r).await.unwrap();
    println!("{:?} in {:?}\n{o}{r}", e.wait().await, t.elapsed());
    let t = std::time::Instant::now();
    println!("{:?} {:?}", sb.terminate().await, t.elapsed());
    }
    engine.shut_down().await;
}
