//! Layers as clients send them, and what is kept of each.

use super::*;

/// Lines as the shipped clients made them, each with the clients and builder versions that send it.
const RECORDED: &str = include_str!("recorded.json");

#[derive(Deserialize)]
struct Recorded {
    case: String,
    lines: Vec<String>,
    of: Vec<String>,
}

const HERE: [&str; 9] = ["gcc", "g++", "make", "python3", "pip3", "git", "curl", "uv", "node"];

fn place<'a>(tools: &'a dyn Fn(&str) -> bool) -> Place<'a> {
    Place { provider: "local", python: Some("3.12.3"), path: Place::USUAL_PATH, tools }
}

fn tools(name: &str) -> bool {
    assert!(!name.contains('/'), "{name}");
    HERE.contains(&name)
}

fn built_on(base: Option<&ImageConfig>, lines: &[&str]) -> Result<ImageConfig, BuildError> {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let context = Context { files: true, mount: true };
    build(base, &lines, &HashMap::new(), context, &place(&tools))
}

fn built(lines: &[&str]) -> ImageConfig {
    let lines: Vec<&str> = [&["FROM debian"], lines].concat();
    built_on(None, &lines).unwrap()
}

fn refused(line: &str) -> String {
    built_on(None, &["FROM debian", line]).unwrap_err().to_string()
}

#[test]
fn what_clients_send_is_done_or_refused_by_name() {
    let recorded: Vec<Recorded> = serde_json::from_str(RECORDED).unwrap();
    let base = ImageConfig { base: "debian".to_owned(), cmd: vec!["sleep".to_owned()], ..ImageConfig::default() };
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for Recorded { case, lines, of } in &recorded {
        *seen.entry(case).or_default() += of.len();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let result = built_on(Some(&base), &lines);
        let refused = match case.as_str() {
            "from_registry_setup" => Some("RUN apk add bash"),
            "pip_install" => Some("RUN python -m pip install"),
            "pip_requirements" => Some("COPY /.requirements.txt"),
            "uv_pip_install" => Some("COPY --from=ghcr.io/astral-sh/uv:latest"),
            "run_commands" => Some("RUN echo hi"),
            "micromamba_install" => Some("RUN micromamba install numpy --yes"),
            "dockerfile_commands" => Some("RUN true"),
            "copy" => Some("COPY . /"),
            _ => None,
        };
        match (result, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(line)) => assert!(error.line.starts_with(line), "{case} of {of:?}: {error}"),
            (result, _) => panic!("{case} of {of:?}: {result:?}"),
        }
    }
    // 6 builder versions of Python 1.6.4, and the 5 for which 1.5.4 has Python images.
    assert_eq!((seen["debian_slim"], seen["micromamba"], seen["from_registry"]), (11, 11, 12), "{seen:?}");
    assert_eq!(seen.len(), 21, "{seen:?}");
}

#[test]
fn debian_slim_names_what_is_missing() {
    let recorded: Vec<Recorded> = serde_json::from_str(RECORDED).unwrap();
    let of = |version: &str| recorded.iter().find(|r| r.case == "debian_slim" && r.of.iter().any(|of| of == version));
    let lines: Vec<&str> = of("python 1.6.4 2025.06").unwrap().lines.iter().map(String::as_str).collect();
    let image = built_on(None, &lines).unwrap();
    assert_eq!(image.base, "python:3.11.12-slim-bookworm");
    assert_eq!(image.cmd, ["sleep", "172800"]);
    let notices = &image.notices;
    let name = "the base image python:3.11.12-slim-bookworm";
    assert!(
        notices[0].starts_with(&format!("{name} is replaced by the image of this provider (local): ")),
        "{notices:?}"
    );
    assert!(notices[1].ends_with("has Python 3.11.12; the Python of this provider is 3.12.3"), "{notices:?}");
    let done = "`RUN apt-get install -y gcc gfortran build-essential` counts as done; missing here: gfortran";
    assert!(notices.iter().any(|notice| notice == done), "{notices:?}");
    let nothing = build(
        None,
        &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(),
        &HashMap::new(),
        Context::default(),
        &Place { python: None, ..place(&|_| false) },
    )
    .unwrap();
    let all = nothing.notices.join("\n");
    assert!(all.contains("would have brought what is missing here: python3, pip\n"), "{all}");
    assert!(all.contains("missing here: gcc, gfortran, g++, make\n"), "{all}");
    assert!(all.contains("missing here: pip, uv\n"), "{all}");
}

#[test]
fn the_layer_below_is_kept() {
    let first = built(&["ENV A=1 B=2", "WORKDIR /srv", "CMD [\"a\"]", "SHELL [\"/bin/bash\", \"-c\"]"]);
    let second =
        built_on(Some(&first), &["FROM base", "ENV B=$A-3", "WORKDIR sub/../other", "CMD echo $HOME", ""]).unwrap();
    let env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "1-3".to_owned())];
    assert_eq!(second.env, env.into());
    assert_eq!(second.workdir.as_deref(), Some("/srv/other"));
    assert_eq!(second.cmd, ["/bin/bash", "-c", "echo $HOME"]);
    assert_eq!((second.base.as_str(), second.notices.len()), ("debian", first.notices.len()));
    assert_eq!(second.notices.len(), 1);
    let other = built_on(Some(&first), &["FROM alpine:3.21"]).unwrap();
    assert_eq!((other.env.len(), other.base.as_str()), (0, "alpine:3.21"));
}

#[test]
fn an_entrypoint_forgets_the_command_below() {
    let base = built(&["CMD [\"sleep\", \"172800\"]", "ENTRYPOINT [\"/init\"]"]);
    assert_eq!((base.cmd.len(), base.entrypoint.len()), (2, 1), "set in one Dockerfile, both hold");
    let cleared = built_on(Some(&base), &["FROM base", "ENTRYPOINT []"]).unwrap();
    assert_eq!((cleared.cmd.len(), cleared.entrypoint.len()), (0, 0));
    let both = built_on(Some(&base), &["FROM base", "CMD [\"b\"]", "entrypoint [\"a\", \"x \\\"y\\\"\"]"]).unwrap();
    assert_eq!((both.cmd, both.entrypoint), (vec!["b".to_owned()], vec!["a".to_owned(), "x \"y\"".to_owned()]));
    assert_eq!(built(&["ENTRYPOINT run me"]).entrypoint, ["/bin/sh", "-c", "run me"]);
}

#[test]
fn values_are_read_as_docker_reads_them() {
    let env = |lines: &[&str]| built(lines).env;
    // As the Python client quotes them.
    let all = env(&["ENV A='x y'", "ENV B='it'\"'\"'s'", "ENV C='$HOME'", "ENV D=''", "ENV E='a\"b\\n'"]);
    let values: Vec<&str> = all.values().map(String::as_str).collect();
    assert_eq!(values, ["x y", "it's", "$HOME", "", "a\"b\\n"]);
    assert_eq!(env(&["ENV OLD one  two = 3"])["OLD"], "one  two = 3");
    assert_eq!(env(&["ENV A=1", "ENV A=2 B=$A"])["B"], "1", "what a line sets is seen from the next line on");
    assert_eq!(env(&["ENV PATH=/opt/bin:$PATH"])["PATH"], format!("/opt/bin:{}", Place::USUAL_PATH));
    assert_eq!(env(&["ARG V=1", "ENV W=${V}${NONE:-d}"])["W"], "1d");
    assert_eq!(env(&["ENV A=1 \\", "  B=2"]).len(), 2);
    assert_eq!(built(&["WORKDIR '/w o'"]).workdir.as_deref(), Some("/w o"));
    assert_eq!(built(&["WORKDIR /a/./b/../../.."]).workdir.as_deref(), Some("/"));
}

#[test]
fn arguments_reach_from_and_only_where_they_are_declared() {
    let args = HashMap::from([("TAG".to_owned(), "3.9".to_owned()), ("SECRET".to_owned(), "s".to_owned())]);
    let lines =
        ["ARG TAG=3.8", "ARG NAME=x", "FROM --platform=linux/arm64 python:$TAG AS main", "ENV T=$TAG S=$SECRET"];
    let build = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        build(None, &lines, &args, Context::default(), &place(&tools)).unwrap()
    };
    let image = build(&lines);
    assert_eq!(image.base, "python:3.9");
    assert_eq!((image.env["T"].as_str(), image.env["S"].as_str()), ("", ""));
    assert!(image.notices.iter().any(|notice| notice.contains("--platform=linux/arm64")), "{:?}", image.notices);
    let declared = build(&[&lines[..3], &["ARG TAG", "ARG NAME SECRET=d", lines[3], "ENV N=$NAME"]].concat());
    assert_eq!((declared.env["T"].as_str(), declared.env["S"].as_str(), declared.env["N"].as_str()), ("3.9", "s", "x"));
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_line() {
    let no_builds = "line 2: `RUN echo hi` cannot be run: this server does not build images yet";
    assert_eq!(refused("RUN echo hi"), no_builds);
    for (line, why) in [
        ("COPY a b", "does not build images yet"),
        ("ADD a b", "does not build images yet"),
        ("VOLUME /data", "does not build images yet"),
        ("ONBUILD RUN x", "does not build images yet"),
        ("RUN <<EOF\nFROM evil\nEOF", "heredoc"),
        ("COPY <<-'EOF' /x", "heredoc"),
        ("USER nobody", "run as root"),
        ("FROM other", "several stages"),
        ("ENV", "needs a name"),
        ("ENV A", "needs a value"),
        ("ENV A=1 B", "without a `=`"),
        ("ENV =1", "names no variable"),
        ("ENV A='x", "without its end"),
        ("WORKDIR", "needs a directory"),
        ("CMD", "needs a command"),
        ("SHELL /bin/sh", "list of words"),
        ("SHELL []", "list of words"),
        ("CMD [\"\\u0000\"]", "zero byte"),
        ("ARG", "needs a name"),
        ("DOCKER", "no instruction DOCKER"),
        ("}", "no instruction }"),
    ] {
        let error = refused(line);
        assert!(error.starts_with("line 2: `") && error.contains(why), "{line}: {error}");
    }
    assert!(refused(&format!("RUN {}", "é".repeat(5000))).len() < 1000);
    for lines in [&["RUN x"][..], &["ENV A=b", "FROM x"], &["ARG A=b"], &[], &["# nothing"], &["FROM"], &["FROM a b"]] {
        built_on(None, lines).unwrap_err();
    }
    assert!(built_on(None, &["FROM base"]).unwrap_err().reason.contains("there is none"));
    assert!(built_on(None, &["FROM $NONE"]).unwrap_err().reason.contains("empty"));
    assert!(built_on(None, &["FROM --link x"]).unwrap_err().reason.contains("--link"));
}

#[test]
fn packages_whose_programs_are_there_count_as_installed() {
    for line in [
        "RUN apt-get install -y git curl",
        "RUN apt-get update && apt-get install -y --no-install-recommends git build-essential && rm -rf /var/lib/apt/lists/*",
        "RUN apk add --no-cache git nodejs",
    ] {
        let image = built(&[line]);
        assert_eq!(image.notices.last().unwrap(), &format!("`{line}` counts as done"));
    }
    let error = refused("RUN apt-get install -y git jq ripgrep");
    assert!(error.ends_with("this server does not build images yet, and these are not there: jq, ripgrep"), "{error}");
    for line in [
        "RUN apt-get install -y",
        "RUN apt-get install -y git=1:2",
        "RUN apt-get install -y /usr/bin/git",
        "RUN apt-get install -y $PACKAGES",
        "RUN apt-get install -y git; rm -rf /",
        "RUN apt-get install -y git && echo hi",
        "RUN apt-get update &&",
        "RUN apt-get update | sh",
        "RUN pip install git",
        "RUN pip install --upgrade pip requests",
        "RUN --mount=type=cache,target=/x apt-get update",
        "RUN [\"apt-get\", \"update\"]",
        "RUN",
    ] {
        assert!(refused(line).contains("does not build images yet"), "{line}");
    }
}

#[test]
fn copies_of_clients_own_files_need_what_they_copy() {
    let lines = |line: &str| ["FROM x".to_owned(), line.to_owned()];
    let build = |line: &str, context| build(None, &lines(line), &HashMap::new(), context, &place(&tools)).is_ok();
    let (files, mount) = (Context { files: true, mount: false }, Context { files: false, mount: true });
    let (requirements, python) = ("COPY /modal_requirements.txt /modal_requirements.txt", "COPY /python/. /usr/local");
    assert!(build(requirements, files) && build(requirements, mount) && !build(requirements, Context::default()));
    assert!(build(python, mount) && !build(python, files));
}

#[test]
fn what_says_nothing_to_a_sandbox_is_told() {
    let image =
        built(&["LABEL a=b", "EXPOSE 80", "STOPSIGNAL 9", "HEALTHCHECK NONE", "MAINTAINER me", "USER 0", "USER root"]);
    let ignored = image.notices.iter().filter(|notice| notice.contains("is ignored")).count();
    assert_eq!(ignored, 5, "{:?}", image.notices);
    let escaped = built_on(None, &["# escape=`", "FROM x"]).unwrap();
    assert!(escaped.notices.iter().any(|notice| notice.contains("# escape=`")), "{:?}", escaped.notices);
}

#[test]
fn a_few_lines_cannot_fill_the_memory() {
    let mut lines = vec!["ENV A=0123456789"];
    lines.extend(["ENV A=$A$A"; 60]);
    let error = built_on(None, &[&["FROM x"], &lines[..]].concat()).unwrap_err();
    assert!(error.reason.contains("128 KiB"), "{error}");
    let big = format!("ENV A={}", "x".repeat(100_000));
    let many: Vec<String> = (0..20).map(|n| format!("ENV V{n}=$A")).collect();
    let lines: Vec<&str> = [&["FROM x", &big], &many.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    assert!(built_on(None, &lines).unwrap_err().reason.contains("1 MiB of variables"));
    let deep: Vec<String> = (0..10).map(|_| format!("WORKDIR {}", "d/".repeat(1000))).collect();
    let lines: Vec<&str> = [&["FROM x"], &deep.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    assert!(built_on(None, &lines).unwrap_err().reason.contains("4095"));
}

#[test]
fn digests_tell_layers_apart() {
    let of = |base, lines: &[&str], args: &[(&str, &str)]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        digest(base, &lines, &args.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    };
    let all = [
        of(None, &["FROM x"], &[]),
        of(Some(""), &["FROM x"], &[]),
        of(None, &["FROM ", "x"], &[]),
        of(None, &["FROM x", ""], &[]),
        of(None, &[], &[("FROM x", "")]),
        of(None, &["FROM x"], &[("a", "bc")]),
        of(None, &["FROM x"], &[("ab", "c")]),
    ];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    assert_eq!(all[0].len(), 64);
    assert_eq!(of(None, &["x"], &[("a", "1"), ("b", "2")]), of(None, &["x"], &[("b", "2"), ("a", "1")]));
}
