//! What the providers are like, as data: for choosing one before any of its code is linked.
//!
//! The facts are those of the README's comparison table. What a provider of *this* build really keeps is said by its
//! [`Capabilities`](crate::Capabilities), and held to by the conformance suite.

use crate::{FilesystemSupport, Runtime};
use serde::Serialize;
use std::fmt::Write as _;

/// Which languages a provider is mainly for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrimaryRuntimes {
    /// These, the first one above all.
    Only(&'static [Runtime]),
    /// Whatever the workspace has.
    Any,
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PricingUnit {
    /// The time that resources are used.
    Use,
    /// The time that a sandbox exists.
    Sandbox,
    /// Each execution.
    Execution,
    /// The time that a workspace exists.
    Workspace,
    /// Nothing: the machine is yours.
    None,
}

/// One provider in outline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Profile {
    /// The lower-case name, as in [`Provider::name`](crate::Provider::name).
    pub name: &'static str,
    /// The name as its makers write it.
    pub title: &'static str,
    /// Languages it is mainly for.
    pub runtimes: PrimaryRuntimes,
    /// Whether sandboxes can have a GPU.
    pub gpu: bool,
    /// Whether it brings up as many machines as are asked for.
    pub auto_scaling: bool,
    /// Whether it is made with machine learning in mind.
    pub ml_focus: bool,
    /// What is paid for.
    pub pricing: PricingUnit,
    /// How well files can be reached.
    pub filesystem: FilesystemSupport,
    /// Whether this repository contains the provider today.
    pub in_this_build: bool,
}

const PYTHON: &[Runtime] = &[Runtime::Python];
const PYTHON_NODE: &[Runtime] = &[Runtime::Python, Runtime::Node];
const NODE_PYTHON: &[Runtime] = &[Runtime::Node, Runtime::Python];

/// Every known provider: `local` first, then those of the README's table in its order.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "local",
        title: "local",
        runtimes: PrimaryRuntimes::Only(PYTHON_NODE),
        gpu: false,
        auto_scaling: false,
        ml_focus: false,
        pricing: PricingUnit::None,
        filesystem: FilesystemSupport::Full,
        in_this_build: true,
    },
    Profile {
        name: "modal",
        title: "Modal",
        runtimes: PrimaryRuntimes::Only(PYTHON),
        gpu: true,
        auto_scaling: true,
        ml_focus: true,
        pricing: PricingUnit::Use,
        filesystem: FilesystemSupport::Full,
        in_this_build: false,
    },
    Profile {
        name: "e2b",
        title: "E2B",
        runtimes: PrimaryRuntimes::Only(PYTHON_NODE),
        gpu: false,
        auto_scaling: false,
        ml_focus: true,
        pricing: PricingUnit::Sandbox,
        filesystem: FilesystemSupport::Full,
        in_this_build: false,
    },
    Profile {
        name: "vercel",
        title: "Vercel",
        runtimes: PrimaryRuntimes::Only(NODE_PYTHON),
        gpu: false,
        auto_scaling: true,
        ml_focus: false,
        pricing: PricingUnit::Execution,
        filesystem: FilesystemSupport::Limited,
        in_this_build: false,
    },
    Profile {
        name: "daytona",
        title: "Daytona",
        runtimes: PrimaryRuntimes::Any,
        gpu: false,
        auto_scaling: false,
        ml_focus: false,
        pricing: PricingUnit::Workspace,
        filesystem: FilesystemSupport::Full,
        in_this_build: false,
    },
];

/// The profile of the provider with this name.
#[must_use]
pub fn profile(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}

/// The profiles as a Markdown table, one row a feature: the content of `docs/providers.md`.
#[must_use]
pub fn markdown_table() -> String {
    type Cell = fn(&Profile) -> String;
    let rows: [(&str, Cell); 7] = [
        ("Primary runtime", |profile| profile.runtimes.to_string()),
        ("GPU support", |profile| yes_no(profile.gpu)),
        ("Auto scaling", |profile| yes_no(profile.auto_scaling)),
        ("ML/AI focus", |profile| yes_no(profile.ml_focus)),
        ("Pricing", |profile| profile.pricing.to_string()),
        ("Filesystem", |profile| {
            String::from(match profile.filesystem {
                FilesystemSupport::None => "no",
                FilesystemSupport::Limited => "limited",
                FilesystemSupport::Full => "yes",
            })
        }),
        ("In this build", |profile| yes_no(profile.in_this_build)),
    ];
    let mut table = String::from("| Feature |");
    let row = |table: &mut String, cell: &dyn Fn(&Profile) -> String| {
        for profile in PROFILES {
            // Writing to a `String` cannot fail.
            let _ = write!(table, " {} |", cell(profile));
        }
        table.push('\n');
    };
    row(&mut table, &|profile| profile.title.to_owned());
    table.push_str("| --- |");
    row(&mut table, &|_| String::from("---"));
    for (feature, cell) in rows {
        let _ = write!(table, "| {feature} |");
        row(&mut table, &cell);
    }
    table
}

fn yes_no(value: bool) -> String {
    String::from(if value { "yes" } else { "no" })
}

impl std::fmt::Display for PrimaryRuntimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Only(runtimes) = self else { return f.write_str("Any") };
        let names = runtimes.iter().map(|runtime| match runtime {
            Runtime::Python => "Python",
            Runtime::Node => "Node",
        });
        f.write_str(&names.collect::<Vec<_>>().join("/"))
    }
}

impl std::fmt::Display for PricingUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Use => "per use",
            Self::Sandbox => "per sandbox",
            Self::Execution => "per execution",
            Self::Workspace => "per workspace",
            Self::None => "free",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: impl Fn(&Profile) -> bool) -> Vec<&'static str> {
        PROFILES.iter().filter(|profile| wanted(profile)).map(|profile| profile.name).collect()
    }

    #[test]
    fn the_profiles_say_what_the_readme_says() {
        assert_eq!(profile("modal").unwrap().runtimes, PrimaryRuntimes::Only(PYTHON));
        assert_eq!(profile("e2b").unwrap().runtimes, PrimaryRuntimes::Only(PYTHON_NODE));
        assert_eq!(profile("vercel").unwrap().runtimes, PrimaryRuntimes::Only(NODE_PYTHON));
        assert_eq!(profile("daytona").unwrap().runtimes, PrimaryRuntimes::Any);
        assert_eq!(names(|profile| profile.gpu), ["modal"]);
        assert_eq!(names(|profile| profile.auto_scaling), ["modal", "vercel"]);
        assert_eq!(names(|profile| profile.ml_focus), ["modal", "e2b"]);
        assert_eq!(names(|profile| profile.filesystem != FilesystemSupport::Full), ["vercel"]);
        let prices: Vec<_> = PROFILES.iter().map(|profile| profile.pricing.to_string()).collect();
        assert_eq!(prices, ["free", "per use", "per sandbox", "per execution", "per workspace"]);
        assert_eq!(names(|profile| profile.in_this_build), ["local"]);
        assert!(profile("nobody").is_none());
    }

    /// What a provider of this build declares must not contradict its profile.
    #[cfg(feature = "local")]
    #[test]
    fn the_local_profile_is_what_local_declares() {
        let declared = crate::local(crate::local::LocalConfig::default()).capabilities();
        let profile = profile(declared.provider).unwrap();
        let PrimaryRuntimes::Only(runtimes) = profile.runtimes else { panic!("{profile:?}") };
        assert_eq!(declared.runtimes, runtimes);
        assert_eq!((declared.gpu, declared.filesystem), (profile.gpu, profile.filesystem));
    }
}
