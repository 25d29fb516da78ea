//! Two hundred sandboxes at once, asked for by the JavaScript SDK.

use crate::Result;
use crate::client::Client;
use crate::house::House;
use crate::report::{Bound, Report};
use computesdk_core::Provider as _;
use futures_util::future::try_join_all;
use std::time::Instant;

const CROWD: u32 = 200;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let name = Client::Js.name();
    let installed = match Client::Js.install().await {
        Ok(installed) => installed,
        Err(error) => {
            report.skip(format!("{CROWD} sandboxes at once by {name}"), error.to_string());
            return Ok(());
        }
    };
    let house = House::open().await?;
    let mut program = installed.start("crowd", &house).await?;
    // The engine starts, and what was loaded once is loaded.
    program.ask("make 1").await?;
    program.ask("end").await?;
    let made = program.ask(&format!("make {CROWD}")).await?;
    let (count, ms) = made.split_once(' ').ok_or("the program told no number")?;
    let answered = program.ask("echo").await?;
    program.ask("end").await?;
    program.end().await?;

    let options = house.provider.last()?;
    let begun = Instant::now();
    let provider = house.provider.directly();
    let live = try_join_all((0..CROWD).map(|_| provider.create(options.clone()))).await?;
    let direct = begun.elapsed();
    try_join_all(live.iter().map(|sandbox| sandbox.terminate())).await?;
    house.close().await?;

    let all = Bound::AtLeast(f64::from(CROWD));
    report.bounded(format!("{CROWD} sandboxes at once by {name}, made"), "", count.parse()?, all);
    report.bounded("  and each ran a command", "", answered.parse()?, all);
    report.value("  until all were made", "ms", ms.parse()?);
    report.value("  by the provider alone", "ms", direct.as_secs_f64() * 1e3);
    Ok(())
}
