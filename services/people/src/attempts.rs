//! Wrong passwords are slowed down: for a name, and for an address. In memory of the process: several processes behind one
//! address allow as many times more, and a restart forgets.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use callfold_schema::UnixMillis;

/// Wrong passwords for a name that cost nothing.
pub const FREE_PER_NAME: u32 = 5;
/// Wrong passwords from an address that cost nothing: an office has one.
pub const FREE_PER_ADDRESS: u32 = 30;
/// The first waiting time; each further wrong password doubles it.
const WAIT_MS_FIRST: i64 = 10_000;
/// The longest waiting time, in milliseconds: 15 minutes.
pub const WAIT_MS_MAX: i64 = 15 * 60 * 1_000;
/// After so long without a try everything is forgiven.
const FORGIVEN_MS: i64 = 60 * 60 * 1_000;
/// How many names, and how many addresses, are remembered; the one that was tried longest ago makes room.
const REMEMBERED_MAX: usize = 4_096;

#[derive(Clone, Copy)]
struct Tries {
    count: u32,
    last: UnixMillis,
    until: UnixMillis,
}

struct Map<K> {
    free: u32,
    tries: HashMap<K, Tries>,
}

impl<K: Hash + Eq + Clone> Map<K> {
    fn new(free: u32) -> Self {
        Self {
            free,
            tries: HashMap::new(),
        }
    }

    fn wait(&self, key: &K, now: UnixMillis) -> i64 {
        self.tries
            .get(key)
            .map_or(0, |tries| (tries.until.0 - now.0).max(0))
    }

    fn count(&mut self, key: &K, now: UnixMillis) {
        if self.tries.len() >= REMEMBERED_MAX && !self.tries.contains_key(key) {
            self.tries.retain(|_, tries| now.0 - tries.last.0 < FORGIVEN_MS);
            let oldest = self
                .tries
                .iter()
                .min_by_key(|(_, tries)| tries.last)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| self.tries.len() >= REMEMBERED_MAX) {
                self.tries.remove(&oldest);
            }
        }
        let tries = self.tries.entry(key.clone()).or_insert(Tries {
            count: 0,
            last: now,
            until: now,
        });
        if now.0 - tries.last.0 >= FORGIVEN_MS {
            tries.count = 0;
        }
        tries.count = tries.count.saturating_add(1);
        tries.last = now;
        if tries.count >= self.free {
            let doubled = (tries.count - self.free).min(16);
            let wait = WAIT_MS_FIRST.saturating_mul(1 << doubled).min(WAIT_MS_MAX);
            tries.until = UnixMillis(now.0.saturating_add(wait));
        }
    }
}

struct Maps {
    names: Map<String>,
    addresses: Map<IpAddr>,
}

/// The tries of late.
pub struct Attempts(Mutex<Maps>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Mutex::new(Maps {
            names: Map::new(FREE_PER_NAME),
            addresses: Map::new(FREE_PER_ADDRESS),
        }))
    }
}

/// A network of IPv6 belongs to one customer: its addresses count as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        four @ IpAddr::V4(_) => four,
    }
}

impl Attempts {
    /// Counts a try before its password is looked at, so that many at once are counted, too. An error is the time to wait,
    /// in milliseconds; such a try is neither counted nor to be looked at.
    pub fn begin(&self, name_key: &str, address: Option<IpAddr>, now: UnixMillis) -> Result<(), i64> {
        self.with(|maps| {
            let name_key = name_key.to_owned();
            let address = address.map(network);
            let by_address = address.map_or(0, |address| maps.addresses.wait(&address, now));
            let wait = maps.names.wait(&name_key, now).max(by_address);
            if wait > 0 {
                return Err(wait);
            }
            maps.names.count(&name_key, now);
            if let Some(address) = address {
                maps.addresses.count(&address, now);
            }
            Ok(())
        })
    }

    /// The password was right: the name is forgiven, and the address this one try.
    pub fn succeeded(&self, name_key: &str, address: Option<IpAddr>) {
        self.with(|maps| {
            maps.names.tries.remove(name_key);
            if let Some(tries) = address.and_then(|address| maps.addresses.tries.get_mut(&network(address))) {
                tries.count = tries.count.saturating_sub(1);
                tries.until = tries.last;
            }
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut Maps) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_name_waits_longer_and_longer_and_no_longer_than_a_quarter_of_an_hour() {
        let attempts = Attempts::default();
        let mut now = NOW;
        for _ in 0..FREE_PER_NAME {
            assert_eq!(attempts.begin("dana", None, now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..10 {
            let Err(wait) = attempts.begin("dana", None, now) else {
                panic!("a try too many was let in");
            };
            waits.push(wait);
            now.0 += wait;
            assert_eq!(attempts.begin("dana", None, now), Ok(()));
        }
        assert_eq!(waits[..3], [10_000, 20_000, 40_000]);
        assert_eq!(waits[9], WAIT_MS_MAX);
        assert_eq!(attempts.begin("dan", None, now), Ok(()), "others do not wait");
        now.0 += FORGIVEN_MS;
        assert_eq!(attempts.begin("dana", None, now), Ok(()));
        assert_eq!(attempts.begin("dana", None, now), Ok(()), "forgiven");
    }

    #[test]
    fn an_address_that_tries_many_names_waits() {
        let attempts = Attempts::default();
        for n in 0..FREE_PER_ADDRESS {
            assert_eq!(attempts.begin(&format!("name{n}"), address(1), NOW), Ok(()));
        }
        assert!(attempts.begin("another", address(1), NOW).is_err());
        assert_eq!(attempts.begin("another", address(2), NOW), Ok(()));
    }

    #[test]
    fn a_right_password_forgives_the_name() {
        let attempts = Attempts::default();
        for _ in 1..FREE_PER_NAME {
            assert_eq!(attempts.begin("dana", address(1), NOW), Ok(()));
        }
        attempts.succeeded("dana", address(1));
        for _ in 1..FREE_PER_NAME {
            assert_eq!(attempts.begin("dana", address(1), NOW), Ok(()));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..REMEMBERED_MAX + 100 {
            let now = UnixMillis(NOW.0 + i64::try_from(n).expect("small"));
            assert_eq!(attempts.begin(&n.to_string(), None, now), Ok(()));
        }
        assert_eq!(attempts.with(|maps| maps.names.tries.len()), REMEMBERED_MAX);
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8::1")), network(parse("2001:db8::ffff:1")));
        assert_ne!(network(parse("2001:db8::1")), network(parse("2001:db8:0:1::1")));
        assert_eq!(network(parse("::ffff:10.0.0.1")), parse("10.0.0.1"));
    }
}
