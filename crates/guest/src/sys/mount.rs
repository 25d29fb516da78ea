//! Mount attributes (`mount_setattr(2)`).

use super::last_errno;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::ffi::CStr;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

// linux/mount.h
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

fn set_attributes(dir: i32, path: &CStr, flags: i32, attributes: &MountAttr) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated and `attributes` is a mount_attr of the given size; both live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Shows the files of a detached mount as owned through the id map of a user namespace.
pub(crate) fn idmap_mount(tree: impl AsFd, userns: impl AsFd) -> Result<(), Errno> {
    #[allow(clippy::cast_sign_loss, reason = "an open descriptor is not negative")]
    let attributes =
        MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: userns.as_fd().as_raw_fd() as u64, ..MountAttr::default() };
    set_attributes(tree.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, &attributes)
}

/// Makes the mount at `path` read-only, with everything mounted below it.
pub(crate) fn set_read_only(path: &CStr) -> Result<(), Errno> {
    let attributes = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    set_attributes(libc::AT_FDCWD, path, libc::AT_RECURSIVE, &attributes)
}

/// Cuts the whole mount tree off from the one it was copied from: nothing propagates either way.
pub(crate) fn make_private() -> Result<(), Errno> {
    let attributes = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    set_attributes(libc::AT_FDCWD, c"/", libc::AT_RECURSIVE, &attributes)
}
