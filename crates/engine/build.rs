//! Builds the guest programs, static, from the sources of the `computesdk-guest` package, and leaves their paths in
//! `COMPUTESDK_LAUNCHER` and `COMPUTESDK_AGENT` for `include_bytes!`.
//!
//! A nested cargo, because cargo has no way yet to depend on another package's program for another target; once for each
//! program, because one has a C library and the other must not. It works offline: everything the guest needs is also a
//! dependency of this crate. On docs.rs empty files stand in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let guest = Path::new(computesdk_guest::SOURCE_DIR);
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    println!("cargo::rerun-if-changed={}", guest.join("src").display());
    println!("cargo::rerun-if-changed={}", guest.join("Cargo.toml").display());
    let protocol = guest.join("../guest-protocol/src");
    if protocol.is_dir() {
        println!("cargo::rerun-if-changed={}", protocol.display());
    }
    for program in [&LAUNCHER, &AGENT] {
        let path = if env::var_os("DOCS_RS").is_some() {
            let empty = out.join("guest-empty");
            fs::write(&empty, []).expect("OUT_DIR is writable");
            empty
        } else {
            build(program, guest, &out)
        };
        println!("cargo::rustc-env={}={}", program.variable, path.display());
    }
}

/// One of the programs.
struct Program {
    feature: &'static str,
    name: &'static str,
    variable: &'static str,
    flags: &'static str,
}

const LAUNCHER: Program = Program {
    feature: "launcher",
    name: "computesdk-launcher",
    variable: "COMPUTESDK_LAUNCHER",
    // Static, so that it runs in any root file system.
    flags: "-C target-feature=+crt-static -C panic=abort",
};

const AGENT: Program = Program {
    feature: "agent",
    name: "computesdk-agent",
    variable: "COMPUTESDK_AGENT",
    // Nothing but its own code: no C library, no start files, and so nobody who would relocate it.
    flags: "-C target-feature=+crt-static -C panic=abort -C relocation-model=static \
            -C link-arg=-nostartfiles -C link-arg=-nostdlib -C link-arg=-static",
};

fn build(program: &Program, guest: &Path, out: &Path) -> PathBuf {
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    assert_eq!(os, "linux", "computesdk-engine makes sandboxes on Linux only; build without the `local` feature");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    // Cargo does not let two builds share a target directory at once, and the outer one holds the workspace's.
    let target_dir = out.join("guest-target").join(program.feature);
    // In the workspace its lock file applies. From a registry package there is none around it: the copy resolves
    // offline, to the versions that the outer build has already downloaded.
    let in_workspace = guest.join("../../Cargo.lock").is_file();
    let (manifest, mode) = if in_workspace {
        (guest.join("Cargo.toml"), &["--locked", "--offline"][..])
    } else {
        (copy_package(guest, &out.join("guest-package")), &["--offline"][..])
    };
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--release", "--quiet", "--features", program.feature, "--bin", program.name])
        .args(mode)
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&target_dir)
        // Small, so that cloning the one and keeping many of the other is cheap.
        .env("RUSTFLAGS", program.flags)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_MAKEFLAGS")
        .status()
        .unwrap_or_else(|error| panic!("cannot start cargo to build the guest: {error}"));
    assert!(
        status.success(),
        "building the guest's {} failed ({status}); it is linked statically, which needs the C library's static \
         archive: `libc6-dev` on Debian and Ubuntu, `glibc-static` on Fedora",
        program.feature
    );
    target_dir.join(target).join("release").join(program.name)
}

/// Copies the package without its lock file, whose versions may not be the downloaded ones.
fn copy_package(from: &Path, to: &Path) -> PathBuf {
    let _ = fs::remove_dir_all(to);
    copy_tree(&from.join("src"), &to.join("src"));
    let manifest = to.join("Cargo.toml");
    fs::copy(from.join("Cargo.toml"), &manifest).expect("the guest package has a manifest");
    manifest
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("OUT_DIR is writable");
    for entry in fs::read_dir(from).expect("the guest package has sources") {
        let entry = entry.expect("the guest package can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("OUT_DIR is writable");
        }
    }
}
