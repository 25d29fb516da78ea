//! What the helper has no operation for, done by the sandbox's own programs: the same system calls, one program further.

use super::helper::{Helper, collect, short};
use computesdk_core::{ErrorKind, Result};

/// Sets permission bits.
pub(crate) async fn chmod(helper: &Helper, operation: &'static str, path: &str, mode: u32) -> Result<()> {
    run(helper, operation, path, vec!["chmod".into(), format!("{mode:04o}"), "--".into(), path.into()]).await
}

/// Renames, replacing what is in the way; never into a directory that is in the way.
pub(crate) async fn rename(helper: &Helper, operation: &'static str, from: &str, to: &str) -> Result<()> {
    run(helper, operation, from, vec!["mv".into(), "-fT".into(), "--".into(), from.into(), to.into()]).await
}

/// The command that adds its input to a file.
pub(crate) fn append(path: &str) -> Vec<String> {
    ["sh", "-c", "exec cat >> \"$1\"", "sh", path].map(String::from).to_vec()
}

async fn run(helper: &Helper, operation: &'static str, path: &str, argv: Vec<String>) -> Result<()> {
    let program = argv.first().cloned().unwrap_or_default();
    let (running, input, output) = helper.exec(operation, path, argv).await?;
    drop(input);
    let (_, finished) = tokio::join!(collect(output), running.finish_with(|code, text| failure(&program, code, text)));
    finished
}

/// What a program's failure means, by the words of `strerror(3)`.
pub(crate) fn failure(program: &str, code: i32, text: &str) -> (ErrorKind, String, Option<String>) {
    if [126, 127].contains(&code) {
        return (ErrorKind::Unsupported, format!("the sandbox has no `{program}` that could do it"), None);
    }
    let words = [
        ("No such file or directory", ErrorKind::NotFound),
        ("Permission denied", ErrorKind::PermissionDenied),
        ("Operation not permitted", ErrorKind::PermissionDenied),
        ("Read-only file system", ErrorKind::PermissionDenied),
        ("Not a directory", ErrorKind::InvalidArgument),
        ("not a directory", ErrorKind::InvalidArgument),
        ("Is a directory", ErrorKind::InvalidArgument),
        ("with directory", ErrorKind::InvalidArgument),
        ("with non-directory", ErrorKind::InvalidArgument),
        ("Directory not empty", ErrorKind::InvalidArgument),
        ("subdirectory of itself", ErrorKind::InvalidArgument),
        ("File name too long", ErrorKind::InvalidArgument),
        ("Too many levels of symbolic links", ErrorKind::InvalidArgument),
        ("No space left on device", ErrorKind::QuotaExceeded),
    ];
    let kind = words.iter().find(|(words, _)| text.contains(words)).map_or(ErrorKind::Unexpected, |(_, kind)| *kind);
    (kind, short(text), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_programs_have_kinds() {
        let kind = |text| failure("mv", 1, text).0;
        assert_eq!(kind("mv: cannot move 'a' to '/x/b': No such file or directory"), ErrorKind::NotFound);
        assert_eq!(kind("mv: cannot overwrite directory '/b' with non-directory"), ErrorKind::InvalidArgument);
        assert_eq!(kind("mv: something else"), ErrorKind::Unexpected);
        assert_eq!(failure("mv", 127, "").0, ErrorKind::Unsupported);
    }
}
