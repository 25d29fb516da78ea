//! Pages that are made from code are fresh. `UPDATE_DOCS=1 cargo test -p computesdk --test docs` rewrites them.

use std::path::Path;

#[test]
fn the_page_of_providers_is_fresh() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
    if !folder.is_dir() {
        println!("skipped: there is no docs folder beside this package, which was unpacked from a registry");
        return;
    }
    let page = format!(
        "<!-- Made from crates/computesdk/src/catalog.rs. To change it, change that and run\n     \
         UPDATE_DOCS=1 cargo test -p computesdk --test docs -->\n\n# Providers\n\n\
         What the providers of ComputeSDK are like. Only those with \"yes\" in the last row are part of this \
         repository today; what\nsuch a provider keeps in every detail is its `Capabilities`, which the conformance \
         suite holds it to.\n\n{}",
        computesdk::catalog::markdown_table()
    );
    let path = folder.join("providers.md");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/providers.md is stale: run `UPDATE_DOCS=1 cargo test -p computesdk --test docs`");
}
