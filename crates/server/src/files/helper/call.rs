//! What the helper program is asked to do, and what its clients call the ways in which that fails.

use super::super::trouble::Why;
use serde::Deserialize;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ReadFile,
    WriteFile,
    ListFiles,
    Stat,
    MakeDirectory,
    Remove,
    Watch,
}

impl Operation {
    const ALL: [(Self, &'static str); 7] = [
        (Self::ReadFile, "ReadFile"),
        (Self::WriteFile, "WriteFile"),
        (Self::ListFiles, "ListFiles"),
        (Self::Stat, "Stat"),
        (Self::MakeDirectory, "MakeDirectory"),
        (Self::Remove, "Remove"),
        (Self::Watch, "Watch"),
    ];

    /// What this operation's clients have a type of their own for.
    pub(super) const fn known(self, why: Why) -> Option<&'static str> {
        use Operation::{ListFiles, MakeDirectory, ReadFile, Remove, Stat, Watch, WriteFile};
        Some(match (self, why) {
            (_, Why::Permission) => "PermissionDenied",
            (ReadFile | ListFiles | Stat | MakeDirectory | Remove | Watch, Why::NotFound) => "NotFound",
            (ReadFile | WriteFile, Why::IsDirectory) => "IsDirectory",
            (ReadFile, Why::TooLarge) => "FileTooLarge",
            // Something that is no directory stands where one would have to be made.
            (WriteFile, Why::Exists) | (WriteFile | ListFiles | Stat | MakeDirectory, Why::NotDirectory) => {
                "NotDirectory"
            }
            (MakeDirectory, Why::Exists) => "PathAlreadyExists",
            (Remove, Why::NotEmpty) => "DirectoryNotEmpty",
            (MakeDirectory | Remove | Watch, Why::Unsupported) => "NotSupported",
            _ => return None,
        })
    }
}

/// The name of a failure that no client has a type for.
pub(super) const fn name(why: Why) -> &'static str {
    match why {
        Why::NotFound => "NotFound",
        Why::IsDirectory => "IsDirectory",
        Why::NotDirectory => "NotDirectory",
        Why::Exists => "AlreadyExists",
        Why::NotEmpty => "DirectoryNotEmpty",
        Why::Permission => "PermissionDenied",
        Why::TooLarge => "FileTooLarge",
        Why::NoSpace => "NoSpace",
        Why::NoMemory => "NoMemory",
        Why::TooMany => "TooManyOpenFiles",
        Why::Unsupported => "NotSupported",
        Why::Invalid => "InvalidInput",
        Why::Gone => "Unavailable",
        Why::Other => "Other",
    }
}

/// What an operation is told; keys that it does not know are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Arguments {
    pub(super) path: String,
    #[serde(default)]
    pub(super) parents: bool,
    #[serde(default)]
    pub(super) recursive: bool,
    #[serde(default)]
    pub(super) filter: Option<Vec<String>>,
    #[serde(default)]
    pub(super) timeout_secs: Option<f64>,
}

pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) arguments: Arguments,
}

impl Call {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let [text] = arguments else {
            return Err(format!("expected one argument, a JSON object, not {}", arguments.len()));
        };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("the argument is not a JSON object: {error}"))?;
        let mut asked = Operation::ALL.into_iter().filter(|(_, name)| object.contains_key(*name));
        let (operation, name) = match (asked.next(), asked.next()) {
            (Some(only), None) => only,
            (Some((_, one)), Some((_, other))) => return Err(format!("both {one} and {other} are asked for")),
            (None, _) => {
                let names: Vec<&str> = object.keys().map(String::as_str).collect();
                return Err(format!("unknown operation: {}", names.join(", ")));
            }
        };
        let arguments = serde_json::from_value(object[name].clone()).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { operation, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Call::parse(&arguments).map(|_| ()).unwrap_err()
    }

    #[test]
    fn calls_are_read_with_any_spaces_and_unknown_keys() {
        for text in [
            r#"{"Watch":{"path":"/a","recursive":true,"filter":null,"timeout_secs":3}}"#,
            r#"{ "Watch" : { "path": "/a", "recursive": true, "depth": [1] }, "trace": "x" }"#,
        ] {
            let call = Call::parse(&[text.to_owned()]).unwrap();
            assert_eq!(call.operation, Operation::Watch);
            assert!(call.arguments.recursive && call.arguments.path == "/a");
        }
    }

    #[test]
    fn each_operation_has_the_failures_that_its_clients_know() {
        let kinds = |operation: Operation| {
            let all = [
                Why::NotFound,
                Why::IsDirectory,
                Why::NotDirectory,
                Why::Exists,
                Why::NotEmpty,
                Why::Permission,
                Why::TooLarge,
                Why::NoSpace,
                Why::NoMemory,
                Why::TooMany,
                Why::Unsupported,
                Why::Invalid,
                Why::Gone,
                Why::Other,
            ];
            let mut kinds: Vec<_> = all.into_iter().filter_map(|why| operation.known(why)).collect();
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        };
        for (operation, known) in [
            (Operation::ReadFile, &["FileTooLarge", "IsDirectory", "NotFound", "PermissionDenied"][..]),
            (Operation::WriteFile, &["IsDirectory", "NotDirectory", "PermissionDenied"]),
            (Operation::ListFiles, &["NotDirectory", "NotFound", "PermissionDenied"]),
            (Operation::Stat, &["NotDirectory", "NotFound", "PermissionDenied"]),
            (
                Operation::MakeDirectory,
                &["NotDirectory", "NotFound", "NotSupported", "PathAlreadyExists", "PermissionDenied"],
            ),
            (Operation::Remove, &["DirectoryNotEmpty", "NotFound", "NotSupported", "PermissionDenied"]),
            (Operation::Watch, &["NotFound", "NotSupported", "PermissionDenied"]),
        ] {
            assert_eq!(kinds(operation), known, "{operation:?}");
        }
    }

    #[test]
    fn what_is_no_call_is_refused_by_name() {
        assert!(problem(&[]).contains("not 0"));
        assert!(problem(&["{}", "{}"]).contains("not 2"));
        assert!(problem(&["["]).contains("not a JSON object"));
        assert!(problem(&["7"]).contains("not a JSON object"));
        assert!(problem(&[r#"{"Format":{"path":"/"}}"#]).contains("unknown operation: Format"));
        assert!(problem(&[r#"{"Stat":{"path":"/"},"Remove":{"path":"/"}}"#]).contains("both"));
        assert!(problem(&[r#"{"Stat":{}}"#]).contains("path"));
        assert!(problem(&[r#"{"Stat":"/"}"#]).contains("Stat: "));
        assert!(problem(&[r#"{"Stat":{"path":"\ud800"}}"#]).contains("not a JSON object"));
    }
}
