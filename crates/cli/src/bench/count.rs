//! One thing again and again, for programs that look from outside: `strace -c`, `perf`, `valgrind`.
//!
//! Two runs with different numbers tell what one costs: the difference, without start and end.

use super::metric::Metric;
use super::subject::{Subject, broken};
use crate::exit::Failure;

/// Does it so often.
pub(crate) async fn count(subject: &Subject, metric: Metric, times: usize) -> Result<(), Failure> {
    match metric {
        // A sandbox that is made is also ended.
        Metric::ColdCreate | Metric::Destroy => {
            for _ in 0..times {
                let created = subject.create_and_echo().await?;
                subject.destroy(&created.sandbox).await?;
            }
        }
        Metric::Exec | Metric::FileWrite1k => {
            let created = subject.create_and_echo().await?;
            for _ in 0..times {
                if metric == Metric::Exec {
                    subject.exec(&created.sandbox).await?;
                } else {
                    subject.write(&created.sandbox, "/tmp/written", &[b'x'; 1024]).await?;
                }
            }
            subject.destroy(&created.sandbox).await?;
        }
        other => return Err(broken(&format!("{} cannot be counted", other.name())).into()),
    }
    Ok(())
}
