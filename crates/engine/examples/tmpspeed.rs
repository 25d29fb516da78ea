use computesdk_engine::*;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
fn med(v: &mut Vec<f64>) -> String {
    v.sort_by(f64::total_cmp);
    format!("p50 {:.3} p95 {:.3} ms (n={})", v[v.len() / 2], v[v.len() * 95 / 100], v.len())
}
#[tokio::main]
async fn main() {
    let engine = Engine::start(EngineOptions::default()).await.unwrap();
    let path = engine.image().path.clone();
    let mut closed = SandboxSpec::default();
    closed.network = NetworkPolicy::Nothing;
    let mut open = SandboxSpec::default();
    open.network = NetworkPolicy::Internet;
    let n: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(200);
    let pause: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(0);
    let block = std::env::var("BLOCK").is_ok();
    let (mut a, mut b, mut c, mut d) = (vec![], vec![], vec![], vec![]);
    for i in 0..2 * n {
        let is_open = if block { i < n } else { i % 2 == 0 };
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let t = Instant::now();
        let sb = engine.create(if is_open { &open } else { &closed }).await.unwrap();
        let t1 = t.elapsed().as_secs_f64() * 1e3;
        let ex = sb
            .exec(ExecSpec {
                argv: vec!["/bin/echo".into(), "x".into()],
                cwd: "/".into(),
                env: vec![("PATH".into(), path.clone())],
                stdio: [Stdio::Null, Stdio::Piped, Stdio::Null],
                ..Default::default()
            })
            .await
            .unwrap();
        let mut s = String::new();
        ex.take_stdout().unwrap().read_to_string(&mut s).await.unwrap();
        let t2 = t.elapsed().as_secs_f64() * 1e3;
        sb.terminate().await.unwrap();
        if i < 10 {
            continue;
        }
        if is_open {
            a.push(t1);
            c.push(t2)
        } else {
            b.push(t1);
            d.push(t2)
        }
    }
    println!(
        "create open   {}\ncreate closed {}\nto output open   {}\nto output closed {}",
        med(&mut a),
        med(&mut b),
        med(&mut c),
        med(&mut d)
    );
    engine.shut_down().await;
}
