//! Every released version of every kind stays readable, for ever: its JSON schema, an example and the example's bytes are
//! kept in `events/<kind>/` and must match the code. `README.md` says how to add a version.
//!
//! The example is written by hand; `CALLFOLD_WRITE_GOLDEN=1 cargo test -p callfold-schema --test golden` writes the other
//! files of a new version from it, and never over one that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use callfold_schema::decode::{decode_payload, encode, newest_version};
use callfold_schema::event::{
    CallEndedV1, CallErasedV1, CallStartedV1, Disposition, EraseDoneV1, ErasureReason, FailureClass,
    FailureClassV1, LeadActionV1, LeadUpdatedV1, MissingReason, Payload, RecordingDownloadedV1,
    RecordingMissingV1, RecordingReadyV1, RecordingStartedV1, ReprocessRequestedV1, Speaker, StageFailedV1,
    StageFailedV2, SummaryReadyV1, SummaryReadyV2, TranscriptReadyV1, TranscriptReadyV2, TwilioErasure,
    Urgency,
};
use callfold_schema::{EventKind, Run, Writing, decode_event};
use serde_json::Value;

/// One released version of one kind.
struct Release {
    kind: EventKind,
    version: u16,
    /// The JSON schema of the type.
    schema: Value,
    /// JSON → the type → bytes.
    bytes: fn(&Value) -> Vec<u8>,
    /// Bytes → the type → JSON.
    json: fn(&[u8]) -> Value,
}

fn release<T: Payload>() -> Release {
    Release {
        kind: T::KIND,
        version: T::VERSION,
        schema: schemars::schema_for!(T).to_value(),
        bytes: |example| {
            let payload: T =
                serde_json::from_value(example.clone()).expect("the example has the form of its type");
            encode(&payload).expect("the example is small")
        },
        json: |bytes| {
            serde_json::to_value(decode_payload::<T>(bytes).expect("the bytes decode"))
                .expect("events are JSON")
        },
    }
}

/// Every version that was ever released. Lines are only added.
fn releases() -> Vec<Release> {
    vec![
        release::<CallStartedV1>(),
        release::<CallEndedV1>(),
        release::<RecordingStartedV1>(),
        release::<RecordingReadyV1>(),
        release::<RecordingMissingV1>(),
        release::<RecordingDownloadedV1>(),
        release::<TranscriptReadyV1>(),
        release::<SummaryReadyV1>(),
        release::<StageFailedV1>(),
        release::<TranscriptReadyV2>(),
        release::<SummaryReadyV2>(),
        release::<StageFailedV2>(),
        release::<ReprocessRequestedV1>(),
        release::<LeadUpdatedV1>(),
        release::<CallErasedV1>(),
        release::<EraseDoneV1>(),
    ]
}

impl Release {
    fn path(&self, what: &str) -> PathBuf {
        events()
            .join(self.kind.token())
            .join(format!("v{}.{what}", self.version))
    }
}

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

/// The golden file, which is written first when that is asked for and there is none.
fn golden(path: &Path, now: &[u8]) -> Vec<u8> {
    if std::env::var_os("CALLFOLD_WRITE_GOLDEN").is_some_and(|value| value == "1") && !path.exists() {
        std::fs::write(path, now)
            .unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
    }
    std::fs::read(path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; CALLFOLD_WRITE_GOLDEN=1 writes the files of a new version",
            path.display()
        )
    })
}

fn read_json(path: &Path, bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("a value is JSON");
    text.push(b'\n');
    text
}

/// A schema without its prose: comments may be improved after a release, the form may not.
fn form(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            // A field could have these names: its schema is an object, prose is a text.
            let prose =
                |name: &str, value: &Value| matches!(name, "description" | "title") && value.is_string();
            fields
                .iter()
                .filter(|(n, v)| !prose(n, v))
                .map(|(name, value)| (name.clone(), form(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(form).collect(),
        other => other.clone(),
    }
}

fn read_example(release: &Release) -> Value {
    let path = release.path("example.json");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; write an example by hand first", path.display()));
    read_json(&path, &bytes)
}

#[test]
fn every_version_of_every_kind_is_released_here() {
    let listed: Vec<(EventKind, u16)> = releases()
        .iter()
        .map(|release| (release.kind, release.version))
        .collect();
    let unique: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "a version stands here twice");
    let expected: BTreeSet<_> = EventKind::ALL
        .iter()
        .flat_map(|kind| (1..=newest_version(*kind)).map(|version| (*kind, version)))
        .collect();
    assert_eq!(
        unique, expected,
        "every version from 1 to the newest of every kind, and no other"
    );
}

#[test]
fn the_form_of_a_released_version_never_changes() {
    for release in releases() {
        let path = release.path("schema.json");
        let kept = read_json(&path, &golden(&path, &pretty(&release.schema)));
        assert_eq!(
            form(&kept),
            form(&release.schema),
            "{} version {} changed: that is a new version",
            release.kind,
            release.version
        );
    }
}

#[test]
fn the_bytes_of_a_released_version_never_change() {
    for release in releases() {
        let example = read_example(&release);
        let now = (release.bytes)(&example);
        let kept = golden(&release.path("example.postcard"), &now);
        assert_eq!(
            kept, now,
            "{} version {} is written differently",
            release.kind, release.version
        );
        assert_eq!(
            (release.json)(&kept),
            example,
            "{} version {} is read differently",
            release.kind,
            release.version
        );
    }
}

#[test]
fn every_released_version_is_read_as_the_newest() {
    for release in releases() {
        let bytes = (release.bytes)(&read_example(&release));
        let event = decode_event(release.kind, release.version, &bytes)
            .unwrap_or_else(|error| panic!("{} version {}: {error}", release.kind, release.version));
        assert_eq!(event.kind(), release.kind);
        assert_eq!(event.version(), newest_version(release.kind));
        let lifted = serde_json::to_value(&event).expect("events are JSON");
        assert_eq!(lifted["kind"], release.kind.token());
        if release.version == event.version() {
            assert_eq!(lifted["data"], read_example(&release));
            assert_eq!(event.encode().expect("the example is small"), bytes);
        } else {
            let path = release.path(&format!("as-v{}.json", event.version()));
            assert_eq!(
                lifted["data"],
                read_json(&path, &golden(&path, &pretty(&lifted["data"]))),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn an_example_names_every_field() {
    for release in releases() {
        let example = read_example(&release);
        let required: BTreeSet<&str> = release.schema["properties"]
            .as_object()
            .expect("a payload is a struct")
            .keys()
            .map(String::as_str)
            .collect();
        let given: BTreeSet<&str> = example
            .as_object()
            .expect("a struct")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(given, required, "{} version {}", release.kind, release.version);
    }
}

#[test]
fn nothing_else_lies_beside_the_golden_files() {
    let releases = releases();
    let mut expected = BTreeSet::new();
    for release in &releases {
        expected.extend(["schema.json", "example.json", "example.postcard"].map(|what| release.path(what)));
        let newest = newest_version(release.kind);
        expected.extend((1..release.version).map(|to| release.path(&format!("as-v{to}.json"))));
        expected.extend((release.version + 1..=newest).map(|to| release.path(&format!("as-v{to}.json"))));
    }
    for kind in std::fs::read_dir(events()).expect("the folder of golden files") {
        for file in std::fs::read_dir(kind.expect("a folder").path()).expect("a folder for each kind") {
            let path = file.expect("a file").path();
            assert!(
                expected.contains(&path),
                "{} belongs to no released version",
                path.display()
            );
        }
    }
}

/// Postcard writes a variant as its number: the order of these lists is part of the released versions.
#[test]
fn variants_keep_their_numbers_and_names() {
    fn numbered<T: serde::Serialize>(variants: impl IntoIterator<Item = (T, &'static str)>) {
        for (number, (variant, token)) in variants.into_iter().enumerate() {
            assert_eq!(
                encode(&variant).expect("one byte"),
                [u8::try_from(number).expect("few")]
            );
            assert_eq!(serde_json::to_value(variant).expect("JSON"), token);
        }
    }
    numbered(FailureClass::ALL.map(|class| (class, class.token())));
    numbered(MissingReason::ALL.map(|reason| (reason, reason.token())));
    numbered(Speaker::ALL.map(|speaker| (speaker, speaker.token())));
    numbered(Urgency::ALL.map(|urgency| (urgency, urgency.token())));
    numbered(Disposition::ALL.map(|disposition| (disposition, disposition.token())));
    numbered(ErasureReason::ALL.map(|reason| (reason, reason.token())));
    numbered(TwilioErasure::ALL.map(|erasure| (erasure, erasure.token())));
    // Version 1 of the events knew the first thirteen classes.
    let first = [
        FailureClassV1::NotYet,
        FailureClassV1::Network,
        FailureClassV1::Timeout,
        FailureClassV1::RateLimited,
        FailureClassV1::Unavailable,
        FailureClassV1::Credentials,
        FailureClassV1::NotFound,
        FailureClassV1::Refused,
        FailureClassV1::NotAllowed,
        FailureClassV1::Invalid,
        FailureClassV1::Storage,
        FailureClassV1::WorkerLost,
        FailureClassV1::Internal,
    ];
    numbered(first.into_iter().zip(FailureClass::ALL.map(FailureClass::token)));
}

/// The example holds one action; the others keep their numbers and names as well.
#[test]
fn actions_keep_their_numbers_and_names() {
    let actions = [
        LeadActionV1::Seen { seen: true },
        LeadActionV1::Disposition {
            disposition: Disposition::CalledBack,
        },
        LeadActionV1::Note { text: "x".into() },
        LeadActionV1::Assignee { assignee: None },
        LeadActionV1::Tags {
            tags: vec!["x".into()],
        },
        LeadActionV1::Transcript {
            recording_sid: "RE1".parse().expect("an id"),
            text: None,
        },
        LeadActionV1::CallerName {
            name: Some("x".into()),
        },
        LeadActionV1::CallbackNumber {
            number: Some("+1".into()),
        },
        LeadActionV1::Adopt { run: Some(Run(1)) },
    ];
    let bytes: [&[u8]; 9] = [
        &[0, 1],
        &[1, 1],
        &[2, 1, b'x'],
        &[3, 0],
        &[4, 1, 1, b'x'],
        &[5, 3, b'R', b'E', b'1', 0],
        &[6, 1, 1, b'x'],
        &[7, 1, 2, b'+', b'1'],
        &[8, 1, 1],
    ];
    for (action, bytes) in actions.iter().zip(bytes) {
        assert_eq!(encode(action).expect("small"), bytes, "{}", action.token());
        let json = serde_json::to_value(action).expect("JSON");
        assert!(json.get(action.token()).is_some(), "{json}");
    }
}

/// While processes of the release before this one run, events can be written as it wrote them.
#[test]
fn what_is_written_for_the_release_before_is_what_it_would_have_written() {
    let newest: BTreeMap<EventKind, u16> = EventKind::ALL
        .iter()
        .map(|kind| (*kind, newest_version(*kind)))
        .collect();
    for release in releases() {
        let bytes = (release.bytes)(&read_example(&release));
        let event = decode_event(release.kind, release.version, &bytes).expect("a golden file decodes");
        let now = event.encode_as(Writing::Newest).expect("small");
        assert_eq!(now.version, newest[&release.kind]);
        assert_eq!(now.payload, event.encode().expect("small"));
        let before = event.encode_as(Writing::Previous).expect("small");
        // The release before this one knew version 1 of every kind.
        assert_eq!(before.version, 1, "{}", release.kind);
        if release.version == 1 {
            assert_eq!(
                before.payload, bytes,
                "{}: nothing is lost on the way",
                release.kind
            );
        } else {
            // What both versions can say is the same, and only that is read back.
            let kept = release.path("as-v1.json");
            let older = decode_v1(release.kind, &before.payload);
            assert_eq!(
                older,
                read_json(&kept, &golden(&kept, &pretty(&older))),
                "{}",
                kept.display()
            );
            decode_event(release.kind, 1, &before.payload).expect("the older version is read as well");
        }
    }
}

fn decode_v1(kind: EventKind, bytes: &[u8]) -> Value {
    let releases = releases();
    let first = releases
        .iter()
        .find(|release| release.kind == kind && release.version == 1)
        .expect("every kind has a version 1");
    (first.json)(bytes)
}

#[test]
fn a_golden_file_is_never_overwritten() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("golden-never-overwritten");
    std::fs::write(&path, b"kept").expect("writes");
    assert_eq!(golden(&path, b"new"), b"kept");
    assert_eq!(std::fs::read(&path).expect("reads"), b"kept");
}
