//! Users and groups, from the sandbox's own `/etc/passwd` and `/etc/group` (`passwd(5)`, `group(5)`).

use super::disk;
use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A user that programs can run as.
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Its groups, the first included.
    pub(super) groups: Vec<u32>,
    /// Login name, or the number of one without an entry.
    pub(super) name: String,
    /// Home directory.
    pub(super) home: String,
}

impl User {
    /// The sandbox's root, whatever its `/etc/passwd` says.
    pub(super) fn root() -> Self {
        Self { uid: 0, gid: 0, groups: vec![0], name: String::from("root"), home: String::from("/root") }
    }
}

/// Finds a user by name or number. A number needs no entry.
pub(super) fn find(who: &str) -> Option<User> {
    find_in(who, &disk::text(b"/etc/passwd"), &disk::text(b"/etc/group"))
}

fn find_in(who: &str, passwd: &str, group: &str) -> Option<User> {
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields[..] {
        [name, _, uid, gid, _, home, ..] if name == who || uid == who => {
            Some((name, uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?, home))
        }
        _ => None,
    });
    let Some((name, uid, gid, home)) = entry else {
        let uid = who.parse().ok()?;
        return Some(User { uid, gid: uid, groups: vec![uid], name: who.to_owned(), home: String::from("/") });
    };
    let member_of = group.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|member| member == name);
        if member { fields[2].parse::<u32>().ok() } else { None }
    });
    let mut groups = vec![gid];
    groups.extend(member_of.filter(|group| *group != gid));
    Some(User { uid, gid, groups, name: name.to_owned(), home: home.to_owned() })
}

/// Names of owners and groups, looked up once per listing.
pub(super) struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    pub(super) fn load() -> Self {
        Self { users: by_number(&disk::text(b"/etc/passwd")), groups: by_number(&disk::text(b"/etc/group")) }
    }

    pub(super) fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned()
    }

    pub(super) fn group(&self, gid: u32) -> Option<String> {
        self.groups.get(&gid).cloned()
    }
}

fn by_number(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nuser:x:1000:\ntty:x:5:user,other\n";

    #[test]
    fn by_name_and_number_with_groups() {
        let user = find_in("user", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 1000, vec![1000, 5]));
        assert_eq!(user.home, "/home/user");
        assert_eq!(find_in("1000", PASSWD, GROUP).unwrap().groups, vec![1000, 5]);
        assert_eq!(find_in("4242", PASSWD, GROUP).unwrap().gid, 4242);
        assert!(find_in("ghost", PASSWD, GROUP).is_none());
    }
}
