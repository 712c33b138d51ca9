//! Scripts, style sheets and icon of the pages: inside the binary, under addresses that hold a hash of the content, so
//! that a browser may keep them for ever and a new release is seen at once. A new file is a static here and a line in
//! [`ALL`]; a template names it: `{{ crate::assets::CARD_STYLE.url() }}`.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// One embedded file.
pub(crate) struct Asset {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let hash = HEXLOWER.encode(&Sha256::digest(content.as_bytes())[..6]);
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            content_type,
            content,
        }
    }

    fn style(stem: &str, content: &'static str) -> Self {
        Self::new(stem, "css", "text/css; charset=utf-8", content)
    }

    fn script(stem: &str, content: &'static str) -> Self {
        Self::new(stem, "js", "text/javascript; charset=utf-8", content)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// What every page looks like.
pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::style("app", include_str!("../assets/app.css")));
/// What keeps pages fresh.
pub(crate) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::script("app", include_str!("../assets/app.js")));
/// What the card looks like.
pub(crate) static CARD_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::style("card", include_str!("../assets/card.css")));
/// What the card does.
pub(crate) static CARD_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::script("card", include_str!("../assets/card.js")));
/// What sign-in, people, settings and operation look like.
pub(crate) static PEOPLE_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::style("people", include_str!("../assets/people.css")));
/// What the settings do.
pub(crate) static PEOPLE_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::script("people", include_str!("../assets/people.js")));
/// The sign in the browser's tab.
pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("../assets/icon.svg")));

/// Everything that is served.
static ALL: [&LazyLock<Asset>; 7] = [
    &STYLE,
    &SCRIPT,
    &CARD_STYLE,
    &CARD_SCRIPT,
    &PEOPLE_STYLE,
    &PEOPLE_SCRIPT,
    &ICON,
];

/// `GET /sw.js`: the service worker. Its address is fixed, and at the root because it has to show cards.
pub(crate) async fn service_worker() -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        )],
        include_str!("../assets/sw.js"),
    )
        .into_response()
}

/// `GET /assets/{name}`: no sign-in needed, nothing personal inside.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
            (
                header::CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=31536000, immutable"),
            ),
        ],
        asset.content,
    )
        .into_response()
}
