//! Values of options that have a form of their own.

use computesdk::FileUpload;
use std::path::PathBuf;

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// One file to be copied into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub(crate) local: PathBuf,
    pub(crate) remote: String,
}

/// `NAME=VALUE`.
pub(crate) fn variable(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Variable { name: name.to_owned(), value: value.to_owned() }),
        _ => Err(String::from("expected NAME=VALUE")),
    }
}

/// `KEY=VALUE`.
#[cfg(feature = "serve")]
pub(crate) fn tag(text: &str) -> Result<Variable, String> {
    variable(text).map_err(|_| String::from("expected KEY=VALUE"))
}

/// `LOCAL:REMOTE`, split at the last colon.
pub(crate) fn local_file(text: &str) -> Result<LocalFile, String> {
    match text.rsplit_once(':') {
        Some((local, remote)) if !local.is_empty() && !remote.is_empty() => {
            Ok(LocalFile { local: PathBuf::from(local), remote: remote.to_owned() })
        }
        _ => Err(String::from("expected LOCAL:REMOTE, such as ./data.csv:/data/data.csv")),
    }
}

/// A number of CPU cores.
pub(crate) fn cores(text: &str) -> Result<f64, String> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    match text.parse::<f64>() {
        Ok(cores) if plain && cores > 0.0 => Ok(cores),
        _ => Err(String::from("expected a number of cores such as 0.5 or 2")),
    }
}

impl LocalFile {
    /// Reads it; a relative remote path begins at `cwd`.
    pub(crate) fn read(&self, cwd: &str) -> std::io::Result<FileUpload> {
        let content = std::fs::read(&self.local)?;
        let mut upload = FileUpload::new(resolve(cwd, &self.remote), content);
        upload.mode = Some(if is_executable(&self.local) { 0o755 } else { 0o644 });
        Ok(upload)
    }
}

/// A path in the sandbox as the user wrote it, made absolute.
pub(crate) fn resolve(cwd: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", cwd.trim_end_matches('/')) }
}

fn is_executable(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_split_at_the_first_equals_sign() {
        let both = |text| variable(text).map(|variable| (variable.name, variable.value));
        assert_eq!(both("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(both("A=").unwrap(), ("A".into(), String::new()));
        assert!(both("A").is_err() && both("=b").is_err());
    }

    #[test]
    fn files_are_split_at_the_last_colon() {
        let both = |text| local_file(text).map(|file| (file.local, file.remote));
        assert_eq!(both("a:b:/c").unwrap(), ("a:b".into(), "/c".into()));
        assert!(both("a").is_err() && both("a:").is_err() && both(":b").is_err());
    }

    #[test]
    fn cores_are_plain_numbers_above_nothing() {
        assert_eq!(cores("0.5"), Ok(0.5));
        assert_eq!(cores("2"), Ok(2.0));
        for text in ["", "0", "-1", "inf", "nan", "1e3", "half"] {
            assert!(cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_paths_begin_at_the_working_directory() {
        assert_eq!(resolve("/", "a"), "/a");
        assert_eq!(resolve("/w", "a/b"), "/w/a/b");
        assert_eq!(resolve("/w", "/a"), "/a");
    }
}
