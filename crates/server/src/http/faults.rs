//! The fault rules, read and written while the server runs.

use crate::fault::{Faults, Rule};
use crate::http::problem::{Problem, json};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Every call looks at every rule.
const MOST_RULES: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    rules: Vec<String>,
    seed: Option<u64>,
}

pub(super) async fn list(State(faults): State<Arc<Faults>>) -> Response {
    json(StatusCode::OK, &faults.report())
}

pub(super) async fn clear(State(faults): State<Arc<Faults>>) -> Response {
    faults.clear();
    json(StatusCode::OK, &faults.report())
}

/// All of them or none: with one that cannot be read, what was in force stays.
pub(super) async fn replace(
    State(faults): State<Arc<Faults>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejected| {
        let too_large = rejected.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let message = if too_large { "a body has at most 64 KiB here" } else { "the body did not come whole" };
        Problem::new(rejected.status(), "InvalidArgument", message)
    })?;
    let invalid = |message: String| Problem::new(StatusCode::BAD_REQUEST, "InvalidArgument", message);
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
        invalid(format!("the body is not as it should be: {error}"))
            .hint(r#"send {"rules": ["SandboxCreate*: delay=2s p=0.1"], "seed": 1}; the seed can be left out"#)
    })?;
    if wanted.rules.len() > MOST_RULES {
        return Err(invalid(format!("at most {MOST_RULES} rules are in force at a time")));
    }
    let rules = wanted.rules.iter().map(|rule| rule.parse()).collect::<Result<Vec<Rule>, _>>();
    let rules = rules.map_err(|error| invalid(error.to_string()).hint("the grammar is in docs/faults.md"))?;
    faults.set(rules, wanted.seed);
    Ok(json(StatusCode::OK, &faults.report()))
}
