//! The suite of `callfold-store` on SQLite, and what is SQLite's own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use callfold_store::conformance;
use callfold_store::{Claim, ReadLeads as _, WriteLeads as _};
use callfold_store_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    conformance::all(async || {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(
            SqliteStore::open(&folder.path().join(format!("{n}.db")))
                .await
                .unwrap(),
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_for_its_owner_only_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/leads.db");
    let store = SqliteStore::open(&path).await.unwrap();
    assert!(matches!(
        store.claim("a", false).await.unwrap(),
        Claim::Granted(_)
    ));
    store.reset("a", "stream").await.unwrap();
    for file in ["leads.db", "leads.db-wal"] {
        let mode = std::fs::metadata(path.with_file_name(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    store.close().await;
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(
        again.projection().await.unwrap().identity.as_deref(),
        Some("stream")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_release_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leads.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (99999999999999, 'later', datetime(), 1, x'00', 1)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(
        matches!(error, callfold_store::StoreError::NewerTables),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_open_a_new_file_at_once() {
    // Often, for it is a matter of luck who meets whom.
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leads.db");
        let open = || {
            let path = path.clone();
            tokio::spawn(async move { SqliteStore::open(&path).await })
        };
        let (a, b, c) = tokio::join!(open(), open(), open());
        let (a, b, c) = (a.unwrap().unwrap(), b.unwrap().unwrap(), c.unwrap().unwrap());
        assert!(matches!(a.claim("a", false).await.unwrap(), Claim::Granted(_)));
        assert_eq!(b.claim("b", false).await.unwrap(), Claim::Held);
        assert_eq!(c.claim("c", false).await.unwrap(), Claim::Held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_lead_is_left_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leads.db");
    let store = SqliteStore::open(&path).await.unwrap();
    conformance::erase_one_of_many(&store, "verysecretword").await;
    store.close().await;
    let bytes = std::fs::read(&path).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    // What others said is there, so this would find it. The index keeps the end of a word that begins like the one before.
    assert!(holds(b"harmless"));
    assert!(!holds(b"secretword") && !holds(b"SECRETWORD"));
}
