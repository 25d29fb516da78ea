//! The routes that are not Modal's: JSON over HTTP, of either version.

mod problem;

pub(crate) use problem::Problem;
