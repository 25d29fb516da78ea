//! The image's `/etc`: an allow-list of the host's, and generated accounts and names.

use super::ImageError;
use super::skeleton::USER;
use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

/// Files and trees of the host's `/etc` that are copied, if everybody may read them. None of them names an account, a
/// host or a credential; configuration of package clients (`pip.conf`, `npmrc`) may hold tokens and is not here.
const COPIED: [&str; 29] = [
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "fedora-release",
    "fonts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "lsb-release",
    "mime.types",
    "os-release",
    "perl",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "protocols",
    "redhat-release",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Prefixes of trees with a version in their name: the JVM's settings are links into them.
const COPIED_PREFIXES: [&str; 1] = ["java-"];

const GENERATED: [(&str, u32, &str); 9] = [
    ("group", 0o644, "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("shadow", 0o640, "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
    ("hostname", 0o644, "sandbox\n"),
    ("hosts", 0o644, "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"),
    // `outlet::NAMESERVER`: there, names are answered as far as the sandbox may reach them.
    ("resolv.conf", 0o644, "nameserver 192.0.0.1\n"),
    ("host.conf", 0o644, "multi on\n"),
    ("machine-id", 0o644, ""),
    (
        "nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\n\
         services: files\nethers: files\nrpc: files\n",
    ),
    ("bash.bashrc", 0o644, "PS1='\\u@\\h:\\w\\$ '\n"),
];

pub(super) fn write(etc: &Path) -> Result<(), ImageError> {
    let host = Path::new("/etc");
    for name in COPIED {
        copy(host, Path::new(name), etc)?;
    }
    for entry in std::fs::read_dir(host).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if COPIED_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            copy(host, Path::new(&name), etc)?;
        }
    }
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let passwd = format!(
        "root:x:0:0:root:/root:{shell}\nuser:x:{USER}:{USER}:user:/home/user:{shell}\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    put(&etc.join("passwd"), 0o644, passwd.as_bytes())?;
    for (name, mode, content) in GENERATED {
        put(&etc.join(name), mode, content.as_bytes())?;
    }
    Ok(())
}

/// Copies a file, link or tree, without what not everybody may read. What cannot be read is left out: all of it is
/// optional.
fn copy(host: &Path, name: &Path, etc: &Path) -> Result<(), ImageError> {
    let from = host.join(name);
    let Ok(metadata) = std::fs::symlink_metadata(&from) else { return Ok(()) };
    let to = etc.join(name);
    if metadata.is_symlink() {
        let Ok(target) = std::fs::read_link(&from) else { return Ok(()) };
        if stays_inside(&target) {
            make_parent(&to)?;
            std::os::unix::fs::symlink(target, &to).map_err(ImageError::io("make the link", &to))?;
        } else if let Ok(real) = std::fs::canonicalize(&from)
            && let Ok(metadata) = std::fs::metadata(&real)
            && metadata.is_file()
            && is_public(&metadata)
            && everybody_reaches(&real)
        {
            // Somewhere that is not in the image: its content then.
            copy_file(&from, &to)?;
        }
    } else if metadata.is_dir() {
        // What not everybody may list is not for everybody, whatever the files in it say.
        if metadata.mode() & 0o005 != 0o005 {
            return Ok(());
        }
        for entry in std::fs::read_dir(&from).into_iter().flatten().flatten() {
            copy(host, &name.join(entry.file_name()), etc)?;
        }
    } else if metadata.is_file() && is_public(&metadata) {
        copy_file(&from, &to)?;
    }
    Ok(())
}

/// Whether a link's target is in the image: in `/usr`, or beside the link.
fn stays_inside(target: &Path) -> bool {
    target.starts_with("/usr")
        || target.starts_with("/etc/alternatives")
        || target.starts_with("../usr")
        || (target.is_relative() && target.components().all(|part| matches!(part, Component::Normal(_))))
}

fn is_public(metadata: &Metadata) -> bool {
    metadata.mode() & 0o004 != 0 && metadata.len() < 16 << 20
}

/// Whether every directory on the way may be entered by everybody.
fn everybody_reaches(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| std::fs::metadata(dir).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), ImageError> {
    make_parent(to)?;
    match std::fs::read(from) {
        Ok(content) => put(to, 0o644, &content),
        Err(_) => Ok(()),
    }
}

fn make_parent(path: &Path) -> Result<(), ImageError> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    make_parent(parent)?;
    std::fs::create_dir(parent)
        .and_then(|()| std::fs::set_permissions(parent, Permissions::from_mode(0o755)))
        .map_err(ImageError::io("make the directory", parent))
}

fn put(path: &Path, mode: u32, content: &[u8]) -> Result<(), ImageError> {
    std::fs::write(path, content)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(ImageError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_the_image_are_not_copied_as_links() {
        for inside in ["/usr/share/zoneinfo/UTC", "name.pem", "../usr/lib/os-release"] {
            assert!(stays_inside(Path::new(inside)), "{inside}");
        }
        for outside in ["/root/key", "../../root/key", "/etc/shadow", "/home/x"] {
            assert!(!stays_inside(Path::new(outside)), "{outside}");
        }
    }

    #[test]
    fn a_file_that_not_everybody_may_read_is_left_out() {
        let (host, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(host.path().join("tree")).unwrap();
        std::fs::create_dir(host.path().join("tree/closed")).unwrap();
        for (name, mode) in [("tree/open", 0o644), ("tree/secret", 0o600), ("tree/closed/file", 0o644)] {
            put(&host.path().join(name), mode, b"x").unwrap();
        }
        std::fs::set_permissions(host.path().join("tree/closed"), Permissions::from_mode(0o700)).unwrap();
        // A link to a public file in a directory that is not.
        let closed = host.path().join("tree/closed/file");
        std::os::unix::fs::symlink(closed, host.path().join("tree/link")).unwrap();
        copy(host.path(), Path::new("tree"), etc.path()).unwrap();
        assert!(etc.path().join("tree/open").exists());
        for absent in ["secret", "closed", "link"] {
            assert!(!etc.path().join("tree").join(absent).exists(), "{absent}");
        }
    }
}
