//! `/v1/tokens`: tokens for others, made and ended by whoever owns the server.
//!
//! | route | |
//! |---|---|
//! | `GET /v1/tokens?workspace=NAME` | those of a workspace, without their secrets |
//! | `POST /v1/tokens` | `{"workspace":"team-a","note":"ci","ttlSeconds":3600}`; the answer has the secret, this once |
//! | `DELETE /v1/tokens/ID` | ends one; calls with it are refused at once |

use super::problem::{Problem, json};
use crate::http::Check;
use crate::state::{State, TokenRecord};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State as Extract};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{delete, get};
use computesdk_core::time::iso8601;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MOST_BODY: usize = 4 << 10;

/// The routes, for requests that pass the check.
pub(crate) fn routes(state: State, check: Check) -> Router {
    Router::new()
        .route("/v1/tokens", get(list).post(issue))
        .route("/v1/tokens/{id}", delete(revoke))
        .layer(from_fn_with_state(check, super::only_with_token))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    workspace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    workspace: String,
    #[serde(default)]
    note: String,
    ttl_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    id: String,
    workspace: String,
    note: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued<'a> {
    id: &'a str,
    secret: &'a str,
    workspace: &'a str,
}

#[derive(Serialize)]
struct Listed {
    tokens: Vec<Told>,
}

impl From<TokenRecord> for Told {
    fn from(record: TokenRecord) -> Self {
        Self {
            id: record.id,
            workspace: record.workspace,
            note: record.note,
            created_at: iso8601(record.created_at),
            expires_at: record.expires_at.map(iso8601),
        }
    }
}

async fn list(Extract(state): Extract<State>, Query(of): Query<Of>) -> Result<Response, Problem> {
    let workspace = of.workspace.unwrap_or_else(|| String::from(crate::server::WORKSPACE));
    let tokens = state.list_tokens(&workspace).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &Listed { tokens: tokens.into_iter().map(Told::from).collect() }))
}

async fn issue(Extract(state): Extract<State>, body: Bytes) -> Result<Response, Problem> {
    let invalid = |message: String| Problem::new(StatusCode::BAD_REQUEST, "InvalidArgument", message);
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
        invalid(format!("the body is not as it should be: {error}"))
            .hint(r#"send {"workspace": "team-a", "note": "ci", "ttlSeconds": 3600}; the last two can be left out"#)
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if wanted.workspace.is_empty() || wanted.workspace.len() > 64 || !wanted.workspace.chars().all(plain) {
        return Err(invalid("invalid `workspace`: give 1 to 64 letters, digits, dashes, dots or underscores".into()));
    }
    if wanted.note.len() > 256 {
        return Err(invalid("invalid `note`: at most 256 bytes".into()));
    }
    let ttl = wanted.ttl_seconds.map(Duration::from_secs);
    let pair = state.issue_token(&wanted.workspace, &wanted.note, ttl).await.map_err(failed)?;
    let issued = Issued { id: &pair.id, secret: pair.secret.expose_secret(), workspace: &wanted.workspace };
    Ok(json(StatusCode::CREATED, &issued))
}

async fn revoke(Extract(state): Extract<State>, Path(id): Path<String>) -> Result<Response, Problem> {
    if state.revoke_token(&id).await.map_err(failed)? {
        Ok(json(StatusCode::OK, &serde_json::json!({ "revoked": id })))
    } else {
        Err(Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such token"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: crate::state::StateError) -> Problem {
    tracing::error!(error = &error as &dyn std::error::Error, "state");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Unexpected", "the server's state cannot be read or written")
}
