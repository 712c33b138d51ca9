//! The events of one call, as they are kept between two batches.

use std::fmt;

use callfold_schema::{
    CallSid, EncodeError, Envelope, Event, EventKind, Key, Lane, Record, Run, UnixMillis, Unreadable,
    decode_event,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first byte of stored states; another one was written by another release.
const FORMAT: u8 = 1;

/// Why a stored state cannot be used. None of them happens to a state that this release wrote: the rows have to be
/// folded from the stream again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nothing, or the format byte of another release.
    #[error(
        "the stored state of a lead has format {found:?}, this release reads {FORMAT}; rebuild the leads"
    )]
    Format {
        /// The first byte.
        found: Option<u8>,
    },
    /// The bytes behind the format byte make no sense.
    #[error("the stored state of a lead does not decode; rebuild the leads")]
    Damaged,
    /// An event inside does not decode.
    #[error("an event in the stored state of a lead does not decode; rebuild the leads")]
    Event(#[source] Unreadable),
    /// The state could not be written.
    #[error("could not encode the state of a lead")]
    Encode(#[source] postcard::Error),
}

/// One event of a call. The payload stays bytes until a fold reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct StateEvent {
    /// Its sequence in the stream.
    pub position: u64,
    /// The kind.
    pub kind: EventKind,
    /// The version the payload is written in.
    pub version: u16,
    /// The key.
    pub key: Key,
    /// When the fact was accepted.
    pub time: UnixMillis,
    /// The payload.
    pub payload: Vec<u8>,
}

impl StateEvent {
    /// The lane it travelled in.
    pub fn lane(&self) -> Lane {
        self.key.run.unwrap_or(Run::FIRST).lane()
    }

    /// The payload, lifted to the newest version.
    pub fn event(&self) -> Result<Event, StateError> {
        decode_event(self.kind, self.version, &self.payload).map_err(StateError::Event)
    }
}

impl fmt::Debug for StateEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StateEvent({} {} at {}, {} bytes)",
            self.kind,
            self.key,
            self.position,
            self.payload.len()
        )
    }
}

/// All events of one call: the map (kind, key) → event in which the lowest position wins.
#[derive(Clone, PartialEq, Eq)]
pub struct LeadState {
    call_sid: CallSid,
    /// Sorted by (kind, key), each once.
    events: Vec<StateEvent>,
    /// Positions of events that lost their key, or that an erasure took away, sorted. Kept because an erasure has to find
    /// every event, those that came behind it too.
    lost: Vec<u64>,
}

impl fmt::Debug for LeadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeadState")
            .field("call_sid", &self.call_sid)
            .field("events", &self.events)
            .finish()
    }
}

impl LeadState {
    /// A call of which nothing is known.
    pub fn new(call_sid: CallSid) -> Self {
        Self {
            call_sid,
            events: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The call.
    pub fn call_sid(&self) -> &CallSid {
        &self.call_sid
    }

    /// Whether nothing was applied yet.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the call was erased: nothing but the fact itself is left in memory, and no row may stand for it.
    pub fn is_erased(&self) -> bool {
        self.events
            .iter()
            .any(|event| event.kind == EventKind::CallErased)
    }

    /// The events that hold a key, ordered by (kind, key).
    pub fn events(&self) -> &[StateEvent] {
        &self.events
    }

    /// The positions of all events of the call, ascending: what story, time travel and erasure read by.
    pub fn positions(&self) -> Vec<u64> {
        let mut positions: Vec<u64> = self.events.iter().map(|event| event.position).collect();
        positions.extend_from_slice(&self.lost);
        positions.sort_unstable();
        positions
    }

    /// The highest position of the call; 0 while it is empty.
    pub fn position(&self) -> u64 {
        let held = self.events.iter().map(|event| event.position).max().unwrap_or(0);
        held.max(self.lost.last().copied().unwrap_or(0))
    }

    /// Takes an event that stands at `position`; whether the state is another one now.
    ///
    /// `call_erased` takes every other event away but `erase_done`, whenever they come; their positions stay known.
    ///
    /// The payload must be one that decodes (the caller has just read it), and the event one of this call: an event of
    /// another call changes nothing.
    pub fn apply(&mut self, position: u64, envelope: &Envelope, payload: &[u8]) -> bool {
        let subject = &envelope.subject;
        if subject.call_sid != self.call_sid {
            return false;
        }
        if !is_tombstone(subject.kind) && self.is_erased() {
            return self.lose(position);
        }
        let found = self
            .events
            .binary_search_by(|event| (event.kind, &event.key).cmp(&(subject.kind, &subject.key)));
        let event = || StateEvent {
            position,
            kind: subject.kind,
            version: envelope.version,
            key: subject.key.clone(),
            time: envelope.time,
            payload: payload.to_vec(),
        };
        match found {
            Err(at) => {
                self.events.insert(at, event());
                if subject.kind == EventKind::CallErased {
                    self.forget();
                }
                true
            }
            Ok(at) if position < self.events[at].position => {
                let loser = std::mem::replace(&mut self.events[at], event());
                self.lose(loser.position);
                true
            }
            Ok(at) if position == self.events[at].position => false,
            Ok(_) => self.lose(position),
        }
    }

    /// [`LeadState::apply`] for an event that was decoded; its payload is kept in the newest version.
    pub fn apply_record(&mut self, position: u64, record: &Record) -> Result<bool, EncodeError> {
        let payload = record.event.encode()?;
        let envelope = Envelope {
            version: record.event.version(),
            ..record.envelope.clone()
        };
        Ok(self.apply(position, &envelope, &payload))
    }

    /// Drops what an erasure takes away.
    fn forget(&mut self) {
        let all = std::mem::take(&mut self.events);
        let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|event| is_tombstone(event.kind));
        self.events = kept;
        for event in gone {
            self.lose(event.position);
        }
    }

    fn lose(&mut self, position: u64) -> bool {
        match self.lost.binary_search(&position) {
            Ok(_) => false,
            Err(at) => {
                self.lost.insert(at, position);
                true
            }
        }
    }

    /// The same with a part of the events only.
    pub(crate) fn retain(
        &self,
        keeps: impl Fn(&StateEvent) -> bool,
        keeps_lost: impl Fn(u64) -> bool,
    ) -> Self {
        Self {
            call_sid: self.call_sid.clone(),
            events: self.events.iter().filter(|event| keeps(event)).cloned().collect(),
            lost: self
                .lost
                .iter()
                .copied()
                .filter(|lost| keeps_lost(*lost))
                .collect(),
        }
    }

    /// What it takes in memory, in bytes, about.
    pub fn size_bytes(&self) -> usize {
        let events: usize = self
            .events
            .iter()
            .map(|event| event.payload.len() + size_of::<StateEvent>() + 64)
            .sum();
        events + self.lost.len() * 8 + size_of::<Self>() + 48
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let payloads: usize = self.events.iter().map(|event| event.payload.len() + 96).sum();
        let mut bytes = Vec::with_capacity(payloads + 64);
        bytes.push(FORMAT);
        let keys: Vec<String> = self.events.iter().map(|event| event.key.to_string()).collect();
        let wire = Wire {
            call_sid: self.call_sid.as_str(),
            events: self
                .events
                .iter()
                .zip(&keys)
                .map(|(event, key)| WireEvent {
                    position: event.position,
                    kind: event.kind.token(),
                    version: event.version,
                    key,
                    time_ms: event.time.0,
                    payload: Raw(&event.payload),
                })
                .collect(),
            lost: self.lost.clone(),
        };
        postcard::to_extend(&wire, bytes).map_err(StateError::Encode)
    }

    /// Reads what [`LeadState::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let Some((&FORMAT, rest)) = bytes.split_first() else {
            return Err(StateError::Format {
                found: bytes.first().copied(),
            });
        };
        let (wire, rest) = postcard::take_from_bytes::<Wire<'_>>(rest).map_err(|_| StateError::Damaged)?;
        if !rest.is_empty() {
            return Err(StateError::Damaged);
        }
        let events: Vec<StateEvent> = wire
            .events
            .into_iter()
            .map(|event| {
                let kind = EventKind::from_token(event.kind)?;
                Some(StateEvent {
                    position: event.position,
                    kind,
                    version: event.version,
                    key: Key::parse(kind, event.key)?,
                    time: UnixMillis(event.time_ms),
                    payload: event.payload.0.to_vec(),
                })
            })
            .collect::<Option<_>>()
            .ok_or(StateError::Damaged)?;
        let call_sid = CallSid::parse(wire.call_sid).map_err(|_| StateError::Damaged)?;
        let ordered = events
            .windows(2)
            .all(|pair| (pair[0].kind, &pair[0].key) < (pair[1].kind, &pair[1].key));
        if !ordered || !wire.lost.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(StateError::Damaged);
        }
        Ok(Self {
            call_sid,
            events,
            lost: wire.lost,
        })
    }
}

/// What stays of an erased call.
fn is_tombstone(kind: EventKind) -> bool {
    matches!(kind, EventKind::CallErased | EventKind::EraseDone)
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    call_sid: &'a str,
    #[serde(borrow)]
    events: Vec<WireEvent<'a>>,
    lost: Vec<u64>,
}

/// The kind stands as its token: the numbers of an enum move when a kind is added.
#[derive(Serialize, Deserialize)]
struct WireEvent<'a> {
    position: u64,
    kind: &'a str,
    version: u16,
    key: &'a str,
    time_ms: i64,
    #[serde(borrow)]
    payload: Raw<'a>,
}

/// Bytes as one piece; serde's own slices go byte by byte.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Raw)
    }
}
