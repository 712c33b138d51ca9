//! The suite of `callfold-store` on a real PostgreSQL, and what is PostgreSQL's own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use callfold_store::conformance;
use callfold_store::testing::TestPostgres;
use callfold_store::{Claim, StoreError, WriteLeads as _};
use callfold_store_postgres::PostgresStore;

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_suite() {
    let server = TestPostgres::shared();
    conformance::all(async || Arc::new(PostgresStore::connect(&server.fresh_database()).await.unwrap()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_share_new_tables() {
    let url = TestPostgres::shared().fresh_database();
    let (a, b) = tokio::join!(PostgresStore::connect(&url), PostgresStore::connect(&url));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(matches!(a.claim("a", false).await.unwrap(), Claim::Granted(_)));
    assert_eq!(b.claim("b", false).await.unwrap(), Claim::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_makes_no_sense_is_not_repeated() {
    let error = PostgresStore::connect("postgres://user:secret@host:not-a-port/db")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Address(_)));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_an_error_that_may_pass() {
    let server = TestPostgres::start();
    let store = PostgresStore::connect(&server.fresh_database()).await.unwrap();
    assert!(matches!(
        store.claim("a", false).await.unwrap(),
        Claim::Granted(_)
    ));
    drop(server);
    let error = store.renew("a").await.unwrap_err();
    assert!(
        error.may_pass() && !matches!(error, StoreError::Fenced),
        "{error:?}"
    );
}
