//! What stands in for every base image: the provider's own.

use std::fmt;

/// What a provider's image has, as far as lines ask for it.
pub(crate) struct Place<'a> {
    /// The provider's name.
    pub(crate) provider: &'a str,
    /// The version of its Python: `3.12.3`, or `3.12`.
    pub(crate) python: Option<&'a str>,
    /// The `PATH` that its programs start with.
    pub(crate) path: &'a str,
    /// Whether it has a program. Asked for names alone, never for a path.
    pub(crate) tools: &'a dyn Fn(&str) -> bool,
}

impl Place<'_> {
    /// The `PATH` of an image that says nothing of it.
    pub(crate) const USUAL_PATH: &'static str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// Whether one of several names of a program is there.
    pub(crate) fn has(&self, names: &str) -> bool {
        names.split('|').any(|name| (self.tools)(name))
    }

    /// Which of some programs are not there. `python3|python` is one that goes by two names.
    pub(crate) fn missing<'t>(&self, programs: &[&'t str]) -> Vec<&'t str> {
        let gone = programs.iter().filter(|names| !self.has(names));
        gone.filter_map(|names| names.split('|').next()).collect()
    }

    /// A word on the Python that runs instead of `wanted`, if it is of another series (`3.11`).
    pub(crate) fn other_python(&self, who: &str, wanted: &str) -> Option<String> {
        let have = self.python?;
        (series(have)? != series(wanted)?)
            .then(|| format!("{who} has Python {wanted}; the Python of this provider is {have}"))
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("provider", &self.provider).field("python", &self.python).finish_non_exhaustive()
    }
}

/// `3.12` of `3.12.3`, `3.12-slim` and the like.
pub(crate) fn series(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

/// Programs for which a public image is named, by the image's last name.
const IMAGES: [(&str, &[&str]); 8] = [
    ("python", &["python3|python", "pip|pip3"]),
    ("micromamba", &["python3|python", "micromamba"]),
    ("node", &["node", "npm"]),
    ("golang", &["go"]),
    ("rust", &["cargo"]),
    ("ruby", &["ruby"]),
    ("openjdk", &["java"]),
    ("bun", &["bun"]),
];

/// The name and the tag of an image without its registry: `python` and `3.12-slim`.
pub(crate) fn name_and_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').map_or((last, None), |(name, tag)| (name, Some(tag)))
}

/// What is to be said of the image that takes the place of `image`.
pub(crate) fn replaced(image: &str, place: &Place<'_>) -> Vec<String> {
    let provider = place.provider;
    let mut notices = vec![format!(
        "the base image {image} is replaced by the image of this provider ({provider}): its programs and versions are what is there"
    )];
    let (name, tag) = name_and_tag(image);
    if let Some((_, programs)) = IMAGES.iter().find(|(known, _)| *known == name) {
        let missing = place.missing(programs);
        if !missing.is_empty() {
            notices.push(format!("{image} would have brought what is missing here: {}", missing.join(", ")));
        }
    }
    if name == "python" {
        notices.extend(tag.and_then(|tag| {
            let version = tag.split('-').next().unwrap_or(tag);
            place.other_python(image, version)
        }));
    }
    notices
}
