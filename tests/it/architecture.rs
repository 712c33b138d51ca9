//! Which crate may use which, read from what cargo knows. Only what a crate ships with counts, not what its tests use.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::harness::root;

/// Ours, and which of ours it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("callfold-schema", &[]),
    ("callfold-lead", &["callfold-schema"]),
    ("callfold-store", &["callfold-lead", "callfold-schema"]),
    (
        "callfold-store-sqlite",
        &["callfold-store", "callfold-lead", "callfold-schema"],
    ),
    (
        "callfold-store-postgres",
        &["callfold-store", "callfold-lead", "callfold-schema"],
    ),
    ("callfold-kit", &["callfold-schema"]),
    ("callfold-people", &["callfold-kit", "callfold-schema"]),
    (
        "callfold-notifier",
        &["callfold-kit", "callfold-schema", "callfold-people"],
    ),
    ("callfold-twilio", &[]),
    (
        "callfold-gateway",
        &["callfold-kit", "callfold-schema", "callfold-twilio"],
    ),
    (
        "callfold-downloader",
        &["callfold-kit", "callfold-schema", "callfold-twilio"],
    ),
    ("callfold-transcriber", &["callfold-kit", "callfold-schema"]),
    ("callfold-summarizer", &["callfold-kit", "callfold-schema"]),
    (
        "callfold-reconciler",
        &["callfold-kit", "callfold-schema", "callfold-twilio"],
    ),
    // The database is handed in: neither knows which one it is.
    (
        "callfold-projector",
        &[
            "callfold-kit",
            "callfold-schema",
            "callfold-lead",
            "callfold-store",
        ],
    ),
    (
        "callfold-api",
        &[
            "callfold-kit",
            "callfold-schema",
            "callfold-lead",
            "callfold-store",
            "callfold-people",
        ],
    ),
    ("callfold-tests", &[]),
];

/// Others' crates that stop at a border, and who may use them.
const BORDERS: &[(&str, &[&str])] = &[
    ("sqlx", &["callfold-store-sqlite", "callfold-store-postgres"]),
    ("async-nats", &["callfold-kit"]),
    ("object_store", &["callfold-kit"]),
    (
        "axum",
        &["callfold-kit", "callfold-gateway", "callfold-api", "callfold"],
    ),
    ("askama", &["callfold-api"]),
    ("whisper-rs", &["callfold-transcriber"]),
    ("async-openai", &["callfold-summarizer"]),
    ("google-cloud-speech-v2", &["callfold-transcriber"]),
    ("google-cloud-auth", &["callfold-transcriber"]),
    ("hmac", &["callfold-twilio", "callfold-people"]),
    ("argon2", &["callfold-people"]),
    ("lettre", &["callfold-notifier"]),
    ("ring", &["callfold-notifier"]),
    ("postcard", &["callfold-schema", "callfold-lead"]),
    ("clap", &["callfold"]),
    ("anyhow", &["callfold"]),
    ("toml", &["callfold-kit"]),
    ("tracing-subscriber", &["callfold-kit"]),
];

/// Crates that do no I/O, wait for nothing and know no clock.
const PURE: &[&str] = &["callfold-schema", "callfold-lead"];
const IMPURE: &[&str] = &[
    "tokio",
    "futures",
    "reqwest",
    "async-trait",
    "tracing",
    "rand",
    "tempfile",
    "rustix",
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            // `kind` is null for what a crate ships with, "dev" or "build" otherwise. What is optional belongs to the
            // features `testing` and `conformance`.
            let used = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|used| used["kind"].is_null() && used["optional"] != true);
            (
                text(&package["name"]),
                used.map(|used| text(&used["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let found = dependencies();
    let mut known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    // The one place where parts are chosen and joined uses all of them.
    known.insert("callfold");
    let members: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        members, known,
        "a crate was added or left: its line belongs into this table"
    );
    for (name, may_use) in MAY_USE {
        let ours = found[*name].iter().filter(|used| members.contains(used.as_str()));
        let beyond: Vec<_> = ours.filter(|used| !may_use.contains(&used.as_str())).collect();
        assert!(beyond.is_empty(), "{name} must not use {beyond:?}");
    }
}

#[test]
fn what_others_built_stops_at_its_border() {
    let found = dependencies();
    for (foreign, may_use) in BORDERS {
        let users: BTreeSet<&str> = found
            .iter()
            .filter(|(_, used)| used.contains(*foreign))
            .map(|(name, _)| name.as_str())
            .collect();
        let beyond: Vec<_> = users.iter().filter(|name| !may_use.contains(name)).collect();
        assert!(beyond.is_empty(), "{foreign} must not be used by {beyond:?}");
        assert!(!users.is_empty(), "nobody uses {foreign}: its line can go");
    }
}

#[test]
fn events_and_the_fold_do_no_input_or_output() {
    let found = dependencies();
    for name in PURE {
        let impure: Vec<_> = found[*name]
            .iter()
            .filter(|used| IMPURE.contains(&used.as_str()))
            .collect();
        assert!(impure.is_empty(), "{name} must not use {impure:?}");
    }
}

#[test]
fn sql_is_written_in_two_folders() {
    let statement = [
        "SELECT ",
        "INSERT INTO ",
        "UPDATE ",
        "DELETE FROM ",
        "CREATE TABLE ",
    ];
    let mut beyond = Vec::new();
    for folder in ["schema", "projections/lead", "projections/store", "services"] {
        for file in rust_files(&root().join(folder)) {
            // A bench compares with the bare database, and a test plants damage in it.
            let place = file.strip_prefix(root()).unwrap();
            if place
                .components()
                .any(|part| part.as_os_str() == "examples" || part.as_os_str() == "tests")
            {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let is_sql = |line: &str| {
                let quoted = line.split('"').skip(1).step_by(2);
                quoted
                    .into_iter()
                    .any(|text| statement.iter().any(|word| text.trim_start().starts_with(word)))
            };
            if text.lines().any(is_sql) {
                beyond.push(file);
            }
        }
    }
    assert!(
        beyond.is_empty(),
        "SQL belongs into store-sqlite and store-postgres, not into {beyond:?}"
    );
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
