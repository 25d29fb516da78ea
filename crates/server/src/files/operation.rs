//! Operations that clients draw finer than [`Files`] does.
//!
//! What they add is looked at first and done then. Somebody in the sandbox who changes the path in between gets what `Files` does
//! alone: a directory that is filled at that moment goes with what is in it.

use super::trouble::{Trouble, Why};
use computesdk_core::{DirEntry, FileKind, Files};

/// The directory that the last name of a path stands in.
pub(super) fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

/// Fails unless the path is one that can be meant.
pub(super) fn check(path: &str) -> Result<(), Trouble> {
    if path.contains('\0') {
        return Err(Trouble::new(Why::Invalid, "The path has a NUL byte"));
    }
    if !path.starts_with('/') {
        return Err(Trouble::new(Why::Invalid, "The path is not absolute"));
    }
    Ok(())
}

/// Fails unless `path` can be made where it is: its directory is there, and one.
pub(super) async fn check_parent(path: &str, files: &dyn Files) -> Result<(), Trouble> {
    let parent = parent(path);
    match files.stat(parent, true).await {
        Ok(stat) if stat.kind == FileKind::Directory => Ok(()),
        Ok(_) => Err(Trouble::new(Why::NotDirectory, format!("{parent} is not a directory"))),
        Err(error) => Err(Trouble::at(parent, &error, files).await),
    }
}

/// The entries of a directory.
pub(super) async fn list(path: &str, files: &dyn Files) -> Result<Vec<DirEntry>, Trouble> {
    check(path)?;
    let error = match files.list(path).await {
        Ok(entries) => return Ok(entries),
        Err(error) => error,
    };
    let mut trouble = Trouble::at(path, &error, files).await;
    if trouble.why == Why::Invalid
        && let Ok(stat) = files.stat(path, true).await
        && stat.kind != FileKind::Directory
    {
        trouble.why = Why::NotDirectory;
    }
    Err(trouble)
}

/// Makes a directory. With `parents`, those above it too, and one that exists is fine; without, neither.
pub(super) async fn make_directory(path: &str, parents: bool, files: &dyn Files) -> Result<(), Trouble> {
    check(path)?;
    if !parents {
        match files.stat(path, false).await {
            Ok(_) => return Err(Trouble::new(Why::Exists, format!("{path} exists"))),
            Err(error) => {
                let trouble = Trouble::at(path, &error, files).await;
                if trouble.why != Why::NotFound {
                    return Err(trouble);
                }
            }
        }
        check_parent(path, files).await?;
    }
    let Err(error) = files.make_dir(path).await else { return Ok(()) };
    let mut trouble = Trouble::at(path, &error, files).await;
    // What is in the way may be the path itself, or something above it.
    if trouble.why == Why::Exists && files.stat(path, false).await.is_err() {
        trouble.why = Why::NotDirectory;
    }
    Err(trouble)
}

/// Removes a file, a link or an empty directory; with `recursive`, whatever is there.
pub(super) async fn remove(path: &str, recursive: bool, files: &dyn Files) -> Result<(), Trouble> {
    check(path)?;
    let stat = match files.stat(path, false).await {
        Ok(stat) => stat,
        Err(error) => return Err(Trouble::at(path, &error, files).await),
    };
    if stat.kind == FileKind::Directory && !recursive && !list(path, files).await?.is_empty() {
        return Err(Trouble::new(Why::NotEmpty, format!("{path} is not empty")));
    }
    match files.remove(path).await {
        Ok(()) => Ok(()),
        Err(error) => Err(Trouble::at(path, &error, files).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        for (path, above) in [("/a/b", "/a"), ("/a/b//", "/a"), ("/a", "/"), ("/", "/"), ("//a", "/")] {
            assert_eq!(parent(path), above, "{path}");
        }
    }
}
