//! One-time sign-in links of the process itself: they let whoever started it in while there is no owner. Only hashes are kept,
//! in memory: a restart ends them. Links for people (`callfold user link`) are in the broker.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use callfold_kit::secret::Secret;
use callfold_people::{LINK_MS, TokenHash, new_secret};
use callfold_schema::UnixMillis;

/// How many unused links there can be; a further one ends the oldest.
pub(crate) const LINKS_MAX: usize = 32;

/// A link that has not been used.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    hash: TokenHash,
    expires_at: UnixMillis,
}

/// The links that have not been used.
#[derive(Default)]
pub(crate) struct Links(Mutex<VecDeque<Link>>);

impl Links {
    /// Makes a link's token.
    pub(crate) fn issue(&self, now: UnixMillis) -> Secret {
        let token = new_secret();
        let expires_at = UnixMillis(now.0.saturating_add(LINK_MS));
        self.put_back(Link {
            hash: TokenHash::of(token.expose()),
            expires_at,
        });
        token
    }

    /// Whether the token would open a session.
    pub(crate) fn is_good(&self, token: &str, now: UnixMillis) -> bool {
        let hash = TokenHash::of(token);
        self.with(|links| {
            links
                .iter()
                .any(|link| link.hash.matches(&hash) && now < link.expires_at)
        })
    }

    /// Uses the token up: of two at once, one gets it.
    pub(crate) fn take(&self, token: &str, now: UnixMillis) -> Option<Link> {
        let hash = TokenHash::of(token);
        self.with(|links| {
            links.retain(|link| now < link.expires_at);
            let at = links.iter().position(|link| link.hash.matches(&hash))?;
            links.remove(at)
        })
    }

    /// Gives a link back whose use failed for a reason of ours.
    pub(crate) fn put_back(&self, link: Link) {
        self.with(|links| {
            if links.len() >= LINKS_MAX {
                links.pop_front();
            }
            links.push_back(link);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<Link>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn a_link_is_good_once() {
        let links = Links::default();
        let token = links.issue(NOW);
        assert!(links.is_good(token.expose(), NOW));
        assert!(links.take("another", NOW).is_none());
        assert!(links.take(token.expose(), NOW).is_some());
        assert!(links.take(token.expose(), NOW).is_none());
        assert!(!links.is_good(token.expose(), NOW));
    }

    #[test]
    fn a_link_ends_after_fifteen_minutes() {
        let links = Links::default();
        let token = links.issue(NOW);
        assert!(links.is_good(token.expose(), UnixMillis(NOW.0 + LINK_MS - 1)));
        assert!(links.take(token.expose(), UnixMillis(NOW.0 + LINK_MS)).is_none());
    }

    #[test]
    fn the_number_of_links_is_bounded() {
        let links = Links::default();
        let first = links.issue(NOW);
        let tokens: Vec<_> = (0..LINKS_MAX).map(|_| links.issue(NOW)).collect();
        assert!(!links.is_good(first.expose(), NOW));
        assert!(tokens.iter().all(|token| links.is_good(token.expose(), NOW)));
    }
}
