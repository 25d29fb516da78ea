//! Images, until they are built: the lines of a Dockerfile that clients send, and what is left of them when every base image
//! is the provider's own.
//!
//! ```text
//!  lines ──► lines: instructions ──► layer: FROM, ENV, WORKDIR, CMD … ──► ImageConfig
//!                                      │  ├ words: quotes and $VARIABLES
//!                                      │  └ stock: RUN and COPY lines that ask for what is there anyway
//!                                      └ place: what the provider's image has
//! ```
//!
//! Clients send one layer at a time, each a small Dockerfile of its own whose `FROM base` names the layer before. ENV, WORKDIR,
//! CMD, ENTRYPOINT and SHELL are kept as Docker would keep them. Lines that Modal's clients put in front of every image count as
//! done, and what they would have brought and is missing is named in the notices. Whatever else would change files is refused
//! with its line: nothing is left out silently. Pure: no file is read and no program runs here.
//!
//! The lines of each client and builder version: modal-wire notes, section 8.1, and `recorded.json` beside the tests.

mod layer;
mod lines;
mod place;
mod stock;
mod words;

pub(crate) use place::Place;

use ring::digest::{Context as Hash, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What an image is for whoever starts a sandbox from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ImageConfig {
    /// The image as the first layer's FROM names it.
    pub(crate) base: String,
    /// What ENV set.
    pub(crate) env: BTreeMap<String, String>,
    /// Where programs start; absolute.
    pub(crate) workdir: Option<String>,
    /// What runs where the sandbox's creator names nothing. Empty: nothing was set, or it was cleared.
    pub(crate) cmd: Vec<String>,
    /// What `cmd`, or the creator's own command, is given to.
    pub(crate) entrypoint: Vec<String>,
    /// What the shell forms of CMD and ENTRYPOINT are given to. Empty: `/bin/sh -c`.
    pub(crate) shell: Vec<String>,
    /// What whoever built it should know, the layers below included.
    pub(crate) notices: Vec<String>,
}

/// What came along with the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Context {
    /// Files in the request itself (`context_files`).
    pub(crate) files: bool,
    /// A mount (`context_mount_id`).
    pub(crate) mount: bool,
}

/// A line that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line_number}: `{}` {reason}", shortened(line))]
pub(crate) struct BuildError {
    /// Its number, from 1.
    pub(crate) line_number: usize,
    /// The instruction, its continuations joined.
    pub(crate) line: String,
    /// What is wrong with it; continues a sentence that starts with the line.
    pub(crate) reason: String,
}

/// Applies one layer's lines. `base` is the image that `FROM base` stands for.
///
/// # Errors
/// The first line that cannot be kept.
pub(crate) fn build(
    base: Option<&ImageConfig>,
    lines: &[String],
    build_args: &HashMap<String, String>,
    context: Context,
    place: &Place<'_>,
) -> Result<ImageConfig, BuildError> {
    layer::build(base, lines, build_args, context, place)
}

/// What tells one layer from another, for the cache: 64 hexadecimal digits. `base` is the digest of the layer below.
pub(crate) fn digest(base: Option<&str>, lines: &[String], build_args: &HashMap<String, String>) -> String {
    let mut hash = Hash::new(&SHA256);
    // Lengths go first, so that no two lists of words are the same bytes.
    let mut words = |words: &[&str]| {
        hash.update(&words.len().to_le_bytes());
        for word in words {
            hash.update(&word.len().to_le_bytes());
            hash.update(word.as_bytes());
        }
    };
    words(base.as_slice());
    words(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let args: BTreeMap<_, _> = build_args.iter().collect();
    words(&args.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect::<Vec<_>>());
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Enough of a line to find it by.
fn shortened(line: &str) -> String {
    const MOST: usize = 200;
    if line.chars().count() <= MOST {
        return line.to_owned();
    }
    line.chars().take(MOST).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests;
