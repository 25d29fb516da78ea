//! Builds the containment checker, static, and leaves its path in `COMPUTESDK_CHECKER` for `include_bytes!`.
//!
//! A nested cargo, as in the engine's build script: cargo has no way yet to depend on another package's program. It works
//! offline, as everything that the checker needs is also a dependency of the engine.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for source in ["checker/src", "checker/checks.txt", "checker/Cargo.toml"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let target = env::var("TARGET").expect("cargo sets TARGET");
    // Cargo does not let two builds share a target directory at once, and the outer one holds the workspace's.
    let target_dir = out.join("checker-target");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--offline", "--manifest-path", "checker/Cargo.toml"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&target_dir)
        // Static, so that it runs in any root file system.
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C panic=abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_MAKEFLAGS")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "building the checker failed ({status}); it needs the C library's static archive");
    let built = target_dir.join(target).join("release/computesdk-checker");
    assert!(fs::metadata(&built).is_ok_and(|metadata| metadata.len() > 0), "cargo built no checker");
    println!("cargo::rustc-env=COMPUTESDK_CHECKER={}", built.display());
}
