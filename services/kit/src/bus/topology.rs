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

/// What is not as it was expected, in words.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, field: &str, is: &T, expected: &T) {
        if is != expected {
            self.0.push(format!("{field} is {is:?}, not {expected:?}"));
        }
    }
}

/// The differences of our own fields.
fn differences(is: &Config, expected: &Config) -> Vec<String> {
    let mut found = Differences::default();
    found.compare("subjects", &is.subjects, &expected.subjects);
    found.compare("retention", &is.retention, &expected.retention);
    found.compare("storage", &is.storage, &expected.storage);
    found.compare("discard", &is.discard, &expected.discard);
    found.compare("max_age", &is.max_age, &expected.max_age);
    found.compare("max_msgs", &is.max_messages, &expected.max_messages);
    found.compare(
        "max_msgs_per_subject",
        &is.max_messages_per_subject,
        &expected.max_messages_per_subject,
    );
    found.compare(
        "replicas (CALLFOLD_STREAM_REPLICAS)",
        &is.num_replicas,
        &expected.num_replicas,
    );
    found.compare("allow_direct", &is.allow_direct, &expected.allow_direct);
    found.compare("max_msg_size", &is.max_message_size, &-1);
    found.compare("no_ack", &is.no_ack, &expected.no_ack);
    found.compare("mirror", &is.mirror.is_some(), &false);
    let has_sources = is.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    found.compare("sources", &has_sources, &false);
    found.compare("subject_transform", &is.subject_transform.is_some(), &false);
    found.compare("deny_delete", &is.deny_delete, &expected.deny_delete);
    found.compare("sealed", &is.sealed, &expected.sealed);
    let Differences(mut differences) = found;
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
    let mut found = Differences::default();
    found.compare("filter_subject", &is.filter_subject, &expected.filter_subject);
    found.compare("filter_subjects", &is.filter_subjects, &expected.filter_subjects);
    found.compare("deliver_policy", &is.deliver_policy, &expected.deliver_policy);
    found.compare("backoff", &is.backoff, &expected.backoff);
    found.compare("headers_only", &is.headers_only, &expected.headers_only);
    found.compare("ack_policy", &is.ack_policy, &expected.ack_policy);
    found.compare("ack_wait", &is.ack_wait, &expected.ack_wait);
    found.compare("max_deliver", &is.max_deliver, &expected.max_deliver);
    found.compare("max_ack_pending", &is.max_ack_pending, &expected.max_ack_pending);
    let Differences(differences) = found;
    if differences.is_empty() {
        Ok(consumer)
    } else {
        Err(BusError::ConsumerDiffers {
            name: name.to_owned(),
            differences,
        })
    }
}
