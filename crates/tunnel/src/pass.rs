//! The token in a request, and the request as the sandbox gets it: without the token, with what is known of its sender.

use crate::guard::{Guard, TOKEN_NAME, USER_DATA_HEADER};
use crate::head::{Header, Request, Response, same_name};
use std::net::IpAddr;

/// A request that may go on.
pub(crate) struct Pass {
    user_data: Option<String>,
    /// It carried its token in the query. Links and scripts of the page do not, so its answer sets a cookie.
    pub(crate) cookie: Option<String>,
    /// It carried its token as `Authorization`, which is then not the sandbox's to read.
    bearer: bool,
}

/// Set here alone, or only of meaning between two neighbours.
const NOT_PASSED_ON: [&str; 12] = [
    USER_DATA_HEADER,
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Forwarded",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authorization",
    "Upgrade",
    "HTTP2-Settings",
    "TE",
    "Trailer",
];

/// The token of an `Authorization: Bearer …`.
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value, if this is `_modal_connect_token=VALUE`.
fn named(pair: &str) -> Option<&str> {
    pair.trim().strip_prefix(TOKEN_NAME)?.strip_prefix('=')
}

fn query(target: &str) -> impl Iterator<Item = &str> {
    target.split_once('?').map_or("", |(_, query)| query).split('&')
}

impl Pass {
    /// What the guard says of a request: any of the three places may hold a valid token.
    pub(crate) fn check(guard: &Guard, request: &Request) -> Option<Self> {
        if let Some(user_data) = request.values("Authorization").filter_map(bearer).find_map(|token| guard.check(token))
        {
            return Some(Self { user_data, cookie: None, bearer: true });
        }
        for token in query(&request.target).filter_map(named) {
            if let Some(user_data) = guard.check(token) {
                return Some(Self { user_data, cookie: Some(token.to_owned()), bearer: false });
            }
        }
        let cookies = request.values("Cookie").filter_map(|value| std::str::from_utf8(value).ok());
        let mut tokens = cookies.flat_map(|value| value.split(';')).filter_map(named);
        let user_data = tokens.find_map(|token| guard.check(token))?;
        Some(Self { user_data, cookie: None, bearer: false })
    }

    /// The request as it goes on.
    pub(crate) fn forward(&self, request: &Request, peer: IpAddr, secure: bool) -> Request {
        let mut headers: Vec<Header> = Vec::with_capacity(request.headers.len() + 4);
        for (name, value) in &request.headers {
            if NOT_PASSED_ON.iter().any(|other| same_name(name, other))
                || (self.bearer && same_name(name, "Authorization"))
            {
                continue;
            }
            let kept = if same_name(name, "Cookie") {
                without_token(value)
            } else if same_name(name, "Referer") {
                // Where browsers put the address of the page, its query included.
                std::str::from_utf8(value).ok().map(|url| target_without_token(url).into_bytes())
            } else {
                Some(value.clone())
            };
            headers.extend(kept.map(|value| (name.clone(), value)));
        }
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.as_bytes().to_vec()));
        if let Some(user_data) = &self.user_data {
            add(USER_DATA_HEADER, user_data);
        }
        add("X-Forwarded-For", &peer.to_canonical().to_string());
        add("X-Forwarded-Proto", if secure { "https" } else { "http" });
        if request.wants_websocket() {
            add("Connection", "Upgrade");
            add("Upgrade", "websocket");
        } else {
            add("Connection", "close");
        }
        let Request { method, target, version, .. } = request;
        Request { method: method.clone(), target: target_without_token(target), version: *version, headers }
    }

    /// The answer as the client gets it.
    pub(crate) fn answer(&self, response: &mut Response, secure: bool) {
        if response.code != 101 {
            let between = ["Connection", "Keep-Alive", "Proxy-Connection"];
            response.headers.retain(|(name, _)| !between.iter().any(|other| same_name(name, other)));
            response.headers.push(("Connection".to_owned(), b"close".to_vec()));
        }
        if let Some(token) = &self.cookie {
            let secure = if secure { "; Secure" } else { "" };
            let cookie = format!("{TOKEN_NAME}={token}; HttpOnly; SameSite=Lax; Path=/{secure}");
            response.headers.push(("Set-Cookie".to_owned(), cookie.into_bytes()));
        }
    }
}

fn without_token(cookies: &[u8]) -> Option<Vec<u8>> {
    let prefix = format!("{TOKEN_NAME}=");
    let others = cookies.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let others: Vec<&[u8]> = others.filter(|pair| !pair.is_empty() && !pair.starts_with(prefix.as_bytes())).collect();
    (!others.is_empty()).then(|| others.join(&b"; "[..]))
}

fn target_without_token(target: &str) -> String {
    let Some((path, _)) = target.split_once('?') else { return target.to_owned() };
    let all: Vec<&str> = query(target).collect();
    let others: Vec<&str> = all.iter().copied().filter(|pair| named(pair).is_none()).collect();
    match (others.len() == all.len(), others.is_empty()) {
        (true, _) => target.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}?{}", others.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Request { method: "GET".to_owned(), target: target.to_owned(), version: 1, headers }
    }

    #[test]
    fn the_token_is_found_in_three_places_and_goes_no_further() {
        let guard = Guard::new();
        let token = guard.issue(Some("me".to_owned()), None).unwrap();
        let token = token.as_str();
        let cases = [
            request("/a?b=1", &[("authorization", &format!("bearer  {token}")), ("Cookie", "c=2")]),
            request(&format!("/a?{TOKEN_NAME}={token}&b=1"), &[("Cookie", "c=2")]),
            request(&format!("/a?b=1&{TOKEN_NAME}={token}"), &[("Cookie", &format!("c=2; {TOKEN_NAME}=old"))]),
            request("/a?b=1", &[("Cookie", &format!("{TOKEN_NAME}={token}; c=2"))]),
        ];
        for case in &cases {
            let pass = Pass::check(&guard, case).unwrap();
            let forward = pass.forward(case, [127, 0, 0, 1].into(), false);
            let text = String::from_utf8(forward.to_bytes()).unwrap();
            assert!(!text.contains(token) && !text.contains(TOKEN_NAME), "{text}");
            assert!(text.starts_with("GET /a?b=1 HTTP/1.1\r\nCookie: c=2\r\nX-Verified-User-Data: me\r\n"), "{text}");
            assert!(text.ends_with("\r\nConnection: close\r\n\r\n"), "{text}");
            assert_eq!(pass.cookie.is_some(), case.target.contains(token));
        }
        for target in ["/".to_owned(), format!("/?x{TOKEN_NAME}={token}"), format!("/?{TOKEN_NAME}={}", &token[1..])] {
            assert!(Pass::check(&guard, &request(&target, &[])).is_none(), "{target}");
        }
    }

    #[test]
    fn what_only_the_tunnel_may_say_is_taken_out() {
        let guard = Guard::new();
        let token = guard.issue(None, None).unwrap();
        let cookie = format!("{TOKEN_NAME}={}", token.as_str());
        let case = request(
            "/",
            &[
                ("Cookie", &cookie),
                ("x-verified-user-data", "root"),
                ("X_Verified_User_Data", "root"),
                ("X-Forwarded-For", "10.0.0.1"),
                ("Connection", "keep-alive, X-Verified-User-Data"),
                ("Authorization", "Basic of-the-sandbox"),
                ("Referer", &format!("http://a/?b=1&{cookie}")),
            ],
        );
        let pass = Pass::check(&guard, &case).unwrap();
        let text = String::from_utf8(pass.forward(&case, [127, 0, 0, 1].into(), true).to_bytes()).unwrap();
        let expected = "GET / HTTP/1.1\r\nAuthorization: Basic of-the-sandbox\r\nReferer: http://a/?b=1\r\nX-Forwarded-For: 127.0.0.1\r\n\
                        X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
        assert_eq!(text, expected);
    }
}
