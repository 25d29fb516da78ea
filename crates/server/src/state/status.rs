//! What a client is told of a failure of the state. Paths and causes are for the server's log alone.

use super::StateError;
use tonic::Status;

impl From<StateError> for Status {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::NameTaken { .. } | StateError::SecretExists { .. } => Self::already_exists(error.to_string()),
            StateError::NoEnvironment { .. } => Self::not_found(error.to_string()),
            StateError::NoName | StateError::TooLarge { .. } => Self::invalid_argument(error.to_string()),
            // Clients try again by themselves on this code, with the same key.
            StateError::Pending | StateError::Stopped(_) => Self::unavailable(error.to_string()),
            StateError::Sealed { .. } => Self::failed_precondition(error.to_string()),
            StateError::DiskFull { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "state");
                Self::resource_exhausted("the disk under the server's state is full: free some room there")
            }
            StateError::Busy { .. } => {
                tracing::warn!(error = &error as &dyn std::error::Error, "state");
                Self::unavailable("the server's state is locked by another program; try again")
            }
            StateError::InUse { .. }
            | StateError::Newer { .. }
            | StateError::Damaged { .. }
            | StateError::Io { .. }
            | StateError::Unreadable { .. }
            | StateError::ReadOnly { .. }
            | StateError::Disk { .. }
            | StateError::Open { .. }
            | StateError::Owner { .. }
            | StateError::KeyMissing { .. }
            | StateError::KeyLength { .. }
            | StateError::WrongKey { .. }
            | StateError::Sqlite(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "state");
                Self::internal("the server's state cannot be read or written: its log says why")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn clients_learn_the_kind_and_no_path() {
        let path = || std::path::PathBuf::from("/home/somebody/state.db");
        let full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        let table = [
            (StateError::NameTaken { name: "web".to_owned() }, Code::AlreadyExists),
            (StateError::SecretExists { name: "keys".to_owned() }, Code::AlreadyExists),
            (StateError::NoEnvironment { name: "x".to_owned() }, Code::NotFound),
            (StateError::TooLarge { what: "a secret", most: 1 }, Code::InvalidArgument),
            (StateError::Pending, Code::Unavailable),
            (StateError::Sqlite(full()).at(&path()), Code::ResourceExhausted),
            (StateError::Damaged { path: path(), problem: String::new() }, Code::Internal),
            (StateError::Sealed { what: "secret st-1".to_owned() }, Code::FailedPrecondition),
        ];
        for (error, code) in table {
            let status = Status::from(error);
            assert_eq!(status.code(), code, "{status}");
            assert!(!status.message().contains("somebody"), "{status}");
        }
        assert!(Status::from(StateError::NameTaken { name: "web".to_owned() }).message().contains("already exists"));
    }
}
