//! How a sandbox ended, as the wire tells it (section 5.6 of the notes).

use computesdk_core::EndCause;
use computesdk_modal_proto::client::GenericResult;
use computesdk_modal_proto::client::generic_result::GenericStatus;

/// The cause that a result stands for; `None` while there is none.
pub(crate) fn cause(result: Option<&GenericResult>) -> Option<EndCause> {
    let result = result?;
    Some(match result.status() {
        GenericStatus::Unspecified => return None,
        GenericStatus::Success => EndCause::Exited { code: 0 },
        GenericStatus::Failure | GenericStatus::InitFailure => EndCause::Exited { code: result.exitcode },
        GenericStatus::Terminated => EndCause::Terminated,
        GenericStatus::Timeout => EndCause::TimedOut,
        GenericStatus::IdleTimeout => EndCause::IdleTimedOut,
        GenericStatus::MemoryManagerEviction
        | GenericStatus::MemoryThrashingEviction
        | GenericStatus::KernelOomKill => EndCause::OutOfMemory,
        GenericStatus::InternalFailure => EndCause::HostLost {
            reason: match result.exception.as_str() {
                "" => String::from("the server reports a failure of its own"),
                told => told.to_owned(),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: GenericStatus, exitcode: i32) -> Option<EndCause> {
        cause(Some(&GenericResult { status: status.into(), exitcode, exception: String::new() }))
    }

    #[test]
    fn each_status_has_its_cause() {
        assert_eq!(cause(None), None);
        assert_eq!(of(GenericStatus::Unspecified, 0), None);
        assert_eq!(of(GenericStatus::Success, 0), Some(EndCause::Exited { code: 0 }));
        assert_eq!(of(GenericStatus::Failure, 7), Some(EndCause::Exited { code: 7 }));
        assert_eq!(of(GenericStatus::Terminated, 0), Some(EndCause::Terminated));
        assert_eq!(of(GenericStatus::Timeout, 0), Some(EndCause::TimedOut));
        assert_eq!(of(GenericStatus::IdleTimeout, 0), Some(EndCause::IdleTimedOut));
        assert_eq!(of(GenericStatus::KernelOomKill, 137), Some(EndCause::OutOfMemory));
        assert!(matches!(of(GenericStatus::InternalFailure, 1), Some(EndCause::HostLost { .. })));
        // A status that was added after us.
        assert_eq!(cause(Some(&GenericResult { status: 99, exitcode: 1, exception: String::new() })), None);
    }
}
