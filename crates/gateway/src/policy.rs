//! Where a sandbox may go.

use crate::address::{canonical_net, special, special_range};
use crate::domain::Names;
use ipnet::IpNet;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// More in one list than this are a mistake; each connection looks through all of them.
const MOST_ENTRIES: usize = 1000;

/// Where a sandbox may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nowhere.
    #[default]
    Nothing,
    /// To every ordinary address of the internet: not to private networks, this machine, or a metadata service.
    Internet,
    /// To addresses within these ranges. A [`special`] address is reached only through a range that lies wholly within
    /// its special range, and an address of this machine only where it is listed by itself.
    Ranges(Vec<IpNet>),
    /// To these names, and to no address that was not asked for by name.
    Names(Names),
}

/// A list of ranges or names that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A list of nothing.
    #[error("the list is empty; give `none` to allow nothing")]
    Empty,
    /// A list too long.
    #[error("{0} entries are too many: at most {MOST_ENTRIES}")]
    TooMany(usize),
    /// One entry is wrong.
    #[error("`{entry}` {problem}")]
    Entry {
        /// The entry, shortened.
        entry: String,
        /// What is wrong with it, and what to give.
        problem: String,
    },
}

impl PolicyError {
    pub(crate) fn check_count(entries: &[String]) -> Result<(), Self> {
        match entries.len() {
            0 => Err(Self::Empty),
            count if count > MOST_ENTRIES => Err(Self::TooMany(count)),
            _ => Ok(()),
        }
    }

    pub(crate) fn entry(entry: &str, problem: impl Into<String>) -> Self {
        Self::Entry { entry: entry.chars().take(100).flat_map(char::escape_debug).collect(), problem: problem.into() }
    }
}

/// Why an address is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words that stand alone.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Policy {
    /// A policy of ranges, such as `203.0.113.0/24` or `2001:db8::1`.
    ///
    /// # Errors
    /// [`PolicyError`] with the entry that is no range and what to give in its place.
    pub fn ranges(entries: &[String]) -> Result<Self, PolicyError> {
        PolicyError::check_count(entries)?;
        let range = |entry: &String| range(entry).map_err(|problem| PolicyError::entry(entry, problem));
        entries.iter().map(range).collect::<Result<_, _>>().map(Self::Ranges)
    }

    /// A policy of names, such as `example.com` or `*.example.com`.
    ///
    /// # Errors
    /// [`PolicyError`] with the entry that is no name and what to give in its place.
    pub fn names(entries: &[String]) -> Result<Self, PolicyError> {
        Names::new(entries).map(Self::Names)
    }

    /// The names, if this policy is one of names.
    #[must_use]
    pub fn allowed_names(&self) -> Option<&Names> {
        match self {
            Self::Names(names) => Some(names),
            _ => None,
        }
    }

    /// Whether `addr` may be reached; `own` says that it is an address of this machine.
    ///
    /// # Errors
    /// [`Refusal`] says why not. A policy of names refuses every address: who follows one decides by the name that the
    /// address was asked for with, and then asks [`Policy::Internet`] whether it leads to an ordinary place.
    pub fn decide(&self, addr: IpAddr, own: bool) -> Result<(), Refusal> {
        let addr = addr.to_canonical();
        let refuse = |reason: String| Err(Refusal { reason: reason.into() });
        let special = special(addr);
        match self {
            Self::Nothing => Err(Refusal { reason: "nothing may be reached".into() }),
            Self::Names(_) => refuse(format!("{addr} was not asked for by an allowed name")),
            Self::Internet => match special {
                Some(what) => refuse(format!("{addr} is {what}")),
                None if own => refuse(format!("{addr} is an address of the machine itself")),
                None => Ok(()),
            },
            Self::Ranges(ranges) => {
                let alone = IpNet::from(addr);
                let holds = |net: &&IpNet| net.contains(&addr);
                let names =
                    |net: &&IpNet| (special.is_none() || special_range(net)) && (!own || canonical_net(**net) == alone);
                if ranges.iter().filter(holds).any(|net| names(&net)) {
                    return Ok(());
                }
                match special {
                    _ if !ranges.iter().any(|net| holds(&net)) => {
                        refuse(format!("{addr} is in none of the allowed ranges"))
                    }
                    Some(what) if !own => refuse(format!("{addr} is {what}, which no allowed range names")),
                    _ => refuse(format!("{addr} is an address of the machine itself, which is not listed alone")),
                }
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Internet => f.write_str("egress"),
            Self::Ranges(ranges) => {
                f.write_str("cidr:")?;
                for (at, net) in ranges.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    net.fmt(f)?;
                }
                Ok(())
            }
            Self::Names(names) => write!(f, "domain:{names}"),
        }
    }
}

fn range(entry: &str) -> Result<IpNet, String> {
    if let Ok(addr) = entry.parse::<IpAddr>() {
        return Ok(addr.to_canonical().into());
    }
    let net: IpNet = entry.parse().map_err(|_| {
        if crate::domain::normal_name(entry.strip_prefix("*.").unwrap_or(entry)).is_some() {
            format!("is a name; allow it with `domain:{entry}`")
        } else {
            "is no range of addresses; give one such as `203.0.113.0/24` or `2001:db8::/32`".into()
        }
    })?;
    if net != net.trunc() {
        return Err(format!("begins within the range; give `{}`, or the address without `/`", net.trunc()));
    }
    Ok(canonical_net(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(entries: &[&str]) -> Result<Policy, PolicyError> {
        Policy::ranges(&entries.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn refused(policy: &Policy, addr: &str, own: bool) -> Option<String> {
        policy.decide(addr.parse().unwrap(), own).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn the_internet_is_ordinary_addresses_of_others() {
        let policy = Policy::Internet;
        assert_eq!(refused(&policy, "1.1.1.1", false), None);
        assert_eq!(refused(&policy, "2606:4700::1111", false), None);
        assert!(refused(&policy, "1.1.1.1", true).unwrap().contains("machine itself"));
        assert!(refused(&policy, "::ffff:169.254.169.254", false).unwrap().contains("is a metadata service"));
        assert!(refused(&Policy::Nothing, "1.1.1.1", false).is_some());
    }

    #[test]
    fn ranges_reach_what_they_hold() {
        let policy = ranges(&["203.0.113.0/24", "2001:db8::/32", "9.9.9.9"]).unwrap();
        for addr in ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7", "9.9.9.9"] {
            assert_eq!(refused(&policy, addr, false), None, "{addr}");
        }
        assert!(refused(&policy, "203.0.114.1", false).unwrap().contains("none of the allowed"));
        assert!(refused(&policy, "9.9.9.8", false).is_some());
        assert_eq!(policy.to_string(), "cidr:203.0.113.0/24,2001:db8::/32,9.9.9.9/32");
    }

    #[test]
    fn special_addresses_are_reached_only_where_a_range_means_them() {
        let all = ranges(&["0.0.0.0/0", "::/0"]).unwrap();
        assert_eq!(refused(&all, "1.1.1.1", false), None);
        for addr in ["10.0.0.1", "169.254.169.254", "127.0.0.1", "fd00::1", "64:ff9b::10.0.0.1"] {
            assert!(refused(&all, addr, false).unwrap().contains("which no allowed range names"), "{addr}");
        }
        let private = ranges(&["10.0.0.0/8", "0.0.0.0/0"]).unwrap();
        assert_eq!(refused(&private, "10.0.0.1", false), None);
        assert!(refused(&private, "192.168.0.1", false).is_some());
        let mapped = ranges(&["::ffff:10.0.0.0/104"]).unwrap();
        assert_eq!(refused(&mapped, "10.0.0.1", false), None);
    }

    #[test]
    fn this_machine_is_reached_only_where_it_is_listed_alone() {
        let policy = ranges(&["10.0.0.0/8", "10.0.0.2", "203.0.113.0/24"]).unwrap();
        assert_eq!(refused(&policy, "10.0.0.1", false), None);
        assert!(refused(&policy, "10.0.0.1", true).unwrap().contains("not listed alone"));
        assert!(refused(&policy, "203.0.113.1", true).unwrap().contains("not listed alone"));
        assert_eq!(refused(&policy, "10.0.0.2", true), None);
        let loopback = ranges(&["127.0.0.1", "::1"]).unwrap();
        assert_eq!(refused(&loopback, "127.0.0.1", true), None);
        assert_eq!(refused(&loopback, "::1", true), None);
        assert!(refused(&loopback, "127.0.0.2", true).is_some());
    }

    #[test]
    fn names_are_not_decided_by_address() {
        let policy = Policy::names(&["*.example.com".into()]).unwrap();
        assert!(refused(&policy, "1.1.1.1", false).is_some());
        assert!(policy.allowed_names().unwrap().allows("a.example.com"));
        assert!(Policy::Internet.allowed_names().is_none());
        assert_eq!(policy.to_string(), "domain:*.example.com");
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_to_give() {
        for (entry, part) in [
            ("203.0.113.7/24", "`203.0.113.0/24`"),
            ("2001:db8::1/32", "`2001:db8::/32`"),
            ("10.0.0.0/33", "no range"),
            ("10.0.0", "no range"),
            ("", "no range"),
            ("fe80::1%eth0", "no range"),
            ("example.com", "`domain:example.com`"),
        ] {
            let error = ranges(&["192.0.2.1", entry]).unwrap_err().to_string();
            assert!(error.contains(part), "{entry}: {error}");
        }
        assert_eq!(ranges(&[]), Err(PolicyError::Empty));
        assert_eq!(ranges(&vec!["1.1.1.1"; 1001]), Err(PolicyError::TooMany(1001)));
        let huge = ranges(&[&"\u{7}".repeat(1 << 20)]).unwrap_err().to_string();
        assert!(huge.len() < 1000 && !huge.contains('\u{7}'));
    }
}
