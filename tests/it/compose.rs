//! `docker-compose.yml` and `nats.conf`, as far as they can be held against the program without a container engine.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use callfold::cli::Cli;
use callfold::stack::Role;
use callfold::tools::doctor::known_settings;
use callfold_kit::broker::find_server;
use callfold_kit::config::Environment;
use clap::CommandFactory;
use serde_yaml_ng::Value;

use crate::harness::root;

/// Services that are not ours.
const FOREIGN: &[&str] = &["nats", "postgres"];
/// Names that their images and our nats.conf read.
const FOREIGN_NAMES: &[&str] = &[
    "CALLFOLD_NATS_USER",
    "CALLFOLD_NATS_PASSWORD",
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
];
/// Names that the compose file itself reads.
const COMPOSE_NAMES: &[&str] = &["CALLFOLD_IMAGE_TAG"];

fn text() -> String {
    std::fs::read_to_string(root().join("docker-compose.yml")).unwrap()
}

fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&text()).unwrap();
    compose.apply_merge().unwrap();
    compose
}

fn services(compose: &Value) -> BTreeMap<String, &Value> {
    let services = compose["services"].as_mapping().unwrap();
    services
        .iter()
        .map(|(name, service)| (name.as_str().unwrap().to_owned(), service))
        .collect()
}

/// The names of a service's `environment`, given as a map or as a list.
fn environment(service: &Value) -> BTreeSet<String> {
    match &service["environment"] {
        Value::Mapping(map) => map.keys().map(|name| name.as_str().unwrap().to_owned()).collect(),
        Value::Sequence(list) => list
            .iter()
            .map(|entry| entry.as_str().unwrap().split('=').next().unwrap().to_owned())
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// Names in `${NAME}`, `${NAME:-…}` and `${NAME:?…}`.
fn substituted(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split("${").skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn every_role_is_a_service_with_a_health_check() {
    let compose = compose();
    let services = services(&compose);
    let mut expected: BTreeSet<&str> = Role::ALL.iter().map(|role| role.name()).collect();
    expected.extend(FOREIGN);
    assert_eq!(
        services.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
    for (name, service) in &services {
        assert!(
            !service["healthcheck"]["test"].is_null(),
            "{name} has no health check"
        );
        assert!(!service["restart"].is_null(), "{name} does not come back");
    }
    let images: BTreeSet<&str> = Role::ALL
        .iter()
        .map(|role| services[role.name()]["image"].as_str().unwrap())
        .collect();
    assert_eq!(images.len(), 1, "one image serves every role");
    for role in Role::ALL {
        let service = services[role.name()];
        assert_eq!(
            service["command"].as_sequence().unwrap(),
            &[Value::from(role.name())]
        );
        let test: Vec<&str> = service["healthcheck"]["test"]
            .as_sequence()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        // As it is written there, it must be a command that the program knows.
        let arguments = test.iter().skip(1);
        assert!(Cli::command().try_get_matches_from(arguments).is_ok(), "{test:?}");
        let arguments = ["callfold", role.name()];
        assert!(
            Cli::command().try_get_matches_from(arguments).is_ok(),
            "{}",
            role.name()
        );
        assert!(
            !service["depends_on"]["nats"].is_null(),
            "{} needs the broker",
            role.name()
        );
    }
    for role in [Role::Projector, Role::Api] {
        assert!(!services[role.name()]["depends_on"]["postgres"].is_null());
    }
    // Nothing but the gateway and the api is reachable, and those from this machine only.
    for (name, service) in &services {
        let ports: Vec<&str> = service["ports"].as_sequence().map_or(Vec::new(), |ports| {
            ports.iter().map(|port| port.as_str().unwrap()).collect()
        });
        assert!(
            ports.is_empty() || ["gateway", "api"].contains(&name.as_str()),
            "{name} is published"
        );
        assert!(
            ports.iter().all(|port| port.starts_with("127.0.0.1:")),
            "{name}: {ports:?}"
        );
    }
}

#[test]
fn every_setting_is_known_to_the_program() {
    let compose = compose();
    let known = known_settings();
    for (name, service) in services(&compose) {
        for setting in environment(service) {
            let is_known = if FOREIGN.contains(&name.as_str()) {
                FOREIGN_NAMES.contains(&setting.as_str())
            } else {
                known.contains(&setting)
            };
            assert!(is_known, "{setting} of {name} means nothing to it");
        }
    }
}

#[test]
fn what_has_to_be_filled_in_stands_in_the_example() {
    let example = std::fs::read_to_string(root().join("deploy/env.example")).unwrap();
    let offered: BTreeSet<String> = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    let compose = compose();
    let mut wanted = substituted(&text());
    for service in services(&compose).values() {
        if let Value::Mapping(map) = &service["environment"] {
            // Without a value it is passed on from .env.
            wanted.extend(
                map.iter()
                    .filter(|(_, value)| value.is_null())
                    .map(|(name, _)| name.as_str().unwrap().to_owned()),
            );
        }
    }
    assert_eq!(offered, wanted);
    let known = known_settings();
    for name in &offered {
        let is_known = known.contains(name)
            || FOREIGN_NAMES.contains(&name.as_str())
            || COMPOSE_NAMES.contains(&name.as_str());
        assert!(is_known, "{name} means nothing to anybody");
    }
}

#[test]
fn volumes_that_are_mounted_are_declared_and_files_are_there() {
    let compose = compose();
    let declared: BTreeSet<&str> = compose["volumes"]
        .as_mapping()
        .unwrap()
        .keys()
        .map(|name| name.as_str().unwrap())
        .collect();
    let mut mounted = BTreeSet::new();
    for (name, service) in services(&compose) {
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap().to_owned();
            if let Some(path) = source.strip_prefix("./") {
                // Folders of data are made when they are not there; files are not.
                assert!(
                    path.starts_with("data/") || root().join(path).is_file(),
                    "{name} mounts {source}"
                );
            } else {
                mounted.insert(source);
            }
        }
    }
    assert_eq!(
        mounted.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        declared
    );
}

#[test]
fn the_server_accepts_its_configuration() {
    let server = find_server(&Environment).expect("`make test` brings nats-server");
    let check = |user: Option<&str>| {
        let mut command = Command::new(&server);
        command
            .arg("-t")
            .arg("-c")
            .arg(root().join("nats.conf"))
            .env_remove("CALLFOLD_NATS_USER");
        command.env("CALLFOLD_NATS_PASSWORD", "p0");
        if let Some(user) = user {
            command.env("CALLFOLD_NATS_USER", user);
        }
        command.output().unwrap()
    };
    let good = check(Some("u0"));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(
        !check(None).status.success(),
        "a server without credentials does not start"
    );
    let text = std::fs::read_to_string(root().join("nats.conf")).unwrap();
    for promise in ["sync_interval: always", "max_payload: 4MB"] {
        assert!(text.contains(promise), "{promise}");
    }
}
