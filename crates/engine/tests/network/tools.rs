//! Programs that people use, as they use them.

use crate::bench::{Bench, Outcome};
use computesdk_engine::Verdict;

pub(crate) async fn curl(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    room.needs("curl").await?;
    assert_eq!(room.ok("curl -sS http://web.test/").await, "hello from web.test\n");
    assert_eq!(room.ok("curl -sSk https://web.test/").await, "hello from web.test\n");
    let told = room.decided("curl was let through", |decision| {
        decision.verdict == Verdict::Closed && decision.port == 80 && decision.host.as_deref() == Some("web.test")
    });
    assert!(told.await.received > 0);
    let (output, code) = room.sh("curl -sS http://nowhere.test/").await;
    assert!(matches!((bench.by_proxy(), code), (false, 6) | (true, 0)), "{code} {output}");
    Ok(())
}

pub(crate) async fn pip(bench: Bench) -> Outcome {
    bench.servers.packages()?;
    let room = bench.room("egress").await;
    room.needs("python3").await?;
    if room.sh("python3 -m pip --version").await.1 != 0 {
        return Err(crate::bench::Skipped(String::from("no pip in sandboxes here")));
    }
    let install = "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --disable-pip-version-check \
                   --index-url http://pypi.test/simple --trusted-host pypi.test demo-pkg";
    room.ok(install).await;
    assert_eq!(room.ok("python3 -c 'import demo_pkg; print(demo_pkg.GREETING)'").await, "hello from a wheel\n");
    Ok(())
}

pub(crate) async fn npm(bench: Bench) -> Outcome {
    bench.servers.packages()?;
    let room = bench.room("egress").await;
    room.needs("npm").await?;
    room.ok("npm install --no-audit --no-fund --no-update-notifier --registry http://npm.test/ demo-pkg").await;
    assert_eq!(room.ok("node -e \"console.log(require('demo-pkg'))\"").await, "hello from a tarball\n");
    Ok(())
}

pub(crate) async fn git(bench: Bench) -> Outcome {
    bench.servers.packages()?;
    let room = bench.room("egress").await;
    room.needs("git").await?;
    assert_eq!(room.ok("git clone -q http://git.test/repo.git && cat repo/README").await, "hello from a repository\n");
    Ok(())
}
