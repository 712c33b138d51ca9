//! The stream and the durable consumers: created when they are missing, verified when they are there. The stream's bound
//! is raised to the setting, never lowered.
//!
//! Only our own fields are compared, so that an operator may add placement, compression or a description.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use callfold_schema::subject::{STREAM, STREAM_SUBJECTS};
use rand::RngExt;

use super::config::BusConfig;
use super::error::BusError;

/// Where the stream's identity stands in its metadata.
const IDENTITY: &str = "callfold_identity";
/// How long the server recognises a message id; uniqueness for ever comes from the expected subject sequence.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Retries wait as pending messages: the bound stands far above any backlog.
const ACK_PENDING_MAX: i64 = 1_000_000;

fn stream_config(config: &BusConfig) -> Config {
    Config {
        name: STREAM.to_owned(),
        description: Some("callfold: every fact of every call".to_owned()),
        subjects: vec![STREAM_SUBJECTS.to_owned()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_age: Duration::ZERO,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_bytes: i64::try_from(config.stream_bytes_max).unwrap_or(i64::MAX),
        num_replicas: config.stream_replicas,
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        ..Config::default()
    }
}

/// The differences of our own fields, in words.
fn differences(is: &Config, expected: &Config) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |field: &str, is: String, expected: String| {
        if is != expected {
            differences.push(format!("{field} is {is}, not {expected}"));
        }
    };
    compare(
        "subjects",
        format!("{:?}", is.subjects),
        format!("{:?}", expected.subjects),
    );
    compare(
        "retention",
        format!("{:?}", is.retention),
        format!("{:?}", expected.retention),
    );
    compare(
        "storage",
        format!("{:?}", is.storage),
        format!("{:?}", expected.storage),
    );
    compare(
        "discard",
        format!("{:?}", is.discard),
        format!("{:?}", expected.discard),
    );
    compare(
        "max_age",
        format!("{:?}", is.max_age),
        format!("{:?}", expected.max_age),
    );
    compare(
        "max_msgs",
        is.max_messages.to_string(),
        expected.max_messages.to_string(),
    );
    compare(
        "max_msgs_per_subject",
        is.max_messages_per_subject.to_string(),
        expected.max_messages_per_subject.to_string(),
    );
    compare(
        "replicas (CALLFOLD_STREAM_REPLICAS)",
        is.num_replicas.to_string(),
        expected.num_replicas.to_string(),
    );
    compare(
        "allow_direct",
        is.allow_direct.to_string(),
        expected.allow_direct.to_string(),
    );
    compare("max_msg_size", is.max_message_size.to_string(), "-1".to_owned());
    compare("no_ack", is.no_ack.to_string(), expected.no_ack.to_string());
    compare("mirror", is.mirror.is_some().to_string(), "false".to_owned());
    compare(
        "sources",
        is.sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty())
            .to_string(),
        "false".to_owned(),
    );
    compare(
        "subject_transform",
        is.subject_transform.is_some().to_string(),
        "false".to_owned(),
    );
    compare(
        "deny_delete",
        is.deny_delete.to_string(),
        expected.deny_delete.to_string(),
    );
    compare("sealed", is.sealed.to_string(), expected.sealed.to_string());
    // A bound below the stream's would refuse events that the others still take; a larger one is set (see below).
    if is.max_bytes <= 0 {
        differences.push(format!("max_bytes is unlimited, not {}", expected.max_bytes));
    } else if is.max_bytes > expected.max_bytes {
        differences.push(format!(
            "max_bytes is {}: CALLFOLD_STREAM_BYTES_MAX must be at least what the stream has, not {}",
            is.max_bytes, expected.max_bytes
        ));
    }
    differences
}

pub(super) async fn create_or_verify_stream(
    context: &jetstream::Context,
    config: &BusConfig,
) -> Result<(Stream, String), BusError> {
    let expected = stream_config(config);
    let stream = match context.get_stream(STREAM).await {
        Ok(stream) => stream,
        Err(error) => {
            use jetstream::context::GetStreamErrorKind;
            let missing = matches!(error.kind(), GetStreamErrorKind::JetStream(ref e) if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND);
            if !missing {
                return Err(BusError::Stream(Box::new(error)));
            }
            let mut created = expected.clone();
            let identity: u128 = rand::rng().random();
            created
                .metadata
                .insert(IDENTITY.to_owned(), format!("{identity:032x}"));
            match context.create_stream(created).await {
                Ok(stream) => stream,
                // Another process of ours may have been faster: its stream is then read and verified.
                Err(create) => match context.get_stream(STREAM).await {
                    Ok(stream) => stream,
                    Err(_) => return Err(BusError::Stream(Box::new(create))),
                },
            }
        }
    };
    let is = &stream.cached_info().config;
    let differences = differences(is, &expected);
    if !differences.is_empty() {
        return Err(BusError::StreamDiffers(differences));
    }
    let identity = is.metadata.get(IDENTITY).cloned().ok_or(BusError::NotOurs)?;
    if is.max_bytes >= expected.max_bytes {
        return Ok((stream, identity));
    }
    let mut larger = is.clone();
    larger.max_bytes = expected.max_bytes;
    tracing::info!(
        from = is.max_bytes,
        to = larger.max_bytes,
        "the stream CALLS gets a larger bound"
    );
    context
        .update_stream(&larger)
        .await
        .map_err(|error| BusError::Stream(Box::new(error)))?;
    let stream = context
        .get_stream(STREAM)
        .await
        .map_err(|error| BusError::Stream(Box::new(error)))?;
    Ok((stream, identity))
}

/// A stage's durable consumer.
pub(super) async fn create_or_verify_consumer(
    stream: &Stream,
    name: &str,
    filter: &str,
    ack_wait: Duration,
) -> Result<jetstream::consumer::Consumer<pull::Config>, BusError> {
    let expected = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: filter.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        replay_policy: ReplayPolicy::Instant,
        ack_wait,
        // The bound on attempts is ours: a message that reaches the server's bound silently stops coming.
        max_deliver: -1,
        max_ack_pending: ACK_PENDING_MAX,
        ..pull::Config::default()
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BusError::Consumer {
        name: name.to_owned(),
        source,
    };
    let consumer = stream
        .get_or_create_consumer(name, expected.clone())
        .await
        .map_err(|e| failed(Box::new(e)))?;
    let is = &consumer.cached_info().config;
    let mut differences = Vec::new();
    let mut compare = |field: &str, is: String, expected: String| {
        if is != expected {
            differences.push(format!("{field} is {is}, not {expected}"));
        }
    };
    compare(
        "filter_subject",
        is.filter_subject.clone(),
        expected.filter_subject,
    );
    compare(
        "filter_subjects",
        format!("{:?}", is.filter_subjects),
        format!("{:?}", expected.filter_subjects),
    );
    compare(
        "deliver_policy",
        format!("{:?}", is.deliver_policy),
        format!("{:?}", expected.deliver_policy),
    );
    compare(
        "backoff",
        format!("{:?}", is.backoff),
        format!("{:?}", expected.backoff),
    );
    compare(
        "headers_only",
        is.headers_only.to_string(),
        expected.headers_only.to_string(),
    );
    compare(
        "ack_policy",
        format!("{:?}", is.ack_policy),
        format!("{:?}", expected.ack_policy),
    );
    compare(
        "ack_wait",
        format!("{:?}", is.ack_wait),
        format!("{:?}", expected.ack_wait),
    );
    compare(
        "max_deliver",
        is.max_deliver.to_string(),
        expected.max_deliver.to_string(),
    );
    compare(
        "max_ack_pending",
        is.max_ack_pending.to_string(),
        expected.max_ack_pending.to_string(),
    );
    if differences.is_empty() {
        Ok(consumer)
    } else {
        Err(BusError::ConsumerDiffers {
            name: name.to_owned(),
            differences,
        })
    }
}
