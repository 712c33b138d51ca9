//! The key file of a service account: read and checked before anything is asked, so that a wrong file is told at the
//! start and without its content.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use callfold_kit::Secret;
use rustls::SignatureAlgorithm;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// Largest key file that is read, in bytes. Real ones have about 2,400.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The cloud that the service is asked in.
const UNIVERSE: &str = "googleapis.com";
/// What a key file says of itself.
const KIND: &str = "service_account";

/// What is needed of a service account's key file.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceAccountKey {
    client_email: String,
    private_key_id: String,
    private_key: Secret,
    project: String,
}

// The address names a project and its owner.
impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccountKey(…)")
    }
}

/// What is wrong with a key file, in words that go on from the name of the setting. Nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("names a file that cannot be read ({0})")]
    Read(std::io::ErrorKind),
    /// No key file is so large.
    #[error("names a file that is too large for a key")]
    TooLarge,
    /// It is not JSON.
    #[error("names a file that is not JSON")]
    NotJson,
    /// It is JSON of another kind: of a person's login, for example.
    #[error("names a file that is not the key of a service account (`type` has to be `{KIND}`)")]
    OtherKind,
    /// A field is missing or empty.
    #[error("names a key without `{0}`")]
    Missing(&'static str),
    /// Nothing can be signed with it.
    #[error("names a key whose `private_key` is no RSA key (PKCS #8, PEM)")]
    NotRsa,
    /// It is good elsewhere.
    #[error("names a key of another cloud than {UNIVERSE}")]
    OtherCloud,
}

impl ServiceAccountKey {
    /// Reads and checks a key file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut text = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
            .map_err(|error| KeyError::Read(error.kind()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(KeyError::TooLarge);
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let value: Value = serde_json::from_slice(text).map_err(|_| KeyError::NotJson)?;
        let text = |name: &'static str| {
            value[name]
                .as_str()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .ok_or(KeyError::Missing(name))
        };
        if text("type") != Ok(KIND) {
            return Err(KeyError::OtherKind);
        }
        if text("universe_domain").is_ok_and(|domain| domain != UNIVERSE) {
            return Err(KeyError::OtherCloud);
        }
        let key = Self {
            client_email: text("client_email")?.to_owned(),
            private_key_id: text("private_key_id")?.to_owned(),
            private_key: Secret::new(text("private_key")?),
            project: text("project_id")?.to_owned(),
        };
        if !is_rsa(key.private_key.expose()) {
            return Err(KeyError::NotRsa);
        }
        Ok(key)
    }

    /// The project that the account belongs to.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The fields as the client wants them.
    pub(super) fn json(&self) -> Value {
        json!({
            "type": KIND,
            "client_email": self.client_email,
            "private_key_id": self.private_key_id,
            "private_key": self.private_key.expose(),
            "project_id": self.project,
            "universe_domain": UNIVERSE,
        })
    }
}

/// Whether tokens can be signed with it, by the code that will sign them.
fn is_rsa(pem: &str) -> bool {
    let Ok(key @ PrivateKeyDer::Pkcs8(_)) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) else {
        return false;
    };
    rustls::crypto::ring::sign::any_supported_type(&key)
        .is_ok_and(|key| key.algorithm() == SignatureAlgorithm::RSA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::google::key_file;

    #[test]
    fn mistakes_in_the_key_file_are_named_without_its_content() {
        let good = key_file();
        let parse = |value: &Value| ServiceAccountKey::parse(value.to_string().as_bytes());
        assert_eq!(
            parse(&good).map(|key| key.project),
            Ok("callfold-test".to_owned())
        );
        let with = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            parse(&changed).err()
        };
        assert_eq!(with("type", json!("authorized_user")), Some(KeyError::OtherKind));
        assert_eq!(with("type", json!(7)), Some(KeyError::OtherKind));
        for name in ["client_email", "private_key_id", "private_key", "project_id"] {
            assert_eq!(with(name, Value::Null), Some(KeyError::Missing(name)));
            assert_eq!(with(name, json!(" ")), Some(KeyError::Missing(name)));
        }
        assert_eq!(
            with("universe_domain", json!("example.cloud")),
            Some(KeyError::OtherCloud)
        );
        assert_eq!(with("private_key", json!("geheim")), Some(KeyError::NotRsa));
        let cut = good["private_key"].as_str().map(|key| key.replace("MII", "MIJ"));
        assert_eq!(with("private_key", json!(cut)), Some(KeyError::NotRsa));
        assert_eq!(ServiceAccountKey::parse(b"{").err(), Some(KeyError::NotJson));
        assert_eq!(ServiceAccountKey::parse(b"[]").err(), Some(KeyError::OtherKind));
        assert_eq!(
            ServiceAccountKey::read(Path::new("/nonexistent/key.json")).err(),
            Some(KeyError::Read(std::io::ErrorKind::NotFound))
        );
        let shown = format!("{:?} {}", parse(&good), KeyError::NotRsa);
        assert!(!shown.contains("PRIVATE") && !shown.contains("callfold-test"));
    }
}
