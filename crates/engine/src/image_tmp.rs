//! tmp
#![allow(missing_docs)]
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
#[allow(dead_code)]
pub(crate) struct ImageOptions { pub cache_dir: PathBuf, pub python: Option<PathBuf>, pub node: Option<PathBuf>, pub search_path: OsString, pub boot_id: String, pub idmapped: bool }
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ImageError(#[from] std::io::Error);
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct HostImage { pub layers: Vec<Layer>, pub path: String, pub python: Option<Interpreter>, pub node: Option<Interpreter>, pub rejected: Vec<Rejected> }
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Layer { pub target: String, pub lowers: Vec<PathBuf>, pub owned: Vec<OwnedDir> }
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct OwnedDir { pub path: String, pub mode: u32 }
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Interpreter { pub executable: String, pub version: String, pub prefix: Option<PathBuf>, pub found_by: String }
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Rejected { pub path: PathBuf, pub why: String }
pub(crate) fn prepare(o: &ImageOptions) -> Result<HostImage, ImageError> {
    let d = o.cache_dir.join("tmp-skel");
    for x in ["proc","sys","dev","usr","tmp","etc","root/.pyenv/versions/3.11.7","home/user","var/tmp","opt"] { std::fs::create_dir_all(d.join(x))?; }
    for (a,b) in [("bin","usr/bin"),("sbin","usr/sbin"),("lib","usr/lib"),("lib64","usr/lib64")] { let _ = std::os::unix::fs::symlink(b, d.join(a)); }
    std::fs::write(d.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/sh\n")?;
    std::fs::write(d.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
    std::fs::write(d.join("etc/hosts"), "127.0.0.1 localhost sandbox\n")?;
    std::fs::copy("/etc/ld.so.cache", d.join("etc/ld.so.cache"))?;
    let owned = |v: &[&str]| v.iter().map(|p| OwnedDir{path:(*p).to_owned(), mode: if p.contains("tmp") {0o1777} else {0o755}}).collect::<Vec<_>>();
    let mut layers = vec![
        Layer{target:"/".into(), lowers: vec![d], owned: owned(&["etc","root","tmp","var","var/tmp","home","opt"])},
        Layer{target:"/usr".into(), lowers: vec!["/usr".into()], owned: owned(&["bin","local","local/bin"])}];
    let mut path = String::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let py = PathBuf::from("/root/.pyenv/versions/3.11.7");
    if py.is_dir() {
      layers.push(Layer{target: py.display().to_string(), lowers: vec![py.clone()], owned: vec![]});
      path = format!("{}/bin:{path}", py.display());
    }
    Ok(HostImage{layers, path, python: None, node: None, rejected: vec![]})
}
