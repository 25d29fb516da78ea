//! Both versions on trees of ordinary files: the formats, and what is found where.

use super::find::find_in;
use super::*;
use std::fs;
use std::time::Duration;

/// A tree below a directory of its own.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            let path = tree.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }
}

fn mount(kind: &str, root: &str, point: &Path, options: &str) -> String {
    format!("36 25 0:32 {root} {} rw,nosuid shared:1 - {kind} {kind} rw,{options}\n", point.display())
}

/// A systemd machine, version 2 only.
fn unified() -> Tree {
    Tree::new(&[
        ("user.slice/cgroup.controllers", "memory pids"),
        ("user.slice/cgroup.subtree_control", "memory pids"),
        ("user.slice/session.scope/cgroup.procs", "1"),
    ])
}

#[test]
fn version_2_is_used_beside_the_own_group_with_what_its_parent_gives() {
    let tree = unified();
    let mounts = mount("cgroup2", "/", tree.0.path(), "nsdelegate");
    let found = find_in(&mounts, "0::/user.slice/session.scope\n", None);
    let [only] = &found.hierarchies[..] else { panic!("{found:?}") };
    assert_eq!((only.version, &only.dir), (Version::Two, &tree.path("user.slice")));
    assert_eq!(only.controllers, [Controller::Memory, Controller::Pids, Controller::CpuAccounting]);
}

#[test]
fn version_2_controllers_that_are_only_offered_are_asked_for() {
    let tree = Tree::new(&[("cgroup.controllers", "cpu io"), ("cgroup.subtree_control", "")]);
    // An ordinary file does not turn the wish into a fact, as the kernel would.
    assert_eq!(find::enable(tree.0.path(), &[Controller::Memory, Controller::Cpu]), []);
    assert_eq!(tree.read("cgroup.subtree_control"), "+cpu");
}

#[test]
fn version_2_without_controllers_is_no_place() {
    let tree = Tree::new(&[("cgroup.controllers", ""), ("cgroup.subtree_control", "")]);
    let mounts = mount("cgroup2", "/", tree.0.path(), "");
    assert_eq!(find_in(&mounts, "0::/\n", None), Places::default());
}

#[test]
fn version_1_is_used_below_the_own_group_in_each_hierarchy() {
    let tree = Tree::new(&[
        ("memory/own/tasks", ""),
        ("pids/own/tasks", ""),
        ("cpu,cpuacct/own/tasks", ""),
        ("unified/cgroup.controllers", ""),
        ("unified/cgroup.subtree_control", ""),
    ]);
    let mounts = mount("cgroup", "/", &tree.path("memory"), "memory")
        + &mount("cgroup", "/", &tree.path("pids"), "pids")
        + &mount("cgroup", "/", &tree.path("cpu,cpuacct"), "cpu,cpuacct")
        + &mount("cgroup2", "/", &tree.path("unified"), "");
    let own = "9:pids:/own\n4:memory:/own\n2:cpu,cpuacct:/own\n0::/\n";
    let found = find_in(&mounts, own, None);
    let dirs: Vec<_> = found.hierarchies.iter().map(|one| one.dir.clone()).collect();
    assert_eq!(dirs, ["memory/own", "pids/own", "cpu,cpuacct/own"].map(|below| tree.path(below)));
    assert!(found.have(Controller::Cpu) && found.have(Controller::CpuAccounting));
    // A group that was named, relative to the hierarchies or with a mount point, and one that is not there.
    fs::create_dir_all(tree.path("memory/given")).unwrap();
    for given in [PathBuf::from("/given"), tree.path("memory/given")] {
        let found = find_in(&mounts, own, Some(&given));
        assert!(found.have(Controller::Memory) && !found.have(Controller::Pids), "{found:?}");
    }
    assert_eq!(find_in(&mounts, own, Some(Path::new("/given/../own"))), Places::default());
}

#[test]
fn a_mount_that_begins_below_the_root_is_understood() {
    let tree = Tree::new(&[("inner/tasks", "")]);
    let mounts = mount("cgroup", "/docker/1", tree.0.path(), "pids");
    let found = |own| find_in(&mounts, own, None).hierarchies[0].dir.clone();
    assert_eq!(found("9:pids:/docker/1/inner\n"), tree.path("inner"));
    assert_eq!(found("9:pids:/elsewhere\n"), tree.path(""));
}

fn groups(hierarchies: &[(Version, &[Controller])]) -> Groups {
    let hierarchies = hierarchies.iter().map(|(version, controllers)| Hierarchy {
        version: *version,
        dir: PathBuf::from("/nowhere"),
        controllers: controllers.to_vec(),
    });
    Groups { hierarchies: hierarchies.collect(), foreign_ids: false }
}

fn written(groups: &Groups, limits: Limits) -> Vec<String> {
    let plan = groups.plan(&limits).unwrap();
    plan.limits.iter().map(|one| format!("{}:{}={}", one.file.hierarchy, one.file.name, one.value)).collect()
}

fn all() -> Limits {
    Limits { memory_bytes: Some(64 << 20), cpus: Some(0.5), pids: Some(40), ..Limits::default() }
}

#[test]
fn limits_are_what_each_version_calls_them() {
    use Controller::{Cpu, CpuAccounting, Memory, Pids};
    let two = groups(&[(Version::Two, &[Memory, Pids, Cpu, CpuAccounting])]);
    let expected = ["0:memory.max=67108864", "0:memory.swap.max=0", "0:pids.max=41", "0:cpu.max=50000 100000"];
    assert_eq!(written(&two, all()), expected);

    let one = groups(&[(Version::One, &[Memory]), (Version::One, &[Pids]), (Version::One, &[Cpu])]);
    let expected = [
        "0:memory.limit_in_bytes=67108864",
        "0:memory.memsw.limit_in_bytes=67108864",
        "1:pids.max=41",
        "2:cpu.cfs_period_us=100000",
        "2:cpu.cfs_quota_us=50000",
    ];
    assert_eq!(written(&one, all()), expected);
    // The default of one limit; and no group where only what was not asked for could be limited.
    assert_eq!(written(&one, Limits::default()), ["1:pids.max=4097"]);
    assert_eq!(one.plan(&Limits::default()).unwrap().hierarchies, [0, 1]);
    assert_eq!(one.plan(&all()).unwrap().hierarchies, [0, 1, 2]);
}

#[test]
fn a_limit_without_its_controller_is_refused_by_name() {
    let pids = groups(&[(Version::One, &[Controller::Pids])]);
    assert!(matches!(pids.plan(&all()), Err(EngineError::NoLimit { limit: "memory" })));
    let none = groups(&[]);
    let cpus = Limits { cpus: Some(1.0), ..Limits::default() };
    assert!(matches!(none.plan(&cpus), Err(EngineError::NoLimit { limit: "cpu" })));
    assert_eq!(none.plan(&Limits::default()).unwrap(), Plan::default());
}

#[test]
fn accounts_are_read_in_both_formats() {
    use Controller::{Cpu, CpuAccounting, Memory, Pids};
    let expected = Account {
        peak_memory_bytes: Some(1234),
        cpu_time: Some(Duration::from_micros(2500)),
        oom_kills: Some(2),
        refused_forks: Some(7),
    };
    let one = groups(&[(Version::One, &[Memory]), (Version::One, &[CpuAccounting]), (Version::One, &[Pids])]);
    let texts = ["1234\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "2500000\n", "max 7\n"];
    assert_eq!(one.account(&texts.map(|text| Some(text.to_owned()))), expected);
    let two = groups(&[(Version::Two, &[Memory, Pids, Cpu, CpuAccounting])]);
    let names: Vec<_> = two.readings().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["memory.peak", "memory.events", "cpu.stat", "pids.events"]);
    let texts = ["1234", "low 0\noom 9\noom_kill 2\noom_group_kill 0\n", "usage_usec 2500\nuser_usec 1\n", "max 7\n"];
    assert_eq!(two.account(&texts.map(|text| Some(text.to_owned()))), expected);
    // What is missing, or makes no sense, is not known.
    assert_eq!(
        two.account(&[None, Some("oom_kills 3".into()), Some(String::new()), Some("max x".into())]),
        Account::default()
    );
}

#[test]
fn a_running_sandboxes_files_are_read_where_they_are() {
    let tree =
        Tree::new(&[("s1/memory.peak", "99"), ("s1/memory.events", "oom_kill 1"), ("s1/cpu.stat", "usage_usec 5")]);
    let mut groups = groups(&[(Version::Two, &[Controller::Memory, Controller::CpuAccounting])]);
    groups.hierarchies[0].dir = tree.0.path().to_path_buf();
    assert_eq!(groups.read("s1").peak_memory_bytes, Some(99));
    let troubles = groups.troubles("s1");
    assert_eq!((troubles.oom_kills, troubles.peak_memory_bytes), (Some(1), None));
    assert_eq!(groups.read(""), Account::default());
}
