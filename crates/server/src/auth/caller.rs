//! Who calls, as handlers find it in a request's extensions.

use http::{Extensions, HeaderMap, HeaderValue, Uri, header};
use tonic::Status;

/// Of what a client says of itself, only so much is believed.
const MOST_SHOWN: usize = 128;

/// The kinds of official clients, told apart where the protocol is (modal-wire notes, section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientKind {
    Python,
    Js,
    Go,
    Other,
}

/// Who calls the control plane. Found in the extensions of every request that came so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) workspace: String,
    pub(crate) token_id: String,
    pub(crate) client: ClientKind,
    /// As the client says.
    pub(crate) client_version: Option<String>,
    /// The host and port that the client knows this server by.
    pub(crate) authority: Option<String>,
}

impl Caller {
    /// The caller of a request.
    ///
    /// # Errors
    /// UNAUTHENTICATED for a request that did not come through the layer.
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get().ok_or_else(|| Status::unauthenticated("nobody vouches for this call"))
    }
}

/// Who calls the router: somebody with access to one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouterCaller {
    pub(crate) workspace: String,
    pub(crate) sandbox_id: String,
    pub(crate) task_id: String,
}

impl RouterCaller {
    /// The caller of a request.
    ///
    /// # Errors
    /// UNAUTHENTICATED for a request that did not come through the layer.
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get().ok_or_else(|| Status::unauthenticated("nobody vouches for this call"))
    }
}

/// The kind of client and its version.
pub(super) fn client(headers: &HeaderMap) -> (ClientKind, Option<String>) {
    let kind = match headers.get("x-modal-client-type").map(HeaderValue::as_bytes) {
        Some(b"1") => ClientKind::Python,
        Some(b"8") => ClientKind::Js,
        Some(b"7" | b"9") => ClientKind::Go,
        _ => ClientKind::Other,
    };
    // Those that are built on the shared library all have the same plain version.
    let version = headers.get("x-modal-libmodal-version").or_else(|| headers.get("x-modal-client-version"));
    (kind, version.and_then(shown))
}

/// The host that the request was sent to.
pub(super) fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    match uri.authority() {
        Some(authority) if authority.as_str().len() <= 2 * MOST_SHOWN => Some(authority.as_str().to_owned()),
        Some(_) => None,
        None => headers.get(header::HOST).and_then(shown),
    }
}

fn shown(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().filter(|value| value.len() <= MOST_SHOWN).map(ToOwned::to_owned)
}
