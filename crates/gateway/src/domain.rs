//! Names of a policy that allows names.
//!
//! A name that does not read as a host name never matches: what is compared is only ever the normal form.

use crate::policy::PolicyError;
use std::fmt;
use std::net::IpAddr;

/// Names that may be reached: `example.com` is that name alone; `*.example.com` is every name below it, at any depth,
/// and not `example.com` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Below(String),
}

impl Names {
    /// Reads what a user listed. Letter case and one dot at the end make no difference.
    ///
    /// # Errors
    /// [`PolicyError`] with the entry that is no name and what to give in its place.
    pub fn new(entries: &[String]) -> Result<Self, PolicyError> {
        PolicyError::check_count(entries)?;
        let pattern = |entry: &String| pattern(entry).map_err(|problem| PolicyError::entry(entry, problem));
        entries.iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `name` may be reached. Anything that is no host name may not.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        let Some(name) = normal_name(name) else { return false };
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(exact) => *exact == name,
            Pattern::Below(apex) => {
                name.strip_suffix(apex.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        })
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pattern) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            match pattern {
                Pattern::Exact(name) => f.write_str(name)?,
                Pattern::Below(apex) => write!(f, "*.{apex}")?,
            }
        }
        Ok(())
    }
}

fn pattern(entry: &str) -> Result<Pattern, String> {
    let (apex, below) = match entry.strip_prefix("*.") {
        Some(apex) => (apex, true),
        None => (entry, false),
    };
    if let Some(name) = normal_name(apex) {
        return Ok(if below { Pattern::Below(name) } else { Pattern::Exact(name) });
    }
    Err(advice(entry, apex))
}

/// What is wrong with `apex`, the name within `entry`, and what to give.
fn advice(entry: &str, apex: &str) -> String {
    let bare = apex.trim_start_matches('[').split([']', '/']).next().unwrap_or_default();
    if bare.parse::<IpAddr>().is_ok() {
        return format!("is an address; allow it with `cidr:{bare}`");
    }
    if entry == "*" {
        return "allows every name; give `egress` for the whole internet".into();
    }
    if apex.contains("://") || apex.contains('/') || apex.contains('@') {
        return "is a URL; give the name of the host alone".into();
    }
    if let Some((name, port)) = apex.rsplit_once(':')
        && normal_name(name).is_some()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return format!("has a port; give `{name}` alone, which allows all ports");
    }
    if !apex.is_ascii() {
        return "has letters outside of ASCII; give its form in punycode (`xn--…`)".into();
    }
    if apex.contains('*') {
        return "has `*` elsewhere than in `*.` at its beginning".into();
    }
    if apex.is_empty() || apex == "." {
        return "is no name; give one such as `example.com` or `*.example.com`".into();
    }
    if apex.len() > 254 || apex.split('.').any(|label| label.len() > 63) {
        return "is too long: a name has at most 253 characters, 63 between two dots".into();
    }
    if apex.ends_with("..") || apex.trim_end_matches('.').split('.').any(str::is_empty) {
        return "has nothing between two dots".into();
    }
    "is no host name; give one such as `example.com` or `*.example.com`".into()
}

/// `name` in the form in which names are compared: lower-case, without a dot at the end. `None` if it is no host name:
/// labels of letters, digits, `-` and `_` (which names of services have), the last of which is no number, because
/// programs read `127.1` and `0x7f000001` as addresses.
#[must_use]
pub fn normal_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = name.rsplit('.').next()?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"))
            && last.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit());
    (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(entries: &[&str]) -> Result<Names, PolicyError> {
        Names::new(&entries.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn an_exact_name_is_that_name_alone() {
        let names = names(&["Example.COM."]).unwrap();
        for name in ["example.com", "EXAMPLE.com", "example.com."] {
            assert!(names.allows(name), "{name}");
        }
        for name in ["a.example.com", "xexample.com", "example.com.x", "com", "", ".", "example.com..", ".example.com"]
        {
            assert!(!names.allows(name), "{name}");
        }
    }

    #[test]
    fn a_wildcard_is_every_name_below_and_not_the_apex() {
        let names = names(&["*.example.com", "pypi.org"]).unwrap();
        for name in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM.", "_x.example.com", "pypi.org"] {
            assert!(names.allows(name), "{name}");
        }
        for name in ["example.com", "xexample.com", ".example.com", "*.example.com", "a..example.com", "a.pypi.org"] {
            assert!(!names.allows(name), "{name}");
        }
        for name in ["a\0.example.com", "a b.example.com", "a\\.example.com", "ä.example.com", "1.2.3.4"] {
            assert!(!names.allows(name), "{name}");
        }
        assert_eq!(names.to_string(), "*.example.com,pypi.org");
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_to_give() {
        let long = format!("{}.com", "a".repeat(64));
        for (entry, part) in [
            ("*", "egress"),
            ("a.*.com", "elsewhere"),
            ("*a.com", "elsewhere"),
            ("**.com", "elsewhere"),
            ("*.*.com", "elsewhere"),
            ("*.", "is no name"),
            ("", "is no name"),
            (".", "is no name"),
            ("1.2.3.4", "`cidr:1.2.3.4`"),
            ("[::1]", "`cidr:::1`"),
            ("::1", "`cidr:::1`"),
            ("127.1", "no host name"),
            ("0x7f000001", "no host name"),
            ("example.com:443", "`example.com` alone"),
            ("https://example.com/", "URL"),
            ("user@example.com", "URL"),
            ("bücher.example", "punycode"),
            ("a..com", "between two dots"),
            (".com", "between two dots"),
            ("a com", "no host name"),
            (long.as_str(), "too long"),
        ] {
            let error = names(&["ok.example", entry]).unwrap_err().to_string();
            assert!(error.contains(part), "{entry}: {error}");
        }
        names(&[]).unwrap_err();
        names(&vec!["a.com"; 1001]).unwrap_err();
        names(&vec!["a.com"; 1000]).unwrap();
    }

    #[test]
    fn lengths_are_held() {
        let of = |len: usize| "a.".repeat(len / 2) + &"a".repeat(len % 2);
        assert!(normal_name(&of(253)).is_some());
        assert!(normal_name(&(of(253) + ".")).is_some());
        assert!(normal_name(&of(255)).is_none());
        assert!(normal_name(&"a".repeat(63)).is_some());
        assert!(normal_name(&"a".repeat(64)).is_none());
        assert!(normal_name(&"a".repeat(1 << 20)).is_none());
    }
}
