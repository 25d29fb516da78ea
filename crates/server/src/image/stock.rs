//! Lines that count as done: those that Modal's clients put in front of every image, and packages whose programs are there.
//!
//! Only commands known word by word are taken; chains of them with `&&` too. Everything else is left to whoever builds images.

use super::Context;
use super::place::Place;

/// What clients install into every image of theirs.
const TOOLCHAIN: [&str; 3] = ["gcc", "gfortran", "build-essential"];
/// The Python packages that clients of old put into every image, for what runs functions.
const REQUIREMENTS: &str = "/modal_requirements.txt";
const DEBCONF: &str = "echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections";
const NO_BUILDS: &str = "cannot be run: this server does not build images yet";

/// Packages whose programs have other names. `a|b` are two names of one program.
const PACKAGES: [(&str, &[&str]); 24] = [
    ("build-essential", &["gcc", "g++", "make"]),
    ("ca-certificates", &["update-ca-certificates"]),
    ("coreutils", &["ls"]),
    ("default-jdk", &["javac"]),
    ("default-jre", &["java"]),
    ("dnsutils", &["dig"]),
    ("fd-find", &["fdfind|fd"]),
    ("findutils", &["find"]),
    ("gnupg", &["gpg"]),
    ("golang", &["go"]),
    ("golang-go", &["go"]),
    ("imagemagick", &["convert|magick"]),
    ("iproute2", &["ip"]),
    ("iputils-ping", &["ping"]),
    ("netcat-openbsd", &["nc"]),
    ("nodejs", &["node"]),
    ("openssh-client", &["ssh"]),
    ("postgresql-client", &["psql"]),
    ("procps", &["ps"]),
    ("py3-pip", &["pip3|pip"]),
    ("python3-pip", &["pip3|pip"]),
    ("ripgrep", &["rg"]),
    ("util-linux", &["mount"]),
    ("xz-utils", &["xz"]),
];

/// What a command that counts as done would have brought and is not there.
type Missing = Vec<String>;

/// The notices for a RUN line that counts as done.
///
/// # Errors
/// Why it does not; continues "`RUN …`".
pub(super) fn run(command: &str, place: &Place<'_>) -> Result<Vec<String>, String> {
    let mut missing = Missing::new();
    let mut notices = Vec::new();
    for part in command.split("&&").map(str::trim) {
        let words: Vec<&str> = part.split_whitespace().collect();
        missing.extend(step(part, &words, place, &mut notices)?);
    }
    let mut done = format!("`RUN {command}` counts as done");
    if !missing.is_empty() {
        done.push_str(&format!("; missing here: {}", missing.join(", ")));
    }
    notices.insert(0, done);
    Ok(notices)
}

/// The notices for a COPY line that counts as done: `None` if it does not.
pub(super) fn copy(rest: &str, context: Context, place: &Place<'_>) -> Option<Vec<String>> {
    match rest.split_whitespace().collect::<Vec<_>>().as_slice() {
        [REQUIREMENTS, REQUIREMENTS] if context.files || context.mount => {
            Some(vec![format!("`COPY {rest}` counts as done: it is for running functions")])
        }
        ["/python/.", "/usr/local"] if context.mount => {
            let missing = place.missing(&["python3|python"]);
            Some(vec![if missing.is_empty() {
                format!("`COPY {rest}` (`add_python`) counts as done: the Python of this provider stands for it")
            } else {
                format!("`COPY {rest}` (`add_python`) counts as done; missing here: python3")
            }])
        }
        _ => None,
    }
}

fn step(part: &str, words: &[&str], place: &Place<'_>, notices: &mut Vec<String>) -> Result<Missing, String> {
    let named = |programs: &[&str]| place.missing(programs).into_iter().map(str::to_owned).collect();
    match words {
        _ if part == DEBCONF => Ok(Missing::new()),
        ["apt-get" | "apt", "update", flags @ ..] | ["apt-get" | "apt", "clean", flags @ ..]
            if flags.iter().all(|flag| is_apt_flag(flag)) =>
        {
            Ok(Missing::new())
        }
        ["apk", "update"] => Ok(Missing::new()),
        ["apt-get" | "apt", "install", words @ ..] => {
            let packages = packages(words, is_apt_flag)?;
            if packages == TOOLCHAIN {
                return Ok(named(&["gcc", "gfortran", "g++", "make"]));
            }
            installed(&packages, place)
        }
        ["apk", "add", words @ ..] => {
            installed(&packages(words, |flag| matches!(flag, "--no-cache" | "-q" | "--quiet" | "-U"))?, place)
        }
        ["rm", "-rf", "/var/lib/apt/lists/*" | "/var/cache/apk/*"] | ["rm", REQUIREMENTS] => Ok(Missing::new()),
        ["ln", "-s", "/usr/local/bin/python3", "/usr/local/bin/python"] => Ok(named(&["python"])),
        ["python", "-m", "pip" | "uv", ..] => pip(&words[2..], place),
        ["pip" | "uv", ..] => pip(words, place),
        ["micromamba", "install", "-n", "base", "-y", python, "pip", "-c", "conda-forge"] => {
            let version = python.strip_prefix("python=").ok_or(NO_BUILDS)?;
            notices.extend(place.other_python("the image", version));
            Ok(named(&["python3|python", "pip|pip3"]))
        }
        _ => Err(NO_BUILDS.to_owned()),
    }
}

/// `pip install …` as clients send it for their own sake; never a package that somebody asked for.
fn pip(words: &[&str], place: &Place<'_>) -> Result<Missing, String> {
    let named = |programs: &[&str]| place.missing(programs).into_iter().map(str::to_owned).collect();
    match words {
        ["pip", "install", "--upgrade", tools @ ..]
            if !tools.is_empty() && tools.iter().all(|tool| matches!(*tool, "pip" | "wheel" | "uv")) =>
        {
            // `wheel` is no program.
            let programs = tools.iter().filter_map(|tool| match *tool {
                "wheel" => None,
                "pip" => Some("pip|pip3"),
                tool => Some(tool),
            });
            Ok(named(&programs.collect::<Vec<_>>()))
        }
        ["pip", "install", "-r", REQUIREMENTS]
        | ["pip", "install", "--no-cache", "--no-deps", "-r", REQUIREMENTS]
        | ["uv", "pip", "install", "--system", "--compile-bytecode", "--no-cache", "--no-deps", "-r", REQUIREMENTS] => {
            Ok(Missing::new())
        }
        _ => Err(NO_BUILDS.to_owned()),
    }
}

fn is_apt_flag(flag: &str) -> bool {
    matches!(
        flag,
        "-y" | "-q"
            | "-qq"
            | "-yq"
            | "-qy"
            | "-yqq"
            | "-qqy"
            | "--yes"
            | "--assume-yes"
            | "--quiet"
            | "--no-install-recommends"
    )
}

/// The names in `install …`.
fn packages<'w>(words: &[&'w str], is_flag: impl Fn(&str) -> bool) -> Result<Vec<&'w str>, String> {
    let packages: Vec<&str> = words.iter().copied().filter(|word| !is_flag(word)).collect();
    let is_name = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
    };
    if packages.is_empty() || !packages.iter().all(is_name) {
        return Err(NO_BUILDS.to_owned());
    }
    Ok(packages)
}

/// Packages count as installed if every program of theirs is there.
fn installed(packages: &[&str], place: &Place<'_>) -> Result<Missing, String> {
    let mut gone: Vec<&str> = Vec::new();
    for package in packages {
        let programs =
            PACKAGES.iter().find(|(name, _)| name == package).map_or(std::slice::from_ref(package), |(_, p)| *p);
        if !place.missing(programs).is_empty() {
            gone.push(package);
        }
    }
    match gone.is_empty() {
        true => Ok(Missing::new()),
        false => Err(format!("{NO_BUILDS}, and these are not there: {}", gone.join(", "))),
    }
}
