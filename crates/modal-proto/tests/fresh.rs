//! The checked-in code is what `proto/` says. `COMPUTESDK_REGENERATE=1 cargo test -p computesdk-modal-proto --test fresh`
//! writes it.

use std::path::Path;

const FILES: [&str; 2] = ["modal.client.rs", "modal.task_command_router.rs"];

#[test]
fn the_generated_code_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().expect("a temporary directory");
    let protos = ["modal/client.proto", "modal/router.proto"];
    let described = protox::compile(protos, [root.join("proto")]).expect("proto/ compiles");
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(made.path())
        .compile_fds(described)
        .expect("code for proto/");
    for file in FILES {
        let fresh = std::fs::read_to_string(made.path().join(file)).expect("it was made");
        let kept = root.join("src/generated").join(file);
        if std::env::var_os("COMPUTESDK_REGENERATE").is_some() {
            std::fs::write(&kept, fresh).expect("src/generated can be written");
            continue;
        }
        let stored = std::fs::read_to_string(&kept).unwrap_or_default();
        assert!(stored == fresh, "{} is not what proto/ says; see the top of this file", kept.display());
    }
}
