//! Every released version of every kind stays readable, for ever: its JSON schema, an example and the example's bytes are
//! kept in `events/<kind>/` and must match the code. `README.md` says how to add a version.
//!
//! The example is written by hand; `CALLFOLD_WRITE_GOLDEN=1 cargo test -p callfold-schema --test golden` writes the other
//! files of a new version from it, and never over one that is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use callfold_schema::decode::{decode_payload, encode, newest_version};
use callfold_schema::event::{
    CallEndedV1, CallStartedV1, FailureClass, MissingReason, Payload, RecordingDownloadedV1,
    RecordingMissingV1, RecordingReadyV1, RecordingStartedV1, StageFailedV1, SummaryReadyV1,
    TranscriptReadyV1,
};
use callfold_schema::{EventKind, decode_event};
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
    for (number, class) in FailureClass::ALL.into_iter().enumerate() {
        assert_eq!(
            encode(&class).expect("one byte"),
            [u8::try_from(number).expect("few")]
        );
        assert_eq!(serde_json::to_value(class).expect("JSON"), class.token());
    }
    for (number, reason) in MissingReason::ALL.into_iter().enumerate() {
        assert_eq!(
            encode(&reason).expect("one byte"),
            [u8::try_from(number).expect("few")]
        );
        assert_eq!(serde_json::to_value(reason).expect("JSON"), reason.token());
    }
}

#[test]
fn a_golden_file_is_never_overwritten() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("golden-never-overwritten");
    std::fs::write(&path, b"kept").expect("writes");
    assert_eq!(golden(&path, b"new"), b"kept");
    assert_eq!(std::fs::read(&path).expect("reads"), b"kept");
}
