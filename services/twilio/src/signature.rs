//! `X-Twilio-Signature`: who sent this request?
//!
//! The signed text is the URL as configured at Twilio (scheme, host, perhaps port, path, query, no fragment) followed by
//! the form fields sorted by name. Twilio is not consistent about the port, about user info and about `'` in the query, so
//! a signature over any of those writings of the same URL is accepted. Nothing else about the URL is touched: no case,
//! escape or slash is normalised, because the text itself is signed.
//!
//! The scheme has no time stamp: a captured request can be sent again for ever. What protects is that the same fact is
//! recorded once.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::token::AuthToken;

/// Name of the header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-twilio-signature";

/// Query parameter by which the hash of a body that is not a form is signed.
const BODY_HASH_PARAM: &str = "bodySHA256";

/// What the request carries besides its URL.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// Nothing: a GET or a WebSocket handshake.
    Empty,
    /// The decoded fields of a form, in any order, all of them and untrimmed.
    Form(&'a [(String, String)]),
    /// A raw body that is not a form; its SHA-256 has to stand in the URL.
    Body(&'a [u8]),
}

/// Why a request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is absent or empty: the caller is not Twilio, or a proxy dropped it.
    #[error("the request carries no signature")]
    Missing,
    /// No token signs this request so: wrong token, wrong public URL, or a forgery.
    #[error("the signature does not fit the request")]
    Wrong,
    /// The signature fits the URL, but the body is not the one whose hash the URL carries (or it carries none).
    #[error("the body is not the signed one")]
    WrongBody,
}

/// Checks signatures against one or more auth tokens (several while a token is being rotated).
#[derive(Debug, Clone)]
pub struct SignatureVerifier {
    tokens: Vec<AuthToken>,
}

impl SignatureVerifier {
    /// A verifier that accepts a signature by any of `tokens`. With no tokens it accepts nothing.
    #[must_use]
    pub fn new(tokens: Vec<AuthToken>) -> Self {
        Self { tokens }
    }

    /// Checks `header` for a request to `url`, the public URL followed by the raw path and query of the request line.
    ///
    /// # Errors
    /// Says whether the signature is missing, wrong, or right for a different body.
    pub fn verify(
        &self,
        url: &str,
        payload: Payload<'_>,
        header: Option<&str>,
    ) -> Result<(), SignatureError> {
        let header = header.unwrap_or_default();
        if header.is_empty() {
            return Err(SignatureError::Missing);
        }
        let signature = BASE64
            .decode(header.as_bytes())
            .map_err(|_| SignatureError::Wrong)?;
        let fields = match payload {
            Payload::Form(fields) => signed_fields(fields),
            Payload::Empty | Payload::Body(_) => String::new(),
        };
        let writings = writings(url);
        let known = self.tokens.iter().any(|token| {
            let key = keyed(token);
            writings.iter().any(|writing| {
                key.clone()
                    .chain_update(writing.as_bytes())
                    .chain_update(fields.as_bytes())
                    .verify_slice(&signature)
                    .is_ok()
            })
        });
        if !known {
            return Err(SignatureError::Wrong);
        }
        match payload {
            Payload::Body(body) if !body_matches(url, body) => Err(SignatureError::WrongBody),
            Payload::Empty | Payload::Form(_) | Payload::Body(_) => Ok(()),
        }
    }
}

/// Signs a form request as Twilio does: for the simulator and for tests. A GET has no `params`.
#[must_use]
pub fn sign(url: &str, params: &[(String, String)], token: &AuthToken) -> String {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let mac = keyed(token)
        .chain_update(url.as_bytes())
        .chain_update(signed_fields(params).as_bytes());
    BASE64.encode(&mac.finalize().into_bytes())
}

fn keyed(token: &AuthToken) -> Hmac<Sha1> {
    Hmac::<Sha1>::new_from_slice(token.expose().as_bytes()).expect("HMAC takes a key of any length")
}

/// Names and values, sorted by name; a repeated name stands before each of its distinct values, sorted.
fn signed_fields(fields: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = fields.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.as_str()])
        .collect()
}

/// The ways in which Twilio may have written `url` before signing it, the most likely one first.
fn writings(url: &str) -> Vec<String> {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((user_info, host_port)) => (Some(user_info), host_port),
        None => (None, authority),
    };

    let other_port = match split_port(host_port) {
        (host, Some(_)) => Some(host.to_owned()),
        (host, None) => standard_port(scheme).map(|port| format!("{host}:{port}")),
    };
    let hosts = std::iter::once(host_port.to_owned()).chain(other_port);
    let authorities: Vec<String> = hosts
        .flat_map(|host| {
            let kept = user_info.map(|user_info| format!("{user_info}@{host}"));
            kept.into_iter().chain(std::iter::once(host))
        })
        .collect();
    let tails = std::iter::once(tail.to_owned()).chain(legacy_query(tail));

    tails
        .flat_map(|tail| {
            authorities
                .iter()
                .map(move |authority| format!("{scheme}://{authority}{tail}"))
        })
        .collect()
}

/// Splits `host[:port]`; the colons of a bracketed IPv6 address are not ports.
fn split_port(host_port: &str) -> (&str, Option<&str>) {
    match host_port.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port))
        }
        _ => (host_port, None),
    }
}

fn standard_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        _ => None,
    }
}

/// An older encoder at Twilio writes `'` in a query as `%27`. `None` when that changes nothing.
fn legacy_query(tail: &str) -> Option<String> {
    let (path, query) = tail.split_once('?')?;
    query
        .contains('\'')
        .then(|| format!("{path}?{}", query.replace('\'', "%27")))
}

fn body_matches(url: &str, body: &[u8]) -> bool {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let Some((_, query)) = url.split_once('?') else {
        return false;
    };
    let stated = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == BODY_HASH_PARAM);
    let Some(stated) = stated.and_then(|(_, value)| HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok()) else {
        return false;
    };
    Sha256::digest(body).as_slice().ct_eq(&stated).into()
}

#[cfg(test)]
#[path = "signature/tests.rs"]
mod tests;
