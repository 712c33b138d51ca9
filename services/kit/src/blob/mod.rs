//! Recordings by key, in a folder or in an object store.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use callfold_schema::{CallSid, RecordingSid, Run};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, ObjectStoreScheme};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use url::Url;

use crate::config::Settings;
use crate::lifecycle::BoxError;

/// Up to this size a recording is written with one request, in bytes.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// What can go wrong with recordings. Keys hold no personal data, so the causes may be told.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// `RECORDINGS_URL` cannot be used.
    #[error("could not open the recordings store (RECORDINGS_URL)")]
    Open(#[source] BoxError),
    /// A recording could not be written.
    #[error("could not store a recording")]
    Write(#[source] BoxError),
    /// A recording could not be read.
    #[error("could not read a recording")]
    Read(#[source] BoxError),
    /// It is larger than the caller takes.
    #[error("the recording has {bytes} bytes, {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
}

/// Where recordings are kept, from `RECORDINGS_URL` and what the `object_store` crate reads besides.
#[derive(Debug, Clone)]
pub struct BlobConfig {
    url: Url,
    options: Vec<(String, String)>,
}

/// The settings of the `object_store` crate for `s3://` that are passed on.
const S3_SETTINGS: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
];

impl BlobConfig {
    /// A folder.
    pub fn folder(path: &FilePath) -> Result<Self, BlobError> {
        let path = std::path::absolute(path).map_err(|error| BlobError::Open(Box::new(error)))?;
        let url =
            Url::from_directory_path(path).map_err(|()| BlobError::Open("the folder has no URL".into()))?;
        Ok(Self {
            url,
            options: Vec::new(),
        })
    }

    /// `RECORDINGS_URL` (`file:///folder` or `s3://bucket/prefix`); `None` when it is unset.
    pub fn from_settings(settings: &mut Settings<'_>) -> Option<Self> {
        let options = S3_SETTINGS
            .iter()
            .filter_map(|name| {
                settings
                    .text(name)
                    .map(|value| (name.to_ascii_lowercase(), value))
            })
            .collect();
        let text = settings.text("RECORDINGS_URL")?;
        match Url::parse(text.trim()) {
            Ok(url) if matches!(url.scheme(), "file" | "s3") => Some(Self { url, options }),
            _ => {
                settings.mistake(
                    "RECORDINGS_URL",
                    "is neither file:///folder nor s3://bucket/prefix",
                );
                None
            }
        }
    }
}

/// A part of a recording, streamed.
pub struct BlobStream {
    /// The range that is sent, in bytes.
    pub range: Range<u64>,
    /// The size of the whole recording in bytes.
    pub size: u64,
    /// The bytes.
    pub bytes: BoxStream<'static, Result<Bytes, BlobError>>,
}

/// The recordings. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
}

impl Blobs {
    /// Opens the store; a folder is created when it is missing.
    pub fn open(config: &BlobConfig) -> Result<Self, BlobError> {
        crate::http::install_tls();
        let open = |error: BoxError| BlobError::Open(error);
        let (scheme, path) = ObjectStoreScheme::parse(&config.url).map_err(|e| open(Box::new(e)))?;
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => {
                let folder = config
                    .url
                    .to_file_path()
                    .map_err(|()| open("RECORDINGS_URL is not a folder".into()))?;
                create_private_folder(&folder).map_err(|e| open(Box::new(e)))?;
                // A recording counts as stored when it is on the disk: the event that says so is.
                let local = LocalFileSystem::new_with_prefix(&folder).map_err(|e| open(Box::new(e)))?;
                Arc::new(local.with_automatic_cleanup(true).with_fsync(true))
            }
            _ => {
                let options = config
                    .options
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone()));
                let (store, _) =
                    object_store::parse_url_opts(&config.url, options).map_err(|e| open(Box::new(e)))?;
                Arc::new(PrefixStore::new(Arc::<dyn ObjectStore>::from(store), path))
            }
        };
        Ok(Self { store })
    }

    /// Stores a file, from its first byte, under a key, replacing what is there. Readers see the old one or the new
    /// one, whole. A handle and no path, because a file that holds a voice has no name while it is worked on.
    pub async fn put(&self, key: &str, file: std::fs::File) -> Result<(), BlobError> {
        let write = |error: BoxError| BlobError::Write(error);
        let mut reader = tokio::fs::File::from_std(file);
        reader.rewind().await.map_err(|e| write(Box::new(e)))?;
        let mut writer = BufWriter::with_capacity(Arc::clone(&self.store), Path::from(key), BUFFER_BYTES);
        let copied = tokio::io::copy(&mut reader, &mut writer).await;
        match copied {
            Ok(_) => writer.shutdown().await.map_err(|e| write(Box::new(e))),
            Err(error) => {
                if let Err(abort) = writer.abort().await {
                    tracing::warn!(error = %abort, "could not abort an upload; its parts may be left at the store");
                }
                Err(write(Box::new(error)))
            }
        }
    }

    /// The size of a recording in bytes; `None` when there is none under this key.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.store.head(&Path::from(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::Read(Box::new(error))),
        }
    }

    /// Copies a recording into a file, from where that stands, unless it is larger than `bytes_max`; `false` when there
    /// is none. After an error the file holds anything.
    pub async fn get_to(
        &self,
        key: &str,
        file: &mut tokio::fs::File,
        bytes_max: u64,
    ) -> Result<bool, BlobError> {
        let Some(mut blob) = self.get(key, None).await? else {
            return Ok(false);
        };
        if blob.size > bytes_max {
            return Err(BlobError::TooLarge {
                bytes: blob.size,
                bytes_max,
            });
        }
        let read = |error: std::io::Error| BlobError::Read(Box::new(error));
        while let Some(bytes) = blob.bytes.next().await {
            file.write_all(&bytes?).await.map_err(read)?;
        }
        file.flush().await.map_err(read)?;
        Ok(true)
    }

    /// A recording, or a range of its bytes, streamed; `None` when there is none.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<BlobStream>, BlobError> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        match self.store.get_opts(&Path::from(key), options).await {
            Ok(result) => Ok(Some(BlobStream {
                range: result.range.clone(),
                size: result.meta.size,
                bytes: result
                    .into_stream()
                    .map_err(|error| BlobError::Read(Box::new(error)))
                    .boxed(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::Read(Box::new(error))),
        }
    }

    /// Deletes a recording; one that is not there is deleted.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match self.store.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::Write(Box::new(error))),
        }
    }

    /// The keys of everything that was stored for a call, whether an event tells of it or not; `count_max` at most.
    pub async fn keys_of(&self, call: &CallSid, count_max: usize) -> Result<Vec<String>, BlobError> {
        let prefix = Path::from(call.as_str());
        let found = self.store.list(Some(&prefix)).take(count_max);
        let keys = found.map_ok(|meta| meta.location.to_string()).try_collect();
        keys.await.map_err(|error| BlobError::Read(Box::new(error)))
    }

    /// The keys of everything there is, in no order.
    pub fn keys(&self) -> BoxStream<'_, Result<String, BlobError>> {
        self.store
            .list(None)
            .map_ok(|meta| meta.location.to_string())
            .map_err(|error| BlobError::Read(Box::new(error)))
            .boxed()
    }

    /// Writes, reads and deletes a small file, to find out whether the store works.
    pub async fn check(&self) -> Result<(), BlobError> {
        let key = Path::from("callfold-check");
        self.store
            .put(&key, Bytes::from_static(b"ok").into())
            .await
            .map_err(|e| BlobError::Write(Box::new(e)))?;
        self.store
            .get(&key)
            .await
            .map_err(|e| BlobError::Read(Box::new(e)))?;
        self.delete(key.as_ref()).await
    }
}

/// Call, recording and run of a recording's key; `None`: it is the key of something else.
pub fn key_parts(key: &str) -> Option<(CallSid, RecordingSid, Run)> {
    let (call, name) = key.split_once('/')?;
    let (recording, run) = name.rsplit_once('.')?.0.rsplit_once('-')?;
    let run = run.parse().ok().map(Run)?;
    Some((
        CallSid::parse(call).ok()?,
        RecordingSid::parse(recording).ok()?,
        run,
    ))
}

/// The key of a recording: `<call>/<recording>-<run>.<extension>`.
pub fn recording_key(call: &CallSid, recording: &RecordingSid, run: Run, extension: &str) -> String {
    format!("{call}/{recording}-{run}.{extension}")
}

/// Creates a folder that only its owner can enter.
pub fn create_private_folder(folder: &FilePath) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_recording_comes_back_whole_and_in_parts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs =
            Blobs::open(&BlobConfig::folder(&folder.path().join("r")).expect("a path")).expect("opens");
        blobs.check().await.expect("works");
        let mut file = tempfile::tempfile().expect("a temporary file");
        // Written and not rewound: the store takes it from its beginning.
        file.write_all(b"0123456789").expect("writes");
        blobs.put("CA1/RE1-0.wav", file).await.expect("stores");
        assert_eq!(blobs.size("CA1/RE1-0.wav").await.expect("reads"), Some(10));
        let part = blobs
            .get("CA1/RE1-0.wav", Some(2..5))
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!((part.range, part.size), (2..5, 10));
        let bytes: Vec<Bytes> = part.bytes.try_collect().await.expect("reads");
        assert_eq!(bytes.concat(), b"234");
        let mut out = tokio::fs::File::from_std(tempfile::tempfile().expect("a temporary file"));
        assert!(blobs.get_to("CA1/RE1-0.wav", &mut out, 10).await.expect("reads"));
        out.rewind().await.expect("rewinds");
        let mut copied = Vec::new();
        out.read_to_end(&mut copied).await.expect("reads");
        assert_eq!(copied, b"0123456789");
        assert!(matches!(
            blobs.get_to("CA1/RE1-0.wav", &mut out, 9).await,
            Err(BlobError::TooLarge {
                bytes: 10,
                bytes_max: 9
            })
        ));
        blobs.delete("CA1/RE1-0.wav").await.expect("deletes");
        blobs.delete("CA1/RE1-0.wav").await.expect("deletes what is gone");
        assert!(blobs.get("CA1/RE1-0.wav", None).await.expect("reads").is_none());
        assert!(!blobs.get_to("CA1/RE1-0.wav", &mut out, 10).await.expect("reads"));
    }
}
