//! Why an operation on files failed, as finely as clients tell it apart.

use computesdk_core::{Error, ErrorKind, FileKind, Files};
use rustix::io::Errno;
use std::fmt;
use std::io;

/// Most directories above a path that are looked at to find out what is wrong with it.
const LOOKS: usize = 64;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NotFound,
    IsDirectory,
    NotDirectory,
    Exists,
    NotEmpty,
    Permission,
    TooLarge,
    NoSpace,
    NoMemory,
    TooMany,
    Unsupported,
    Invalid,
    /// The sandbox is not there any more.
    Gone,
    Other,
}

impl Why {
    fn of_number(number: i32) -> Self {
        match Errno::from_raw_os_error(number) {
            Errno::NOENT => Self::NotFound,
            Errno::ISDIR => Self::IsDirectory,
            Errno::NOTDIR => Self::NotDirectory,
            Errno::EXIST => Self::Exists,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Self::Permission,
            Errno::FBIG => Self::TooLarge,
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            Errno::NOMEM => Self::NoMemory,
            Errno::MFILE | Errno::NFILE => Self::TooMany,
            Errno::OPNOTSUPP | Errno::NOSYS => Self::Unsupported,
            Errno::INVAL | Errno::NAMETOOLONG | Errno::LOOP => Self::Invalid,
            _ => Self::Other,
        }
    }

    /// What it is called, where there is no more to say.
    const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound => "No such file or directory",
            Self::IsDirectory => "Is a directory",
            Self::NotDirectory => "Not a directory",
            Self::Exists => "File exists",
            Self::NotEmpty => "Directory not empty",
            Self::Permission => "Permission denied",
            Self::TooLarge => "File too large",
            Self::NoSpace => "No space left on device",
            Self::NoMemory => "Cannot allocate memory",
            Self::TooMany => "Too many open files",
            Self::Unsupported => "Operation not supported",
            Self::Invalid | Self::Gone | Self::Other => return None,
        })
    }
}

/// A failed operation. `Display` is the short text for users, without the path.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) why: Why,
    /// The whole story.
    pub(super) detail: String,
}

impl Trouble {
    pub(super) fn new(why: Why, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }

    /// What went wrong at `path`.
    pub(super) async fn at(path: &str, error: &Error, files: &dyn Files) -> Self {
        let why = match error.errno() {
            Some(number) => Why::of_number(number),
            None => guess(path, error, files).await,
        };
        // The kernel says no more than EINVAL of them.
        if why == Why::Invalid
            && let Ok(stat) = files.stat(path, true).await
            && stat.kind == FileKind::Other
        {
            return Self::new(why, "Not a regular file, but a FIFO, a socket or a device");
        }
        Self::new(why, error.to_string())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let why = match (error.raw_os_error(), error.kind()) {
            (Some(number), _) => Why::of_number(number),
            (None, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Why::NoSpace,
            (None, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Why::Permission,
            (None, io::ErrorKind::FileTooLarge) => Why::TooLarge,
            (None, io::ErrorKind::InvalidInput) => Why::Invalid,
            (None, _) => Why::Other,
        };
        Self::new(why, error.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why.text().unwrap_or(&self.detail))
    }
}

/// For providers that know no numbers: the kind, and where that says too little, what the path leads to.
async fn guess(path: &str, error: &Error, files: &dyn Files) -> Why {
    match error.kind() {
        ErrorKind::AlreadyExists => Why::Exists,
        ErrorKind::PermissionDenied => Why::Permission,
        ErrorKind::QuotaExceeded => Why::NoSpace,
        ErrorKind::Unsupported => Why::Unsupported,
        ErrorKind::Unavailable => Why::Gone,
        kind @ (ErrorKind::NotFound | ErrorKind::InvalidArgument) => {
            if path.contains('\0') {
                return Why::Invalid;
            }
            if let Ok(stat) = files.stat(path, true).await {
                return if stat.kind == FileKind::Directory { Why::IsDirectory } else { Why::Invalid };
            }
            let is_missing = kind == ErrorKind::NotFound;
            for above in above(path).take(LOOKS) {
                match files.stat(above, true).await {
                    Ok(stat) if stat.kind != FileKind::Directory => return Why::NotDirectory,
                    Ok(_) => return if is_missing { Why::NotFound } else { Why::Invalid },
                    Err(_) => {}
                }
            }
            // Not even the root is there.
            Why::Gone
        }
        _ => Why::Other,
    }
}

/// The directories above a path, the nearest first, the root last.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let named = path.trim_end_matches('/');
    named.rmatch_indices('/').map(move |(slash, _)| if slash == 0 { "/" } else { &named[..slash] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_above_a_path() {
        assert_eq!(above("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(above("/a/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(above("/").count(), 0);
        assert_eq!(above("a").count(), 0);
    }
}
