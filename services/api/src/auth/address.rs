//! From which address a request comes.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The address of the browser, as well as it can be known. A proxy in front of us (an address of this machine or of a private
/// network) names the browser in `X-Forwarded-For`, as the last entry; entries before it are what the browser claims. Somebody
/// in the private network itself can claim an address: for them only the bounds per name hold.
pub(crate) fn client_address(peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer?.ip().to_canonical();
    let is_near = match peer {
        IpAddr::V4(four) => four.is_loopback() || four.is_private() || four.is_link_local(),
        IpAddr::V6(six) => six.is_loopback() || six.is_unique_local() || six.is_unicast_link_local(),
    };
    if !is_near {
        return Some(peer);
    }
    let named = headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .and_then(|entry| entry.trim().parse::<IpAddr>().ok());
    Some(named.map_or(peer, |named| named.to_canonical()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(peer: &str, forwarded: Option<&'static str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(forwarded) = forwarded {
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        }
        let address = client_address(peer.parse().ok(), &headers);
        address.map_or_else(|| "nobody".to_owned(), |address| address.to_string())
    }

    #[test]
    fn a_proxy_nearby_names_the_browser_and_a_stranger_does_not() {
        assert_eq!(seen("203.0.113.9:1", Some("198.51.100.1")), "203.0.113.9");
        assert_eq!(seen("127.0.0.1:1", None), "127.0.0.1");
        assert_eq!(
            seen("172.18.0.1:1", Some("6.6.6.6, 198.51.100.1")),
            "198.51.100.1"
        );
        assert_eq!(seen("[::ffff:127.0.0.1]:1", Some("2001:db8::1")), "2001:db8::1");
        assert_eq!(seen("127.0.0.1:1", Some("unknown")), "127.0.0.1");
        assert_eq!(seen("nothing", Some("198.51.100.1")), "nobody");
    }
}
